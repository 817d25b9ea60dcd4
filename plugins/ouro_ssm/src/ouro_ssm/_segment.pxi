# Mappings: what was mapped is unmapped once, never in a forked child, and never before the last user is gone.

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEALS = 1 | 2 | 4                    # SEAL, SHRINK, GROW


@cython.final
@cython.no_gc
cdef class Segment:
    """Shared memory mapped into this process; not inherited by children."""
    cdef char *base
    cdef size_t size
    cdef int generation
    cdef readonly object inode       # tells segments apart; None: anonymous

    def __cinit__(self, int fd, size_t size, inode=None):
        cdef int flags = MAP_SHARED | (MAP_ANONYMOUS if fd < 0 else 0)
        self.generation = ou_generation
        self.inode = inode
        cdef void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0)
        if base == MAP_FAILED:
            raise PacketsError(f"cannot map {size} bytes of shared memory; are memory or address space limited?")
        self.base = <char *> base
        self.size = size
        madvise(base, size, MADV_DONTFORK)

    def __dealloc__(self):
        if self.base != NULL and self.generation == ou_generation:
            munmap(self.base, self.size)


def create_memory(str name, size_t size, uid, gid, mode):
    """A sealed memfd of `size` zero bytes with this owner and mode. PacketsError: no memory, no descriptors, not
    allowed."""
    fd = -1
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        st = os.fstat(fd)
        if (st.st_uid, st.st_gid) != (uid, gid):
            os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        fcntl.fcntl(fd, F_ADD_SEALS, SEALS)
        return fd
    except OSError as e:
        if fd >= 0:
            os.close(fd)
        raise PacketsError(f"cannot create {size} bytes of shared memory for uid {uid}: {e.strerror}") from e


cdef Segment open_memory(int fd, str what, size_t least, uid):
    """Maps `fd` if it is what a broker makes: sealed, of this owner, closed to others."""
    try:
        st = os.fstat(fd)
        seals = fcntl.fcntl(fd, F_GET_SEALS)
    except OSError as e:
        raise PacketsError(f"{what}: descriptor {fd} is no shared memory: {e.strerror}") from None
    if seals & SEALS != SEALS:
        raise PacketsError(f"{what}: seals {seals:#x} do not hold its size; it was not made by a broker")
    if st.st_uid != uid or st.st_mode & 0o7777 not in (0o600, 0o660):
        raise PacketsError(
            f"{what}: owner {st.st_uid} mode {st.st_mode & 0o7777:o}, expected owner {uid} mode 600 or 660")
    if st.st_size < least or st.st_size > 1 << 40:
        raise PacketsError(f"{what}: {st.st_size} bytes, expected at least {least}")
    return Segment(fd, st.st_size, (st.st_dev, st.st_ino))


cdef check_head(Segment segment, str what, uint32_t magic, uint32_t ident):
    cdef Head *head = <Head *> segment.base
    if ou_load(&head.magic) != magic or ou_load(&head.features) != FEATURES or head.layout != LAYOUT:
        raise PacketsError(f"{what}: magic, layout version or features do not match; "
                           f"run the same version of ouro-ssm everywhere")
    if ou_load(&head.id) != ident:
        raise PacketsError(f"{what}: the segment is number {head.id}, expected {ident}")


cdef write_head(Segment segment, uint32_t magic, uint32_t ident):
    cdef Head *head = <Head *> segment.base
    head.layout = LAYOUT
    head.features = FEATURES
    head.id = ident
    ou_fence()
    ou_store_release(&head.magic, magic)
