/* The load client's options and the requests it sends. */
#include "client.h"

Load o = {.stamped = 1, .model = "demo", .path = "/v1/chat/completions", .conns = 1, .tokens = 100, .body_bytes = 1024, .timeout_s = 120};

/* A chat as OpenAI's client writes it (messages before model), with a prompt of words, quotes and line breaks. */
void write_request(Request *request, int number, int target) {
    static const char *words[] = {"the", "gateway", "hands", "each", "token", "on", "when", "it", "comes", "and", "keeps",
                                  "nothing", "\\n", "said", "\\\"yes\\\"", "to", "a", "replica", "that", "is", "free"};
    static const char open[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"";
    char tail[256], head[4096];
    int t = snprintf(tail, sizeof tail, "\"}],\"model\":\"%s\",\"max_tokens\":%u,\"temperature\":0.7%s}", o.model, o.tokens,
                     o.streaming ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "");
    Buf body = {0};
    buf_add(&body, open, sizeof open - 1);
    buf_add(&body, "0000000000 ", 11);
    for (uint32_t r = 99991u * (uint32_t)(number + 1); body.n + (size_t)t + 16 < o.body_bytes;) {
        r = r * 1664525u + 1013904223u;
        const char *word = words[(r >> 16) % (sizeof words / sizeof *words)];
        buf_add(&body, word, strlen(word));
        buf_add(&body, " ", 1);
    }
    buf_add(&body, tail, (size_t)t);
    int h = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: */*\r\n"
                     "User-Agent: bench\r\nContent-Length: %zu\r\n",
                     o.path, ntohs(o.targets[target].sin_port), body.n);
    for (int i = 0; i < o.n_headers; i++) h += snprintf(head + h, sizeof head - (size_t)h, "%s\r\n", o.headers[i]);
    h += snprintf(head + h, sizeof head - (size_t)h, "\r\n");
    buf_add(&request->text, head, (size_t)h);
    request->counter_at = request->text.n + sizeof open - 1;
    buf_add(&request->text, body.p, body.n);
    free(body.p);
}

static void add_target(char *address) {
    char *colon = strchr(address, ':');
    if (!colon || o.n_targets == MANY) exit(2);
    *colon = 0;
    struct sockaddr_in *a = &o.targets[o.n_targets++];
    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    inet_pton(AF_INET, address, &a->sin_addr);
}

static int read_option(const char *name, char *value) {
    if (!strcmp(name, "--target")) add_target(value);
    else if (!strcmp(name, "--model")) o.model = value;
    else if (!strcmp(name, "--path")) o.path = value;
    else if (!strcmp(name, "--header") && o.n_headers < MANY) o.headers[o.n_headers++] = value;
    else if (!strcmp(name, "--stamped")) o.stamped = atoi(value);
    else if (!strcmp(name, "--conns")) o.conns = atoi(value);
    else if (!strcmp(name, "--seconds")) o.seconds = atof(value);
    else if (!strcmp(name, "--rounds")) o.rounds = atoi(value);
    else if (!strcmp(name, "--tokens")) o.tokens = (uint32_t)atoi(value);
    else if (!strcmp(name, "--body-bytes")) o.body_bytes = strtoul(value, NULL, 10);
    else if (!strcmp(name, "--ramp-ms")) o.ramp_s = atof(value) / 1e3;
    else if (!strcmp(name, "--hang-up-every")) o.hang_up_every = atoi(value);
    else if (!strcmp(name, "--timeout")) o.timeout_s = atof(value);
    else return 0;
    return 1;
}

void read_options(int argc, char **argv) {
    o.streaming = argc > 1 && !strcmp(argv[1], "stream");
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 < argc && read_option(argv[i], argv[i + 1])) continue;
        fprintf(stderr, "client: unknown or incomplete option %s\n", argv[i]);
        exit(2);
    }
    if (o.n_targets && o.conns > 0) return;
    fprintf(stderr, "client: needs --target and at least one connection\n");
    exit(2);
}
