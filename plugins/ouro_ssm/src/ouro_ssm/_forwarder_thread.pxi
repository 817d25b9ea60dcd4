# What Python holds of a forwarder: its program, checked and laid out for the thread, and its tables.


@cython.final
@cython.no_gc
cdef class ForwardThread(MoverThread):
    """What a forwarder's thread runs on."""
    cdef ForwardState *s

    def __init__(self, program):
        """PacketsError: a program that no packet can follow."""
        cdef ForwardState *s = <ForwardState *> calloc(1, sizeof(ForwardState))
        cdef uint32_t cubes
        self.s = s
        if s == NULL:
            raise OutOfMemory("no memory for a forwarder")
        self._read_program(program)
        cubes = program.cubes
        s.run = <PortList *> calloc(cubes, sizeof(PortList))
        s.routes = <void **> calloc(cubes, sizeof(void *))
        s.count = <uint64_t *> calloc(cubes * FORWARD_COUNTS, sizeof(uint64_t))
        if s.run == NULL or s.routes == NULL or s.count == NULL:
            raise OutOfMemory("no memory for a forwarder")
        s.cubes = cubes
        s.ports = new_table(4)
        s.eids = new_table(4)
        self.m.kind = s
        self.m.turn, self.m.probe, self.m.schedule = &forward_turn, &forward_probe, &forward_schedule
        self.prepare("forwarder", program)
        self.launch()

    cdef _read_program(self, program):
        cdef ForwardState *s = self.s
        if not 0 < program.header <= LONGEST_HEADER:
            raise PacketsError(f"a header of {program.header} bytes is not possible; it has 1 to {LONGEST_HEADER}")
        set_field(&s.destination, program.destination, program.header)
        set_field(&s.eid, program.eid, program.header)
        for name in ("cube", "ttl", "ecn"):
            if not 0 <= getattr(program, name) < program.header:
                raise PacketsError(
                    f"{name} at {getattr(program, name)} lies outside the header of {program.header} bytes")
        if not 0 < program.max_ttl <= 255 or not 0 < program.cubes <= 256:
            raise PacketsError(f"max_ttl {program.max_ttl} must be 1 to 255, cubes {program.cubes} 1 to 256")
        if not 0 <= program.address < 1 << 64:
            raise PacketsError(f"address {program.address} is not in 0..2**64-1")
        if program.ecn_shift is not None and not 0 <= program.ecn_shift < 32:
            raise PacketsError(f"ecn_shift {program.ecn_shift} is not in 0..31")
        s.header, s.cube, s.ttl, s.ecn = program.header, program.cube, program.ttl, program.ecn
        s.address = program.address
        s.marks = program.ecn_shift is not None
        s.ecn_shift = program.ecn_shift or 0
        s.windowed = program.window is not None
        if s.windowed:
            set_window(&s.window, program.window)

    def __dealloc__(self):
        cdef uint32_t i
        self.end()
        if self.s == NULL:
            return
        for i in range(self.s.cubes):
            free(self.s.routes[i])
        free(self.s.routes)
        free(self.s.run)
        free(self.s.count)
        free(self.s.ports)
        free(self.s.eids)
        free(self.s)

    # ------------------------------------------------------------ tables

    def add_network(self, uint64_t number, FlowEnd end not None, uint32_t cube):
        return self._place(self._port(NETWORK, number, end, cube), 0)

    def add_component(self, uint64_t number, FlowEnd end not None, uint64_t eid):
        return self._place(self._port(COMPONENT, number, end, 0), eid)

    def add_flow(self, uint64_t number, FlowEnd end not None, uint64_t eid, bytes pci not None, uint32_t cube):
        """`pci`: the header of what it sends."""
        cdef MoverPort port
        cdef char *made = self._header(pci)
        try:
            port = self._port(FLOW_PORT, number, end, cube)
        except BaseException:
            free(made)
            raise
        port.c.route = made
        begin_sender(&port.c.sender, &self.s.window, ou_now())
        return self._place(port, eid)

    def set_peer(self, MoverPort port not None, bytes pci not None):
        """Another header for what a flow sends."""
        self._check()
        self.exchange(&port.c.route, self._header(pci))

    cdef char *_header(self, bytes pci) except NULL:
        cdef char *made
        if len(pci) != self.s.header:
            raise PacketsError(f"a PCI of {len(pci)} bytes; the program says {self.s.header}")
        made = <char *> malloc(len(pci))
        if made == NULL:
            raise OutOfMemory("no memory for a header")
        memcpy(made, PyBytes_AS_STRING(pci), len(pci))
        return made

    cdef MoverPort _port(self, int kind, uint64_t number, FlowEnd end, uint32_t cube):
        cdef MoverPort port
        if cube >= self.s.cubes:
            raise PacketsError(f"there is no QoS cube {cube}; this layer has 0 to {self.s.cubes - 1}")
        port = self.claim(end, number)
        port.c.kind, port.c.cube = kind, cube
        return port

    cdef MoverPort _place(self, MoverPort port, uint64_t eid):
        port.c.eid = eid
        try:
            self.put_key(&self.s.ports, port.c.key, &port.c)
            if port.c.kind != NETWORK:
                self.put_key(&self.s.eids, eid, &port.c)
        except BaseException:
            self.disown(port)
            raise
        self.admit(port)
        return port

    def remove(self, MoverPort port not None, double drain):
        self._check()
        self.forget(port)
        self.leave(port, drain)

    cdef forget(self, MoverPort port):
        self.remove_key(&self.s.ports, port.c.key, port)
        if port.c.kind != NETWORK:
            self.remove_key(&self.s.eids, port.c.eid, port)

    def set_routes(self, uint32_t cube, dict routes not None):
        """{destination: (mode, port numbers)}, instead of all that there are."""
        cdef size_t slots = slots_for(len(routes)), size = sizeof(RouteTable) + table_size(slots)
        cdef char *memory
        cdef RouteTable *made
        cdef Group *group
        self._check()
        for _, ports in routes.values():
            size += sizeof(Group) + len(ports) * sizeof(uint64_t)
        memory = <char *> calloc(1, size)
        if memory == NULL:
            raise OutOfMemory(f"no memory for {len(routes)} routes")
        made = <RouteTable *> memory
        made.table = <KeyTable *> (memory + sizeof(RouteTable))
        made.table.mask = <uint32_t> slots - 1
        memory += sizeof(RouteTable) + table_size(slots)
        try:
            for destination, (mode, ports) in routes.items():
                group = <Group *> memory
                group.mode = mode
                for number in ports:
                    group.ports[group.count] = number
                    group.count += 1
                set_key(made.table, destination, group)
                memory += sizeof(Group) + len(ports) * sizeof(uint64_t)
        except BaseException:
            free(made)
            raise
        self.exchange(&self.s.routes[cube], made)
        self.poke()

    def feedback(self, MoverPort port not None, uint32_t ece):
        """The peer reported marks: before the next packet of this flow."""
        ou_exchange(&port.c.feedback, 0x10000 | (ece & 0xFFFF))

    # ------------------------------------------------------------ what it has

    def counters(self):
        """Each name alone is the sum over the cubes, `name.n` that of cube n."""
        counts = {}
        for i, name in enumerate(FORWARD_COUNTERS):
            of = [self.s.count[cube * FORWARD_COUNTS + i] for cube in range(self.s.cubes)]
            counts[name] = sum(of)
            counts.update((f"{name}.{cube}", n) for cube, n in enumerate(of))
        counts["sleeps"], counts["stalls"] = self.m.sleeps, self.m.stalls
        return counts
