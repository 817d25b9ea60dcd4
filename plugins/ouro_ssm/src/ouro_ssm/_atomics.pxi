# Atomic words, futex, time. Shared memory is touched through these and through nothing else: a plain load of a shared
# field is an ordinary C load, which the compiler may repeat, merge or move.

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <limits.h>
    #include <linux/futex.h>
    #include <poll.h>
    #include <pthread.h>
    #include <sched.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/mman.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    #if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__)) \\
        || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "ouro-ssm needs Linux on little-endian x86-64 or aarch64"
    #endif
    #define OU_INLINE static inline __attribute__((always_inline))

    OU_INLINE uint8_t  ou_load8(const uint8_t *p)              { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    OU_INLINE void     ou_store8(uint8_t *p, uint8_t v)        { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    OU_INLINE int      ou_cas8(uint8_t *p, uint8_t old, uint8_t new_) {
        return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
    OU_INLINE uint32_t ou_load(const uint32_t *p)              { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    OU_INLINE uint32_t ou_load_acquire(const uint32_t *p)      { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    OU_INLINE void     ou_store(uint32_t *p, uint32_t v)       { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    OU_INLINE void     ou_store_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    OU_INLINE uint32_t ou_exchange(uint32_t *p, uint32_t v)    { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
    OU_INLINE uint32_t ou_fetch_or(uint32_t *p, uint32_t v)    { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
    OU_INLINE uint32_t ou_fetch_and(uint32_t *p, uint32_t v)   { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }
    OU_INLINE int      ou_cas(uint32_t *p, uint32_t old, uint32_t new_) {
        return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    }
    /* Waiter words: the wish in the two low bits, above it a count of the wishes that were taken. Who arms gets the
       value to sleep on; it never comes back after the wish was taken, whoever arms again meanwhile. */
    OU_INLINE uint32_t ou_arm(uint32_t *p, uint32_t wish) {
        uint32_t old = __atomic_load_n(p, __ATOMIC_RELAXED), armed;
        do armed = (old & ~3u) | wish;
        while (!__atomic_compare_exchange_n(p, &old, armed, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
        return armed;
    }
    OU_INLINE uint32_t ou_arm_also(uint32_t *p, uint32_t wish) {
        return __atomic_fetch_or(p, wish, __ATOMIC_SEQ_CST) | wish;
    }
    OU_INLINE uint32_t ou_wish(const uint32_t *p)              { return __atomic_load_n(p, __ATOMIC_RELAXED) & 3; }
    OU_INLINE uint32_t ou_take_wish(uint32_t *p) {
        uint32_t old = __atomic_load_n(p, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(p, &old, (old & ~3u) + 4, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) { }
        return old & 3;
    }
    OU_INLINE void     ou_withdraw(uint32_t *p, uint32_t wish) { __atomic_fetch_and(p, ~wish, __ATOMIC_SEQ_CST); }

    OU_INLINE uint64_t ou_load64(const uint64_t *p)            { return __atomic_load_n(p, __ATOMIC_RELAXED); }
    OU_INLINE void     ou_store64(uint64_t *p, uint64_t v)     { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
    OU_INLINE uint64_t ou_exchange64(uint64_t *p, uint64_t v)  { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
    OU_INLINE uint64_t ou_fetch_or64(uint64_t *p, uint64_t v)  { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
    OU_INLINE uint64_t ou_fetch_and64(uint64_t *p, uint64_t v) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }
    OU_INLINE uint64_t ou_fetch_add64(uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
    OU_INLINE void     ou_fence(void)                          { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

    /* Orders what stands before a read-modify-write above before what stands after it. A locked instruction does that
       on x86 by itself; elsewhere it does not. */
    OU_INLINE void ou_fence_after_rmw(void) {
    #if defined(__x86_64__)
        __asm__ __volatile__("" ::: "memory");
    #else
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    #endif
    }
    OU_INLINE void ou_pause(void) {
    #if defined(__x86_64__)
        __asm__ __volatile__("pause" ::: "memory");
    #else
        __asm__ __volatile__("isb" ::: "memory");
    #endif
    }
    OU_INLINE void ou_prefetch(const void *p)                  { __builtin_prefetch(p, 0, 3); }
    OU_INLINE int  ou_lowest(uint64_t v)                       { return __builtin_ctzll(v); }
    OU_INLINE int  ou_likely(int v)                            { return __builtin_expect(v, 1); }

    static int64_t ou_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    /* 0 or a negated errno. timeout < 0: for ever. */
    static int ou_futex_wait(uint32_t *word, uint32_t value, int64_t timeout) {
        struct timespec t = { timeout / 1000000000, timeout % 1000000000 };
        return syscall(SYS_futex, word, FUTEX_WAIT, value, timeout < 0 ? NULL : &t, NULL, 0) ? -errno : 0;
    }
    static void ou_futex_wake(uint32_t *word) {
        syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
    static void ou_event_write(int fd) {
        uint64_t one = 1;
        while (write(fd, &one, 8) < 0 && errno == EINTR) { }
    }
    /* Whether there was something to take. */
    static int ou_event_read(int fd) {
        uint64_t count;
        return read(fd, &count, 8) == 8;
    }
    /* A bell is a pair of datagram sockets. Not to wait is in the call, not in the descriptor: whoever else has that
       could change it. */
    static void ou_ring_bell(int fd) {
        while (send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR) { }
    }
    /* Whether there was something to hear, and nothing more is. */
    static int ou_hear_bell(int fd) {
        char byte;
        int heard = 0;
        for (int n = 0; n < 4096; n++) {
            if (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0)
                heard = 1;
            else if (errno != EINTR && errno != ECONNRESET)
                return heard;
        }
        return 0;
    }
    static int ou_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }
    static int ou_epoll_add(int epfd, int fd) {
        struct epoll_event e = { .events = EPOLLIN };
        return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
    }
    static int ou_poll(struct pollfd *fds, int count, int64_t timeout) {
        struct timespec t = { timeout / 1000000000, timeout % 1000000000 };
        return ppoll(fds, count, timeout < 0 ? NULL : &t, NULL) < 0 ? -errno : 0;
    }

    static const int64_t OU_GUARD_MIN = 20000000, OU_GUARD_MAX = 5000000000;

    /* Counts the forks that made this process: whoever remembers another number was made by a parent. */
    static volatile int ou_generation = 0;
    static void ou_after_fork(void) { ou_generation++; }
    static int ou_watch_forks(void) { return pthread_atfork(NULL, NULL, ou_after_fork); }
    """
    struct pollfd:
        int fd
        short events
        short revents

    int EINTR
    int POLLIN
    int64_t OU_GUARD_MIN, OU_GUARD_MAX
    int MADV_DONTFORK, MADV_REMOVE, MAP_SHARED, MAP_ANONYMOUS, PROT_READ, PROT_WRITE
    int EFD_CLOEXEC, EFD_NONBLOCK
    void *MAP_FAILED
    const volatile int ou_generation
    int ou_watch_forks() nogil

    void *mmap(void *, size_t, int, int, int, int64_t) nogil
    int munmap(void *, size_t) nogil
    int madvise(void *, size_t, int) nogil
    void *memcpy(void *, const void *, size_t) nogil
    int sched_yield() nogil
    int close(int) nogil

    uint8_t ou_load8(const uint8_t *) nogil
    void ou_store8(uint8_t *, uint8_t) nogil
    bint ou_cas8(uint8_t *, uint8_t, uint8_t) nogil
    uint32_t ou_load(const uint32_t *) nogil
    uint32_t ou_load_acquire(const uint32_t *) nogil
    void ou_store(uint32_t *, uint32_t) nogil
    void ou_store_release(uint32_t *, uint32_t) nogil
    uint32_t ou_exchange(uint32_t *, uint32_t) nogil
    uint32_t ou_fetch_or(uint32_t *, uint32_t) nogil
    uint32_t ou_fetch_and(uint32_t *, uint32_t) nogil
    bint ou_cas(uint32_t *, uint32_t, uint32_t) nogil
    uint32_t ou_arm(uint32_t *, uint32_t) nogil
    uint32_t ou_arm_also(uint32_t *, uint32_t) nogil
    uint32_t ou_wish(const uint32_t *) nogil
    uint32_t ou_take_wish(uint32_t *) nogil
    void ou_withdraw(uint32_t *, uint32_t) nogil
    uint64_t ou_load64(const uint64_t *) nogil
    void ou_store64(uint64_t *, uint64_t) nogil
    uint64_t ou_exchange64(uint64_t *, uint64_t) nogil
    uint64_t ou_fetch_or64(uint64_t *, uint64_t) nogil
    uint64_t ou_fetch_and64(uint64_t *, uint64_t) nogil
    uint64_t ou_fetch_add64(uint64_t *, uint64_t) nogil
    void ou_fence() nogil
    void ou_fence_after_rmw() nogil
    void ou_pause() nogil
    void ou_prefetch(const void *) nogil
    int ou_lowest(uint64_t) nogil
    bint ou_likely(bint) nogil
    int64_t ou_now() nogil
    int ou_futex_wait(uint32_t *, uint32_t, int64_t) nogil
    void ou_futex_wake(uint32_t *) nogil
    void ou_event_write(int) nogil
    bint ou_event_read(int) nogil
    void ou_ring_bell(int) nogil
    bint ou_hear_bell(int) nogil
    int ou_epoll_create() nogil
    int ou_epoll_add(int, int) nogil
    int ou_poll(pollfd *, int, int64_t) nogil
