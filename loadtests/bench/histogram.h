/* A histogram of nanoseconds in fixed memory: buckets are 0.4 % wide, so percentiles are right to 0.2 %. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H
#include <stdint.h>
#include <stdio.h>

#define STEPS 256 /* buckets per power of two */

typedef struct {
    uint64_t count, sum, max, bucket[58 * STEPS];
} Histogram;

static inline void observe(Histogram *h, uint64_t ns) {
    int shift = ns < 2 * STEPS ? 0 : 55 - __builtin_clzll(ns);
    h->bucket[(uint64_t)shift * STEPS + (ns >> shift)]++;
    h->count++;
    h->sum += ns;
    if (ns > h->max) h->max = ns;
}

static inline double quantile_us(const Histogram *h, double q) {
    uint64_t rank = (uint64_t)(q * (double)(h->count - 1)), seen = 0;
    for (uint64_t i = 0; i < sizeof h->bucket / sizeof *h->bucket; i++) {
        if ((seen += h->bucket[i]) <= rank) continue;
        uint64_t shift = i < 2 * STEPS ? 0 : i / STEPS - 1, low = (i - shift * STEPS) << shift;
        double middle = (double)low + (double)((1ull << shift) - 1) / 2;
        return (middle < (double)h->max ? middle : (double)h->max) / 1e3;
    }
    return (double)h->max / 1e3;
}

static inline void print_histogram(const char *name, const Histogram *h) {
    if (!h->count) return;
    printf(",\"%s_us\":{\"mean\":%.2f,\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f}", name,
           (double)h->sum / (double)h->count / 1e3, quantile_us(h, 0.5), quantile_us(h, 0.9), quantile_us(h, 0.99),
           quantile_us(h, 0.999), (double)h->max / 1e3);
}
#endif
