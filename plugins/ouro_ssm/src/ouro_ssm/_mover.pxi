# What pump and forwarder have in common: ports, waking and sleeping, delivery to applications, and what Python is told.
#
# A mover is one thread that never touches a Python object, except the fields of the `EndCore`s that were claimed for
# it; `MoverPort` keeps each alive until the thread has let it go. Everything that it knows lies in a `Mover` and its
# `Port`s. A port is in at most one list: *run* (has, or may have, packets: it is not armed), *parked* (its next packet
# waits for room or time), or none: then its ring is armed, and its bit in lane *bulk* brings it back.

cdef enum:
    BATCH = 32                       # packets a port and turn, messages a system call
    LONGEST_HEADER = 64
    BLOCK_PAUSE = 200000             # ns between two looks when no block is free: nothing tells us of one
    LONELY = 100000000               # ns; see `offer`

    TELL_DOWN = 1                    # Port.news
    TELL_UP = 2
    TELL_CLOSED = 4
    TELL_DEAD = 8
    TELL_REPORT = 16
    TELL_FAILED = 32
    TELL_UNBOUND = 64

cdef int64_t NO_TIME = 0x7FFFFFFFFFFFFFFF  # later than everything

ctypedef struct Port                 # one bound end
ctypedef struct Mover

ctypedef struct PortList:
    Port *first
    Port *last

ctypedef struct Source:              # a lane bulk of this client; made by Python, and only freed with the mover
    Lane *lane
    Source *next
    void *ports[EVENT_BITS]          # Port, by bit

ctypedef struct Stall:               # towards one application, see `offer`; times in ns
    int64_t credit
    int64_t credit_at
    int64_t since
    int64_t until                    # 0: nobody waits
    bint alone
    bint dropping

ctypedef struct Port:
    void *core                       # EndCore
    void *handle                     # MoverPort
    uint64_t key
    Source *source
    Port *next                       # of its list
    Port *before
    PortList *list
    Port *next_leaving
    uint32_t leave                   # Python: let it go once it is empty, or at `leave_at`
    int64_t leave_at
    bint leaving                     # the thread knows
    bint touched                     # packets in its ring were not published yet
    uint32_t seen_state              # DOWN, CLOSED, DEAD, as told
    bint farewell
    uint32_t gone                    # the thread has let it go
    Stall stall
    uint64_t tx, tx_bytes, rx, rx_bytes, dropped
    # under Mover.lock
    uint32_t news
    Port *next_news
    int failed
    uint64_t unread
    uint32_t report
    # of a pump
    void *route                      # Route; of a forwarder's flow: the header of what it sends
    uint32_t alone_from              # frames of so many bytes are not joined to others until then
    int64_t alone_until
    # of a forwarder
    int kind
    uint64_t eid
    uint32_t cube
    Port *waits_for                  # in whose ring there is no room for the next packet
    int64_t not_before               # the wait of the window; 0: none
    int64_t parked_until
    uint32_t feedback                # an ece and a bit above it: there is one
    Sender sender
    Receiver receiver

ctypedef struct Mover:
    # what kind of mover it is
    void *kind                       # PumpState or ForwardState
    bint (*turn)(Mover *, int64_t) noexcept nogil          # one turn; whether there is more to do now
    bint (*probe)(Mover *) noexcept nogil                  # while it spins: whether there is something to do
    void (*schedule)(Mover *, Port *) noexcept nogil       # something changed for this port
    # Python's words
    uint32_t generation              # of the tables
    uint32_t seen                    # the last one that the thread saw; 0: it sleeps
    uint32_t stopping
    uint32_t ended
    uint32_t poked                   # look at everything again
    # descriptors
    int bell, epoll, socket, news_fd
    short socket_events
    void *sources                    # Source
    # the thread's own
    PortList parked
    Port *leaving
    int64_t wake_at                  # the next turn must not be later
    bint no_spin                     # it waits for something that cannot be seen in memory
    Spin spin
    Port *touched[BATCH]
    uint32_t touched_count
    Port *last_port                  # which port got a packet last, when, and when another one did
    int64_t last_time, other_time
    int64_t stall_time, stall_alone
    uint64_t sleeps, stalls
    # under this lock, which is never held for longer than a copy or a write to an eventfd
    pthread_mutex_t lock
    bint told
    Port *news
    Port *last_news
    int failed
    uint32_t frames                  # management frames that wait


# ---------------------------------------------------------------- lists


cdef inline void unlist(Port *p) noexcept nogil:
    cdef PortList *l = p.list
    if l == NULL:
        return
    if p.before == NULL:
        l.first = p.next
    else:
        p.before.next = p.next
    if p.next == NULL:
        l.last = p.before
    else:
        p.next.before = p.before
    p.list = NULL


