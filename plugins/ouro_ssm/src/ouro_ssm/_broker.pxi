# What the broker does to a flow that it does not read, and how clients come to their ends.


cdef size_t FLOW_SIZE = aligned(sizeof(FlowShm), 4096)


def create_flow_memory(uint32_t flow_id, owner, gid, mode):
    """A memfd with a flow segment: two empty rings."""
    fd = create_memory(f"ouroboros.flow.{flow_id}", FLOW_SIZE, owner, gid, mode)
    try:
        write_head(Segment(fd, FLOW_SIZE), FLOW_MAGIC, flow_id)
    except BaseException:
        os.close(fd)
        raise
    return fd


cdef Segment open_flow_memory(int fd, uint32_t flow_id, owner):
    cdef Segment segment = open_memory(fd, f"flow {flow_id}", FLOW_SIZE, owner)
    check_head(segment, f"flow {flow_id}", FLOW_MAGIC, flow_id)
    return segment


@cython.final
@cython.no_gc
cdef class FlowSegment:
    """The broker's view of a flow."""
    cdef FlowShm *shm
    cdef Segment segment

    def __init__(self, int fd, uint32_t flow_id, owner):
        self.segment = open_flow_memory(fd, flow_id, owner)
        self.shm = <FlowShm *> self.segment.base

    def mark(self, uint32_t on, uint32_t off):
        """On both rings; wakes all that sleep on them, also who was about to be woken by a process that died before."""
        cdef Ring *ring
        for side in range(2):
            ring = &self.shm.rings[side]
            ou_fetch_and(&ring.state, ~off)
            ou_fetch_or(&ring.state, on)
        for side in range(2):
            clear_and_wake(&self.shm.rings[side].notify)
            clear_and_wake(&self.shm.rings[side].wwait)

    def state(self):
        return (ou_load(&self.shm.rings[0].state) | ou_load(&self.shm.rings[1].state)) & GONE

    def revoke(self):
        """Nobody attaches from now on: see `attach_end` for the other half."""
        ou_exchange(&self.shm.revoked, 1)
        ou_fence_after_rmw()

    def attached(self, int side):
        """0 never, 1 it is, 2 it was."""
        return ou_load_acquire(&self.shm.side[side & 1])


def attach_end(client, int fd, owner, uint32_t flow_id, uint32_t side, Pool pool not None, uint32_t tag,
               Events own not None, uint32_t own_bit, Events peer not None, uint32_t peer_bit, options,
               uint32_t shown):
    """The FlowEnd of this flow segment, which calls itself `shown`. PacketsError: not such a segment, attached already,
    or destroyed."""
    cdef Segment segment = open_flow_memory(fd, flow_id, owner)
    cdef FlowShm *shm = <FlowShm *> segment.base
    if not ou_cas(&shm.side[side], NEVER, OPEN):
        raise PacketsError(f"flow {shown}: this end is attached already, or was; a flow is attached once")
    ou_fence_after_rmw()
    # We wrote `side` and read `revoked`, the broker the other way round: one of both sees the other.
    if ou_load(&shm.revoked):
        ou_exchange(&shm.side[side], LEFT)
        raise PacketsError(f"flow {shown} was destroyed before it was attached")
    return make_end(client, segment, shown, side, pool, tag, own, own_bit, peer, peer_bit, options)


def pair_ends(client, uint32_t number, Pool pool not None, Events events not None, options):
    """Both ends of a flow in memory of this process alone."""
    if len(events.pair_bits) < 2:
        raise OutOfMemory(f"a client has {(EVENT_BITS - FLOW_BITS) // 2} pairs; close some")
    cdef Segment segment = Segment(-1, FLOW_SIZE)
    cdef uint32_t bit = events.pair_bits.pop(), other_bit = events.pair_bits.pop()
    cdef FlowShm *shm = <FlowShm *> segment.base
    shm.side[0] = shm.side[1] = OPEN
    return (make_end(client, segment, -<int64_t> number, 0, pool, 0, events, bit, events, other_bit, options),
            make_end(client, segment, -<int64_t> number, 1, pool, 0, events, other_bit, events, bit, options))


def watch(Loop loop not None, Events events not None):
    """`events` is one of the client's own sets."""
    loop.add(events)


def generation():
    """Of this process: a fork makes another one in the child."""
    return ou_generation
