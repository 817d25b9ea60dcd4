# Rings: what happens to a packet, without Python. One producer, one consumer; both sides keep private copies of their
# own index and of what they last saw of the other's.

# Spinning. A wait costs nothing if what comes arrives while the waiter looks, and two context switches and perhaps a
# halted processor otherwise. So a waiter looks first, on credit: what was looked in vain is paid from an eighth of the
# wall time. And it learns how long to look: whoever answers requests that come at a pace waits long for the next one,
# and briefly for the answer of the next hop. So waits that follow a short one and those that follow a long one are
# expected to take as long as the last of their kind. Where that is more than anybody should look, it sleeps at once.

ctypedef struct Spin:                # of one sleeper; times in ns
    int64_t credit
    int64_t since
    int64_t took[2]                  # the last wait after a short one, and after a long one
    int was_long                     # the last wait

cdef enum:
    CREDIT_CAP = 2000000
    STRETCH = 3                      # so many times its patience a sleeper looks when that promises success
    PATIENCE = 100000                # a mover's or an event set's
    GUARD = 500000                   # a sched_yield that took longer gave a time slice away
    AGAIN = 50000000                 # and one more so soon afterwards: to somebody who computes
    CALM = 4                         # guards without another: the next one is short again
    TURN = 8                         # PAUSEs before each sched_yield

cdef int64_t guard_until = 0         # of the whole process; racing threads at worst spin once too often
cdef int64_t guard_length = OU_GUARD_MIN
cdef int64_t guard_late = 0          # the last sched_yield that took so long


cdef inline int64_t spin_budget(Spin *s, int64_t now, int64_t longest) noexcept nogil:
    """How long this sleeper may look before it sleeps. `longest`: without a reason to look longer."""
    cdef int64_t expected = s.took[s.was_long]
    if now < guard_until or expected > STRETCH * longest:
        return 0
    s.credit += (now - s.since) >> 3
    s.since = now
    if s.credit > CREDIT_CAP:
        s.credit = CREDIT_CAP
    if s.credit < expected:
        return 0
    if 2 * expected > longest:
        longest = min(2 * expected, STRETCH * longest)
    return longest if longest < s.credit else s.credit


cdef inline void spin_ended(Spin *s, bint hit, int64_t start, int64_t now, int64_t longest) noexcept nogil:
    """Who looked since `start` found something, or goes to sleep: the time is paid, but for a hit within `longest`."""
    s.credit -= max(now - start - longest, 0) if hit else now - start


cdef inline void spin_learn(Spin *s, int64_t took, int64_t longest) noexcept nogil:
    """A wait is over, looking and sleeping together."""
    s.took[s.was_long] = took
    s.was_long = took > STRETCH * longest


cdef int64_t spin_yield(int64_t now) noexcept nogil:
    """Lets others run; returns the time after. Guards against those who do not give the processor back soon."""
    global guard_until, guard_length, guard_late
    sched_yield()
    cdef int64_t after = ou_now()
    if after - now > GUARD:
        if now - guard_late < AGAIN:
            if now - guard_until > CALM * guard_length:
                guard_length = OU_GUARD_MIN
            guard_until = after + guard_length
            guard_length = guard_length * 2 if guard_length * 2 < OU_GUARD_MAX else OU_GUARD_MAX
        guard_late = after
    return after


