#include "ops/peak/work.h"
#include "ops/row.h"

/* x = x a + b, which comes to rest at b / (1 - a): neither grows out of range nor down to where arithmetic is slow. */
void CPU(peak_fma)(const Call *c, Worker *w)
{
    const PeakWork *p = c->attr;
    Vec sum[PEAK_SUMS], a = vec_set(0.75f), b = vec_set(0.5f);
    for (int i = 0; i < PEAK_SUMS; i++)
        sum[i] = vec_set((float)i);
    while (worker_next(w, p->tiles) < p->tiles)
        for (int64_t round = 0; round < p->rounds; round++)
#pragma GCC unroll 16
            for (int i = 0; i < PEAK_SUMS; i++)
                sum[i] = sum[i] * a + b;
    for (int i = 1; i < PEAK_SUMS; i++)
        sum[0] += sum[i];
    p->sink[w->thread * PEAK_SINK] = vec_sum(sum[0]);
}

void CPU(peak_bf16)(const Call *c, Worker *w)
{
#if defined(__AVX512BF16__)
    const PeakWork *p = c->attr;
    __m512 sum[PEAK_SUMS];
    __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f803f80), b = (__m512bh)_mm512_set1_epi32(0x38003800);
    for (int i = 0; i < PEAK_SUMS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    while (worker_next(w, p->tiles) < p->tiles)
        for (int64_t round = 0; round < p->rounds; round++)
#pragma GCC unroll 16
            for (int i = 0; i < PEAK_SUMS; i++)
                sum[i] = _mm512_dpbf16_ps(sum[i], a, b);
    for (int i = 1; i < PEAK_SUMS; i++)
        sum[0] += sum[i];
    p->sink[w->thread * PEAK_SINK] = vec_sum((Vec)sum[0]);
#else
    (void)c;
    (void)w;
#endif
}

/* Writes where it has read, so that no memory is fetched only to be overwritten. */
void CPU(peak_update)(const Call *c, Worker *w)
{
    const PeakWork *p = c->attr;
    Vec scale = vec_set(0.5f);
    for (int64_t tile; (tile = worker_next(w, p->tiles)) < p->tiles;) {
        const float *x = p->from + tile * p->block;
        float *y = p->to + tile * p->block;
        for (int64_t i = 0; i < p->block; i += LANES)
            vec_store(y + i, vec_load(y + i) * scale + vec_load(x + i));
    }
}

void CPU(peak_read)(const Call *c, Worker *w)
{
    const PeakWork *p = c->attr;
    Vec sum[4] = {{0}, {0}, {0}, {0}};
    for (int64_t tile; (tile = worker_next(w, p->tiles)) < p->tiles;) {
        const float *x = p->from + tile * p->block;
        for (int64_t i = 0; i < p->block; i += 4 * LANES)
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++)
                sum[k] += vec_load(x + i + k * LANES);
    }
    p->sink[w->thread * PEAK_SINK] = vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}
