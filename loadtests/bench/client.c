/* A load client that costs little and believes nothing.
 *
 *   client rest|stream --target HOST:PORT ... --conns N --seconds S|--rounds N [options]
 *
 * Each connection sends its next request when the last answer is complete (a closed loop) until the seconds or
 * rounds are over.  --ramp-ms spreads the first requests.  --hang-up-every K: every K-th request leaves as soon as
 * a quarter of its tokens is there (rest: right after sending).  An answer is good only if it is complete and
 * right: status 200; a stream with every token in order, no error event, [DONE] and a proper end of the body.
 * byte_exact counts the good streams whose event bytes came through untouched.  --stamped 0: the replicas are not
 * the bench's own, and tokens can't be told one by one.  SIGTERM: finish what runs, then print.  Prints one JSON
 * object.
 */
#include "client.h"

typedef struct Conn {
    int fd, target, busy, fresh, rounds, leaving;
    uint32_t watched;
    uint64_t begins, sent_at;
    size_t sent;
    Request request;
    Answer answer;
} Conn;

static int poller, active;
static volatile sig_atomic_t told_to_stop;
static uint64_t stop_at, sent, good, exact, left, opened, reconnected, bad_status, bad_connection, bad_http, bad_answer;
static Histogram latency, ttft;
static char first_error[240];

static void note(const char *why, size_t n) {
    if (!first_error[0]) snprintf(first_error, sizeof first_error, "%.*s", (int)(n < 200 ? n : 200), why);
}

static void watch(Conn *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (c->watched != events) epoll_ctl(poller, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e);
    c->watched = events;
}

static void disconnect(Conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->watched = 0;
}

static int connected(Conn *c) {
    int one = 1;
    if (c->fd >= 0) return 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return 0;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&o.targets[c->target], sizeof *o.targets) && errno != EINPROGRESS) disconnect(c);
    c->fresh = 1;
    opened += c->fd >= 0;
    return c->fd >= 0;
}

static void finish(Conn *c);

static void push(Conn *c) {
    while (c->sent < c->request.text.n) {
        ssize_t w = send(c->fd, c->request.text.p + c->sent, c->request.text.n - c->sent, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) break; /* not yet writable, or broken: then the read side tells */
        c->sent += (size_t)w;
    }
    watch(c, EPOLLIN | (c->sent < c->request.text.n ? EPOLLOUT : 0));
    if (c->leaving && !o.streaming && c->sent == c->request.text.n) {
        left++;
        disconnect(c);
        finish(c);
    }
}

static void begin(Conn *c) {
    char counter[16];
    c->busy = 1;
    answer_reset(&c->answer);
    if (!connected(c)) {
        bad_connection++;
        note("cannot connect", 14);
        c->busy = 0, active--;
        return;
    }
    snprintf(counter, sizeof counter, "%010llu", (unsigned long long)(++sent % 10000000000ull));
    memcpy(c->request.text.p + c->request.counter_at, counter, 10);
    c->leaving = o.hang_up_every && sent % (uint64_t)o.hang_up_every == 0;
    c->sent = 0;
    c->sent_at = now_ns();
    push(c);
}

/* After an answer, good or not: the next request, or the end of this connection's work. */
static void finish(Conn *c) {
    c->busy = 0;
    int nothing_works = !good && !left && bad_status + bad_connection + bad_http + bad_answer > 200;
    if (told_to_stop || nothing_works || (o.rounds ? --c->rounds <= 0 : now_ns() >= stop_at)) active--;
    else begin(c);
}

static void fail(Conn *c, uint64_t *counter, const char *why) {
    (*counter)++;
    note(why, strlen(why));
    disconnect(c);
    finish(c);
}

static void complete(Conn *c, uint64_t now) {
    Answer *a = &c->answer;
    char why[160];
    c->fresh = 0;
    if (a->closes) disconnect(c);
    if (a->status != 200) {
        bad_status++;
        snprintf(why, sizeof why, "status %d: %.*s", a->status, (int)(a->body.n < 120 ? a->body.n : 120), a->body.n ? a->body.p : "");
        note(why, strlen(why));
    } else if (o.streaming ? a->wrong || !a->done || (o.stamped ? a->tokens != o.tokens : !a->plain)
                           : !memmem(a->body.p, a->body.n, "\"chat.completion\"", 17)) {
        bad_answer++;
        snprintf(why, sizeof why, "answer with %u of %u tokens, end marker %d, wrong %d", a->tokens, o.tokens, a->done, a->wrong);
        note(why, strlen(why));
    } else {
        good++;
        exact += (uint64_t)a->exact;
        observe(&latency, now - c->sent_at);
        if (o.streaming) observe(&ttft, a->first - c->sent_at);
    }
    finish(c);
}

