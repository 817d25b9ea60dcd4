# The three kinds of segments, as they lie in memory: little-endian, offsets and never pointers. Words that different
# processes write stand 128 bytes apart, because processors fetch cache lines in pairs.

cdef enum:
    LAYOUT = 2
    FEATURES = 0                     # no bit is defined; a set one means that we do not understand the segment
    POOL_MAGIC = 0x4C4F4F50          # "POOL"
    FLOW_MAGIC = 0x574F4C46          # "FLOW"
    EVENT_MAGIC = 0x544E5645         # "EVNT"

    RING = 1024                      # slots
    HALF = 512
    CLASSES = 16                     # at most, in a pool
    MOST_SHARDS = 16
    MOVED = 0x80                     # in a shard byte: the block came from another shard, and was not freed since
    CLASS_SHIFT = 24                 # block id = (class + 1) << 24 | index; 0 is "no block"
    INDEX_MASK = 0xFFFFFF
    RING_TAG = 0x80000000            # in an owner word: in a ring. Else a client id, or 0: free
    EVENT_WORDS = 64
    EVENT_BITS = 4096
    LANES = 2
    BULK = 0
    LOOP = 1

    # The wish in a waiter word (its two low bits; above is a count). On rings:
    FUTEX = 1                        # wake who sleeps on this word
    NOTIFY_BULK = 2                  # set the bit in the event set, lane bulk
    NOTIFY_LOOP = 3                  # the same, lane loop
    # On a pool these are bits: who has waited for long says so.
    HUNGRY = 2
    # On lanes of an event set these are bits, because one thread may sleep while another polls:
    LANE_FUTEX = 1
    LANE_BELL = 2

    READ_ONLY = 1                    # ouro_core.contracts.packets.State
    DOWN = 2
    PEER = 4
    CLOSED = 8
    DEAD = 16
    GONE = DOWN | CLOSED | DEAD      # nothing can be written any more

    NEVER = 0                        # FlowHead.side: attached?
    OPEN = 1
    LEFT = 2

ctypedef struct Head:                # begins every segment
    uint32_t magic
    uint16_t layout
    uint16_t zero
    uint32_t features
    uint32_t id                      # uid of a pool, flow id, number of an event set

ctypedef struct ClassHead:
    uint32_t payload
    uint32_t stride
    uint32_t count
    uint32_t quota                   # blocks that applications may take; the rest is the receivers'
    uint64_t owners                  # offset: u32 a block
    uint64_t shards                  # offset: u8 a block, the shard of its last allocator; MOVED
    uint64_t hints                   # offset: for each shard a bitmap of (count + 63) / 64 u64 words
    uint64_t data                    # offset
    uint64_t failed                  # allocations that found nothing, here or above
    uint64_t moves                   # offset: Moves, one a shard

ctypedef struct Moves:               # of one class and shard; for people, nothing depends on them
    uint64_t stolen                  # blocks that allocators of this shard took from another one
    uint64_t migrated                # blocks that were freed into this shard, but taken from another one

ctypedef struct PoolHead:
    Head head
    uint32_t classes
    uint32_t head_room
    uint32_t tail_room
    uint32_t shards
    uint64_t total
    uint8_t zero1[88]
    uint32_t waiter                  # FUTEX: someone sleeps until a block, any block, is freed; HUNGRY: since long
    uint32_t zero2
    uint64_t hungry                  # ns: until then the hungry come first
    uint8_t zero3[112]
    ClassHead table[CLASSES]

ctypedef struct Slot:
    uint32_t block
    uint32_t offset                  # of the payload in the block, head room included
    uint32_t length
    uint32_t flags                   # 0

ctypedef struct Ring:
    uint32_t head                    # packets ever written, modulo 2**32
    uint8_t zero0[124]
    uint32_t tail                    # packets ever taken
    uint8_t zero1[124]
    uint32_t notify                  # the reader waits for a packet
    uint8_t zero2[124]
    uint32_t wwait                   # the writer waits until half of the ring is free
    uint8_t zero3[124]
    uint32_t state                   # State, for both; READ_ONLY for the writer
    uint8_t zero4[124]
    Slot slots[RING]

ctypedef struct FlowShm:
    Head head
    uint32_t side[2]                 # NEVER, OPEN, LEFT
    uint32_t revoked                 # the broker destroyed the flow: no more attaching
    uint8_t zero[100]
    Ring rings[2]                    # rings[n] is written by end n

ctypedef struct Lane:
    uint32_t waiter                  # LANE_*
    uint32_t kicked                  # the bell was rung although nobody had asked
    uint8_t zero0[120]
    uint64_t summary                 # one bit a word below
    uint8_t zero1[120]
    uint64_t words[EVENT_WORDS]

ctypedef struct EventShm:
    Head head
    uint8_t zero[112]
    Lane lanes[LANES]
