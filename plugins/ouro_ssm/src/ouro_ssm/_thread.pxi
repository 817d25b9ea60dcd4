# What Python holds of a mover: the thread, and a handle for each bound end.


@cython.final
@cython.no_gc
cdef class PoolCopy:
    """A mover's own view of a pool: the magazines of `Pool.view` belong to threads that hold the GIL."""
    cdef PoolView view
    cdef Pool pool

    def __cinit__(self, Pool pool not None):
        self.pool = pool
        self.view = pool.view
        memset(self.view.magazines, 0, sizeof(self.view.magazines))


@cython.final
@cython.no_gc
cdef class MoverPort:
    """A bound end. Its memory lives until the thread has let it go *and* Python has dropped it."""
    cdef Port c
    cdef readonly FlowEnd end
    cdef EndCore core
    cdef MoverThread mover           # None: the end is back

    def __dealloc__(self):
        free(self.c.route)

    @property
    def key(self):
        return self.c.key

    @property
    def leaving(self):
        """Python asked for it; the end may still be with the thread."""
        return self.c.leave != 0

    def counters(self):
        """Seen from the flow's peer: `rx` came from it, `tx` went to it. In a forwarder `rx` was read from the end."""
        cdef Port *p = &self.c
        return {"tx": p.tx, "tx_bytes": p.tx_bytes, "rx": p.rx, "rx_bytes": p.rx_bytes, "dropped": p.dropped}

    cdef give_back(self):
        """The thread does not know it any more, or is no more: the end is its owner's again."""
        if self.mover is not None:
            self.mover = None
            self.core.port = None
            self.core.pool = &self.core.pool_object.view
            self.end.unclaim()


