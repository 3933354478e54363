/* A vLLM stand-in that costs as little as a server can, so that a benchmark of gateways measures gateways.
 *
 *   replica --port N [--model demo] [--interval-us 20000] [--together]
 *
 * Answers POST below /v1/ as vLLM 0.32 answers a chat: JSON, or one HTTP chunk per SSE event (role event,
 * max_tokens content events, a usage event if asked for, [DONE]).  interval 0: as fast as the peer reads.
 * Else an event per interval and stream: phases spread evenly, or with --together all at the same instant,
 * as the steps of an engine make them.  One thread, epoll.
 *
 * Content events carry "@<CLOCK_MONOTONIC ns>#<index>@" in the text, stamped before send(): the text is what
 * survives a gateway that parses and rewrites events.  While a peer does not read, stamped events wait here, so
 * back-pressure counts as delay.  The usage event carries a hash of all event bytes before it, taken over the
 * form a client gets that did not ask for token ids: a gateway that asks for them has to restore that form.
 */
#include "replica.h"
#include <sys/prctl.h>

Options options = {.model = "demo", .interval_ns = 20000000};
Counts counts;

static TAILQ_HEAD(Conns, Conn) timed = TAILQ_HEAD_INITIALIZER(timed), ready = TAILQ_HEAD_INITIALIZER(ready),
                               graves = TAILQ_HEAD_INITIALIZER(graves);
static int poller;

/* ---- which stream speaks next ---- */

/* All streams have one interval: one that fired goes to the tail, and only a new one walks back a little. */
static void list_timed(Conn *c) {
    Conn *before = TAILQ_LAST(&timed, Conns);
    while (before && before->due > c->due) before = TAILQ_PREV(before, Conns, link);
    if (before) TAILQ_INSERT_AFTER(&timed, before, c, link);
    else TAILQ_INSERT_HEAD(&timed, c, link);
    c->in_list = TIMED;
}

static void list_ready(Conn *c) {
    TAILQ_INSERT_TAIL(&ready, c, link);
    c->in_list = READY;
}

void unschedule(Conn *c) {
    if (c->in_list == TIMED) TAILQ_REMOVE(&timed, c, link);
    if (c->in_list == READY) TAILQ_REMOVE(&ready, c, link);
    c->in_list = NONE;
}

void schedule(Conn *c) {
    static uint64_t order;
    uint64_t every = options.interval_ns, now = now_ns();
    if (!every) {
        if (!c->out.n) list_ready(c); /* else when the socket has taken what waits */
        return;
    }
    /* multiples of the golden ratio spread any number of phases evenly over the interval */
    double turn = options.together ? 0 : (double)order++ * 0.6180339887498949;
    c->due = now - now % every + every + (uint64_t)((turn - (double)(uint64_t)turn) * (double)every);
    list_timed(c);
}

/* ---- connections ---- */

static void watch(Conn *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (c->watched != events) epoll_ctl(poller, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e);
    c->watched = events;
}

static void hang_up(Conn *c) {
    if (c->dead) return;
    if (c->streaming) counts.running--, counts.aborted++;
    unschedule(c);
    close(c->fd);
    c->dead = 1;
    TAILQ_INSERT_TAIL(&graves, c, link); /* freed after this round: epoll may still name it */
}

static void bury(void) {
    for (Conn *c; (c = TAILQ_FIRST(&graves));) {
        TAILQ_REMOVE(&graves, c, link);
        free(c->in.p);
        free(c->out.p);
        free(c);
    }
}

static void flush(Conn *c) {
    size_t done = 0;
    while (done < c->out.n) {
        ssize_t w = send(c->fd, c->out.p + done, c->out.n - done, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0 && errno != EAGAIN) {
            hang_up(c);
            return;
        }
        if (w < 0) break;
        done += (size_t)w;
    }
    if (done) buf_drop(&c->out, done);
    watch(c, EPOLLIN | EPOLLRDHUP | (c->out.n ? EPOLLOUT : 0));
}

void put(Conn *c, const char *p, size_t n) {
    int waiting = c->out.n > 0;
    buf_add(&c->out, p, n);
    if (!waiting) flush(c);
}

void answer(Conn *c, int status, const char *type, const char *body, size_t n) {
    char head[256];
    int k = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
                     "content-length: %zu\r\ncontent-type: %s\r\n\r\n",
                     status, status == 200 ? "OK" : "Error", n, type);
    Buf b = {0};
    buf_add(&b, head, (size_t)k);
    if (n) buf_add(&b, body, n);
    put(c, b.p, b.n);
    free(b.p);
}

