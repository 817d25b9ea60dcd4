# The pool: blocks in size classes. The owner word of a block is the truth; bitmaps and shards only say where to look.

ctypedef struct ClassView:           # our own checked copy of the class: the one in the segment may change under us
    uint32_t payload
    uint32_t stride
    uint32_t count
    uint32_t quota
    uint32_t words                   # of one hint bitmap
    uint32_t *owners
    uint8_t *shards
    uint64_t *hints
    uint64_t *failed
    Moves *moves
    char *data

ctypedef struct Magazine:            # up to 64 hints taken at once; what a death loses here the scan of owners finds
    uint32_t first
    uint64_t bits

ctypedef struct PoolView:
    uint32_t classes
    uint32_t head_room
    uint32_t tail_room
    uint32_t me
    uint32_t shards
    uint32_t shard                   # ours
    uint32_t *waiter
    uint64_t *hungry
    ClassView table[CLASSES]
    Magazine magazines[2][CLASSES]   # applications, receivers


cdef inline char *block_at(PoolView *p, uint32_t block) noexcept nogil:
    cdef ClassView *c = &p.table[(block >> CLASS_SHIFT) - 1]
    return c.data + <size_t> (block & INDEX_MASK) * c.stride


cdef inline uint32_t *owner_of(PoolView *p, uint32_t block) noexcept nogil:
    return &p.table[(block >> CLASS_SHIFT) - 1].owners[block & INDEX_MASK]


cdef inline bint block_valid(PoolView *p, uint32_t block) noexcept nogil:
    cdef uint32_t c = (block >> CLASS_SHIFT) - 1
    return c < p.classes and (block & INDEX_MASK) < p.table[c].count


cdef inline bint room_valid(PoolView *p, uint32_t block, uint32_t offset, uint32_t length) noexcept nogil:
    """Of a valid block."""
    cdef uint32_t size = p.table[(block >> CLASS_SHIFT) - 1].payload + p.head_room + p.tail_room
    return offset <= size and length <= size - offset


cdef inline bint claim_block(PoolView *p, ClassView *c, uint32_t index) noexcept nogil:
    if ou_load(&c.owners[index]) or not ou_cas(&c.owners[index], 0, p.me):
        return False
    if ou_load8(&c.shards[index]) != p.shard:
        ou_store8(&c.shards[index], <uint8_t> (p.shard | MOVED))
        ou_fetch_add64(&c.moves[p.shard].stolen, 1)
    return True


cdef bint refill(PoolView *p, ClassView *c, Magazine *m, uint32_t limit) noexcept nogil:
    """Takes a word of hints below `limit`, first of our shard, then of the others."""
    cdef uint32_t turn, w, shard = p.shard, words = (limit + 63) >> 6
    cdef uint64_t mask, got
    cdef uint64_t *hints
    for turn in range(p.shards):
        hints = c.hints + <size_t> shard * c.words
        shard = shard + 1 if shard + 1 < p.shards else 0
        for w in range(words):
            mask = <uint64_t> -1 if limit - (w << 6) >= 64 else ((<uint64_t> 1) << (limit - (w << 6))) - 1
            if ou_load64(&hints[w]) & mask:
                got = ou_fetch_and64(&hints[w], ~mask) & mask
                if got:
                    m.first = w << 6
                    m.bits = got
                    return True
    return False


cdef uint32_t take_block(PoolView *p, uint32_t c, bint receiver) noexcept nogil:
    """A block of this class that is ours now, or 0."""
    cdef ClassView *v = &p.table[c]
    cdef Magazine *m = &p.magazines[receiver][c]
    cdef uint32_t index, limit = v.count if receiver else v.quota
    while m.bits or refill(p, v, m, limit):
        index = m.first + ou_lowest(m.bits)
        m.bits &= m.bits - 1
        if claim_block(p, v, index):
            return ((c + 1) << CLASS_SHIFT) | index
    for index in range(limit):
        if claim_block(p, v, index):
            return ((c + 1) << CLASS_SHIFT) | index
    return 0


cdef inline uint32_t smallest_class(PoolView *p, size_t length) noexcept nogil:
    """The caller has checked the length."""
    cdef uint32_t c = 0
    while p.table[c].payload < length:
        c += 1
    return c


cdef inline uint32_t last_class(PoolView *p, uint32_t first) noexcept nogil:
    """Behind the classes that packets of class `first` may use: small ones must not eat up the largest blocks."""
    return first + 3 if first + 3 < p.classes else p.classes


cdef uint32_t alloc_block(PoolView *p, size_t length, bint receiver) noexcept nogil:
    """Of the smallest class that fits, else of one of the next two. 0: none is free."""
    cdef uint32_t c, block, first = smallest_class(p, length)
    for c in range(first, last_class(p, first)):
        block = take_block(p, c, receiver)
        if block:
            return block
    ou_fetch_add64(p.table[first].failed, 1)
    return 0


