# The pump, to the wire.
#
# Packets are looked at and stay in their rings until the socket has taken them. The header comes from private memory: a
# user could change one in his block between our write and the kernel's copy.
#
# Datagrams of one flow that follow each other and are of one length (the last may be shorter) go to a UDP socket as one
# message, which the kernel, or the device, takes to pieces again (UDP_SEGMENT): on the wire, and for a receiver that
# knows nothing of it, nothing changes, but the way down to the device is gone once. A message that is refused, because
# its datagrams are larger than the path, say, or go through IPsec, was not sent at all: its datagrams then go one by one,
# which shows whether anything is wrong with them, and for a while no datagram of this flow and length is joined.

cdef enum:
    LONGEST_JOINED = 65000           # bytes: of both versions of IP
    ALONE = 1000000000               # ns until datagrams that could not be joined are tried again


cdef uint32_t gather(Mover *m, PumpState *s) noexcept nogil:
    """Up to a batch of what the applications wrote. Ports that have nothing are armed and leave the list."""
    cdef Port *p = s.run.first
    cdef Port *next
    cdef Port *last = s.run.last
    cdef uint32_t count = 0, before
    while p != NULL and count < BATCH:
        next = p.next if p != last else NULL
        before = count
        if ou_load_pointer(&p.route) == NULL:
            # It stays unarmed: what is written waits for a route, and `look` brings the port back then.
            unlist(p)
            say_farewell(m, p, <EndCore> p.core)
        else:
            count = gather_port(s, p, <EndCore> p.core, count)
            if count > before:
                enlist(&s.run, p)    # behind the others
            elif count < BATCH and arm_input(<EndCore> p.core):
                unlist(p)
                say_farewell(m, p, <EndCore> p.core)
        p = next
    return count


cdef uint32_t gather_port(PumpState *s, Port *p, EndCore e, uint32_t count) noexcept nogil:
    """The packets of one port behind the `count` that there are; the new count."""
    cdef Route *r = <Route *> p.route
    cdef Slot slot
    cdef uint32_t ahead = 0, turn
    cdef int found
    for turn in range(<uint32_t> BATCH):
        if count == BATCH:
            break
        found = look_at(e, ahead, &slot)
        if found == EMPTY:
            break
        if found == BAD or slot.length > s.max_payload:
            if ahead:
                break                # those before it must leave the ring first
            if found == GOOD:
                s.count[FRAME_TOO_LONG] += 1
                p.dropped += 1
            done_with(e, slot.block)
            give_slots_back(e)
            continue
        depart(s, count, p, r, e, &slot)
        ahead += 1
        count += 1
    return count


cdef inline void depart(PumpState *s, uint32_t i, Port *p, Route *r, EndCore e, Slot *slot) noexcept nogil:
    cdef Departure *d = &s.departures[i]
    cdef iovec *parts = &s.out_parts[0]
    if i:
        parts = d[-1].parts + d[-1].parts_count  # no gap: a message may be of several
    d.port, d.block, d.length = p, slot.block, slot.length
    d.frame = max(s.header + slot.length, s.pad_to)
    memcpy(d.header, r.header, s.header)
    if s.has_length:
        put_field(&s.length, d.header, slot.length)
    parts[0].iov_base, parts[0].iov_len = d.header, s.header
    if slot.block:
        parts[1].iov_base = block_at(e.pool, slot.block) + slot.offset
    parts[1].iov_len = slot.length
    parts[2].iov_base, parts[2].iov_len = s.zeros, d.frame - s.header - slot.length
    d.parts, d.parts_count = parts, 3 if parts[2].iov_len else 2
    d.to, d.to_length = r.to if r.to_length else NULL, r.to_length


cdef inline bint may_join(Departure *first, uint32_t n, int64_t now) noexcept nogil:
    """Whether the datagram behind these `n` can go into one message with them."""
    return (
        first[n].port == first.port and first[n].frame <= first.frame and first[n - 1].frame == first.frame
        and (n + 1) * first.frame <= LONGEST_JOINED
        and (first.frame < first.port.alone_from or now >= first.port.alone_until)
    )


cdef uint32_t lay_out(PumpState *s, uint32_t first, uint32_t count, int64_t now) noexcept nogil:
    """Makes messages of the datagrams from `first` on; how many."""
    cdef uint32_t messages = 0, i = first, n, parts
    cdef Departure *d
    cdef msghdr *h
    while i < count:
        d = &s.departures[i]
        n, parts = 1, d.parts_count
        while s.joins and i + n < count and may_join(d, n, now):
            parts += d[n].parts_count
            n += 1
        h = &s.out_messages[messages].msg_hdr
        h.msg_name, h.msg_namelen = d.to, d.to_length
        h.msg_iov, h.msg_iovlen = d.parts, parts
        h.msg_control = s.out_control[messages]
        h.msg_controllen = ou_write_segment(h.msg_control, d.frame) if n > 1 else 0
        s.out_counts[messages] = n
        messages += 1
        i += n
    return messages


cdef bint send(Mover *m, PumpState *s, int64_t now) noexcept nogil:
    """A batch. Whether there is more that the socket may take."""
    cdef uint32_t count = gather(m, s), sent = 0, i, message = 0, messages
    cdef int n
    cdef Port *p
    s.full = False
    s.retry_at = 0
    messages = lay_out(s, 0, count, now)
    while message < messages:
        n = ou_send(m.socket, &s.out_messages[message], messages - message, s.send_flags)
        if n > 0:
            for i in range(message, message + n):
                sent += departed(s, &s.departures[sent], <EndCore> s.departures[sent].port.core, s.out_counts[i])
            message += n
        elif n == -EAGAIN:
            s.count[TX_AGAIN] += 1
            s.full = True
            break
        elif n == -ENOBUFS:
            s.count[TX_NO_BUFFER] += 1
            s.retry_at = now + NO_BUFFER_PAUSE
            break
        elif n == -EINTR:
            continue
        elif s.out_counts[message] > 1:
            # None of them has gone. Whether they cannot be joined, or one of them cannot be sent, they tell alone.
            s.departures[sent].port.alone_from = s.departures[sent].frame
            s.departures[sent].port.alone_until = now + ALONE
            messages, message = lay_out(s, sent, count, now), 0
        else:
            p = s.departures[sent].port
            s.count[TX_ERROR] += 1
            p.dropped += 1
            tell(m, p, TELL_FAILED, -n)
            done_with(<EndCore> p.core, s.departures[sent].block)
            sent += 1
            message += 1
    for i in range(sent):
        # A port's packets are neighbours: its slots are given back with the last of them.
        if i + 1 == sent or s.departures[i + 1].port != s.departures[i].port:
            give_slots_back(<EndCore> s.departures[i].port.core)
    return s.run.first != NULL and not s.full and not s.retry_at


cdef inline uint32_t departed(PumpState *s, Departure *d, EndCore e, uint32_t count) noexcept nogil:
    """So many, of one port; the count."""
    cdef uint32_t i
    for i in range(count):
        done_with(e, d[i].block)
        e.rx_packets += 1
        e.rx_bytes += d[i].length
        d.port.tx += 1
        d.port.tx_bytes += d[i].length
        s.count[TX] += 1
        s.count[TX_BYTES] += d[i].length
    return count
