/* What replica.c (connections, timing) and answers.c (what vLLM says) know of each other. */
#ifndef BENCH_REPLICA_H
#define BENCH_REPLICA_H
#include "common.h"
#include <sys/queue.h>

enum list { NONE, TIMED, READY };

typedef struct Conn {
    TAILQ_ENTRY(Conn) link;
    enum list in_list;
    int fd, streaming, usage, ids, last_request, dead;
    uint32_t watched, total, sent;
    uint64_t due, hash, id;
    Buf in, out;
} Conn;

typedef struct {
    const char *model;
    uint64_t interval_ns;
    int together;
} Options;

typedef struct {
    uint64_t requests, events, aborted;
    int running;
} Counts;

extern Options options;
extern Counts counts;

void put(Conn *c, const char *p, size_t n);
void answer(Conn *c, int status, const char *type, const char *body, size_t n);
void schedule(Conn *c);   /* a stream that began gets its next token_event in time */
void unschedule(Conn *c);

void generate(Conn *c, const char *body, size_t n);
void get(Conn *c, const char *path);
void token_event(Conn *c);
#endif