cdef bint block_free(PoolView *p, size_t length, bint receiver) noexcept nogil:
    """Whether `alloc_block` would find one."""
    cdef uint32_t c, i, first = smallest_class(p, length)
    for c in range(first, last_class(p, first)):
        for i in range(p.table[c].count if receiver else p.table[c].quota):
            if ou_load(&p.table[c].owners[i]) == 0:
                return True
    return False


cdef inline void hint_block(PoolView *p, uint32_t block) noexcept nogil:
    """A full fence too: the block was freed before, waiter words are read after."""
    cdef ClassView *c = &p.table[(block >> CLASS_SHIFT) - 1]
    cdef uint32_t index = block & INDEX_MASK
    cdef uint8_t seen = ou_load8(&c.shards[index])
    cdef uint32_t shard = seen & ~<uint32_t> MOVED
    if shard >= p.shards:
        shard = 0                    # another user wrote that
    if seen & MOVED:
        # Who took the block meanwhile has written his shard, which must stay.
        ou_cas8(&c.shards[index], seen, <uint8_t> shard)
        ou_fetch_add64(&c.moves[shard].migrated, 1)
    ou_fetch_or64(&c.hints[<size_t> shard * c.words + (index >> 6)], (<uint64_t> 1) << (index & 63))
    ou_fence_after_rmw()


# Who waits for a block competes with those who never sleep, and these are faster: without help it might wait for ever.
# So a thread that has waited for HUNGER says so in its wish, and who takes the wish makes all others keep away from
# free blocks, for DEFERENCE or until one of the hungry was fed. It is a time and no lock: nobody has to take it back.

cdef enum:
    HUNGER = 1000000                 # ns
    DEFERENCE = 1000000


cdef void wake_waiters(PoolView *p) noexcept nogil:
    if ou_take_wish(p.waiter) & HUNGRY:
        ou_store64(p.hungry, ou_now() + DEFERENCE)
    ou_futex_wake(p.waiter)


cdef inline void wake_pool(PoolView *p) noexcept nogil:
    if ou_wish(p.waiter):
        wake_waiters(p)


cdef bint still_hungry(uint64_t until) noexcept nogil:
    cdef uint64_t now = ou_now()
    return now < until <= now + DEFERENCE


cdef inline bint others_first(PoolView *p) noexcept nogil:
    """Whether blocks that are free are not for those who have just come."""
    cdef uint64_t until = ou_load64(p.hungry)
    return until and still_hungry(until)


cdef void was_fed(PoolView *p) noexcept nogil:
    """A hungry one got its block: those that kept away look again."""
    ou_store64(p.hungry, 0)
    ou_fence()
    wake_pool(p)


cdef inline void free_block(PoolView *p, uint32_t block, uint32_t owner) noexcept nogil:
    """Unless somebody else freed it already: the broker, when it held this client for dead."""
    if ou_cas(owner_of(p, block), owner, 0):
        hint_block(p, block)
        wake_pool(p)


