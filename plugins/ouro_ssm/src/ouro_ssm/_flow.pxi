# What Python holds: the ends of flows.

cdef inline bint hungry_since(int64_t since) noexcept nogil:
    """Whether who has waited for a block since then (0: has not) goes first."""
    return since and ou_now() - since > HUNGER


cdef list STATES = [State(i) for i in range(32)]


cdef int64_t in_ns(seconds) except? -2:
    """-1: for ever. More than thirty years are for ever, too."""
    return -1 if seconds is None or seconds > 1e9 else <int64_t> (max(seconds, 0) * 1e9)


@cython.final
@cython.no_gc
cdef class FlowEnd:
    """ouro_core.contracts.packets.FlowEnd: a handle on an `EndCore`; `claim` makes another one that takes over."""
    cdef EndCore core
    cdef int64_t token
    cdef object __weakref__

    # ------------------------------------------------------------ checks

    cdef inline bint _ready(self) except False:
        if ou_likely(self.core.token == self.token and self.core.generation == ou_generation):
            return True
        self._explain()

    cdef _explain(self):
        cdef EndCore e = self.core
        if e.generation != ou_generation:
            raise PacketsError(f"flow {e.flow_id} belongs to the parent process; allocate one in the child")
        if e.token < 0:
            raise BadDescriptor(f"flow {e.flow_id} is closed")
        if e.owner is None:
            raise PacketsError(f"flow {e.flow_id} was given back; use the end that was claimed")
        raise PacketsError(f"flow {e.flow_id} is owned by {e.owner}; its packets are read and written there")

    cdef _alive(self):
        if self.core.generation != ou_generation or self.core.token < 0:
            self._explain()

    @property
    def flow_id(self):
        return self.core.flow_id

    @property
    def owner(self):
        return self.core.owner

    def __repr__(self):
        return f"<FlowEnd of flow {self.core.flow_id}{', closed' if self.core.token < 0 else ''}>"

    # ------------------------------------------------------------ reading

    cdef bint _wait_packet(self, Slot *slot) except False:
        """Until `peek` finds a packet, or raises."""
        cdef EndCore e = self.core
        cdef int64_t end = -1, now
        cdef uint32_t state
        while True:
            self._ready()
            if peek(e, slot):
                return True
            state = rx_state(e)
            # Once more: it may have been written just before the other end went.
            if state and not peek(e, slot):
                if state & GONE:
                    raise FlowDown(f"flow {e.flow_id} is {STATES[state_of(e)]}, and all was read")
                raise FlowPeer(f"nothing was heard of the peer of flow {e.flow_id} for too long, and all was read")
            if state:
                return True
            if not e.read_blocking:
                raise WouldBlock(f"flow {e.flow_id}: nothing to read")
            now = ou_now()
            if e.read_timeout >= 0:
                if end < 0:
                    end = now + e.read_timeout
                if now >= end:
                    raise FlowTimeout(f"flow {e.flow_id}: nothing to read for {e.read_timeout / 1e9} s")
            self._await_read(now, end)

    cdef _await_read(self, int64_t now, int64_t end):
        cdef EndCore e = self.core
        cdef int rc = 0
        cdef int64_t start = now
        e.readers += 1
        with nogil:
            if not spin_read(e, self.token, now):
                now = ou_now() if end >= 0 else 0
                if end < 0 or now < end:
                    rc = sleep_read(e, self.token, end - now if end >= 0 else -1)
            spin_learn(&e.read_spin, ou_now() - start, e.longest_spin)
        e.readers -= 1
        if e.token < 0:
            self._unmap()
        elif e.readers == 0:
            if ou_wish(&e.rx.notify) == FUTEX:
                ou_withdraw(&e.rx.notify, FUTEX)
            if e.event_set is not None:
                # We overwrote its wish.
                e.event_set.pending[e] = None
                e.event_set.poke()
        if rc == -EINTR:
            PyErr_CheckSignals()

    cdef bytes _rest(self):
        """What a partial `readinto` left."""
        cdef EndCore e = self.core
        cdef bytes out = PyBytes_FromStringAndSize(block_at(e.pool, e.rest) + e.rest_offset, e.rest_length)
        self._drop_rest()
        return out

    cdef _drop_rest(self):
        cdef EndCore e = self.core
        free_block(e.pool, e.rest, e.me)
        e.rest = 0

    cdef inline bytes _take(self, Slot *slot):
        cdef EndCore e = self.core
        cdef char *data = NULL
        if slot.block:
            data = block_at(e.pool, slot.block) + slot.offset
        cdef bytes out = PyBytes_FromStringAndSize(data, slot.length)
        drop_slot(e, slot)
        e.rx_packets += 1
        e.rx_bytes += slot.length
        return out

    def read(self):
        cdef Slot slot
        cdef EndCore e = self.core
        self._ready()
        if e.rest:
            return self._rest()
        e.ended = False
        if not peek(e, &slot):
            self._wait_packet(&slot)
        return self._take(&slot)

    def read_many(self, Py_ssize_t most=32):
        cdef Slot slot
        cdef EndCore e = self.core
        cdef list out = []
        self._ready()
        if most <= 0:
            if most < 0:
                raise InvalidArgument(f"cannot read {most} packets; ask for 1 or more")
            return out
        if e.rest:
            out.append(self._rest())
        e.ended = False
        if not out and not peek(e, &slot):
            self._wait_packet(&slot)
        while len(out) < most and peek(e, &slot):
            out.append(self._take(&slot))
        return out

    def readinto(self, buffer):
        cdef Slot slot
        cdef EndCore e = self.core
        cdef Py_buffer view
        cdef Py_ssize_t n
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            self._ready()
            if e.ended:
                e.ended = False
                return 0
            if not e.rest and not peek(e, &slot):
                self._wait_packet(&slot)
            if not e.rest:           # still: another thread may have left one while we waited
                e.rx_packets += 1
                e.rx_bytes += slot.length
                if slot.length <= view.len and not (e.partial_read and slot.length == view.len):
                    n = slot.length
                    if n:
                        memcpy(view.buf, block_at(e.pool, slot.block) + slot.offset, n)
                    drop_slot(e, &slot)
                    return n
                if not e.partial_read:
                    drop_slot(e, &slot)
                    raise TooLong(f"flow {e.flow_id}: a packet of {slot.length} bytes was dropped, the buffer takes "
                                  f"{view.len}")
                if slot.block:
                    ou_store_release(owner_of(e.pool, slot.block), e.me)
                    e.rest, e.rest_offset, e.rest_length = slot.block, slot.offset, slot.length
                take_slot(e)
                if not slot.length:
                    return 0
            n = min(view.len, e.rest_length)
            memcpy(view.buf, block_at(e.pool, e.rest) + e.rest_offset, n)
            e.rest_offset += n
            e.rest_length -= n
            if not e.rest_length:
                self._drop_rest()
                e.ended = n == view.len
            return n
        finally:
            PyBuffer_Release(&view)

    def recv(self):
        cdef Slot slot
        cdef EndCore e = self.core
        cdef Packet packet
        self._ready()
        if e.rest:
            packet = make_packet(e.pool_object, e.rest, e.rest_offset, e.rest_length)
            e.rest = 0
            return packet
        e.ended = False
        if not peek(e, &slot):
            self._wait_packet(&slot)
        packet = make_packet(e.pool_object, slot.block, slot.offset, slot.length)
        if slot.block:
            ou_store_release(owner_of(e.pool, slot.block), e.me)
        take_slot(e)
        e.rx_packets += 1
        e.rx_bytes += slot.length
        return packet

    # ------------------------------------------------------------ writing

    cdef _refuse(self, int met, size_t length):
        """What `put` met, as an exception."""
        cdef EndCore e = self.core
        if met == TOO_LONG:
            raise TooLong(f"flow {e.flow_id}: a packet of {length} bytes; the limit is {e.pool_object.longest}")
        if met == REFUSED:
            if tx_state(e) & GONE:
                raise FlowDown(f"flow {e.flow_id} is {STATES[state_of(e)]}; deallocate it")
            raise NotAllocated(f"flow {e.flow_id}: the other end does not read")
        if e.event_set is not None:
            e.wanted, e.wanted_length = met, length
            e.event_set.pending[e] = None  # there may be room by now
            e.event_set.poke()
        raise WouldBlock(f"flow {e.flow_id}: {'the ring is full' if met == NO_SLOT else 'no block is free'}")

    cdef bint _put(self, const char *data, size_t length) except False:
        """One packet into the ring, not published; waits as the options say."""
        cdef EndCore e = self.core
        cdef int64_t end = -1, now, since = 0
        cdef int met = put(e, data, length, False)
        while met != DONE:
            if met >= TOO_LONG or not e.write_blocking:
                self._refuse(met, length)
            now = self._patience(&end)
            if met == NO_SLOT:
                self._await_slot(now, end)
            else:
                since = since or now
                self._await_block(length, now, end, now - since > HUNGER)
            self._ready()
            met = put(e, data, length, hungry_since(since))
        if since and hungry_since(since):
            was_fed(e.pool)
        return True

    cdef int64_t _patience(self, int64_t *end) except -1:
        """Now; FlowTimeout when the time for this write is over."""
        cdef EndCore e = self.core
        cdef int64_t now = ou_now()
        if e.write_timeout >= 0:
            if end[0] < 0:
                end[0] = now + e.write_timeout
            if now >= end[0]:
                raise FlowTimeout(f"flow {e.flow_id}: no room to write for {e.write_timeout / 1e9} s")
        return now

    cdef _await_slot(self, int64_t now, int64_t end):
        cdef EndCore e = self.core
        cdef int rc = 0
        cdef int64_t start = now
        e.writers += 1
        with nogil:
            if not spin_write(e, self.token, now):
                now = ou_now() if end >= 0 else 0
                if end < 0 or now < end:
                    rc = sleep_write(e, self.token, end - now if end >= 0 else -1)
            spin_learn(&e.write_spin, ou_now() - start, e.longest_spin)
        self._back_from_write(rc)

    cdef _await_block(self, size_t length, int64_t now, int64_t end, bint hungry):
        """Frees wake the pool's waiter word; changes of this flow's state do as well."""
        cdef EndCore e = self.core
        cdef int rc = 0
        cdef uint32_t armed
        cdef Pool keep = e.pool_object
        cdef int64_t start = now, until = now + spin_budget(&e.write_spin, now, e.longest_spin), left
        e.writers += 1
        while now < until and not self._block_free(length, hungry):
            with nogil:
                now = spin_yield(now)
        if now >= until:
            spin_ended(&e.write_spin, False, start, now, e.longest_spin)
            armed = ou_arm_also(keep.view.waiter, FUTEX | HUNGRY if hungry else FUTEX)
            ou_fence_after_rmw()
            if not self._block_free(length, hungry):
                e.sleeps += 1
                with nogil:
                    now = ou_now() if end >= 0 else 0
                    left = end - now if end >= 0 else -1
                    if not hungry and others_first(&keep.view) and not 0 <= left < DEFERENCE:
                        left = DEFERENCE  # nobody tells when it is over
                    if end < 0 or now < end:
                        rc = ou_futex_wait(keep.view.waiter, armed, left)
        self._back_from_write(rc)

    cdef bint _block_free(self, size_t length, bint hungry):
        """Or there is no use in waiting for one."""
        cdef EndCore e = self.core
        if e.token != self.token or tx_state(e):
            return True
        return (hungry or not others_first(e.pool)) and block_free(e.pool, length, e.receiver)

    cdef _back_from_write(self, int rc):
        cdef EndCore e = self.core
        e.writers -= 1
        if e.token < 0:
            self._unmap()
        elif e.writers == 0:
            if ou_wish(&e.tx.wwait) == FUTEX:
                ou_withdraw(&e.tx.wwait, FUTEX)
            if e.wanted and e.event_set is not None:
                # We overwrote its wish.
                e.event_set.pending[e] = None
                e.event_set.poke()
        if rc == -EINTR:
            PyErr_CheckSignals()

    cdef _unmap(self):
        """After close, when no thread waits any more."""
        cdef EndCore e = self.core
        if e.token < 0 and not e.readers and not e.writers:
            e.rx = e.tx = NULL
            e.shm = NULL
            e.segment = None

    def write(self, data):
        cdef EndCore e = self.core
        cdef Py_buffer view
        if PyBytes_CheckExact(data):
            self._ready()
            self._put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            publish(e)
            return
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._ready()
            self._put(<const char *> view.buf, view.len)
            publish(e)
        finally:
            PyBuffer_Release(&view)

    def write_many(self, packets):
        cdef EndCore e = self.core
        cdef Py_ssize_t count = 0
        cdef Py_buffer view
        cdef int met = DONE
        self._ready()
        try:
            # The caller's iterator and its buffers are Python code: the end may be closed when they come back.
            for data in packets:
                PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
                try:
                    if not count:
                        self._ready()
                        self._put(<const char *> view.buf, view.len)
                    elif e.token == self.token:
                        met = put(e, <const char *> view.buf, view.len, False)
                    else:
                        met = REFUSED
                finally:
                    PyBuffer_Release(&view)
                if met:
                    break
                count += 1
        finally:
            if count and e.token >= 0:
                publish(e)
        return count

    def alloc(self, Py_ssize_t n):
        cdef EndCore e = self.core
        cdef int64_t end = -1, now, since = 0
        cdef uint32_t block
        if n < 0 or n > e.pool_object.longest:
            self._ready()
            self._refuse(TOO_LONG, n)
        while True:
            self._ready()
            if tx_state(e):
                self._refuse(REFUSED, n)
            block = take_for(e, n, hungry_since(since))
            if block:
                if since and hungry_since(since):
                    was_fed(e.pool)
                return make_packet(e.pool_object, block, e.pool.head_room, <uint32_t> n)
            if not e.write_blocking:
                self._refuse(NO_BLOCK, n)
            now = self._patience(&end)
            since = since or now
            self._await_block(n, now, end, now - since > HUNGER)

    def send(self, Packet packet not None):
        cdef EndCore e = self.core
        cdef int64_t end = -1
        cdef int met
        cdef char *at = packet._at()
        self._ready()
        if not packet.length or packet.pool.segment.inode != e.pool_object.segment.inode:
            self._put(at, packet.length)
            publish(e)
            e.copied += packet.length != 0
            packet.release()
            return
        while True:
            self._ready()
            met = slot_free(e)
            if met == DONE:
                break
            if met == REFUSED or not e.write_blocking:
                self._refuse(met, packet.length)
            self._await_slot(self._patience(&end), end)
        packet._at()                 # another thread may have sent it while we waited
        fill_slot(e, packet.block, packet.offset, packet.length)
        e.tx_packets += 1
        e.tx_bytes += packet.length
        packet.block = 0
        packet.alive = False
        publish(e)

    def keepalive(self):
        cdef EndCore e = self.core
        self._ready()
        cdef int met = slot_free(e)
        if met == REFUSED:
            self._refuse(met, 0)
        if met == DONE:
            fill_slot(e, 0, 0, 0)
            publish(e)

    # ------------------------------------------------------------ what is

    @property
    def state(self):
        self._alive()
        return STATES[state_of(self.core)]

    def queued(self):
        self._alive()
        cdef EndCore e = self.core
        cdef uint32_t rx = ou_load_acquire(&e.rx.head) - e.tail, tx = e.head - ou_load_acquire(&e.tx.tail)
        return (rx if rx < RING else RING) + (e.rest != 0), tx if tx < RING else RING

    def sequence(self):
        self._alive()
        cdef EndCore e = self.core
        return e.head, ou_load(&e.rx.head)

    def counters(self):
        cdef EndCore e = self.core
        return {
            "tx": e.tx_packets, "tx_bytes": e.tx_bytes, "rx": e.rx_packets, "rx_bytes": e.rx_bytes,
            "rejected": e.rejected, "copied": e.copied, "sleeps": e.sleeps, "wakes": e.wakes,
        }

    # ------------------------------------------------------------ what shall be

    def set_options(self, options):
        cdef EndCore e = self.core
        self._alive()
        e.read_timeout = in_ns(options.read_timeout)
        e.write_timeout = in_ns(options.write_timeout)
        e.read_blocking = options.read_blocking
        e.write_blocking = options.write_blocking
        e.partial_read = options.partial_read
        e.deliver_empty = options.deliver_empty
        e.longest_spin = in_ns(options.spin)

    def mark(self, set=State.UP, clear=State.UP):
        """InvalidArgument for CLOSED and DEAD: `close` says the one, the broker the other."""
        cdef EndCore e = self.core
        cdef uint32_t on = int(set), off = int(clear), before
        self._alive()
        if (on | off) & ~<uint32_t> (DOWN | PEER | READ_ONLY):
            raise InvalidArgument(f"an end marks DOWN, PEER and READ_ONLY, not {STATES[(on | off) & 31]!r}")
        before = state_of(e) | (ou_load(&e.rx.state) & READ_ONLY) << 8
        if off & DOWN:
            ou_fetch_and(&e.rx.state, ~<uint32_t> DOWN)
            ou_fetch_and(&e.tx.state, ~<uint32_t> DOWN)
        if off & READ_ONLY:
            ou_fetch_and(&e.rx.state, ~<uint32_t> READ_ONLY)
        if on & DOWN:
            ou_fetch_or(&e.rx.state, DOWN)
            ou_fetch_or(&e.tx.state, DOWN)
        if on & READ_ONLY:
            ou_fetch_or(&e.rx.state, READ_ONLY)
        ou_fetch_and(&e.local, ~(off & PEER))  # a native mover may put the flow down just now
        ou_fetch_or(&e.local, on & PEER)
        if before != state_of(e) | (ou_load(&e.rx.state) & READ_ONLY) << 8:
            wake_everybody(e)

    def claim(self, str owner not None):
        cdef EndCore e = self.core
        cdef FlowEnd view
        self._alive()
        if e.owner is not None:
            raise PacketsError(f"flow {e.flow_id} is owned by {e.owner} already")
        if e.event_set is not None:
            raise PacketsError(f"flow {e.flow_id} is in an event set; remove it there first")
        self._ready()
        view = FlowEnd.__new__(FlowEnd)
        view.core = e
        e.next_token += 1
        e.token = view.token = e.next_token
        e.owner = owner
        e.receiver = True
        wake_everybody(e)            # readers and writers on the old handle learn it
        return view

    def unclaim(self):
        cdef EndCore e = self.core
        if e.owner is None or e.generation != ou_generation:
            return
        if e.port is not None:
            raise PacketsError(f"flow {e.flow_id} is bound to a {e.owner}; unbind it there")
        e.owner = None
        if e.token < 0:
            return
        if e.event_set is not None:
            e.event_set.forget(e)
        e.token = 0
        e.receiver = False
        wake_everybody(e)

    def close(self):
        cdef EndCore e = self.core
        if e.token < 0 or e.generation != ou_generation:
            return
        if e.port is not None:
            e.port.mover.abandon(e.port)
        if e.event_set is not None:
            e.event_set.poke()
            e.event_set.forget(e)
        leave_flow(e)
        e.give_bit_back()
        self._unmap()