@cython.final
@cython.no_gc
cdef class EndCore:
    """One end of one flow; the `FlowEnd`s that Python holds are handles on it.

    Locking: the index copies, counters and options change under the GIL only. Waiting releases it; `waiters` counts the
    threads that are away, so that the mapping outlives them and the last one to come back takes the wish back.
    """
    # the packet path, roughly in order of use
    cdef int64_t token               # of the handle that may read and write; -1: closed
    cdef Ring *tx
    cdef uint32_t head               # ours to write: packets sent
    cdef uint32_t tail_seen
    cdef uint32_t tx_tag
    cdef bint receiver               # may use the last quarter of the pool
    cdef PoolView *pool
    cdef uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes, rejected, copied, sleeps, wakes
    cdef Ring *rx
    cdef uint32_t tail               # ours to write: packets taken
    cdef uint32_t head_seen
    cdef uint32_t rx_tag
    cdef uint32_t me
    cdef bint deliver_empty
    cdef bint partial_read
    cdef bint read_blocking
    cdef bint write_blocking
    cdef uint32_t local              # PEER, and DOWN when the other end lost its mind
    cdef int generation
    # a packet that readinto took in part: block (or 0), and whether the next call returns 0
    cdef uint32_t rest
    cdef uint32_t rest_offset
    cdef uint32_t rest_length
    cdef bint ended
    # waiting; times in ns, negative for ever
    cdef int64_t read_timeout, write_timeout, longest_spin
    cdef Spin read_spin, write_spin
    cdef int readers, writers        # threads that wait
    cdef int wanted                  # NO_SLOT or NO_BLOCK: what a write missed while we were in an event set
    cdef size_t wanted_length
    # events
    cdef EventShm *own_events
    cdef EventShm *peer_events
    cdef int own_bells[LANES]
    cdef int peer_bells[LANES]
    cdef uint32_t own_bit, peer_bit
    cdef uint32_t reported           # State at the last look
    # what keeps all that alive
    cdef FlowShm *shm
    cdef uint32_t side
    cdef int64_t flow_id             # negative: of a pair
    cdef bint is_pair
    cdef Segment segment
    cdef Pool pool_object
    cdef Events own_object, peer_object
    cdef object client
    cdef EventSet event_set
    cdef object member               # the handle that was put into the event set
    cdef str owner
    cdef MoverPort port              # of the native mover that has it
    cdef int64_t next_token

    def __dealloc__(self):
        if self.shm != NULL and self.token >= 0 and self.generation == ou_generation:
            leave_flow(self)
            self.give_bit_back()

    cdef give_bit_back(self):
        """Of a pair. The other end may still raise it for whoever has it next, and costs it a look."""
        if self.is_pair:
            self.own_object.pair_bits.append(self.own_bit)


cdef inline uint32_t rx_state(EndCore e) noexcept nogil:
    return (ou_load(&e.rx.state) | e.local) & (GONE | PEER)


cdef inline uint32_t tx_state(EndCore e) noexcept nogil:
    return (ou_load(&e.tx.state) | e.local) & (GONE | READ_ONLY)


cdef uint32_t state_of(EndCore e) noexcept nogil:
    return (ou_load(&e.tx.state) & (GONE | READ_ONLY)) | (ou_load(&e.rx.state) & GONE) | e.local


# ---------------------------------------------------------------- events and wake-ups


cdef void raise_event(EventShm *shm, int lane_number, int bell, uint32_t bit) noexcept nogil:
    """The bit, the summary, then whoever sleeps on the lane."""
    cdef Lane *lane = &shm.lanes[lane_number]
    cdef uint64_t word_bit = (<uint64_t> 1) << (bit >> 6)
    cdef uint32_t wish
    ou_fetch_or64(&lane.words[bit >> 6], (<uint64_t> 1) << (bit & 63))
    ou_fence_after_rmw()
    if not ou_load64(&lane.summary) & word_bit:
        ou_fetch_or64(&lane.summary, word_bit)
        ou_fence_after_rmw()
    if ou_wish(&lane.waiter):
        wish = ou_take_wish(&lane.waiter)
        if wish & LANE_FUTEX:
            ou_futex_wake(&lane.waiter)
        if wish & LANE_BELL:
            ou_ring_bell(bell)


cdef void grant_wish(EndCore e, uint32_t *word) noexcept nogil:
    """The other side's waiter word is set: clear it, and do what it says."""
    cdef uint32_t wish = ou_take_wish(word)
    e.wakes += 1
    if wish == FUTEX:
        ou_futex_wake(word)
    elif wish == NOTIFY_BULK:
        raise_event(e.peer_events, BULK, e.peer_bells[BULK], e.peer_bit)
    elif wish == NOTIFY_LOOP:
        raise_event(e.peer_events, LOOP, e.peer_bells[LOOP], e.peer_bit)


cdef inline void clear_and_wake(uint32_t *word) noexcept nogil:
    ou_take_wish(word)
    ou_futex_wake(word)


cdef void wake_everybody(EndCore e) noexcept nogil:
    """After a change of state: whoever sleeps for this flow looks again."""
    cdef int lane
    clear_and_wake(&e.rx.notify)
    clear_and_wake(&e.rx.wwait)
    clear_and_wake(&e.tx.notify)
    clear_and_wake(&e.tx.wwait)
    clear_and_wake(e.pool.waiter)
    for lane in range(LANES):
        raise_event(e.own_events, lane, e.own_bells[lane], e.own_bit)
        raise_event(e.peer_events, lane, e.peer_bells[lane], e.peer_bit)


