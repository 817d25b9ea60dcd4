# Congestion avoidance mb-ecn by the numbers of a `Window` (unicast.md 7.2 - 7.6); the readable form of the same is
# ouro_core.builtin.movers.window. Times: ns of the monotonic clock.

cdef enum:
    LONGEST_WAIT = 1000000000        # ns
    WIDEST_SLOT = 56                 # no slot is longer than two years, nor its limit larger than LARGEST:
cdef int64_t LARGEST = (<int64_t> 1) << 46

ctypedef struct WindowView:          # ouro_core.contracts.programs.Window
    uint32_t slot_shift
    int64_t limit
    int64_t increment
    uint32_t min_packets
    uint32_t max_packets
    uint32_t stale
    uint32_t decrease_shift
    uint32_t report_every
    uint32_t report_decay
    uint32_t end_decay
    uint32_t burst

ctypedef struct Sender:
    uint32_t shift                   # slots of 2**shift ns
    int64_t limit                    # bytes a slot
    int64_t increment
    int64_t slot
    int64_t ece                      # what the receiver reported last
    uint32_t since_report            # packets
    bint reported                    # ever: the slow start is over
    int64_t bytes                    # in this slot
    uint32_t packets

ctypedef struct Receiver:
    uint32_t ece
    uint32_t packets


cdef set_window(WindowView *view, window):
    """PacketsError for numbers that make no sense."""
    shifts = (window.slot_shift, window.decrease_shift, window.report_decay, window.end_decay)
    if not (all(0 <= n < WIDEST_SLOT for n in shifts) and 0 < window.limit <= LARGEST
            and 0 <= window.increment <= LARGEST and 0 < window.min_packets <= window.max_packets < 1 << 31
            and 0 <= window.stale < 1 << 31 and 0 < window.report_every < 1 << 31 and 0 <= window.burst < 1 << 31):
        raise PacketsError(f"{window} makes no sense as a sender's window")
    view.slot_shift, view.limit, view.increment = window.slot_shift, window.limit, window.increment
    view.min_packets, view.max_packets, view.stale = window.min_packets, window.max_packets, window.stale
    view.decrease_shift, view.report_every = window.decrease_shift, window.report_every
    view.report_decay, view.end_decay, view.burst = window.report_decay, window.end_decay, window.burst


cdef void begin_sender(Sender *s, WindowView *w, int64_t now) noexcept nogil:
    memset(s, 0, sizeof(Sender))
    s.shift, s.limit, s.increment = w.slot_shift, w.limit, w.increment
    s.slot = now >> s.shift


cdef void take_feedback(Sender *s, uint32_t ece) noexcept nogil:
    s.ece = ece & 0xFFFF
    s.since_report = 0
    s.reported = True


cdef int64_t wait_before(Sender *s, WindowView *w, int64_t size, int64_t now) noexcept nogil:
    """How long a packet of this payload must wait."""
    cdef int64_t wait
    s.since_report += 1
    s.packets += 1
    s.bytes += size
    if s.since_report > w.stale:
        s.ece = 0
    if now >> s.shift > s.slot:
        s.slot = now >> s.shift
        adjust(s, w)
    if s.bytes <= s.limit:
        return 0
    wait = ((s.slot + 1) << s.shift) - now
    return 0 if wait < 0 else wait if wait < LONGEST_WAIT else LONGEST_WAIT


cdef int64_t pace(Sender *s, WindowView *w, int64_t now) noexcept nogil:
    """For the packet that was counted last, where it need not wait for the next slot: how long it must wait lest the slot
    goes out in one burst."""
    cdef double half = <double> ((<int64_t> 1) << s.shift) / 2
    cdef int64_t due, early
    if not w.burst or s.packets <= w.burst or not s.limit:
        return 0
    due = (s.slot << s.shift) + <int64_t> (<double> s.bytes / <double> s.limit * half)
    early = <int64_t> (<double> w.burst * <double> s.bytes / <double> s.packets / <double> s.limit * half)
    if now >= due - early:
        return 0
    return due - now if due - now < LONGEST_WAIT else LONGEST_WAIT


cdef void adjust(Sender *s, WindowView *w) noexcept nogil:
    """A slot is over. The packet that opens the new one is counted in the old one."""
    cdef int64_t less
    if not s.reported:
        if s.bytes > s.limit:
            s.limit <<= 1
    elif s.ece:
        less = (s.limit * s.ece) >> w.decrease_shift
        s.limit -= less if less < s.limit else s.limit
    else:
        s.limit = s.bytes + s.increment
    if s.limit > LARGEST:
        s.limit = LARGEST
    if not rescale(s, w):
        s.bytes = s.packets = 0


cdef bint rescale(Sender *s, WindowView *w) noexcept nogil:
    """Whether what was counted is carried into the new, longer slot."""
    cdef uint32_t by = 0
    if s.packets < w.min_packets:
        while (s.packets << by < w.min_packets and s.shift + by < WIDEST_SLOT and s.limit << by < LARGEST
               and s.increment << by < LARGEST):
            by += 1
        s.shift += by
        s.slot >>= by
        s.limit <<= by
        s.increment <<= by
        if s.slot & (((<int64_t> 1) << by) - 1) == 0:
            s.slot += 1
            return True
    elif s.packets > w.max_packets:
        while s.packets >> by > w.max_packets and by < s.shift:
            by += 1
        s.shift -= by
        s.slot <<= by
        s.limit >>= by
        s.increment >>= by
    return False


cdef int64_t mark_seen(Receiver *r, WindowView *w, uint32_t ecn) noexcept nogil:
    """The ECN byte of a received packet: the ece to report now, or -1."""
    cdef bint due
    if ecn == 0:
        if r.ece == 0:
            return -1
        r.ece >>= w.end_decay
        return -1 if r.ece else 0
    if r.ece == 0:
        r.ece = ecn
        r.packets = 0
        return ecn
    r.ece = (r.ece - (r.ece >> w.report_decay) + ecn) & 0xFFFF
    due = r.packets % w.report_every == 1
    r.packets += 1
    return r.ece if due else -1


@cython.final
cdef class WindowTrace:
    """A sender and a receiver without a flow, to look at what they do."""
    cdef WindowView view
    cdef Sender sender
    cdef Receiver receiver

    def __init__(self, window, int64_t now):
        set_window(&self.view, window)
        begin_sender(&self.sender, &self.view, now)

    def packet(self, int64_t size, int64_t now):
        return wait_before(&self.sender, &self.view, size, now)

    def pace(self, int64_t now):
        return pace(&self.sender, &self.view, now)

    def feedback(self, uint32_t ece):
        take_feedback(&self.sender, ece)

    def marked(self, uint32_t ecn):
        """The ece to report, or None."""
        cdef int64_t ece = mark_seen(&self.receiver, &self.view, ecn)
        return None if ece < 0 else ece

    def state(self):
        """bytes, packets, limit, shift, increment, slot, ece, packets since a report, whether there ever was one"""
        cdef Sender *s = &self.sender
        return s.bytes, s.packets, s.limit, s.shift, s.increment, s.slot, s.ece, s.since_report, bool(s.reported)
