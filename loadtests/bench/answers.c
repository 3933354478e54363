/* What the stand-in says: the bodies and SSE bytes of vLLM 0.32, its metrics, and its few GET pages. */
#include "replica.h"
#include <ctype.h>

/* One SSE event as one chunk.  ids: what a client gets that asked for token ids; NULL: the same as plain. */
static void event(Conn *c, const char *plain, int n, const char *ids, int ids_n, const char *after) {
    char chunk[1200];
    c->hash = hash_more(c->hash, plain, (size_t)n);
    const char *text = c->ids && ids ? ids : plain;
    int len = c->ids && ids ? ids_n : n;
    int k = snprintf(chunk, sizeof chunk, "%x\r\n%.*s\r\n%s", len, len, text, after);
    counts.events++;
    put(c, chunk, (size_t)k);
}

#define HEAD "data: {\"id\":\"chatcmpl-%016llx\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"%s\","
#define HEAD_ARGS (unsigned long long)c->id, options.model

static void role_event(Conn *c) {
    char a[512], b[512];
#define ROLE HEAD "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null," \
                  "\"finish_reason\":null}],\"prompt_token_ids\":%s,\"prompt_text\":null}\n\n"
    int n = snprintf(a, sizeof a, ROLE, HEAD_ARGS, "null");
    int m = snprintf(b, sizeof b, ROLE, HEAD_ARGS, "[1,2,3,4,5,6,7,8]");
    event(c, a, n, b, m, "");
}

static void end_stream(Conn *c) {
    char b[512];
    if (c->usage) {
        int n = snprintf(b, sizeof b,
                         HEAD "\"choices\":[],\"usage\":{\"prompt_tokens\":250,\"total_tokens\":%u,\"completion_tokens\":%u},"
                         "\"system_fingerprint\":\"bench-%016llx\"}\n\n",
                         HEAD_ARGS, 250 + c->total, c->total, (unsigned long long)c->hash);
        event(c, b, n, NULL, 0, "");
    }
    if (!c->dead) event(c, "data: [DONE]\n\n", 14, NULL, 0, "0\r\n\r\n");
    if (c->dead) return;
    unschedule(c);
    counts.running--;
    c->streaming = 0;
}

void token_event(Conn *c) {
    char a[512], b[512];
    const char *finish = c->sent + 1 == c->total ? "\"length\",\"stop_reason\":null" : "null";
    unsigned long long now = now_ns();
#define TOKEN HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"@%llu#%u@\"},\"logprobs\":null," \
                   "\"finish_reason\":%s,\"token_ids\":%s}]}\n\n"
    int n = snprintf(a, sizeof a, TOKEN, HEAD_ARGS, now, c->sent, finish, "null"), m = 0;
    if (c->ids) {
        char id[16];
        snprintf(id, sizeof id, "[%u]", 1000 + c->sent);
        m = snprintf(b, sizeof b, TOKEN, HEAD_ARGS, now, c->sent, finish, id);
    }
    c->sent++;
    event(c, a, n, b, m, "");
    if (!c->dead && c->sent == c->total) end_stream(c);
}

static void begin_stream(Conn *c) {
    static const char head[] = "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
                               "content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    c->streaming = 1, c->sent = 0, c->hash = HASH_START;
    counts.running++;
    put(c, head, sizeof head - 1);
    if (!c->dead) role_event(c);
    if (!c->dead) schedule(c);
}

/* Parameters stand before or after the prompt, never in it: look at both ends only.  value: "" if absent. */
static const char *parameter(const char *body, size_t n, const char *key) {
    size_t edge = n < 600 ? n : 600, k = strlen(key);
    const char *p = memmem(body, edge, key, k);
    if (!p) p = memmem(body + n - edge, edge, key, k);
    return p ? p + k + strspn(p + k, " :") : "";
}