@cython.no_gc
cdef class MoverThread:
    """The thread and the tables it reads. Methods exclude each other by the GIL; where it is released, a lock of the
    caller must do that: see `ouro_ssm.movers`."""
    cdef Mover m
    cdef str owner                   # what claimed ends say
    cdef pthread_t thread
    cdef bint running
    cdef int of                      # the fork generation it was made in
    cdef dict copies                 # Pool -> PoolCopy
    cdef dict lanes                  # Events -> None: keeps them mapped
    cdef dict ports                  # address of the Port -> MoverPort, until its UNBOUND was taken

    def __cinit__(self, *args):
        self.m.bell = self.m.epoll = self.m.socket = self.m.news_fd = -1
        self.m.generation = 1
        self.of = ou_generation
        self.copies, self.lanes, self.ports = {}, {}, {}
        self.m.spin.credit = CREDIT_CAP
        self.m.spin.since = ou_now()
        pthread_mutex_init(&self.m.lock, NULL)

    cdef prepare(self, str owner, program):
        """PacketsError: no descriptors."""
        self.owner = owner
        self.m.stall_time, self.m.stall_alone = in_ns(program.stall), in_ns(program.stall_alone)
        try:
            self.m.bell = os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
            self.m.news_fd = os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        except OSError as e:
            raise PacketsError(f"no descriptor for a {owner}: {e.strerror}") from e
        self.m.epoll = ou_epoll_create()
        if self.m.epoll < 0:
            raise PacketsError(f"no descriptor for a {owner}")

    cdef launch(self):
        cdef bytes name = f"ouro-{self.owner}".encode()
        rc = ou_thread_start(&self.thread, &run_mover, &self.m, name)
        if rc:
            raise PacketsError(f"no thread for a {self.owner}: {os.strerror(rc)}")
        self.running = True

    cdef void end(self):
        """For destructors, of subclasses first. In a forked child there is no thread; its descriptors are copies."""
        if self.running and self.of == ou_generation:
            self._ask_to_end()
            with nogil:
                ou_thread_join(self.thread)
        self.running = False

    def __dealloc__(self):
        self.end()
        self._close_descriptors()
        self._drop_lanes()
        pthread_mutex_destroy(&self.m.lock)

    cdef _drop_lanes(self):
        cdef Source *s = <Source *> self.m.sources
        cdef Source *next
        self.m.sources = NULL
        while s != NULL:
            next = s.next
            free(s)
            s = next
        if self.lanes is not None:
            self.lanes.clear()

    cdef _close_descriptors(self):
        for fd in (self.m.bell, self.m.epoll, self.m.socket, self.m.news_fd):
            if fd >= 0:
                close(fd)
        self.m.bell = self.m.epoll = self.m.socket = self.m.news_fd = -1

    cdef _ask_to_end(self):
        ou_exchange(&self.m.stopping, 1)
        ou_event_write(self.m.bell)

    cdef _same_process(self):
        if self.of != ou_generation:
            raise PacketsError(f"this {self.owner} belongs to the parent process")

    cdef _check(self):
        self._same_process()
        if not self.running:
            raise PacketsError(f"the {self.owner} is stopped; make another one")

    def stop(self):
        """Ends the thread and gives all ends back. PacketsError: it did not end within a second; then nothing is given
        back, and nothing freed."""
        cdef int64_t end = ou_now() + 1000000000
        cdef MoverPort port
        if not self.running or self.of != ou_generation:
            return
        self._ask_to_end()
        with nogil:
            while not ou_load_acquire(&self.m.ended) and ou_now() < end:
                ou_futex_wait(&self.m.ended, 0, 10000000)
        if not ou_load_acquire(&self.m.ended):
            raise PacketsError(f"the thread of this {self.owner} did not end within a second; it is left behind")
        with nogil:
            ou_thread_join(self.thread)
        self.running = False
        for port in self.ports.values():
            port.give_back()
        self._close_descriptors()
        # Ends, their client and this object hold each other: nothing would ever be freed.
        self.m.news = NULL
        self.ports.clear()
        self._drop_lanes()

    # ------------------------------------------------------------ ports

    cdef MoverPort claim(self, FlowEnd end, uint64_t key):
        """A handle on the end, which is the thread's from now on; not yet in any table."""
        cdef MoverPort port = MoverPort.__new__(MoverPort)
        cdef Port *p = &port.c
        self._check()
        cdef EndCore e = end.core
        if e.generation != ou_generation:
            raise PacketsError("a flow of the parent process cannot be bound in its child")
        cdef Source *source = self._source(e.own_object)
        if e.pool_object not in self.copies:
            self.copies[e.pool_object] = PoolCopy(e.pool_object)
        end.claim(self.owner)
        port.end, port.core, port.mover = end, e, self
        e.port = port
        e.pool = &(<PoolCopy> self.copies[e.pool_object]).view
        p.core, p.handle, p.key, p.source = <void *> e, <void *> port, key, source
        p.stall.credit = self.m.stall_time
        self.ports[<size_t> p] = port
        return port

    cdef Source *_source(self, Events events) except NULL:
        """The lane of this event set, which the thread reads from now on."""
        cdef Source *s = <Source *> self.m.sources
        cdef Lane *lane = &events.shm.lanes[BULK]
        while s != NULL:
            if s.lane == lane:
                return s
            s = s.next
        s = <Source *> calloc(1, sizeof(Source))
        if s == NULL:
            raise OutOfMemory("no memory for the lane of another trust domain")
        if ou_epoll_add_bell(self.m.epoll, events.ears[BULK]):
            free(s)
            raise PacketsError("the bell of a lane cannot be waited for")
        self.lanes[events] = None
        s.lane = lane
        s.next = <Source *> self.m.sources
        ou_store_pointer(&self.m.sources, s)
        return s

    cdef admit(self, MoverPort port):
        """It is in all tables: the thread finds it by its bit, which is set, as there may be packets already."""
        cdef EndCore e = port.core
        ou_store_pointer(&port.c.source.ports[e.own_bit], &port.c)
        self.look(port)
        self.poke()                  # the thread may sleep without this lane

    cdef look(self, MoverPort port):
        """The thread looks at this port again."""
        cdef EndCore e = port.core
        if port.mover is not None:
            raise_event(e.own_events, BULK, e.own_bells[BULK], e.own_bit)

    cdef poke(self):
        """The thread looks at everything that waits."""
        ou_exchange(&self.m.poked, 1)
        ou_event_write(self.m.bell)

    cdef leave(self, MoverPort port, double drain):
        """The event UNBOUND follows, within `drain` seconds. The port must be out of all tables."""
        self._check()
        port.c.leave_at = ou_now() + in_ns(drain)
        ou_store_release(&port.c.leave, 1)
        self.look(port)

    cdef abandon(self, MoverPort port):
        """The end is to be closed: returns when the thread has let it go. Still there is an UNBOUND to come."""
        cdef int64_t end = ou_now() + 1000000000
        cdef Port *p = &port.c
        if self.running:
            self.forget(port)
            p.leave_at = 0
            ou_store_release(&p.leave, 1)
            self.look(port)
            with nogil:
                while not ou_load_acquire(&p.gone) and not ou_load_acquire(&self.m.ended) and ou_now() < end:
                    sched_yield()
            if not p.gone and not self.m.ended:
                raise PacketsError(f"the {self.owner} did not let flow {port.core.flow_id} go; stop it")
        port.give_back()

    cdef forget(self, MoverPort port):
        """Takes it out of all tables."""

    cdef disown(self, MoverPort port):
        """It could not be put into the tables after all."""
        self.forget(port)
        port.give_back()
        del self.ports[<size_t> &port.c]

    # ------------------------------------------------------------ tables

    cdef wait_quiescent(self):
        """Until the thread cannot know anything any more that was taken out of a table before."""
        cdef uint32_t generation = self.m.generation + 1
        cdef uint32_t seen
        if generation == 0:
            generation = 1
        ou_exchange(&self.m.generation, generation)
        ou_fence_after_rmw()
        if not self.running:
            return
        with nogil:
            while True:
                seen = ou_load_acquire(&self.m.seen)
                if seen == 0 or seen == generation or ou_load_acquire(&self.m.ended):
                    break
                sched_yield()

    cdef put_key(self, void **table, uint64_t key, void *value):
        """NULL removes. The table is made anew when it is full."""
        cdef KeyTable *old = <KeyTable *> table[0]
        cdef KeyTable *copy
        if set_key(old, key, value):
            return
        copy = copied_table(old)
        set_key(copy, key, value)
        self.exchange(table, copy)

    cdef remove_key(self, void **table, uint64_t key, MoverPort port):
        """If it still stands for this port."""
        if look_up(<KeyTable *> table[0], key) == &port.c:
            self.put_key(table, key, NULL)

    cdef exchange(self, void **place, void *value):
        """Another table or route; frees the one that was there."""
        cdef void *old = place[0]
        ou_store_pointer(place, value)
        if old != NULL:
            self.wait_quiescent()
            free(old)

    def settle(self):
        """Returns when what others have seen of the thread is counted, too: it counts when a batch has gone."""
        self.wait_quiescent()

    # ------------------------------------------------------------ what it tells

    def fileno(self):
        return self.m.news_fd

    def events(self):
        """[(kind, MoverPort or None, value)]; ends that were let go are their owner's again. The lock is never held
        while Python objects are made: that may run other threads, which want it too."""
        cdef Port *p
        cdef Port *last
        cdef Port told               # a copy of what it says
        cdef MoverPort port
        cdef list found = []
        cdef int failed
        self._same_process()
        pthread_mutex_lock(&self.m.lock)
        last = self.m.last_news if self.m.news != NULL else NULL
        failed, self.m.failed = self.m.failed, 0
        pthread_mutex_unlock(&self.m.lock)
        if failed:
            found.append(("FAILED", None, failed))
        while last != NULL:
            pthread_mutex_lock(&self.m.lock)
            p = self.m.news
            if p != NULL:
                self.m.news = p.next_news
                told = p[0]
                p.news = 0
            pthread_mutex_unlock(&self.m.lock)
            if p == NULL:            # another thread was here
                break
            port = <MoverPort> p.handle
            append_told(found, port, &told)
            if told.news & TELL_UNBOUND:
                port.give_back()
                del self.ports[<size_t> p]
            if p == last:
                break
        self.calm()
        return found

    cdef calm(self):
        """After something was taken: fileno() is readable only while there is more."""
        pthread_mutex_lock(&self.m.lock)
        if self.m.told and self.m.news == NULL and not self.m.failed and not self.m.frames and self.m.news_fd >= 0:
            self.m.told = False
            ou_event_read(self.m.news_fd)
        pthread_mutex_unlock(&self.m.lock)


cdef append_told(list found, MoverPort port, Port *told):
    cdef uint32_t bit
    for bit, kind, value in (
        (TELL_DOWN, "DOWN", 0), (TELL_UP, "UP", 0), (TELL_CLOSED, "CLOSED", 0), (TELL_DEAD, "DEAD", 0),
        (TELL_REPORT, "REPORT", told.report), (TELL_FAILED, "FAILED", told.failed),
        (TELL_UNBOUND, "UNBOUND", told.unread),
    ):  # fmt: skip
        if told.news & bit:
            found.append((kind, port, value))
