# Event sets. A segment per client and trust domain; all `EventSet`s of a client share lane *loop* of its segments.


FLOW_BITS = 3072                     # the broker gives these bits; the others are the client's, for its pairs


@cython.final
@cython.no_gc
cdef class Events:
    """The event set segment of one client and domain, with the bells of its lanes, which it owns: where it is a client's
    own, also what hears them. Nobody who may ring can silence a bell, or make others wait at it.
    """
    cdef EventShm *shm
    cdef int bells[LANES]
    cdef int ears[LANES]             # of the client's own sets
    cdef Segment segment
    cdef readonly uint32_t number
    cdef dict table                  # bit -> EndCore: the ends in EventSets of this process
    cdef list pair_bits              # free ones
    cdef bint armed                  # somebody here wants the bell of lane loop
    cdef bint owed                   # it was rung for that, or is about to be
    cdef object __weakref__

    def __cinit__(self):
        for lane in range(LANES):
            self.bells[lane] = self.ears[lane] = -1

    def __init__(self, int fd, uint32_t number, owner, bells, ears=()):
        """Takes over the descriptors `bells` and `ears`, one a lane, when it succeeds, not `fd`. PacketsError: not such
        a segment."""
        what = f"event set {number}"
        self.segment = open_memory(fd, what, sizeof(EventShm), owner)
        check_head(self.segment, what, EVENT_MAGIC, number)
        for each in (*bells, *ears):
            if not is_socket(each):
                raise PacketsError(f"{what}: descriptor {each} is no socket")
        self.shm = <EventShm *> self.segment.base
        self.number = number
        self.table = {}
        self.pair_bits = list(range(FLOW_BITS, EVENT_BITS))
        self.bells[BULK], self.bells[LOOP] = bells
        if ears:
            self.ears[BULK], self.ears[LOOP] = ears

    def __dealloc__(self):
        for lane in range(LANES):
            if self.bells[lane] >= 0:
                close(self.bells[lane])
            if self.ears[lane] >= 0:
                close(self.ears[lane])

    @property
    def inode(self):
        return self.segment.inode

    def wake(self, uint32_t bit):
        """Broker: the end with this bit is to be looked at, by whatever mover or loop has it. Wakes also who was about
        to be woken by a process that died between taking the wish and granting it."""
        for lane in range(LANES):
            raise_event(self.shm, lane, self.bells[lane], bit % EVENT_BITS)
            clear_and_wake(&self.shm.lanes[lane].waiter)
            ou_exchange(&self.shm.lanes[lane].kicked, 1)
            ou_ring_bell(self.bells[lane])

    def renew(self):
        """Broker: no flow uses it. What its peers did to it is undone, and who sleeps there looks again."""
        write_head(self.segment, EVENT_MAGIC, self.number)
        self.wake(0)


def create_events(uint32_t number, owner, gid, mode):
    """A memfd with an empty event set."""
    size = aligned(sizeof(EventShm), 4096)
    fd = create_memory(f"ouroboros.events.{number}", size, owner, gid, mode)
    try:
        write_head(Segment(fd, size), EVENT_MAGIC, number)
    except BaseException:
        os.close(fd)
        raise
    return fd


cdef is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