@cython.final
@cython.no_gc
cdef class Pool:
    """One pool, mapped for one client (or, `me` 0, for the broker)."""
    cdef PoolView view
    cdef Segment segment
    cdef readonly uint32_t uid
    cdef readonly uint32_t longest   # largest payload
    cdef object __weakref__

    def __init__(self, int fd, uint32_t uid, owner, uint32_t me=0):
        """`owner`: the uid that the segment must belong to. PacketsError: not a pool of this layout."""
        what = f"pool of uid {uid}"
        self.segment = open_memory(fd, what, sizeof(PoolHead), owner)
        check_head(self.segment, what, POOL_MAGIC, uid)
        self.uid = uid
        cdef PoolHead *head = <PoolHead *> self.segment.base
        cdef PoolView *p = &self.view
        p.me = me
        p.waiter = &head.waiter
        p.hungry = &head.hungry
        p.classes = ou_load(&head.classes)
        p.head_room = ou_load(&head.head_room)
        p.tail_room = ou_load(&head.tail_room)
        p.shards = ou_load(&head.shards)
        if not (0 < p.classes <= CLASSES and p.head_room <= 65536 and p.tail_room <= 65536
                and 0 < p.shards <= MOST_SHARDS):
            raise PacketsError(f"{what}: {p.classes} classes, {p.shards} shards, {p.head_room}+{p.tail_room} bytes of "
                               "room make no sense")
        p.shard = me % p.shards
        for c in range(p.classes):
            self._check_class(&p.table[c], &head.table[c], what)
            if c and p.table[c].payload <= p.table[c - 1].payload:
                raise PacketsError(f"{what}: class {c} is not larger than the one before")
        self.longest = p.table[p.classes - 1].payload

    cdef _check_class(self, ClassView *v, ClassHead *h, str what):
        cdef uint64_t size = self.segment.size
        cdef uint64_t owners = ou_load64(&h.owners), shards = ou_load64(&h.shards)
        cdef uint64_t hints = ou_load64(&h.hints), data = ou_load64(&h.data), moves = ou_load64(&h.moves)
        cdef uint64_t number = self.view.shards
        v.payload = ou_load(&h.payload)
        v.stride = ou_load(&h.stride)
        v.count = ou_load(&h.count)
        v.quota = ou_load(&h.quota)
        v.words = (v.count + 63) >> 6
        fits = (
            0 < v.count <= INDEX_MASK and 0 < v.quota <= v.count and 0 < v.payload < 1 << 30
            and v.payload + self.view.head_room + self.view.tail_room <= v.stride < 1 << 31
            and owners % 4 == 0 and hints % 8 == 0 and moves % 8 == 0 and max(owners, shards, hints, data, moves) < size
            and owners + 4 * <uint64_t> v.count <= size and shards + v.count <= size
            and hints + 8 * <uint64_t> v.words * number <= size and moves + sizeof(Moves) * number <= size
            and data + <uint64_t> v.stride * v.count <= size
        )
        if not fits:
            raise PacketsError(f"{what}: class of {v.payload} bytes x {v.count} does not fit into {size} bytes")
        v.owners = <uint32_t *> (self.segment.base + owners)
        v.shards = <uint8_t *> (self.segment.base + shards)
        v.hints = <uint64_t *> (self.segment.base + hints)
        v.data = self.segment.base + data
        v.failed = &h.failed
        v.moves = <Moves *> (self.segment.base + moves)

    @property
    def inode(self):
        return self.segment.inode

    @property
    def size(self):
        return self.segment.size

    def wake(self):
        """Also who was about to be woken by a process that died before it came to it."""
        ou_take_wish(self.view.waiter)
        ou_futex_wake(self.view.waiter)

    def reap(self, owners):
        """Frees all blocks whose owner word is one of `owners`; returns how many."""
        cdef set wanted = set(owners)
        cdef uint32_t c, i, owner, block, freed = 0
        if not wanted:
            return 0
        for c in range(self.view.classes):
            for i in range(self.view.table[c].count):
                owner = ou_load(&self.view.table[c].owners[i])
                if owner and owner in wanted and ou_cas(&self.view.table[c].owners[i], owner, 0):
                    block = ((c + 1) << CLASS_SHIFT) | i
                    hint_block(&self.view, block)
                    freed += 1
        self.wake()
        return freed

    def renew(self):
        """Broker: as new, when no process uses it any more. What was done to it is undone, its memory given back."""
        cdef PoolHead *head = <PoolHead *> self.segment.base
        cdef ClassView *v
        cdef ClassHead *h
        cdef char *base = self.segment.base
        madvise(base, self.segment.size, MADV_REMOVE)
        for c in range(self.view.classes):
            v, h = &self.view.table[c], &head.table[c]
            h.payload, h.stride, h.count, h.quota = v.payload, v.stride, v.count, v.quota
            h.owners, h.shards = <char *> v.owners - base, <char *> v.shards - base
            h.hints, h.data, h.moves = <char *> v.hints - base, v.data - base, <char *> v.moves - base
        write_pool(self.segment, self.uid, self.view.classes, self.view.shards, self.view.head_room,
                   self.view.tail_room)

    def usage(self):
        """A list of (payload, blocks, blocks in use, failed allocations), one a class."""
        cdef uint32_t c, i, used
        rows = []
        for c in range(self.view.classes):
            used = 0
            for i in range(self.view.table[c].count):
                used += ou_load(&self.view.table[c].owners[i]) != 0
            rows.append((self.view.table[c].payload, self.view.table[c].count, used,
                         ou_load64(self.view.table[c].failed)))
        return rows

    def shards(self):
        """For each class a list with, for each shard, (blocks, of these free, stolen, migrated)."""
        cdef uint32_t c, i, shard, shards = self.view.shards
        cdef ClassView *v
        rows = []
        for c in range(self.view.classes):
            v = &self.view.table[c]
            counts = [[0, 0, ou_load64(&v.moves[shard].stolen), ou_load64(&v.moves[shard].migrated)]
                      for shard in range(shards)]
            for i in range(v.count):
                shard = ou_load8(&v.shards[i]) & ~<uint32_t> MOVED
                count = counts[shard if shard < shards else 0]
                count[0] += 1
                count[1] += ou_load(&v.owners[i]) == 0
            rows.append([tuple(count) for count in counts])
        return rows

    def owners(self):
        """For each class {owner word: blocks}."""
        cdef uint32_t c, i, owner
        rows = []
        for c in range(self.view.classes):
            found = {}
            for i in range(self.view.table[c].count):
                owner = ou_load(&self.view.table[c].owners[i])
                if owner:
                    found[owner] = found.get(owner, 0) + 1
            rows.append(found)
        return rows


