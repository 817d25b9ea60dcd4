# The forwarder: flows <-> flows by address. See packets.md 3 to 5 for what it must do.
#
# A step takes the next packet of one port as far as it goes. It works on a copy of the header, as a user may change
# what lies in his block, and changes nothing when the packet must wait: the port is parked, its packet stays where it
# is, and the same step is tried again, with the routes of then.
#
# Between two rings of one pool the block moves. Its slot is filled, its owner word becomes the tag of the new ring, the
# new head is published, and only then the old tail: at whatever instant this process dies, the block is in one ring,
# that of its tag, because a reader skips blocks of another. So inputs give their slots back after `publish_touched`.

cdef enum:                           # Port.kind
    NETWORK = 0
    FLOW_PORT = 1
    COMPONENT = 2

cdef enum:                           # ForwardState.count, of each cube; in this order in FORWARD_COUNTERS
    FORWARDED, LOCAL, ORIGINATED, OLD, NO_ROUTE, NO_EID, RUNT, RING_IS_FULL, BLOCKS_ARE_USED, IS_DOWN, KEEPALIVES
    FORWARD_COUNTS

FORWARD_COUNTERS = (
    "forwarded", "local", "originated", "ttl", "no_route", "no_eid", "short", "ring_full", "no_block", "down",
    "keepalives",
)

cdef enum:                           # Group.mode
    FIRST = 0
    ROTATE = 1
    FIRST_UP = 2

ctypedef struct Group:               # next hops; never changed, but for `turn`
    int mode
    uint32_t turn
    uint32_t count
    uint64_t ports[1]

ctypedef struct RouteTable:          # of one cube; never changed. Its table and groups follow in the same memory
    KeyTable *table                  # destination -> Group

ctypedef struct ForwardState:
    # the program
    uint32_t header
    FieldView destination, eid
    uint32_t cube, ttl, ecn          # offsets
    uint64_t address
    bint marks
    uint32_t ecn_shift
    bint windowed
    WindowView window
    uint32_t cubes
    # tables
    void *ports                      # KeyTable: number -> Port, of those that packets may go to
    void *eids                       # KeyTable: EID -> Port
    void **routes                    # RouteTable, one a cube
    # the thread's
    PortList *run                    # one a cube
    uint64_t *count                  # FORWARD_COUNTS a cube


cdef enum:                           # what a step did
    FINISHED = 0                     # the block is free, or in another ring
    WAITS = 1


cdef inline void tally(ForwardState *s, Port *p, int what, uint32_t length) noexcept nogil:
    s.count[p.cube * FORWARD_COUNTS + what] += 1
    p.rx += 1
    p.rx_bytes += length


cdef inline int finish(ForwardState *s, Port *p, EndCore e, Slot *slot, int what, uint32_t length) noexcept nogil:
    """The packet is done with, its block is free."""
    tally(s, p, what, length)
    if slot.block:
        free_block(e.pool, slot.block, e.rx_tag)
    return FINISHED


cdef int lose(ForwardState *s, Port *p, EndCore e, Slot *slot, int what, Port *out) noexcept nogil:
    out.dropped += 1
    return finish(s, p, e, slot, what, slot.length)


# ---------------------------------------------------------------- one packet


cdef int step(Mover *m, ForwardState *s, Port *p, EndCore e, Slot *slot, int64_t now) noexcept nogil:
    cdef uint8_t header[LONGEST_HEADER]
    if p.kind == FLOW_PORT:
        return originate(m, s, p, e, slot, now)
    if slot.length == 0:
        return finish(s, p, e, slot, KEEPALIVES, 0)
    if slot.length < s.header:
        return finish(s, p, e, slot, RUNT, slot.length)
    memcpy(header, block_at(e.pool, slot.block) + slot.offset, s.header)
    if p.kind == COMPONENT:
        return towards(m, s, p, e, slot, header, s.header, header[s.cube], ORIGINATED, now)
    if get_field(&s.destination, header) == s.address:
        return deliver(m, s, p, e, slot, header, now)
    if header[s.ttl] <= 1:
        return finish(s, p, e, slot, OLD, slot.length)
    header[s.ttl] -= 1
    return towards(m, s, p, e, slot, header, s.header, p.cube, FORWARDED, now)


cdef int originate(Mover *m, ForwardState *s, Port *p, EndCore e, Slot *slot, int64_t now) noexcept nogil:
    cdef uint8_t header[LONGEST_HEADER]
    cdef uint32_t feedback
    cdef int64_t wait
    if s.windowed:
        if ou_load(&p.feedback):
            feedback = ou_exchange(&p.feedback, 0)
            take_feedback(&p.sender, feedback & 0xFFFF)
        if not p.not_before:
            wait = wait_before(&p.sender, &s.window, slot.length, now)
            p.not_before = now + (wait if wait else pace(&p.sender, &s.window, now))
        if now < p.not_before:
            p.parked_until = p.not_before
            return WAITS
    memcpy(header, ou_load_pointer(&p.route), s.header)
    if towards(m, s, p, e, slot, header, 0, p.cube, ORIGINATED, now) == WAITS:
        return WAITS
    p.not_before = 0
    return FINISHED