cdef void shut_down(EndCore e) noexcept nogil:
    """The other end wrote an index that cannot be: nothing in its memory is believed any more."""
    ou_fetch_or(&e.local, DOWN)
    ou_fetch_or(&e.rx.state, DOWN)
    ou_fetch_or(&e.tx.state, DOWN)
    wake_everybody(e)


cdef void leave_flow(EndCore e) noexcept nogil:
    """Close: the other end learns it, what nobody will read any more is freed."""
    cdef Slot slot
    cdef uint32_t turn
    ou_store_release(&e.tx.head, e.head)
    ou_fetch_or(&e.rx.state, CLOSED)
    ou_fetch_or(&e.tx.state, CLOSED)
    if e.rest:
        free_block(e.pool, e.rest, e.me)
        e.rest = 0
    for turn in range(2 * RING):
        if not peek(e, &slot):
            break
        drop_slot(e, &slot)
    wake_everybody(e)
    e.token = -1
    ou_exchange(&e.shm.side[e.side], LEFT)


# ---------------------------------------------------------------- the reader


cdef inline bint readable(EndCore e) noexcept nogil:
    return ou_load_acquire(&e.rx.head) != e.tail


cdef bint see_head(EndCore e) noexcept nogil:
    cdef uint32_t head = ou_load_acquire(&e.rx.head)
    if head == e.tail or e.local & DOWN:
        return False
    if head - e.tail > RING:
        shut_down(e)
        return False
    e.head_seen = head
    return True


cdef inline bint peek(EndCore e, Slot *slot) noexcept nogil:
    """The next packet that Python may see, checked; it stays in the ring. Keep-alives and nonsense are passed over, but
    not for ever: a hostile writer may make them as fast as we drop them."""
    cdef Slot *at
    cdef uint32_t turn, last
    for turn in range(2 * RING):
        if e.tail == e.head_seen and not see_head(e):
            return False
        at = &e.rx.slots[e.tail % RING]
        # Copied once: the writer may be hostile and change it after the check.
        slot.block = ou_load(&at.block)
        slot.offset = ou_load(&at.offset)
        slot.length = ou_load(&at.length)
        if slot.block == 0:
            slot.length = 0
            if e.deliver_empty:
                return True
            take_slot(e)
            continue
        if not block_valid(e.pool, slot.block) or ou_load_acquire(owner_of(e.pool, slot.block)) != e.rx_tag:
            e.rejected += 1
            take_slot(e)
            continue
        if not room_valid(e.pool, slot.block, slot.offset, slot.length):
            e.rejected += 1
            drop_slot(e, slot)
            continue
        if slot.length == 0 and not e.deliver_empty:
            drop_slot(e, slot)
            continue
        if e.head_seen - e.tail > 1:
            # The next one's lines come from the other processor while this one is copied.
            last = ou_load(&e.rx.slots[(e.tail + 1) % RING].block)
            if last and block_valid(e.pool, last):
                ou_prefetch(owner_of(e.pool, last))
                ou_prefetch(block_at(e.pool, last) + e.pool.head_room)
        return True
    return False


cdef inline void wake_writer(EndCore e) noexcept nogil:
    """After tail was published and a full fence."""
    if ou_wish(&e.rx.wwait) and ou_load(&e.rx.head) - e.tail <= HALF:
        grant_wish(e, &e.rx.wwait)


cdef inline void take_slot(EndCore e) noexcept nogil:
    """The slot may be written again; its block belongs to somebody by now."""
    e.tail += 1
    ou_store_release(&e.rx.tail, e.tail)
    ou_fence()
    wake_writer(e)


cdef inline void drop_slot(EndCore e, Slot *slot) noexcept nogil:
    """What was in the slot has been copied, or is not wanted: free its block, then give the slot back."""
    e.tail += 1
    if slot.block:
        ou_store_release(owner_of(e.pool, slot.block), 0)
        ou_store_release(&e.rx.tail, e.tail)
        hint_block(e.pool, slot.block)
        wake_pool(e.pool)
    else:
        ou_store_release(&e.rx.tail, e.tail)
        ou_fence()
    wake_writer(e)


# ---------------------------------------------------------------- the writer


cdef enum:                           # what a write met
    DONE = 0
    NO_SLOT = 1
    NO_BLOCK = 2
    TOO_LONG = 3
    REFUSED = 4                      # see tx_state


cdef bint see_tail(EndCore e) noexcept nogil:
    """Whether there is a free slot, after a look at the reader's index."""
    cdef uint32_t tail = ou_load_acquire(&e.tx.tail)
    if e.head - tail > RING:
        shut_down(e)
        return False
    e.tail_seen = tail
    return e.head - tail < RING