@cython.final
@cython.no_gc
cdef class Loop:
    """Lane *loop* of one client: takes bits and gives them to the `EventSet` that has the end. Under the GIL.

    Several threads may sleep on the lane of one segment: each adds its wish to the waiter word, which is taken by
    wakers only (or by the last sleeper, for itself), and who takes bits that are for another set wakes all sleepers.
    Sets that watch bells, in a selector or because they sleep over several domains, cannot count on that: whoever
    hears a bell or takes bits arms again for them before it goes its way (`share`).
    """
    cdef list own                    # Events
    cdef int sleepers                # threads on the futex of a lane
    cdef int watchers                # sets that watch bells

    def __cinit__(self):
        self.own = []

    cdef add(self, Events events):
        if events not in self.own:
            self.own.append(events)

    cdef share(self, EventSet taker):
        """Takes bits; if others watch the bells, these are armed when this returns."""
        self.take(taker)
        if self.watchers > taker.watching:
            self.arm()
            self.take(taker)

    cdef take(self, EventSet taker):
        cdef Events events
        cdef Lane *lane
        cdef uint64_t summary, bits
        cdef uint32_t word
        cdef EndCore core
        for events in self.own:
            lane = &events.shm.lanes[LOOP]
            if not ou_load64(&lane.summary):
                continue
            summary = ou_exchange64(&lane.summary, 0)
            while summary:
                word = ou_lowest(summary)
                summary &= summary - 1
                bits = ou_exchange64(&lane.words[word], 0)
                while bits:
                    core = events.table.get((word << 6) | ou_lowest(bits))
                    bits &= bits - 1
                    if core is not None:
                        core.event_set.pending[core] = None
                        if core.event_set is not taker:
                            core.event_set.poke()

    cdef bint anything(self):
        cdef Events events
        for events in self.own:
            if ou_load64(&events.shm.lanes[LOOP].summary):
                return True
        return False

    cdef arm(self):
        """Bells are wanted. Where the last wish was granted meanwhile, there is something to hear."""
        cdef Events events
        cdef uint32_t before
        for events in self.own:
            before = ou_fetch_or(&events.shm.lanes[LOOP].waiter, LANE_BELL)
            if events.armed and not before & LANE_BELL:
                events.owed = True
            events.armed = True
        ou_fence_after_rmw()

    cdef disarm(self):
        """No bell is wanted for a while. Where the wish was granted already, there is something to hear."""
        cdef Events events
        for events in self.own:
            if events.armed:
                events.armed = False
                if not ou_fetch_and(&events.shm.lanes[LOOP].waiter, ~<uint32_t> LANE_BELL) & LANE_BELL:
                    events.owed = True

    cdef wake(self):
        """Threads of this process that sleep on a lane."""
        cdef Events events
        if self.sleepers:
            for events in self.own:
                if ou_take_wish(&events.shm.lanes[LOOP].waiter) & LANE_BELL:
                    ou_ring_bell(events.bells[LOOP])
                ou_futex_wake(&events.shm.lanes[LOOP].waiter)

    cdef drain(self, bint doubt=False):
        """Hears the bells that were rung, and only those. A wish that is gone was granted, or is about to be: the bell
        may come later, so it stays owed until something was heard. With `doubt` somebody may have rung for nothing."""
        cdef Events events
        for events in self.own:
            if events.armed and not ou_wish(&events.shm.lanes[LOOP].waiter) & LANE_BELL:
                events.armed = False
                events.owed = True
            if ou_load(&events.shm.lanes[LOOP].kicked):
                ou_exchange(&events.shm.lanes[LOOP].kicked, 0)
                events.owed = True
            if (events.owed or doubt) and ou_hear_bell(events.ears[LOOP]):
                events.owed = False


cdef list EVENTS = [Event(i) for i in range(128)]