cdef Port *next_hop(ForwardState *s, Port *waiting, uint64_t destination, uint32_t cube) noexcept nogil:
    """NULL: there is no route. `waiting`: the port that the packet waits for already, or NULL; a rotation has turned for
    it then."""
    cdef RouteTable *routes = <RouteTable *> ou_load_pointer(&s.routes[cube]) if cube < s.cubes else NULL
    cdef KeyTable *ports = <KeyTable *> ou_load_pointer(&s.ports)
    cdef Group *group = <Group *> look_up(routes.table, destination) if routes != NULL else NULL
    cdef Port *first = NULL
    cdef Port *p
    cdef uint32_t i, here = 0
    if group == NULL:
        return NULL
    for i in range(group.count):
        p = <Port *> look_up(ports, group.ports[i])
        if p == NULL:
            continue                 # it was removed
        if group.mode == FIRST or (group.mode == FIRST_UP and not is_gone(<EndCore> p.core)):
            return p
        if group.mode == ROTATE and p == waiting:
            return p
        if first == NULL:
            first = p
        here += 1
    if group.mode == ROTATE and here:
        return turned(ports, group, here)
    return first


cdef Port *turned(KeyTable *ports, Group *group, uint32_t here) noexcept nogil:
    """The next one of a rotation, of those `here`."""
    cdef uint32_t i, skip = group.turn % here
    cdef Port *p
    group.turn += 1
    for i in range(group.count):
        p = <Port *> look_up(ports, group.ports[i])
        if p != NULL:
            if not skip:
                return p
            skip -= 1
    return NULL                      # Python removed one between the two looks


cdef int towards(
    Mover *m, ForwardState *s, Port *p, EndCore e, Slot *slot, uint8_t *header, uint32_t skip, uint32_t cube, int done,
    int64_t now
) noexcept nogil:
    """`header`, and what follows the first `skip` bytes of the packet, to the next hop."""
    cdef Port *out = next_hop(s, p.waits_for, get_field(&s.destination, header), cube)
    if out == NULL:
        return finish(s, p, e, slot, NO_ROUTE, slot.length)
    return put_through(m, s, p, e, slot, header, skip, out, <EndCore> out.core, done, now)


cdef int put_through(
    Mover *m, ForwardState *s, Port *p, EndCore e, Slot *slot, uint8_t *header, uint32_t skip, Port *out, EndCore to,
    int done, int64_t now
) noexcept nogil:
    cdef uint32_t queue, rest = slot.length - skip, length = s.header + rest, block
    cdef char *payload = block_at(e.pool, slot.block) + slot.offset + skip if slot.block else NULL
    cdef int met = slot_free(to)
    if met == REFUSED:
        return lose(s, p, e, slot, IS_DOWN, out)
    if met == NO_SLOT or (p.waits_for == out and queued_to(to) > HALF):
        return wait_for_space(m, p, out, to, now)
    if s.marks:
        queue = to.head - to.tail_seen
        if queue >> s.ecn_shift:     # at most, as the reader has gone on since we looked
            queue = queued_to(to)
        if done == ORIGINATED and s.windowed:    # a slot of a sender goes out at once: that is no congestion
            queue = queue - s.window.max_packets if queue > s.window.max_packets else 0
        queue >>= s.ecn_shift
        header[s.ecn] |= <uint8_t> (queue if queue < 255 else 255)
    if e.pool == to.pool and slot.block and slot.offset + skip >= s.header:
        payload -= s.header
        memcpy(payload, header, s.header)
        fill_slot(to, slot.block, slot.offset + skip - s.header, length)
        tally(s, p, done, slot.length)
    else:
        if length > to.pool.table[to.pool.classes - 1].payload:
            return lose(s, p, e, slot, BLOCKS_ARE_USED, out)
        block = alloc_block(to.pool, length, True)
        if not block:
            wait_for(m, p, out)
            p.parked_until = now + BLOCK_PAUSE
            return WAITS
        payload = block_at(to.pool, block) + to.pool.head_room
        memcpy(payload, header, s.header)
        if rest:
            memcpy(payload + s.header, block_at(e.pool, slot.block) + slot.offset + skip, rest)
        fill_slot(to, block, to.pool.head_room, length)
        to.copied += 1
        finish(s, p, e, slot, done, slot.length)
    touch(m, out, to, length)
    out.tx += 1
    out.tx_bytes += length
    p.waits_for = NULL
    return FINISHED


cdef inline void wait_for(Mover *m, Port *p, Port *out) noexcept nogil:
    if p.waits_for == NULL:
        m.stalls += 1
    p.waits_for = out


