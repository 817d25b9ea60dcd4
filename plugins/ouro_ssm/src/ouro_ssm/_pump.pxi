# The pump: one datagram socket <-> flows. See packets.md 3 and 4 for what it must do, `_pump_thread` for its program.
#
# From the wire: 32 messages a system call, each into a block of our own pool, with the header in the head room and
# what is longer than the block behind it in private memory. The tests run on the header where it lies. Then the block
# itself goes into the ring, or, if it is too large for its packet or the flow has another pool, a copy does. A message
# is one datagram, or, of a UDP socket, several of equal length (the last may be shorter) which the kernel left joined
# (UDP_GRO); each is handled as if it had come alone, and copied. To the wire: see `_departures.pxi`.

cdef enum:
    SCRATCH = 65536 + 2048           # of a datagram: the longest, and the block before it
    CONTROL = 64
    ADDRESS = 28                     # the longest socket address that a route may have
    NO_BUFFER_PAUSE = 50000          # ns
    BROKEN_PAUSE = 10000000          # ns until a socket that failed is read again

cdef enum:                           # PumpState.count; in this order in PUMP_COUNTERS
    RX, RX_BYTES, TX, TX_BYTES, SHORT, FOREIGN, BAD_LENGTH, MANAGEMENT, MANAGEMENT_DROPPED, UNKNOWN_KEY, BAD_SOURCE,
    RING_FULL, NO_BLOCK_LEFT, FRAME_TOO_LONG, TX_AGAIN, TX_NO_BUFFER, TX_ERROR, SOCKET_DROPPED, PUMP_COUNTS

PUMP_COUNTERS = (
    "rx", "rx_bytes", "tx", "tx_bytes", "short", "foreign", "bad_length", "management", "management_dropped",
    "unknown_key", "bad_source", "ring_full", "no_block", "too_long", "tx_again", "tx_no_buffer", "tx_error",
    "socket_dropped",
)

ctypedef struct MatchView:
    uint32_t offset
    uint32_t length
    uint8_t value[16]

ctypedef struct Matches:
    uint32_t count
    MatchView *table

ctypedef struct Slice:
    uint32_t offset
    uint32_t length

ctypedef struct Route:               # never changed: another one takes its place
    uint8_t header[LONGEST_HEADER]
    uint8_t to[ADDRESS]
    uint32_t to_length
    uint8_t slices[LONGEST_HEADER]   # what the slices of `Source` must give
    uint32_t slices_length           # 0: anything
    uint8_t peer[ADDRESS]
    uint32_t peer_length             # 0: anybody

ctypedef struct Arrival:             # where one message is received
    uint32_t block                   # 0: only private memory is left
    uint32_t room                    # bytes before `scratch` begins
    uint8_t *scratch                 # SCRATCH bytes
    uint32_t each                    # bytes of a datagram in it, but the last
    uint8_t name[ADDRESS + 4]
    uint8_t control[CONTROL]

ctypedef struct Departure:
    Port *port
    uint32_t block
    uint32_t length
    uint32_t frame                   # bytes on the wire
    iovec *parts
    uint32_t parts_count
    uint8_t *to
    uint32_t to_length
    uint8_t header[LONGEST_HEADER]

ctypedef struct Frame:               # a management frame that waits for Python
    Frame *next
    uint32_t length
    uint32_t name_length
    uint8_t data[1]                  # the address, then the frame

ctypedef struct PumpState:
    # the program
    uint32_t header
    uint32_t max_payload
    FieldView key, length
    bint has_length
    Matches require, accept, management
    uint32_t management_min
    uint32_t slices
    Slice slice[LONGEST_HEADER]
    bint addressed
    bint named                       # who sent a frame matters
    uint32_t pad_to
    int send_flags
    uint32_t copy_break
    uint32_t frame_limit             # management frames
    # tables
    void *keys                       # KeyTable: key -> Port
    PoolView *pool                   # our own
    uint32_t arrival_class           # of blocks to receive into
    uint32_t direct                  # so many of a batch get a block
    # the thread's
    PortList run
    mmsghdr in_messages[BATCH]
    iovec in_parts[2 * BATCH]
    Arrival arrivals[BATCH]
    uint32_t arrived                 # messages in the batch, and how many of them were handled
    uint32_t handled
    uint32_t handled_bytes           # of the next one
    bint stalled                     # the next one waits for its application
    int64_t stalled_until
    mmsghdr out_messages[BATCH]
    iovec out_parts[3 * BATCH]
    uint32_t out_counts[BATCH]       # datagrams in each
    uint8_t out_control[BATCH][CONTROL]
    Departure departures[BATCH]
    bint joins                       # the socket can send several datagrams that follow each other in memory
    bint full                        # the socket takes no more
    int64_t retry_at                 # the device took no more; 0: it does
    int64_t broken_until             # reading failed; 0: it does not
    uint8_t *zeros
    uint64_t count[PUMP_COUNTS]
    # under Mover.lock
    Frame *frames
    Frame *last_frame