cdef inline void enlist(PortList *l, Port *p) noexcept nogil:
    """At the end of this list, from wherever it is."""
    unlist(p)
    p.list = l
    p.next = NULL
    p.before = l.last
    if l.last == NULL:
        l.first = p
    else:
        l.last.next = p
    l.last = p


# ---------------------------------------------------------------- telling Python


cdef void signal_news(Mover *m) noexcept nogil:
    """Under the lock: what was told and what is readable never differ."""
    if not m.told:
        m.told = True
        ou_event_write(m.news_fd)


cdef void post(Mover *m, Port *p, uint32_t what) noexcept nogil:
    """Under the lock."""
    if not p.news:
        p.next_news = NULL
        if m.news == NULL:
            m.news = p
        else:
            m.last_news.next_news = p
        m.last_news = p
    if what & (TELL_DOWN | TELL_UP):
        p.news &= ~<uint32_t> (TELL_DOWN | TELL_UP)  # not before: without news it is in no queue
    p.news |= what
    signal_news(m)


cdef void tell(Mover *m, Port *p, uint32_t what, int64_t value) noexcept nogil:
    pthread_mutex_lock(&m.lock)
    if what == TELL_REPORT:
        p.report = <uint32_t> value
    elif what == TELL_FAILED:
        p.failed = <int> value
    post(m, p, what)
    pthread_mutex_unlock(&m.lock)


cdef void tell_failure(Mover *m, int error) noexcept nogil:
    """Of the socket, and of no port."""
    pthread_mutex_lock(&m.lock)
    m.failed = error
    signal_news(m)
    pthread_mutex_unlock(&m.lock)


# ---------------------------------------------------------------- ports come and go


cdef inline bint is_gone(EndCore e) noexcept nogil:
    return (state_of(e) & GONE) != 0


cdef void note_state(Mover *m, Port *p, EndCore e) noexcept nogil:
    cdef uint32_t state = state_of(e) & GONE, changed = state ^ p.seen_state
    p.seen_state = state
    if changed & DOWN and not p.leaving:
        tell(m, p, TELL_DOWN if state & DOWN else TELL_UP, 0)


cdef void say_farewell(Mover *m, Port *p, EndCore e) noexcept nogil:
    """Once its ring is empty, if the other end has gone."""
    cdef uint32_t state = state_of(e)
    if state & (CLOSED | DEAD) and not p.farewell and not p.leaving:
        p.farewell = True
        tell(m, p, TELL_DEAD if state & DEAD else TELL_CLOSED, 0)


cdef void port_event(Mover *m, Port *p) noexcept nogil:
    """Its bit was set: packets, space, state, or Python wants something."""
    if ou_load(&p.leave) and not p.leaving:
        p.leaving = True
        p.next_leaving = m.leaving
        m.leaving = p
    note_state(m, p, <EndCore> p.core)
    m.schedule(m, p)


cdef void let_go(Mover *m, Port *p, EndCore e) noexcept nogil:
    """The last that the thread does with a port; it is in no list but `leaving`, from which the caller takes it."""
    cdef int64_t unread = 0
    cdef Port *other
    cdef Port *next
    unlist(p)
    other = m.parked.first
    while other != NULL:
        next = other.next
        if other.waits_for == p:
            other.waits_for = NULL
            m.schedule(m, other)
        other = next
    if p.touched:
        publish_touched(m)
    if m.last_port == p:
        m.last_port = NULL
    if see_head(e):
        unread = e.head_seen - e.tail
    ou_store_pointer(&p.source.ports[e.own_bit], NULL)
    pthread_mutex_lock(&m.lock)
    p.unread = unread
    post(m, p, TELL_UNBOUND)
    ou_store_release(&p.gone, 1)
    pthread_mutex_unlock(&m.lock)


cdef void look_at_leaving(Mover *m, int64_t now, bint (*drained)(Mover *, Port *, EndCore) noexcept nogil) noexcept nogil:
    """Lets go of those that are empty, or whose time is over."""
    cdef Port **at = &m.leaving
    cdef Port *p
    while at[0] != NULL:
        p = at[0]
        if now >= p.leave_at or drained(m, p, <EndCore> p.core):
            at[0] = p.next_leaving
            let_go(m, p, <EndCore> p.core)
        else:
            sooner(m, p.leave_at)
            at = &p.next_leaving


# ---------------------------------------------------------------- the thread