cdef int wait_for_space(Mover *m, Port *p, Port *out, EndCore to, int64_t now) noexcept nogil:
    """Until the ring is half empty, which its reader tells."""
    wait_for(m, p, out)
    p.parked_until = NO_TIME if arm_output(to) else now
    return WAITS


cdef int deliver(
    Mover *m, ForwardState *s, Port *p, EndCore e, Slot *slot, uint8_t *header, int64_t now
) noexcept nogil:
    """To the flow or component of the EID, without the header."""
    cdef Port *out = <Port *> look_up(<KeyTable *> ou_load_pointer(&s.eids), get_field(&s.eid, header))
    cdef Slot packet
    cdef uint32_t length = slot.length - s.header
    cdef int64_t ece
    cdef int met
    if out == NULL:
        return finish(s, p, e, slot, NO_EID, slot.length)
    packet.block, packet.offset, packet.length = slot.block, slot.offset + s.header, length
    met = offer(m, out, <EndCore> out.core, &packet, block_at(e.pool, slot.block) + packet.offset, e.pool, now)
    if met == MUST_WAIT:
        p.waits_for = out            # `offer` counts one stall a reader, not one for each that waits for it
        p.parked_until = next_look(out, <EndCore> out.core, now)
        return WAITS
    p.waits_for = NULL
    if s.windowed and out.kind == FLOW_PORT:
        ece = mark_seen(&out.receiver, &s.window, header[s.ecn])
        if ece >= 0:
            tell(m, out, TELL_REPORT, ece)
    if met != DELIVERED:
        return lose(s, p, e, slot, RING_IS_FULL if met == LOST_RING else BLOCKS_ARE_USED if met == LOST_BLOCK
                    else IS_DOWN, out)
    out.tx += 1
    out.tx_bytes += length
    if length and packet.block == 0:
        tally(s, p, LOCAL, slot.length)
        return FINISHED              # its block went on
    return finish(s, p, e, slot, LOCAL, slot.length)


# ---------------------------------------------------------------- a batch of one port


cdef void move(Mover *m, ForwardState *s, Port *p, EndCore e, int64_t now) noexcept nogil:
    """The port is the first of its list; afterwards it is the last, or in none, or parked."""
    cdef Slot slot
    cdef uint32_t turn, taken = 0
    cdef int found = GOOD
    for turn in range(<uint32_t> BATCH):
        found = look_at(e, 0, &slot)
        if found == EMPTY:
            break
        if found == BAD:
            done_with(e, slot.block)
        elif step(m, s, p, e, &slot, now) == FINISHED:
            e.tail += 1
            e.rx_packets += 1
            e.rx_bytes += slot.length
        else:
            break
        taken += 1
    if taken:
        publish_touched(m)
        give_slots_back(e)
    if found == EMPTY and not taken and arm_input(e):
        unlist(p)
        say_farewell(m, p, e)
    elif found == GOOD and taken < BATCH and p.parked_until != now:
        enlist(&m.parked, p)
    else:
        enlist(&s.run[p.cube], p)


# ---------------------------------------------------------------- the turn


cdef void forward_schedule(Mover *m, Port *p) noexcept nogil:
    """Something changed for this port: it may have packets, and others that wait for its ring may go on."""
    cdef ForwardState *s = <ForwardState *> m.kind
    cdef Port *other
    cdef Port *next
    enlist(&s.run[p.cube], p)
    other = m.parked.first           # now that `p` itself is not there any more
    while other != NULL:
        next = other.next
        if other.waits_for == p:
            enlist(&s.run[other.cube], other)
        other = next


cdef bint forward_probe(Mover *m) noexcept nogil:
    return False


cdef bint forward_drained(Mover *m, Port *p, EndCore e) noexcept nogil:
    return not see_head(e)


cdef bint forward_turn(Mover *m, int64_t now) noexcept nogil:
    """A batch of each port that may have packets, the highest cubes first."""
    cdef ForwardState *s = <ForwardState *> m.kind
    cdef Port *p = m.parked.first
    cdef Port *next
    cdef Port *last
    cdef uint32_t i, cube
    cdef bint more = False
    while p != NULL:
        next = p.next
        if p.parked_until <= now:
            enlist(&s.run[p.cube], p)
        p = next
    for i in range(s.cubes):
        cube = s.cubes - 1 - i
        last = s.run[cube].last
        p = s.run[cube].first
        while p != NULL:
            next = p.next if p != last else NULL
            move(m, s, p, <EndCore> p.core, now)
            p = next
    publish_touched(m)
    look_at_leaving(m, now, &forward_drained)
    p = m.parked.first
    while p != NULL:
        sooner(m, p.parked_until)
        p = p.next
    for i in range(s.cubes):
        more = more or s.run[i].first != NULL
    return more
