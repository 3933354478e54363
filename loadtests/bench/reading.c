/* Reads answers and checks them: HTTP framing, event order, delay stamps, the hash over the body. */
#include "client.h"

#define BODY_KEPT 65536

Received received;

void answer_reset(Answer *a) {
    Buf line = a->line, body = a->body;
    line.n = body.n = 0;
    *a = (Answer){.hash = HASH_START, .line = line, .body = body};
}

/* One whole event with its blank line. */
static void take_event(Answer *a, const char *p, size_t n, uint64_t now) {
    static const char mark[] = "\"@", print[] = "\"bench-";
    const char *m;
    if (!a->first) a->first = now;
    received.events++;
    if (n == 14 && !memcmp(p, "data: [DONE]", 12)) {
        a->done = 1;
    } else if ((m = memmem(p, n, mark, sizeof mark - 1))) {
        uint64_t sent = strtoull(m + sizeof mark - 1, (char **)&m, 10);
        if (*m != '#' || strtoul(m + 1, (char **)&m, 10) != a->tokens) a->wrong = 1;
        if (m[0] != '@' || m[1] != '"') a->wrong = 1; /* tokens merged into one event came late */
        a->tokens++;
        received.tokens++;
        observe(&received.delay, now > sent ? now - sent : 0);
    } else if ((m = memmem(p, n, print, sizeof print - 1))) {
        a->exact = strtoull(m + sizeof print - 1, NULL, 16) == a->hash;
    } else if (memmem(p, n, "\"error\"", 7)) {
        a->wrong = 1;
    } else {
        a->plain++;
    }
    a->hash = hash_more(a->hash, p, n);
}

static void take_body(Answer *a, int streaming, const char *p, size_t n, uint64_t now) {
    received.body_bytes += n;
    if (!streaming || a->status != 200) {
        size_t room = BODY_KEPT - a->body.n;
        buf_add(&a->body, p, n < room ? n : room);
        return;
    }
    size_t from = a->body.n ? a->body.n - 1 : 0;
    buf_add(&a->body, p, n);
    size_t start = 0;
    for (const char *e; (e = memmem(a->body.p + from, a->body.n - from, "\n\n", 2)); from = start) {
        size_t after = (size_t)(e - a->body.p) + 2;
        take_event(a, a->body.p + start, after - start, now);
        start = after;
    }
    buf_drop(&a->body, start);
}

/* The head is whole and NUL-terminated in a->line. */
static int take_head(Answer *a) {
    const char *head = a->line.p, *length = header(head, "content-length");
    if (strncmp(head, "HTTP/1.", 7)) return -1;
    a->status = atoi(head + 9);
    a->closes = head[7] == '0' || says(header(head, "connection"), "close");
    a->phase = PLAIN;
    if (says(header(head, "transfer-encoding"), "chunked")) a->phase = CHUNK_SIZE;
    else if (length) a->sized = 1, a->left = strtoul(length, NULL, 10);
    if (a->status < 200) a->phase = HEAD;
    a->line.n = 0;
    return a->phase == PLAIN && a->sized && !a->left;
}

/* Takes a line up to its '\n' into a->line, without line end; returns the bytes used, and whether it is whole. */
static size_t take_line(Answer *a, const char *p, size_t n, int *whole) {
    const char *e = memchr(p, '\n', n);
    size_t used = e ? (size_t)(e - p) + 1 : n;
    buf_add(&a->line, p, used);
    if ((*whole = e != NULL)) {
        a->line.n--;
        if (a->line.n && a->line.p[a->line.n - 1] == '\r') a->line.n--;
        a->line.p[a->line.n] = 0;
    }
    return used;
}

static size_t take_head_bytes(Answer *a, const char *p, size_t n, int *state) {
    size_t had = a->line.n, from = had > 3 ? had - 3 : 0;
    buf_add(&a->line, p, n);
    char *e = memmem(a->line.p + from, a->line.n - from, "\r\n\r\n", 4);
    if (!e) {
        if (a->line.n > BODY_KEPT) *state = -1;
        return n;
    }
    size_t used = (size_t)(e - a->line.p) + 4 - had;
    e[2] = 0;
    *state = take_head(a);
    return used;
}

/* One step over framing that is not body; *state as in answer_take. */
static size_t take_chunk_line(Answer *a, const char *p, size_t n, int *state) {
    int whole;
    size_t used = take_line(a, p, n, &whole);
    if (!whole) return used;
    if (a->phase == CHUNK_SIZE) {
        char *end;
        a->left = strtoul(a->line.p, &end, 16);
        if (end == a->line.p) *state = -1;
        a->phase = a->left ? CHUNK_DATA : TRAILER;
    } else if (a->phase == CHUNK_END) {
        if (a->line.n) *state = -1;
        a->phase = CHUNK_SIZE;
    } else if (!a->line.n) {
        *state = 1;
    }
    a->line.n = 0;
    return used;
}

int answer_take(Answer *a, int streaming, const char *p, size_t n, uint64_t now) {
    int state = 0;
    while (n && !state) {
        size_t used;
        if (a->phase == HEAD) {
            used = take_head_bytes(a, p, n, &state);
        } else if (a->phase == PLAIN || a->phase == CHUNK_DATA) {
            used = (a->sized || a->phase == CHUNK_DATA) && n > a->left ? a->left : n;
            take_body(a, streaming, p, used, now);
            a->left -= used;
            if (a->phase == CHUNK_DATA && !a->left) a->phase = CHUNK_END;
            else if (a->sized && !a->left) state = 1;
        } else {
            used = take_chunk_line(a, p, n, &state);
        }
        p += used;
        n -= used;
    }
    return state;
}