cdef inline bint all_match(Matches *m, const uint8_t *frame) noexcept nogil:
    cdef uint32_t i
    for i in range(m.count):
        if memcmp(frame + m.table[i].offset, m.table[i].value, m.table[i].length):
            return False
    return True


cdef inline bint any_match(Matches *m, const uint8_t *frame) noexcept nogil:
    cdef uint32_t i
    for i in range(m.count):
        if not memcmp(frame + m.table[i].offset, m.table[i].value, m.table[i].length):
            return True
    return False


# ---------------------------------------------------------------- from the wire


cdef void prepare_arrival(PumpState *s, uint32_t i) noexcept nogil:
    """A block and an address to receive into."""
    cdef Arrival *a = &s.arrivals[i]
    cdef msghdr *m = &s.in_messages[i].msg_hdr
    cdef iovec *parts = &s.in_parts[2 * i]
    if not a.block and i < s.direct:
        a.block = take_block(s.pool, s.arrival_class, True)
    a.room = s.header + s.pool.table[s.arrival_class].payload if a.block else 0
    if a.block:
        parts[0].iov_base = block_at(s.pool, a.block) + s.pool.head_room - s.header
    parts[0].iov_len = a.room
    parts[1].iov_base = a.scratch + a.room
    parts[1].iov_len = SCRATCH - a.room
    m.msg_name = a.name if s.named else NULL
    m.msg_namelen = sizeof(a.name) if s.named else 0
    m.msg_iov, m.msg_iovlen = parts, 2
    m.msg_control, m.msg_controllen = a.control, CONTROL


cdef bint fetch(Mover *m) noexcept nogil:
    """Whether datagrams wait to be handled, after a look into the socket."""
    cdef PumpState *s = <PumpState *> m.kind
    cdef uint32_t i
    cdef int n
    if s.handled < s.arrived:
        return not s.stalled
    if s.broken_until:
        return False
    for i in range(s.arrived):
        prepare_arrival(s, i)
    s.arrived = s.handled = s.handled_bytes = 0
    n = ou_receive(m.socket, s.in_messages, BATCH)
    if n > 0:
        s.arrived = n
        return True
    if n < 0 and n != -EAGAIN and n != -EINTR:
        tell_failure(m, -n)
        s.broken_until = ou_now() + BROKEN_PAUSE
    return False


cdef void receive(Mover *m, PumpState *s, int64_t now) noexcept nogil:
    """What was fetched, until an application makes us wait, or a batch is done: it may be many."""
    cdef Arrival *a
    cdef uint8_t *frames
    cdef uint32_t i, total, length, count = 0
    s.stalled = False
    while s.handled < s.arrived and count < BATCH:
        i = s.handled
        a = &s.arrivals[i]
        total = s.in_messages[i].msg_len
        if not s.handled_bytes:
            look_at_arrival(s, i, total)
        frames = <uint8_t *> s.in_parts[2 * i].iov_base if total <= a.room else a.scratch
        length = min(a.each, total - s.handled_bytes)
        if not handle_frame(m, s, i, frames + s.handled_bytes, length, now):
            s.stalled = True
            break
        count += 1
        s.handled_bytes += length
        if s.handled_bytes == total:
            s.handled_bytes = 0
            s.handled += 1
    publish_touched(m)


cdef void look_at_arrival(PumpState *s, uint32_t i, uint32_t total) noexcept nogil:
    """Of how many datagrams it is, and to have all of it in one place if it goes on in private memory."""
    cdef Arrival *a = &s.arrivals[i]
    cdef uint32_t dropped = <uint32_t> s.count[SOCKET_DROPPED], each = 0
    ou_read_control(&s.in_messages[i].msg_hdr, &dropped, &each)
    s.count[SOCKET_DROPPED] = dropped
    a.each = each if each else total
    if a.room and total > a.room:
        memcpy(a.scratch, s.in_parts[2 * i].iov_base, a.room)


cdef bint handle_frame(Mover *m, PumpState *s, uint32_t i, uint8_t *frame, uint32_t length, int64_t now) noexcept nogil:
    """The tests, in the order of the contract. False: its application makes us wait."""
    cdef uint64_t payload
    cdef Port *p
    if length < s.header:
        s.count[SHORT] += 1
        return True
    if not all_match(&s.require, frame) or (s.accept.count and not any_match(&s.accept, frame)):
        s.count[FOREIGN] += 1
        return True
    payload = length - s.header
    if s.has_length:
        if get_field(&s.length, frame) > payload:
            s.count[BAD_LENGTH] += 1
            return True
        payload = get_field(&s.length, frame)
    if s.management.count and all_match(&s.management, frame):
        keep_frame(m, s, frame, <uint32_t> payload, &s.in_messages[i].msg_hdr)
        return True
    p = <Port *> look_up(<KeyTable *> ou_load_pointer(&s.keys), get_field(&s.key, frame))
    if p == NULL:
        s.count[UNKNOWN_KEY] += 1
        return True
    if not from_peer(s, p, frame, &s.in_messages[i].msg_hdr):
        s.count[BAD_SOURCE] += 1
        return True
    return hand_over(m, s, p, <EndCore> p.core, i, frame, <uint32_t> payload, now)


