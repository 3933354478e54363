/* What the bench's replica and client share: the clock, a growing buffer, the body hash, header lookup. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HASH_START 0xcbf29ce484222325ull

typedef struct {
    char *p;
    size_t n, cap;
} Buf;

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void buf_room(Buf *b, size_t n) {
    if (b->n + n <= b->cap) return;
    b->cap = (b->n + n) * 2;
    if (!(b->p = realloc(b->p, b->cap))) abort();
}

static inline void buf_add(Buf *b, const void *p, size_t n) {
    buf_room(b, n);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void buf_drop(Buf *b, size_t n) {
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

/* FNV-1a, eight bytes a step: one multiplication a byte would cost the client more than receiving does. */
static inline uint64_t hash_more(uint64_t h, const char *p, size_t n) {
    uint64_t w;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x100000001b3ull;
        h ^= h >> 32;
    }
    for (; n; p++, n--) h = (h ^ (unsigned char)*p) * 0x100000001b3ull;
    return h;
}

/* The value of a header in a NUL-terminated head, or NULL; it ends at the next '\r'. */
static inline const char *header(const char *head, const char *name) {
    size_t k = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, k) && line[2 + k] == ':') return line + 3 + k + strspn(line + 3 + k, " \t");
    return NULL;
}

static inline int says(const char *value, const char *word) {
    return value && !strncasecmp(value, word, strlen(word));
}

static inline void more_files(void) {
    struct rlimit r;
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
}
#endif