/* The next whole request of the input, if there is one; returns whether it took one. */
static int take_request(Conn *c) {
    char method[8], path[256];
    char *end = memmem(c->in.p, c->in.n, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - c->in.p) + 4;
    end[2] = 0;
    const char *length = header(c->in.p, "content-length");
    size_t body = length ? strtoul(length, NULL, 10) : 0;
    int chunked = header(c->in.p, "transfer-encoding") != NULL;
    int closing = says(header(c->in.p, "connection"), "close");
    int parts = sscanf(c->in.p, "%7s %255[^ ?]", method, path);
    end[2] = '\r';
    if (parts != 2) {
        hang_up(c);
        return 0;
    }
    if (c->in.n < head + body) {
        buf_room(&c->in, head + body - c->in.n);
        return 0;
    }
    c->last_request = closing || chunked;
    if (chunked) answer(c, 411, "text/plain", "the bench's replica takes no chunked requests", 45);
    else if (*method == 'P' && !strncmp(path, "/v1/", 4)) generate(c, c->in.p + head, body);
    else get(c, path);
    if (c->dead) return 0;
    buf_drop(&c->in, head + body);
    return 1;
}

static void take_requests(Conn *c) {
    while (!c->dead && !c->streaming && !c->last_request && c->in.n && take_request(c)) {}
    if (!c->dead && c->last_request && !c->streaming && !c->out.n) hang_up(c);
}

static void speak(void) {
    for (Conn *c; (c = TAILQ_FIRST(&timed)) && c->due <= now_ns();) {
        unschedule(c);
        c->due += options.interval_ns;
        list_timed(c);
        token_event(c); /* takes it off the list at its end */
        if (!c->streaming) take_requests(c);
    }
    for (Conn *c = TAILQ_FIRST(&ready), *next; c; c = next) {
        next = TAILQ_NEXT(c, link);
        token_event(c);
        if (c->out.n && !c->dead) unschedule(c);
        if (!c->streaming) take_requests(c);
    }
}

static void readable(Conn *c) {
    for (;;) {
        buf_room(&c->in, 1 << 16);
        size_t room = c->in.cap - c->in.n;
        ssize_t r = recv(c->fd, c->in.p + c->in.n, room, 0);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0 && errno == EAGAIN) break;
        if (r <= 0) {
            hang_up(c);
            return;
        }
        c->in.n += (size_t)r;
        if ((size_t)r < room) break;
    }
    take_requests(c);
}

static void serve(Conn *c, uint32_t events) {
    if (c->dead) return;
    if (events & EPOLLOUT) {
        flush(c);
        if (!c->dead && !c->out.n && c->streaming && !options.interval_ns && c->in_list == NONE) list_ready(c);
        if (!c->dead) take_requests(c);
    }
    if (!c->dead && events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) readable(c);
}

static void welcome(int listener) {
    int one = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        watch(c, EPOLLIN | EPOLLRDHUP);
    }
}

static struct timespec patience(void) {
    const Conn *c = TAILQ_FIRST(&timed);
    uint64_t now = now_ns(), wait = TAILQ_FIRST(&ready) ? 0 : 100000000;
    if (c && wait) wait = c->due <= now ? 0 : c->due - now < wait ? c->due - now : wait;
    return (struct timespec){.tv_nsec = (long)wait};
}

static int listen_on(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) {
        perror("replica: cannot listen");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv) {
    int port = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--together")) options.together = 1;
        else if (!strcmp(argv[i], "--port")) port = atoi(value), i++;
        else if (!strcmp(argv[i], "--model")) options.model = value, i++;
        else if (!strcmp(argv[i], "--interval-us")) options.interval_ns = strtoull(value, NULL, 10) * 1000, i++;
        else return fprintf(stderr, "replica: unknown option %s\n", argv[i]), 2;
    }
    signal(SIGPIPE, SIG_IGN);
    more_files();
    prctl(PR_SET_TIMERSLACK, 1);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(port);
    struct epoll_event events[256], e = {.events = EPOLLIN};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct timespec t = patience();
        int n = epoll_pwait2(poller, events, 256, &t, NULL);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) serve(events[i].data.ptr, events[i].events);
            else welcome(listener);
        }
        speak();
        bury();
    }
}