@cython.final
@cython.no_gc
cdef class EventSet:
    """ouro_core.contracts.packets.EventSet. `pending` are the ends that are not armed: each `look` either reports a
    packet and leaves the end there, or arms its ring and takes it out."""
    cdef Loop loop
    cdef dict pending
    cdef set members                 # EndCore
    cdef bint closed
    cdef int generation
    cdef int own_fd                  # an eventfd: something is pending that no lane will tell of
    cdef int epoll_fd
    cdef set watched                 # ears of lanes in the epoll set
    cdef int watching                # how often this set is among the watchers
    cdef bint signalled
    cdef Spin spinning
    cdef int64_t idle                # since when a caller of `spin` may sleep; 0: it does not
    cdef object __weakref__

    def __cinit__(self, Loop loop not None):
        self.loop = loop
        self.pending = {}
        self.members = set()
        self.watched = set()
        self.own_fd = self.epoll_fd = -1
        self.generation = ou_generation

    def __dealloc__(self):
        self._close_fds()

    cdef _close_fds(self):
        if self.own_fd >= 0:
            close(self.own_fd)
        if self.epoll_fd >= 0:
            close(self.epoll_fd)
        self.own_fd = self.epoll_fd = -1

    cdef _check(self):
        if self.generation != ou_generation:
            raise PacketsError("this event set belongs to the parent process; open one after the fork")
        if self.closed:
            raise BadDescriptor("the event set is closed")

    def add(self, FlowEnd end not None):
        self._check()
        cdef EndCore core = end.core
        if core.generation != ou_generation:
            raise PacketsError("a flow of the parent process cannot be in an event set of its child")
        if core.token < 0:
            raise BadDescriptor(f"flow {core.flow_id} is closed")
        if core.token != end.token:
            raise PacketsError(f"flow {core.flow_id} is owned by {core.owner or 'nobody'}; unclaim it first")
        if core.event_set is not None:
            raise PacketsError(f"flow {core.flow_id} is in an event set already; remove it there first")
        if core.own_object not in self.loop.own:
            raise PacketsError(f"flow {core.flow_id} belongs to another client than this event set")
        core.event_set = self
        core.member = end
        core.reported = 0
        core.wanted = DONE
        core.own_object.table[core.own_bit] = core
        self.members.add(core)
        self.pending[core] = None
        self.poke()

    def remove(self, FlowEnd end not None):
        """PacketsError when it is not in this set."""
        self._check()
        if end.core.event_set is not self:
            raise PacketsError(f"flow {end.core.flow_id} is not in this event set")
        self.forget(end.core)

    cdef forget(self, EndCore core):
        self.members.discard(core)
        self.pending.pop(core, None)
        core.own_object.table.pop(core.own_bit, None)
        core.event_set = None
        core.member = None
        core.wanted = DONE
        if core.token >= 0:
            if not core.readers:
                ou_withdraw(&core.rx.notify, NOTIFY_LOOP)
            if not core.writers:
                ou_withdraw(&core.tx.wwait, NOTIFY_LOOP)

    cdef poke(self):
        """The set has something pending: threads that sleep on it, and loops that watch it, must look."""
        self.loop.wake()
        self.signal()

    cdef signal(self):
        if self.own_fd >= 0 and not self.signalled:
            self.signalled = True
            ou_event_write(self.own_fd)

    cdef dict collect(self, dict found):
        """Ends with events, merged into `found`: {EndCore: events}."""
        cdef EndCore core
        cdef uint32_t events
        self.loop.share(self)
        for core in list(self.pending):
            events = look(core)
            if not events & 1:       # Event.PACKET
                self.pending.pop(core, None)
            if events:
                found[core] = found.get(core, 0) | events
        return found

    cdef list answer(self, dict found):
        cdef EndCore core
        return [(core.member, EVENTS[events]) for core, events in found.items()]

    def poll(self):
        self._check()
        found = self.collect({})
        if self.epoll_fd >= 0:
            self.arm(found)
        return self.answer(found)

    cdef arm(self, dict found):
        """So that the descriptor becomes readable when there is more: at once, if something is left to read."""
        cdef Events events
        for events in self.loop.own:
            if events.ears[LOOP] not in self.watched:
                self._watch(events.ears[LOOP])
        self.loop.drain(not found)
        self.loop.share(self)
        while not self.pending:
            self.loop.arm()
            if not self.loop.anything():
                if self.signalled:
                    self.signalled = False
                    ou_event_read(self.own_fd)
                return
            self.collect(found)
        self.signal()

    cdef _watch(self, fd):
        ou_epoll_add(self.epoll_fd, fd)
        self.watched.add(fd)

    def fileno(self):
        self._check()
        if self.epoll_fd < 0:
            self._open_own()
            self.epoll_fd = ou_epoll_create()
            if self.epoll_fd < 0:
                raise PacketsError("no descriptor is left for an event set")
            ou_epoll_add(self.epoll_fd, self.own_fd)
            self._watches(1)
            self.loop.take(self)
            self.arm({}) if not self.pending else self.signal()
        return self.epoll_fd

    cdef _watches(self, int more):
        self.watching += more
        self.loop.watchers += more

    cdef _open_own(self):
        if self.own_fd < 0:
            self.own_fd = os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)

    def spin(self):
        self._check()
        # Nobody has to ring for who looks himself. What comes without a bell is for `poll`, which the caller does next.
        cdef bint alone = self.loop.watchers == self.watching
        cdef int64_t now
        if self.pending or self.loop.anything():
            return True
        if alone:
            self.loop.disarm()
        now = ou_now()
        if self.idle:                # what was waited for in vain came while the caller slept
            spin_learn(&self.spinning, now - self.idle, PATIENCE)
            self.idle = 0
        if self._spin(0):
            spin_learn(&self.spinning, ou_now() - now, PATIENCE)
            return True
        self.idle = now
        if alone and self.watching:
            self.loop.arm()
        return len(self.pending) > 0 or self.loop.anything()

    cdef bint _spin(self, int64_t end):
        """`end`: of the wait, 0: none."""
        cdef uint64_t *summaries[8]
        cdef int turn, i, count = 0
        cdef int64_t start, now, until
        cdef Events events
        cdef bint hit = False
        for events in self.loop.own[:8]:
            summaries[count] = &events.shm.lanes[LOOP].summary
            count += 1
        keep = list(self.loop.own)   # the mappings, while the GIL is released
        now = start = ou_now()
        until = now + spin_budget(&self.spinning, now, PATIENCE)
        if end and until > end:
            until = end
        with nogil:
            while now < until and not hit:
                for turn in range(TURN):
                    ou_pause()
                    for i in range(count):
                        if ou_load64(summaries[i]):
                            hit = True
                if not hit:
                    now = spin_yield(now)
        del keep
        spin_ended(&self.spinning, hit, start, now, PATIENCE)
        return hit or len(self.pending) > 0

    def wait(self, timeout=None):
        cdef int64_t now, limit = in_ns(timeout), end = 0
        self._check()
        if limit >= 0:
            end = ou_now() + limit
        while True:
            found = self.collect({})
            if found:
                return self.answer(found)
            now = ou_now()
            if end and now >= end:
                raise FlowTimeout(f"no event within {timeout} s")
            if not self._spin(end):
                self._sleep(end)
            spin_learn(&self.spinning, ou_now() - now, PATIENCE)
            self._check()

    cdef _sleep(self, int64_t end):
        cdef Events events
        cdef int rc = 0
        cdef uint32_t *word
        cdef int64_t timeout = end - ou_now() if end else -1
        if end and timeout <= 0:
            return
        if len(self.loop.own) != 1:
            self._sleep_many(timeout)
            return
        events = self.loop.own[0]
        word = &events.shm.lanes[LOOP].waiter
        cdef uint32_t armed = ou_arm_also(word, LANE_FUTEX)
        ou_fence_after_rmw()
        if self.loop.anything() or self.pending:
            return
        self.loop.sleepers += 1
        with nogil:
            rc = ou_futex_wait(word, armed, timeout)
        self.loop.sleepers -= 1
        if not self.loop.sleepers:
            ou_withdraw(word, LANE_FUTEX)
        if rc == -EINTR:
            PyErr_CheckSignals()

    cdef _sleep_many(self, int64_t timeout):
        """Over several domains: in poll, with the bell of each lane and our own."""
        cdef Events events
        keep = list(self.loop.own)
        cdef int rc, i, count = len(keep) + 1
        memory = bytearray(count * sizeof(pollfd))
        cdef pollfd *fds = <pollfd *> <char *> memory
        self._open_own()
        fds[0].fd, fds[0].events = self.own_fd, POLLIN
        for i in range(1, count):
            events = keep[i - 1]
            fds[i].fd, fds[i].events = events.ears[LOOP], POLLIN
        self.loop.drain()
        self.loop.arm()
        if self.loop.anything() or self.pending:
            return
        if self.signalled:
            self.signalled = False
            ou_event_read(self.own_fd)
        self._watches(1)
        with nogil:
            rc = ou_poll(fds, count, timeout)
        self._watches(-1)
        for i in range(1, count):
            if fds[i].revents:
                events = keep[i - 1]
                events.owed = True
        self.loop.drain()
        if rc == -EINTR:
            PyErr_CheckSignals()

    def close(self):
        if self.closed or self.generation != ou_generation:
            return
        for core in list(self.members):
            self.forget(core)
        self.closed = True
        self.poke()
        if self.epoll_fd >= 0:
            self._watches(-1)
        self._close_fds()