cdef inline int slot_free(EndCore e) noexcept nogil:
    if tx_state(e):
        return REFUSED
    if e.head - e.tail_seen >= RING and not see_tail(e):
        return REFUSED if tx_state(e) else NO_SLOT
    return DONE


cdef inline void fill_slot(EndCore e, uint32_t block, uint32_t offset, uint32_t length) noexcept nogil:
    """Into the ring, not yet published. The block, if any, is ours."""
    cdef Slot *at = &e.tx.slots[e.head % RING]
    ou_store(&at.block, block)
    ou_store(&at.offset, offset)
    ou_store(&at.length, length)
    ou_store(&at.flags, 0)
    if block:
        ou_store_release(owner_of(e.pool, block), e.tx_tag)
    e.head += 1


cdef inline void publish(EndCore e) noexcept nogil:
    ou_store_release(&e.tx.head, e.head)
    ou_fence()
    if ou_wish(&e.tx.notify):
        grant_wish(e, &e.tx.notify)


cdef inline uint32_t take_for(EndCore e, size_t length, bint hungry) noexcept nogil:
    """A block, or 0: there is none, or others come first."""
    if not e.receiver and others_first(e.pool) and not hungry:
        return 0
    return alloc_block(e.pool, length, e.receiver)


cdef inline int put(EndCore e, const char *data, size_t length, bint hungry) noexcept nogil:
    """Copies one packet into the ring, not yet published. An empty one is a keep-alive: no block."""
    cdef uint32_t block
    cdef int met = slot_free(e)
    if met:
        return met
    if length == 0:
        fill_slot(e, 0, 0, 0)
        e.tx_packets += 1
        return DONE
    if length > e.pool.table[e.pool.classes - 1].payload:
        return TOO_LONG
    block = take_for(e, length, hungry)
    if not block:
        return NO_BLOCK
    memcpy(block_at(e.pool, block) + e.pool.head_room, data, length)
    fill_slot(e, block, e.pool.head_room, <uint32_t> length)
    e.tx_packets += 1
    e.tx_bytes += length
    return DONE


# ---------------------------------------------------------------- waiting, without the GIL


cdef inline bint read_over(EndCore e, int64_t token) noexcept nogil:
    """`token`: of the handle that waits; another one may have taken over."""
    return readable(e) or rx_state(e) or e.token != token


cdef inline bint space(EndCore e, int64_t token, uint32_t most) noexcept nogil:
    return e.head - ou_load_acquire(&e.tx.tail) <= most or tx_state(e) or e.token != token


cdef bint spin_read(EndCore e, int64_t token, int64_t now) noexcept nogil:
    """Whether something came before the credit or the patience was used up."""
    cdef int64_t start = now, end = now + spin_budget(&e.read_spin, now, e.longest_spin)
    cdef int turn
    while now < end:
        for turn in range(TURN):
            ou_pause()
            if read_over(e, token):
                spin_ended(&e.read_spin, True, start, now, e.longest_spin)
                return True
        now = spin_yield(now)
    spin_ended(&e.read_spin, False, start, now, e.longest_spin)
    return read_over(e, token)


cdef bint spin_write(EndCore e, int64_t token, int64_t now) noexcept nogil:
    cdef int64_t start = now, end = now + spin_budget(&e.write_spin, now, e.longest_spin)
    cdef int turn
    while now < end:
        for turn in range(TURN):
            ou_pause()
            if space(e, token, RING - 64):
                spin_ended(&e.write_spin, True, start, now, e.longest_spin)
                return True
        now = spin_yield(now)
    spin_ended(&e.write_spin, False, start, now, e.longest_spin)
    return space(e, token, HALF)


cdef int sleep_read(EndCore e, int64_t token, int64_t timeout) noexcept nogil:
    cdef uint32_t armed = ou_arm(&e.rx.notify, FUTEX)
    ou_fence_after_rmw()
    if read_over(e, token):
        return 0
    e.sleeps += 1
    return ou_futex_wait(&e.rx.notify, armed, timeout)


cdef int sleep_write(EndCore e, int64_t token, int64_t timeout) noexcept nogil:
    cdef uint32_t armed = ou_arm(&e.tx.wwait, FUTEX)
    ou_fence_after_rmw()
    if space(e, token, HALF):
        return 0
    e.sleeps += 1
    return ou_futex_wait(&e.tx.wwait, armed, timeout)