cdef FlowEnd make_end(object client, Segment segment, int64_t flow_id, uint32_t side, Pool pool, uint32_t tag,
                      Events own, uint32_t own_bit, Events peer, uint32_t peer_bit, object options):
    cdef EndCore e = EndCore.__new__(EndCore)
    cdef FlowEnd end = FlowEnd.__new__(FlowEnd)
    e.generation = ou_generation
    e.client = client
    e.segment = segment
    e.pool_object = pool
    e.pool = &pool.view
    e.me = pool.view.me
    e.own_object, e.peer_object = own, peer
    e.own_events, e.peer_events = own.shm, peer.shm
    for lane in range(LANES):
        e.own_bells[lane], e.peer_bells[lane] = own.bells[lane], peer.bells[lane]
    e.own_bit, e.peer_bit = own_bit, peer_bit
    e.flow_id = flow_id
    e.side = side
    # The blocks in a pair's rings stay ours: when we die the broker, which knows no pair, finds them by our id.
    e.is_pair = tag == 0
    e.tx_tag = RING_TAG | (tag + side) if tag else e.me
    e.rx_tag = RING_TAG | (tag + (side ^ 1)) if tag else e.me
    e.read_spin.credit = e.write_spin.credit = CREDIT_CAP
    e.read_spin.since = e.write_spin.since = ou_now()
    end.core = e
    end.set_options(options)
    cdef FlowShm *shm = <FlowShm *> segment.base
    e.tx = &shm.rings[side]
    e.rx = &shm.rings[side ^ 1]
    e.shm = shm                      # from here on the destructor tells the other end
    return end