void generate(Conn *c, const char *body, size_t n) {
    char b[1024];
    const char *limit = parameter(body, n, "\"max_tokens\"");
    if (!*limit) limit = parameter(body, n, "\"max_completion_tokens\"");
    c->total = isdigit((unsigned char)*limit) && atoi(limit) > 0 ? (uint32_t)atoi(limit) : 32;
    c->usage = *parameter(body, n, "\"include_usage\"") == 't';
    c->ids = *parameter(body, n, "\"return_token_ids\"") == 't';
    c->id = ++counts.requests << 16 ^ (uint64_t)getpid();
    if (*parameter(body, n, "\"stream\"") == 't') { begin_stream(c); return; }
    int k = snprintf(b, sizeof b,
                     "{\"id\":\"chatcmpl-%016llx\",\"object\":\"chat.completion\",\"created\":1767225600,\"model\":\"%s\","
                     "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A front door should open "
                     "quickly, hold nothing back, and close behind whoever leaves early.\",\"refusal\":null,"
                     "\"annotations\":null,\"audio\":null,\"function_call\":null,\"tool_calls\":[],\"reasoning\":null},"
                     "\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null,\"token_ids\":null}],"
                     "\"service_tier\":null,\"system_fingerprint\":null,\"usage\":{\"prompt_tokens\":250,"
                     "\"total_tokens\":282,\"completion_tokens\":32,\"prompt_tokens_details\":null},"
                     "\"prompt_logprobs\":null,\"prompt_token_ids\":null,\"kv_transfer_params\":null}",
                     HEAD_ARGS);
    answer(c, 200, "application/json", b, (size_t)k);
}

/* vLLM 0.32 sends 57 KB of metrics: whoever scrapes them pays for that here too. */
static void metrics(Conn *c) {
    Buf b = {0};
    char line[256];
#define LINE(...) buf_add(&b, line, (size_t)snprintf(line, sizeof line, __VA_ARGS__))
#define GAUGE(name, value) LINE("vllm:" name "{engine=\"0\",model_name=\"%s\"} %llu.0\n", options.model, (unsigned long long)(value))
    GAUGE("num_requests_running", counts.running);
    GAUGE("num_requests_waiting", 0);
    GAUGE("kv_cache_usage_perc", 0);
    GAUGE("generation_tokens_total", counts.events);
    GAUGE("iteration_tokens_total_count", counts.events);
    LINE("bench:requests_total %llu\nbench:events_total %llu\n", (unsigned long long)counts.requests, (unsigned long long)counts.events);
    LINE("bench:aborted_total %llu\n", (unsigned long long)counts.aborted);
    for (int i = 0; b.n < 57000; i++)
        LINE("vllm:request_prompt_tokens_bucket{engine=\"0\",le=\"%d.0\",model_name=\"%s\"} 0.0\n", i, options.model);
    answer(c, 200, "text/plain; version=1.0.0; charset=utf-8", b.p, b.n);
    free(b.p);
}

#define MODEL_INFO "{\"model_path\":\"%s\",\"tokenizer_path\":\"%s\",\"is_generation\":true}"
#define SERVER_INFO "{\"model_path\":\"%s\",\"served_model_name\":\"%s\",\"tp_size\":1,\"dp_size\":1}"

void get(Conn *c, const char *path) {
    /* the info pages are what SGLang's router asks its workers for */
    static const struct { const char *path, *body; } pages[] = {
        {"/health", ""}, {"/ping", ""}, {"/version", "{\"version\":\"0.32.0\"}"}, {"/load", "{\"server_load\":0}"},
        {"/v1/models", "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1767225600,"
                       "\"owned_by\":\"vllm\",\"root\":\"%s\",\"parent\":null,\"max_model_len\":131072}]}"},
        {"/get_model_info", MODEL_INFO}, {"/model_info", MODEL_INFO},
        {"/get_server_info", SERVER_INFO}, {"/server_info", SERVER_INFO}};
    char b[512];
    if (!strcmp(path, "/metrics")) { metrics(c); return; }
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (!strcmp(path, pages[i].path)) {
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            int n = snprintf(b, sizeof b, pages[i].body, options.model, options.model);
            answer(c, 200, "application/json", b, (size_t)n);
            return;
        }
    answer(c, 404, "application/json", "{\"detail\":\"Not Found\"}", 22);
}
