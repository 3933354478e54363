/* What client.c (connections), request.c (options, requests) and reading.c (answers) know of each other. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H
#include "common.h"
#include "histogram.h"

#define MANY 16 /* targets, extra headers */

typedef struct {
    const char *model, *path, *headers[MANY];
    int streaming, stamped, conns, rounds, hang_up_every, n_headers, n_targets;
    uint32_t tokens; /* per answer */
    size_t body_bytes;
    double seconds, ramp_s, timeout_s;
    struct sockaddr_in targets[MANY];
} Load;

typedef struct {
    Buf text;
    size_t counter_at; /* ten digits that differ in every request */
} Request;

enum phase { HEAD, PLAIN, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

/* One answer as far as it has come. */
typedef struct {
    enum phase phase;
    int status, sized, closes, done, wrong, exact;
    size_t left;          /* bytes of the sized body, or of this chunk, still to come */
    uint32_t tokens;      /* stamped events, which have to come in order */
    uint32_t plain;       /* events without a stamp */
    uint64_t hash, first; /* over all events; time of the first one */
    Buf line;             /* head, then chunk-size lines */
    Buf body;             /* the unfinished event, or the body of an answer that is not a stream */
} Answer;

typedef struct {
    uint64_t events, tokens, body_bytes;
    Histogram delay;
} Received;

extern Load o;
extern Received received;

void read_options(int argc, char **argv);
void write_request(Request *request, int number, int target);

void answer_reset(Answer *a);
/* Takes n received bytes; 1: the answer is complete, 0: more to come, -1: not HTTP. */
int answer_take(Answer *a, int streaming, const char *p, size_t n, uint64_t now);
#endif