cdef size_t aligned(size_t n, size_t to) noexcept:
    return (n + to - 1) // to * to


cdef tuple plan_pool(geometry):
    """One row (payload, blocks, owners, hints, shards, moves, stride, data) a class, and the size of it all."""
    classes = sorted((c.payload, c.blocks) for c in geometry.classes if c.blocks)
    reserve = geometry.receive_share
    if not 0 < len(classes) <= CLASSES or len({payload for payload, _ in classes}) < len(classes):
        raise PacketsError(f"a pool needs 1 to {CLASSES} classes of different size, not {classes}")
    for payload, blocks in classes:
        if not (0 < payload < 1 << 30 and 0 < blocks <= INDEX_MASK):
            raise PacketsError(f"a class of {blocks} blocks of {payload} bytes; 1 to {INDEX_MASK} blocks of 1 to "
                               f"{(1 << 30) - 1} bytes are possible")
    count = sum(blocks for _, blocks in classes)
    if not 0 < geometry.shards <= min(MOST_SHARDS, count):
        raise PacketsError(f"{geometry.shards} shards for {count} blocks; use 1 to {min(MOST_SHARDS, count)}")
    if not (0 <= reserve < 1 and 0 <= geometry.head_room <= 65536 and 0 <= geometry.tail_room <= 65536):
        raise PacketsError(f"receive_share {reserve}, head_room {geometry.head_room} or tail_room "
                           f"{geometry.tail_room} out of range")
    cdef size_t offset = sizeof(PoolHead)
    table = []
    for payload, blocks in classes:
        words = (blocks + 63) // 64
        owners = aligned(offset, 128)
        hints = aligned(owners + 4 * blocks, 128)
        moves = aligned(hints + 8 * words * geometry.shards, 128)
        shards = aligned(moves + sizeof(Moves) * geometry.shards, 128)
        offset = shards + blocks
        table.append([payload, blocks, owners, hints, shards, moves])
    for row in table:
        # An odd number of cache lines, so that the same place of neighbouring blocks falls into different cache sets.
        stride = aligned(row[0] + geometry.head_room + geometry.tail_room, 64) | 64
        data = aligned(offset, 4096)
        row += [stride, data]
        offset = data + stride * row[1]
    offset = aligned(offset, 4096)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if offset > memory:
        raise PacketsError(f"a pool of {offset >> 20} MiB does not fit into the {memory >> 20} MiB of this machine; "
                           f"give it fewer blocks")
    return table, offset


def pool_size(geometry):
    """Bytes that a pool of this Geometry has. PacketsError: it makes no sense, or the machine has less memory."""
    return plan_pool(geometry)[1]


def create_pool(uint32_t uid, geometry, owner, gid, mode):
    """A memfd with an empty pool of this Geometry. PacketsError: a geometry that makes no sense, no memory."""
    table, offset = plan_pool(geometry)
    fd = create_memory(f"ouroboros.pool.{uid}", offset, owner, gid, mode)
    cdef Segment segment
    try:
        segment = Segment(fd, offset)
    except BaseException:
        os.close(fd)
        raise
    cdef PoolHead *head = <PoolHead *> segment.base
    cdef ClassHead *h
    for n, (payload, blocks, owners, hints, shards, moves, stride, data) in enumerate(table):
        h = &head.table[n]
        h.payload, h.stride, h.count = payload, stride, blocks
        h.quota = max(1, blocks - <int> (blocks * geometry.receive_share))
        h.owners, h.shards, h.hints, h.data, h.moves = owners, shards, hints, data, moves
    write_pool(segment, uid, len(table), geometry.shards, geometry.head_room, geometry.tail_room)
    return fd


cdef write_pool(Segment segment, uint32_t uid, uint32_t classes, uint32_t shards, uint32_t head_room,
                uint32_t tail_room):
    """The rest of a pool whose classes are there, in memory that is zero: all blocks are free, hinted at in shard 0."""
    cdef PoolHead *head = <PoolHead *> segment.base
    cdef ClassHead *h
    cdef uint64_t *bits
    cdef uint32_t n, i
    head.classes = classes
    head.shards = shards
    head.head_room = head_room
    head.tail_room = tail_room
    head.total = segment.size
    for n in range(classes):
        h = &head.table[n]
        bits = <uint64_t *> (segment.base + h.hints)
        for i in range(h.count):
            bits[i >> 6] |= (<uint64_t> 1) << (i & 63)
    write_head(segment, POOL_MAGIC, uid)
