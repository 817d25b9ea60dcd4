# System calls that only movers make: threads, batches of datagrams, many bells.

cdef extern from *:
    """
    #include <netinet/in.h>
    #include <netinet/udp.h>
    #include <signal.h>
    #include <stdlib.h>
    #include <sys/socket.h>

    OU_INLINE void *ou_load_pointer(void *const *p)     { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    OU_INLINE void  ou_store_pointer(void **p, void *v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }

    /* Signals are Python's: its main thread gets them. 0 or an errno. */
    static int ou_thread_start(pthread_t *thread, void *(*run)(void *), void *argument, const char *name) {
        sigset_t all, before;
        int rc;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_create(thread, NULL, run, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!rc)
            pthread_setname_np(*thread, name);
        return rc;
    }
    static int ou_thread_join(pthread_t thread) { return pthread_join(thread, NULL); }

    /* Hears the bells that were rung. */
    static void ou_hear_bells(int epfd) {
        struct epoll_event e[16];
        int n = epoll_wait(epfd, e, 16, 0);
        while (n-- > 0)
            ou_hear_bell(e[n].data.fd);
    }
    static int ou_epoll_add_bell(int epfd, int fd) {
        struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
        return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e);
    }

    /* How many messages, or a negated errno. */
    static int ou_receive(int fd, struct mmsghdr *messages, unsigned count) {
        int n = recvmmsg(fd, messages, count, MSG_DONTWAIT | MSG_WAITFORONE, NULL);
        return n < 0 ? -errno : n;
    }
    static int ou_send(int fd, struct mmsghdr *messages, unsigned count, int flags) {
        int n = sendmmsg(fd, messages, count, flags | MSG_DONTWAIT);
        return n < 0 ? -errno : n;
    }
    #ifndef UDP_SEGMENT
    #define UDP_SEGMENT 103
    #define UDP_GRO 104
    #endif
    /* What the kernel says of a message, where it does: how many messages the socket lost since it was made, and of how
       many bytes each datagram in this one is, but the last. */
    static void ou_read_control(struct msghdr *m, uint32_t *dropped, uint32_t *each) {
        struct cmsghdr *c;
        int size;
        for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
                memcpy(dropped, CMSG_DATA(c), 4);
            else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                memcpy(&size, CMSG_DATA(c), sizeof(size));
                *each = size > 0 ? size : 0;
            }
    }
    /* Says that a message is datagrams of so many bytes. How long that is. */
    static uint32_t ou_write_segment(void *control, uint16_t each) {
        struct cmsghdr *c = control;
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(each));
        memcpy(CMSG_DATA(c), &each, sizeof(each));
        return CMSG_SPACE(sizeof(each));
    }
    /* Whether the kernel takes joined datagrams from this socket. */
    static int ou_can_segment(int fd) {
        int none = 0;
        return !setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof(none));
    }
    /* Datagrams are to come joined from this socket, or not, if it can. */
    static void ou_join_received(int fd, int wanted) {
        setsockopt(fd, IPPROTO_UDP, UDP_GRO, &wanted, sizeof(wanted));
    }
    """
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        uint32_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutex_t:
        pass

    int EAGAIN, ENOBUFS, ENOMEM, POLLOUT, AF_INET, AF_INET6, EPIPE

    int pthread_mutex_init(pthread_mutex_t *, void *) nogil
    int pthread_mutex_lock(pthread_mutex_t *) nogil
    int pthread_mutex_unlock(pthread_mutex_t *) nogil
    int pthread_mutex_destroy(pthread_mutex_t *) nogil
    void *malloc(size_t) nogil
    void *calloc(size_t, size_t) nogil
    void free(void *) nogil
    int memcmp(const void *, const void *, size_t) nogil
    void *memset(void *, int, size_t) nogil

    void *ou_load_pointer(void **) nogil
    void ou_store_pointer(void **, void *) nogil
    int ou_thread_start(pthread_t *, void *(*)(void *) noexcept nogil, void *, const char *) nogil
    int ou_thread_join(pthread_t) nogil
    int ou_epoll_add_bell(int, int) nogil
    void ou_hear_bells(int) nogil
    int ou_receive(int, mmsghdr *, unsigned int) nogil
    int ou_send(int, mmsghdr *, unsigned int, int) nogil
    void ou_read_control(msghdr *, uint32_t *, uint32_t *) nogil
    uint32_t ou_write_segment(void *, uint16_t) nogil
    bint ou_can_segment(int) nogil
    void ou_join_received(int, bint) nogil