static void closed(Conn *c, int error) {
    const Answer *a = &c->answer;
    if (!c->busy) {
        disconnect(c);
    } else if (!error && a->phase == PLAIN && !a->sized) {
        disconnect(c);
        complete(c, now_ns()); /* a body that ends with the connection */
    } else if (!c->fresh && a->phase == HEAD && !a->line.n) {
        /* an idle connection closed just as the request went out: every client sends again */
        reconnected++, sent--;
        disconnect(c);
        begin(c);
    } else {
        fail(c, &bad_connection, error ? strerror(error) : "connection closed before the end of the answer");
    }
}

static void readable(Conn *c) {
    static char bytes[1 << 18];
    for (int again = 1; again && c->fd >= 0;) {
        ssize_t r = recv(c->fd, bytes, sizeof bytes, 0);
        uint64_t now = now_ns();
        if (r < 0 && errno == EINTR) continue;
        if (r < 0 && errno == EAGAIN) return;
        if (r <= 0) {
            closed(c, r < 0 ? errno : 0);
            return;
        }
        again = (size_t)r == sizeof bytes;
        if (!c->busy) continue;
        int state = answer_take(&c->answer, o.streaming, bytes, (size_t)r, now);
        if (state < 0) fail(c, &bad_http, "not HTTP");
        else if (state > 0) complete(c, now);
        else if (c->leaving && c->answer.tokens + c->answer.plain >= o.tokens / 4) {
            left++;
            disconnect(c);
            finish(c);
        } else continue;
        return;
    }
}

static void print_result(double wall_s) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu_s = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
#define N(name) (unsigned long long)name
    printf("{\"wall_s\":%.4f,\"cpu_s\":%.4f,\"sent\":%llu,\"good\":%llu,\"byte_exact\":%llu,\"hung_up\":%llu,\"unfinished\":%d,"
           "\"opened\":%llu,\"reconnected\":%llu,\"bad_status\":%llu,\"bad_connection\":%llu,\"bad_http\":%llu,"
           "\"bad_answer\":%llu,\"events\":%llu,\"tokens\":%llu,\"body_bytes\":%llu",
           wall_s, cpu_s, N(sent), N(good), N(exact), N(left), active, N(opened), N(reconnected), N(bad_status),
           N(bad_connection), N(bad_http), N(bad_answer), N(received.events), N(received.tokens), N(received.body_bytes));
    printf(",\"first_error\":\"");
    for (const char *p = first_error; *p; p++) {
        if (*p == '"' || *p == '\\') putchar('\\');
        if ((unsigned char)*p >= ' ') putchar(*p);
    }
    putchar('"');
    print_histogram("latency", &latency);
    print_histogram("ttft", &ttft);
    print_histogram("delay", &received.delay);
    printf("}\n");
}

static void stop(int number) {
    told_to_stop = number;
}

/* Connections begin in order, spread over the ramp; returns the milliseconds until the next one has to. */
static int begin_due(Conn *conns, int *begun) {
    uint64_t now = now_ns();
    while (*begun < o.conns && !told_to_stop && conns[*begun].begins <= now) begin(&conns[(*begun)++]);
    if (told_to_stop) active -= o.conns - *begun, *begun = o.conns;
    if (*begun == o.conns) return 100;
    uint64_t wait = (conns[*begun].begins - now) / 1000000;
    return wait < 100 ? (int)wait : 100;
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, stop);
    more_files();
    poller = epoll_create1(EPOLL_CLOEXEC);
    Conn *conns = calloc((size_t)o.conns, sizeof *conns);
    uint64_t start = now_ns(), give_up = start + (uint64_t)(o.timeout_s * 1e9);
    stop_at = start + (uint64_t)(o.seconds * 1e9);
    for (int i = 0; i < o.conns; i++) {
        conns[i].fd = -1;
        conns[i].target = i % o.n_targets;
        conns[i].rounds = o.rounds;
        conns[i].begins = start + (uint64_t)(o.ramp_s * 1e9 * i / o.conns);
        write_request(&conns[i].request, i, conns[i].target);
    }
    active = o.conns;
    struct epoll_event events[512];
    for (int begun = 0; active > 0 && now_ns() < give_up;) {
        int n = epoll_wait(poller, events, 512, begin_due(conns, &begun));
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (c->fd >= 0 && events[i].events & EPOLLOUT) push(c);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) readable(c);
        }
    }
    print_result((double)(now_ns() - start) / 1e9);
    return 0;
}
