# How movers read rings ahead, write them in batches, and wait for applications that do not read.


# ---------------------------------------------------------------- reading a ring


cdef enum:                           # what `look_at` found
    EMPTY = 0
    GOOD = 1
    BAD = 2


cdef inline int look_at(EndCore e, uint32_t ahead, Slot *slot) noexcept nogil:
    """The packet so many places behind the next one. It stays where it is; the slot is copied once and checked in the
    copy. Of a bad one only the block is left: 0, or one that must be freed."""
    cdef Slot *at
    if e.head_seen - e.tail <= ahead and (not see_head(e) or e.head_seen - e.tail <= ahead):
        return EMPTY
    at = &e.rx.slots[(e.tail + ahead) % RING]
    slot.block = ou_load(&at.block)
    slot.offset = ou_load(&at.offset)
    slot.length = ou_load(&at.length)
    if slot.block == 0:
        slot.offset = slot.length = 0
        return GOOD
    if not block_valid(e.pool, slot.block) or ou_load_acquire(owner_of(e.pool, slot.block)) != e.rx_tag:
        slot.block = 0
        e.rejected += 1
        return BAD
    if not room_valid(e.pool, slot.block, slot.offset, slot.length):
        e.rejected += 1
        return BAD
    return GOOD


cdef inline void done_with(EndCore e, uint32_t block) noexcept nogil:
    """The next packet was copied, sent or dropped: its block is free. The other side sees it after `give_slots_back`.
    By compare and swap: a hostile writer may have put one block into two slots."""
    if block:
        free_block(e.pool, block, e.rx_tag)
    e.tail += 1


cdef inline void give_slots_back(EndCore e) noexcept nogil:
    ou_store_release(&e.rx.tail, e.tail)
    ou_fence()
    wake_writer(e)


cdef inline bint arm_input(EndCore e) noexcept nogil:
    """False: there is a packet after all, so the port must stay in its list."""
    ou_arm(&e.rx.notify, NOTIFY_BULK)
    ou_fence_after_rmw()
    return not readable(e) or e.local & DOWN


cdef inline uint32_t queued_to(EndCore e) noexcept nogil:
    """Packets in the ring to the other end, also those that were not published yet."""
    see_tail(e)
    return e.head - e.tail_seen


cdef bint arm_output(EndCore e) noexcept nogil:
    """False: the ring is half empty, or gone, after all."""
    ou_arm(&e.tx.wwait, NOTIFY_BULK)
    ou_fence_after_rmw()
    return e.head - ou_load_acquire(&e.tx.tail) > HALF and not tx_state(e)


# ---------------------------------------------------------------- writing rings: one wake-up a ring and batch


cdef void publish_touched(Mover *m) noexcept nogil:
    cdef uint32_t i
    for i in range(m.touched_count):
        m.touched[i].touched = False
        publish(<EndCore> m.touched[i].core)
    m.touched_count = 0


cdef inline void touch(Mover *m, Port *p, EndCore e, uint32_t length) noexcept nogil:
    """A packet of this length was put into the ring of the port."""
    e.tx_packets += 1
    e.tx_bytes += length
    if not p.touched:
        if m.touched_count == BATCH:
            publish_touched(m)
        p.touched = True
        m.touched[m.touched_count] = p
        m.touched_count += 1


# ---------------------------------------------------------------- delivery to an application


cdef enum:                           # what `offer` did
    DELIVERED = 0
    MUST_WAIT = 1                    # until `stall.until`, or until the ring is half empty
    LOST_RING = 2
    LOST_BLOCK = 3
    LOST_DOWN = 4


cdef int64_t others_time(Mover *m, Port *p) noexcept nogil:
    """When another port than this one got a packet last."""
    return m.other_time if m.last_port == p else m.last_time


cdef inline void got_packet(Mover *m, Port *p, int64_t now) noexcept nogil:
    if m.last_port != p:
        m.last_port = p
        m.other_time = m.last_time
    m.last_time = now


cdef void end_stall(Stall *s, int64_t now) noexcept nogil:
    if s.until and not s.alone:
        s.credit = s.credit - (now - s.since) if s.credit > now - s.since else 0
    s.until = 0


cdef int no_room(Mover *m, Port *p, int why, int64_t now) noexcept nogil:
    """Begin a wait, go on with it, or give up and drop until the ring is half empty."""
    cdef Stall *s = &p.stall
    if not s.until and not s.dropping:
        s.since = now
        s.alone = now - others_time(m, p) >= LONELY
        s.credit += (now - s.credit_at) >> 3
        if s.credit > m.stall_time:
            s.credit = m.stall_time
        s.credit_at = now
        s.until = now + (m.stall_alone if s.alone else s.credit)
        m.stalls += 1
    if now < s.until:
        return MUST_WAIT
    end_stall(s, now)
    s.dropping = True
    return why


cdef int offer(
    Mover *m, Port *p, EndCore e, Slot *packet, const char *data, PoolView *pool, int64_t now
) noexcept nogil:
    """One packet to an application, which may be slow, or may never read: packets.md 4.3. `data` are its bytes. They
    lie in the block of `packet`, of this pool, or, if that is 0, elsewhere. A block that went into the ring as it is
    is the ring's from now on: `packet.block` is 0 then."""
    cdef Stall *s = &p.stall
    cdef uint32_t block = 0
    cdef int met = slot_free(e)
    if met == REFUSED:
        end_stall(s, now)
        return LOST_DOWN
    if met == NO_SLOT or ((s.dropping or s.until) and queued_to(e) > HALF):
        return no_room(m, p, LOST_RING, now)
    if packet.length and packet.block and pool == e.pool:
        fill_slot(e, packet.block, packet.offset, packet.length)
        packet.block = 0
    elif packet.length:
        if packet.length > e.pool.table[e.pool.classes - 1].payload:
            end_stall(s, now)
            return LOST_BLOCK
        block = alloc_block(e.pool, packet.length, True)
        if not block:
            return no_room(m, p, LOST_BLOCK, now)
        memcpy(block_at(e.pool, block) + e.pool.head_room, data, packet.length)
        fill_slot(e, block, e.pool.head_room, packet.length)
        e.copied += 1
    else:
        fill_slot(e, 0, 0, 0)
    touch(m, p, e, packet.length)
    end_stall(s, now)
    s.dropping = False
    got_packet(m, p, now)
    return DELIVERED


cdef int64_t next_look(Port *p, EndCore e, int64_t now) noexcept nogil:
    """When to offer again what must wait; space in the ring is told before that, a block never."""
    if queued_to(e) > HALF:
        return p.stall.until if arm_output(e) else now
    return p.stall.until if p.stall.until < now + BLOCK_PAUSE else now + BLOCK_PAUSE