cdef uint32_t look(EndCore e):
    """The events of an end (see Event): packets by level, everything else by what changed since the last look. Arms,
    unless a thread sleeps there itself: its wish must stay, and when it comes back it asks for another look."""
    cdef uint32_t events = 0, state, changed
    cdef Slot slot
    if e.token < 0:
        return 0
    if e.rest or peek(e, &slot):
        events = 1
    elif not e.readers:
        ou_arm(&e.rx.notify, NOTIFY_LOOP)
        ou_fence_after_rmw()
        if peek(e, &slot):
            events = 1
    state = state_of(e)
    changed = state ^ e.reported
    e.reported = state
    if changed & DOWN:
        events |= 2 if state & DOWN else 4
    if changed & state & (CLOSED | DEAD):
        events |= 16
    if changed & state & PEER:
        events |= 32
    if e.wanted and room_again(e):
        e.wanted = DONE
        events |= 64
    return events


cdef bint room_again(EndCore e):
    """Whether a write that found no room may be tried again; else the reader has been asked to tell."""
    if has_room(e) or e.writers:
        return has_room(e)
    ou_arm(&e.tx.wwait, NOTIFY_LOOP)
    ou_fence_after_rmw()
    return has_room(e)


cdef bint has_room(EndCore e):
    """Half of the ring and, if that was missing, a block. When others have all blocks nobody will tell: try again."""
    cdef uint32_t queued = e.head - ou_load_acquire(&e.tx.tail)
    if queued > HALF:
        return False
    return e.wanted == NO_SLOT or queued == 0 or block_free(e.pool, e.wanted_length, e.receiver)
