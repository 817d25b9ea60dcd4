# A block in the hand of this process.


cdef class _Span:
    """A piece of a packet's block; keeps the packet, hence the block."""
    cdef Packet packet
    cdef char *at
    cdef Py_ssize_t length

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.at, self.length, False, flags)


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Packet:
    """ouro_core.contracts.packets.Packet. Views on it stay valid memory for ever, but not this packet's: after `send`
    and `release` the block is somebody else's."""
    cdef Pool pool
    cdef uint32_t block              # 0: none (empty keep-alive), or gone
    cdef uint32_t offset, length
    cdef bint alive
    cdef int generation

    def __dealloc__(self):
        if self.block and self.generation == ou_generation:
            free_block(&self.pool.view, self.block, self.pool.view.me)

    cdef char *_at(self) except NULL:
        if self.generation != ou_generation:
            raise PacketsError("this packet belongs to the parent process")
        if not self.alive:
            raise BadDescriptor("the packet was sent or released")
        if not self.block:
            return self.pool.segment.base
        return block_at(&self.pool.view, self.block) + self.offset

    cdef _span(self, char *at, Py_ssize_t n):
        cdef _Span span = _Span.__new__(_Span)
        span.packet, span.at, span.length = self, at, n
        return memoryview(span)

    def __len__(self):
        return self.length

    @property
    def payload(self):
        """A writable view of the bytes from head to tail."""
        return self._span(self._at(), self.length)

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef char *at = self._at()
        PyBuffer_FillInfo(view, self, at, self.length, False, flags)

    cdef uint32_t _room(self):
        cdef PoolView *p = &self.pool.view
        return p.table[(self.block >> CLASS_SHIFT) - 1].payload + p.head_room + p.tail_room if self.block else 0

    def push(self, Py_ssize_t n):
        self._at()
        if n < 0 or n > self.offset:
            raise TooLong(f"{n} bytes in front: this packet has room for {self.offset}")
        self.offset -= n
        self.length += n
        return self._span(self._at(), n)

    def pull(self, Py_ssize_t n):
        cdef char *at = self._at()
        if n < 0 or n > self.length:
            raise TooLong(f"cannot take {n} bytes off a packet of {self.length}")
        self.offset += n
        self.length -= n
        return self._span(at, n)

    def append(self, Py_ssize_t n):
        cdef char *at = self._at()
        cdef Py_ssize_t room = <Py_ssize_t> self._room() - self.offset - self.length
        if n < 0 or n > room:
            raise TooLong(f"{n} bytes behind: this packet has room for {room}")
        at += self.length
        self.length += n
        return self._span(at, n)

    def trim(self, Py_ssize_t n):
        self._at()
        if n < 0 or n > self.length:
            raise TooLong(f"cannot cut {n} bytes off a packet of {self.length}")
        self.length -= n

    def release(self):
        if self.generation == ou_generation and self.block:
            free_block(&self.pool.view, self.block, self.pool.view.me)
        self.block = 0
        self.alive = False


cdef Packet make_packet(Pool pool, uint32_t block, uint32_t offset, uint32_t length):
    cdef Packet packet = Packet.__new__(Packet)
    packet.pool = pool
    packet.block, packet.offset, packet.length = block, offset, length
    packet.alive = True
    packet.generation = ou_generation
    return packet