cdef bint from_peer(PumpState *s, Port *p, uint8_t *frame, msghdr *h) noexcept nogil:
    cdef Route *r = <Route *> ou_load_pointer(&p.route)
    cdef uint8_t *name = <uint8_t *> h.msg_name
    cdef uint32_t i, at = 0
    if r == NULL:
        return True
    if r.peer_length:
        if h.msg_namelen != r.peer_length:
            return False
        # Family and port, the address; of IPv6 the scope, but not the flow label between port and address.
        if r.peer_length == 16:
            if memcmp(name, r.peer, 8):
                return False
        elif memcmp(name, r.peer, 4) or memcmp(name + 8, r.peer + 8, 20):
            return False
    if r.slices_length:
        for i in range(s.slices):
            if memcmp(frame + s.slice[i].offset, r.slices + at, s.slice[i].length):
                return False
            at += s.slice[i].length
    return True


cdef inline bint in_a_block_alone(PumpState *s, uint32_t i) noexcept nogil:
    """Whether the message is one datagram, and all in the block."""
    cdef uint32_t total = s.in_messages[i].msg_len
    return total <= s.arrivals[i].room and total == s.arrivals[i].each


cdef bint hand_over(
    Mover *m, PumpState *s, Port *p, EndCore e, uint32_t i, uint8_t *frame, uint32_t length, int64_t now
) noexcept nogil:
    """To the flow: the block itself when it is of the right pool and no larger than it must be, else a copy."""
    cdef Arrival *a = &s.arrivals[i]
    cdef Slot packet
    cdef int done
    cdef uint32_t offered = 0
    if in_a_block_alone(s, i) and length > s.copy_break and smallest_class(s.pool, length) == s.arrival_class:
        offered = a.block
    packet.block, packet.offset, packet.length = offered, s.pool.head_room, length
    done = offer(m, p, e, &packet, <char *> frame + s.header, s.pool, now)
    if done == MUST_WAIT:
        s.stalled_until = next_look(p, e, now)
        return False
    if done != DELIVERED:
        p.dropped += 1
        if done == LOST_RING:
            s.count[RING_FULL] += 1
        elif done == LOST_BLOCK:
            s.count[NO_BLOCK_LEFT] += 1
        return True
    if offered and not packet.block:
        a.block = 0
    p.rx += 1
    p.rx_bytes += length
    s.count[RX] += 1
    s.count[RX_BYTES] += length
    return True


cdef void keep_frame(Mover *m, PumpState *s, uint8_t *frame, uint32_t payload, msghdr *h) noexcept nogil:
    """A management frame, for Python: header and payload, and who sent it."""
    cdef uint32_t length = s.header + payload, name_length = h.msg_namelen if s.addressed else 0
    cdef Frame *kept
    if payload < s.management_min:
        s.count[SHORT] += 1
        return
    if name_length > ADDRESS:
        name_length = ADDRESS
    kept = <Frame *> malloc(sizeof(Frame) + name_length + length)
    pthread_mutex_lock(&m.lock)
    if kept == NULL or m.frames >= s.frame_limit:
        s.count[MANAGEMENT_DROPPED] += 1
        free(kept)
    else:
        kept.next = NULL
        kept.length, kept.name_length = length, name_length
        memcpy(kept.data, h.msg_name, name_length)
        memcpy(kept.data + name_length, frame, length)
        if s.frames == NULL:
            s.frames = kept
        else:
            s.last_frame.next = kept
        s.last_frame = kept
        m.frames += 1
        signal_news(m)
        s.count[MANAGEMENT] += 1
    pthread_mutex_unlock(&m.lock)


# ---------------------------------------------------------------- the turn


cdef bint pump_drained(Mover *m, Port *p, EndCore e) noexcept nogil:
    return p.route == NULL or not see_head(e)


cdef void pump_schedule(Mover *m, Port *p) noexcept nogil:
    enlist(&(<PumpState *> m.kind).run, p)


cdef bint pump_turn(Mover *m, int64_t now) noexcept nogil:
    cdef PumpState *s = <PumpState *> m.kind
    cdef bint more
    if s.broken_until and now >= s.broken_until:
        s.broken_until = 0
    if fetch(m) or s.stalled:
        receive(m, s, now)
    more = send(m, s, now) or (not s.stalled and (s.handled < s.arrived or s.arrived == BATCH))
    look_at_leaving(m, now, &pump_drained)
    wake_for_pump(m, s, now)
    return more


cdef void wake_for_pump(Mover *m, PumpState *s, int64_t now) noexcept nogil:
    """What to wait for besides the lanes."""
    cdef Port *p
    m.socket_events = 0
    m.no_spin = s.full or s.stalled
    if s.full:
        m.socket_events |= POLLOUT
    if s.broken_until:
        sooner(m, s.broken_until)
    elif not s.stalled:
        m.socket_events |= POLLIN
    if s.retry_at:
        sooner(m, s.retry_at)
    if s.stalled:
        sooner(m, s.stalled_until)