cdef inline void sooner(Mover *m, int64_t when) noexcept nogil:
    """The next turn must not be later."""
    if when < m.wake_at:
        m.wake_at = when


cdef inline void quiescent(Mover *m) noexcept nogil:
    """Nothing that was found in a table before is used after. What Python took out of one before it raised the
    generation is free from now on."""
    cdef uint32_t generation = ou_load_acquire(&m.generation)
    if m.seen != generation:
        ou_exchange(&m.seen, generation)
        ou_fence_after_rmw()


cdef bint anything(Mover *m) noexcept nogil:
    cdef Source *s = <Source *> ou_load_pointer(&m.sources)
    while s != NULL:
        if ou_load64(&s.lane.summary):
            return True
        s = s.next
    return ou_load(&m.poked) != 0


cdef void collect(Mover *m) noexcept nogil:
    """Takes the bits of all lanes."""
    cdef Source *s = <Source *> ou_load_pointer(&m.sources)
    cdef Port *p
    cdef uint64_t summary, bits
    cdef uint32_t word
    while s != NULL:
        summary = ou_exchange64(&s.lane.summary, 0) if ou_load64(&s.lane.summary) else 0
        while summary:
            word = ou_lowest(summary)
            summary &= summary - 1
            bits = ou_exchange64(&s.lane.words[word], 0)
            while bits:
                p = <Port *> ou_load_pointer(&s.ports[(word << 6) | ou_lowest(bits)])
                bits &= bits - 1
                if p != NULL:
                    port_event(m, p)
        s = s.next
    if ou_load(&m.poked):
        ou_exchange(&m.poked, 0)
        while m.parked.first != NULL:
            m.schedule(m, m.parked.first)


cdef bint spin_mover(Mover *m) noexcept nogil:
    """Whether something came before credit or patience was used up."""
    cdef int64_t start, now, end
    cdef int turn
    if m.no_spin:
        return False
    now = start = ou_now()
    end = now + spin_budget(&m.spin, now, PATIENCE)
    if end > m.wake_at:
        end = m.wake_at
    while now < end:
        for turn in range(TURN):
            ou_pause()
            if anything(m):
                spin_ended(&m.spin, True, start, now, PATIENCE)
                return True
        quiescent(m)
        if m.probe(m):
            spin_ended(&m.spin, True, start, now, PATIENCE)
            return True
        now = spin_yield(now)
    spin_ended(&m.spin, False, start, now, PATIENCE)
    return False


cdef void arm_lanes(Mover *m, bint wanted) noexcept nogil:
    cdef Source *s = <Source *> ou_load_pointer(&m.sources)
    while s != NULL:
        if wanted:
            ou_arm_also(&s.lane.waiter, LANE_BELL)
        else:
            ou_withdraw(&s.lane.waiter, LANE_BELL)
        s = s.next
    ou_fence_after_rmw()


cdef void sleep_mover(Mover *m) noexcept nogil:
    """In ppoll, over the lanes, the bell and the socket. Between `seen` 0 and the next quiescent point the thread holds
    nothing but ports, and those it does not touch."""
    cdef pollfd fds[3]
    cdef int64_t timeout = -1
    if m.wake_at != NO_TIME:
        timeout = m.wake_at - ou_now()
        if timeout <= 0:
            return
    fds[0].fd, fds[0].events, fds[0].revents = m.epoll, POLLIN, 0
    fds[1].fd, fds[1].events, fds[1].revents = m.bell, POLLIN, 0
    fds[2].fd, fds[2].events = (m.socket if m.socket_events else -1), m.socket_events
    arm_lanes(m, True)
    if not anything(m) and not ou_load(&m.stopping):
        m.sleeps += 1
        ou_store_release(&m.seen, 0)
        ou_poll(fds, 3, timeout)
        quiescent(m)
        if fds[0].revents:
            ou_hear_bells(m.epoll)
        if fds[1].revents:
            ou_event_read(m.bell)
    arm_lanes(m, False)


cdef void *run_mover(void *argument) noexcept nogil:
    cdef Mover *m = <Mover *> argument
    cdef int64_t now, idle = 0       # since when there is nothing to do; 0: there is
    while not ou_load(&m.stopping):
        quiescent(m)
        collect(m)
        m.wake_at = NO_TIME
        now = ou_now()
        if m.turn(m, now):
            if idle:
                spin_learn(&m.spin, now - idle, PATIENCE)
                idle = 0
            continue
        if not idle:
            idle = now
        if not spin_mover(m):
            sleep_mover(m)
    publish_touched(m)
    ou_store_release(&m.ended, 1)
    ou_futex_wake(&m.ended)
    return NULL
