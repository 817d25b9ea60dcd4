# What Python holds of a pump: its program, checked and laid out for the thread, and its tables.


@cython.final
@cython.no_gc
cdef class PumpThread(MoverThread):
    """What a pump's thread runs on. Routes are None or (header, to, slices, peer), checked."""
    cdef PumpState *s
    cdef void *scratch

    def __init__(self, program, int fd, Pool pool not None):
        """PacketsError: a program that no frame can follow. `fd` is ours from now on, also when that is raised."""
        cdef PumpState *s = <PumpState *> calloc(1, sizeof(PumpState))
        cdef uint32_t i
        self.m.socket = fd
        self.s = s
        self.scratch = malloc(BATCH * SCRATCH)
        if s == NULL or self.scratch == NULL:
            raise OutOfMemory("no memory for a pump")
        self._read_program(program)
        s.zeros = <uint8_t *> calloc(1, s.pad_to + 1)
        s.keys = new_table(4)
        if s.zeros == NULL:
            raise OutOfMemory("no memory for a pump")
        self.copies[pool] = PoolCopy(pool)
        s.pool = &(<PoolCopy> self.copies[pool]).view
        # The common packet goes from the socket to its reader as it is; longer ones are copied once.
        s.arrival_class = smallest_class(s.pool, min(s.max_payload, 1500, pool.longest))
        if s.header <= s.pool.head_room:
            s.direct = min(<uint32_t> BATCH, s.pool.table[s.arrival_class].count // 16)
        for i in range(<uint32_t> BATCH):
            s.arrivals[i].scratch = <uint8_t *> self.scratch + i * <size_t> SCRATCH
            s.in_messages[i].msg_hdr.msg_iov = &s.in_parts[2 * i]
        s.arrived = s.handled = BATCH
        s.joins = program.join and ou_can_segment(fd)
        ou_join_received(fd, program.join)
        self.m.kind = s
        self.m.turn, self.m.probe, self.m.schedule = &pump_turn, &fetch, &pump_schedule
        self.prepare("pump", program)
        self.launch()

    cdef _read_program(self, program):
        cdef PumpState *s = self.s
        if not 0 < program.header <= LONGEST_HEADER:
            raise PacketsError(f"a header of {program.header} bytes is not possible; it has 1 to {LONGEST_HEADER}")
        if program.max_payload < 0 or not 0 <= program.pad_to <= 65536:
            raise PacketsError(f"max_payload {program.max_payload} or pad_to {program.pad_to} out of range")
        s.header, s.max_payload = program.header, min(program.max_payload, 1 << 30)
        set_field(&s.key, program.key, s.header)
        s.has_length = program.length is not None
        if s.has_length:
            set_field(&s.length, program.length, s.header)
        set_matches(&s.require, program.require, s.header)
        set_matches(&s.accept, program.accept, s.header)
        set_matches(&s.management, program.management, s.header)
        s.management_min, s.frame_limit = max(0, program.management_min), max(0, program.management_queue)
        s.pad_to, s.send_flags, s.copy_break = program.pad_to, program.send_flags, max(0, program.copy_break)
        s.addressed = program.addressed
        s.named = program.addressed or (program.source is not None and program.source.address)
        for offset, length in program.source.slices if program.source is not None else ():
            if length <= 0 or offset < 0 or offset + length > s.header or s.slices == LONGEST_HEADER:
                raise PacketsError(f"the source's {length} bytes at {offset} lie outside the header")
            s.slice[s.slices].offset, s.slice[s.slices].length = offset, length
            s.slices += 1

    def __dealloc__(self):
        cdef Frame *frame
        self.end()
        if self.s == NULL:
            return
        while self.s.frames != NULL:
            frame = self.s.frames
            self.s.frames = frame.next
            free(frame)
        free(self.s.require.table)
        free(self.s.accept.table)
        free(self.s.management.table)
        free(self.s.keys)
        free(self.s.zeros)
        free(self.s)
        free(self.scratch)

    def stop(self):
        cdef uint32_t i
        if self.running and self.of == ou_generation:
            ou_join_received(self.m.socket, False)  # who reads it next may not know
        MoverThread.stop(self)
        for i in range(<uint32_t> BATCH):
            if self.s.arrivals[i].block and self.of == ou_generation:
                free_block(self.s.pool, self.s.arrivals[i].block, self.s.pool.me)
                self.s.arrivals[i].block = 0

    # ------------------------------------------------------------ tables

    def bind(self, uint64_t key, FlowEnd end not None, route):
        """Received packets for `key` go to `end` from now on."""
        cdef Route *made = self._route(route)
        cdef MoverPort port
        try:
            port = self.claim(end, key)
        except BaseException:
            free(made)
            raise
        port.c.route = made
        try:
            self.put_key(&self.s.keys, key, &port.c)
        except BaseException:
            self.disown(port)
            raise
        self.admit(port)
        return port

    def set_route(self, MoverPort port not None, route):
        self._check()
        self.exchange(&port.c.route, self._route(route))
        self.look(port)

    def unbind(self, MoverPort port not None, double drain):
        self._check()
        self.forget(port)
        self.leave(port, drain)

    cdef forget(self, MoverPort port):
        self.remove_key(&self.s.keys, port.c.key, port)

    cdef Route *_route(self, route) except? NULL:
        """NULL for None."""
        cdef Route *r
        if route is None:
            return NULL
        header, to, slices, peer = route
        if len(header) != self.s.header or max(len(to), len(peer)) > ADDRESS or len(slices) > LONGEST_HEADER:
            raise PacketsError(f"a route with {len(header)} bytes of header, {len(to)} of address, {len(slices)} of "
                               f"source does not fit the program")
        r = <Route *> calloc(1, sizeof(Route))
        if r == NULL:
            raise OutOfMemory("no memory for a route")
        memcpy(r.header, PyBytes_AS_STRING(header), len(header))
        memcpy(r.to, PyBytes_AS_STRING(to), len(to))
        memcpy(r.slices, PyBytes_AS_STRING(slices), len(slices))
        memcpy(r.peer, PyBytes_AS_STRING(peer), len(peer))
        r.to_length, r.slices_length, r.peer_length = len(to), len(slices), len(peer)
        return r

    # ------------------------------------------------------------ what it has

    def management(self, Py_ssize_t most):
        """[(frame, address)]"""
        cdef Frame *frame
        cdef list found = []
        self._same_process()
        while len(found) < most:
            pthread_mutex_lock(&self.m.lock)
            frame = self.s.frames
            if frame != NULL:
                self.s.frames = frame.next
                self.m.frames -= 1
            pthread_mutex_unlock(&self.m.lock)
            if frame == NULL:
                break
            try:
                found.append((PyBytes_FromStringAndSize(<char *> frame.data + frame.name_length, frame.length),
                              PyBytes_FromStringAndSize(<char *> frame.data, frame.name_length)))
            finally:
                free(frame)
        self.calm()
        return found

    def counters(self):
        counts = {name: self.s.count[i] for i, name in enumerate(PUMP_COUNTERS)}
        counts["sleeps"], counts["stalls"] = self.m.sleeps, self.m.stalls
        return counts


cdef set_matches(Matches *view, matches, uint32_t header):
    """PacketsError for bytes that are not all in the header."""
    cdef MatchView *m
    view.table = <MatchView *> calloc(len(matches) + 1, sizeof(MatchView))
    if view.table == NULL:
        raise OutOfMemory("no memory for a program")
    for match in matches:
        if not 0 < len(match.value) <= 16 or not 0 <= match.offset <= <int64_t> header - len(match.value):
            raise PacketsError(
                f"{match} is longer than 16 bytes or lies outside the header of {header} bytes")
        m = &view.table[view.count]
        m.offset, m.length = match.offset, len(match.value)
        memcpy(m.value, PyBytes_AS_STRING(match.value), len(match.value))
        view.count += 1
