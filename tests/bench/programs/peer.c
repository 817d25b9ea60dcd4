/* What peer.py does, on the C prototype's public API: the same words, the same output. Built when the benchmark runs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int     flow_alloc(const char * name, void * qos, const struct timespec * timeout);
int     flow_accept(void * qos, const struct timespec * timeout);
int     flow_dealloc(int fd);
ssize_t flow_write(int fd, const void * data, size_t length);
ssize_t flow_read(int fd, void * data, size_t length);

#define LAST "last" /* the packet that ends a stream: shorter than any other */
#define LOOK 256    /* packets between two looks at the clock */
#define REPEATED 5  /* times the last packet is sent where it may be lost, */
#define PAUSE 50000 /* and microseconds between */

static const struct timespec timeout = {10, 0};

static double now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec + t.tv_nsec / 1e9;
}

static int must(int fd, const char * what)
{
        if (fd < 0) {
                printf("%s: %d\n", what, fd);
                exit(1);
        }
        return fd;
}

static int read_streams(void)
{
        char    packet[2048];
        long    count;
        double  start;
        ssize_t length;
        int     fd;

        while ((fd = flow_accept(NULL, NULL)) >= 0) {
                length = flow_read(fd, packet, sizeof(packet));
                start = now();
                for (count = 0; length > (ssize_t) strlen(LAST); count++)
                        length = flow_read(fd, packet, sizeof(packet));
                printf("%ld %.9f\n", count, now() - start);
                flow_write(fd, LAST, strlen(LAST));
                flow_dealloc(fd);
        }
        return 1;
}

static int write_stream(const char * name, size_t size, double seconds)
{
        char * packet = calloc(1, size);
        int    fd     = must(flow_alloc(name, NULL, &timeout), "flow_alloc");
        double end    = now() + seconds;
        int    i;

        do {
                for (i = 0; i < LOOK; i++)
                        must(flow_write(fd, packet, size), "flow_write");
        } while (now() < end);
        must(flow_write(fd, LAST, strlen(LAST)), "flow_write");
        flow_read(fd, packet, size); /* the reader has all */
        flow_dealloc(fd);
        free(packet);
        return 0;
}

static int sink_streams(void)
{
        char    packet[2048];
        long    count;
        double  start;
        double  end;
        ssize_t length;
        int     fd;

        while ((fd = flow_accept(NULL, NULL)) >= 0) {
                length = flow_read(fd, packet, sizeof(packet));
                start = end = now();
                for (count = 0; length > (ssize_t) strlen(LAST); count++) {
                        end = now();
                        length = flow_read(fd, packet, sizeof(packet));
                }
                printf("%ld %.9f\n", count, end - start);
                flow_write(fd, LAST, strlen(LAST));
                flow_dealloc(fd);
        }
        return 1;
}

static int flood(const char * name, size_t size, double seconds)
{
        char * packet = calloc(1, size);
        int    fd     = must(flow_alloc(name, NULL, &timeout), "flow_alloc");
        double end    = now() + seconds;
        int    i;

        do {
                for (i = 0; i < LOOK; i++)
                        must(flow_write(fd, packet, size), "flow_write");
        } while (now() < end);
        for (i = 0; i < REPEATED; i++) {
                must(flow_write(fd, LAST, strlen(LAST)), "flow_write");
                usleep(PAUSE);
        }
        flow_read(fd, packet, size);
        flow_dealloc(fd);
        free(packet);
        return 0;
}

static int accept_flows(int keep)
{
        int fd;

        while ((fd = flow_accept(NULL, NULL)) >= 0)
                if (!keep)
                        flow_dealloc(fd);
        return 1;
}

static int alloc_flows(const char * name, int count, int keep)
{
        int *  fds = calloc(count, sizeof(*fds));
        double start;
        double seconds;
        int    i;

        flow_dealloc(must(flow_alloc(name, NULL, &timeout), "flow_alloc"));
        start = now();
        for (i = 0; i < count; i++) {
                fds[i] = must(flow_alloc(name, NULL, &timeout), "flow_alloc");
                if (!keep)
                        flow_dealloc(fds[i]);
        }
        seconds = now() - start;
        for (i = 0; keep && i < count; i++)
                flow_dealloc(fds[i]);
        printf("%d %.9f\n", count, seconds);
        return 0;
}

static int hold(const char * name)
{
        char packet[64];
        int  fd = must(flow_alloc(name, NULL, &timeout), "flow_alloc");

        printf("holds\n");
        flow_read(fd, packet, sizeof(packet));
        return 0;
}

int main(int argc, char ** argv)
{
        const char * what = argc > 1 ? argv[1] : "";

        setvbuf(stdout, NULL, _IOLBF, 0);
        if (!strcmp(what, "read") && argc == 3)
                return read_streams();
        if (!strcmp(what, "write") && argc == 6)
                return write_stream(argv[2], atoi(argv[3]), atof(argv[5]));
        if (!strcmp(what, "sink") && argc == 3)
                return sink_streams();
        if (!strcmp(what, "flood") && argc == 6)
                return flood(argv[2], atoi(argv[3]), atof(argv[5]));
        if (!strcmp(what, "accept") && argc == 3)
                return accept_flows(!strcmp(argv[2], "keep"));
        if (!strcmp(what, "alloc") && argc == 5)
                return alloc_flows(argv[2], atoi(argv[3]), !strcmp(argv[4], "keep"));
        if (!strcmp(what, "hold") && argc == 3)
                return hold(argv[2]);
        return 2;
}
