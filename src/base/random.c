#include "base/random.h"

#include <math.h>

void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* SplitMix64's finaliser: spreads every bit over all others. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

Random random_stream(uint64_t seed, RandomPurpose purpose, uint32_t stage, uint32_t epoch, uint64_t sample)
{
    uint64_t key = mix(seed + 0x9E3779B97F4A7C15u) ^ mix(((uint64_t)stage << 32 | (uint32_t)purpose) + 0x632BE59BD9B4E019u);
    Random r = {.key = {(uint32_t)key, (uint32_t)(key >> 32)},
                .counter = {0, epoch, (uint32_t)sample, (uint32_t)(sample >> 32)},
                .used = 4};
    return r;
}

uint32_t random_u32(Random *r)
{
    if (r->used == 4) {
        random_philox(r->counter, r->key, r->block);
        r->counter[0]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

double random_uniform(Random *r)
{
    uint64_t high = random_u32(r), low = random_u32(r);
    return (double)((high << 32 | low) >> 11) * 0x1p-53;
}

uint32_t random_below(Random *r, uint32_t n)
{
    /* Lemire's method: reject the few products that would favour some results. */
    uint32_t floor = -n % n;
    for (;;) {
        uint64_t product = (uint64_t)random_u32(r) * n;
        if ((uint32_t)product >= floor)
            return (uint32_t)(product >> 32);
    }
}

double random_normal(Random *r)
{
    double u = 1.0 - random_uniform(r), v = random_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

uint64_t random_hash(const char *text)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001B3u;
    return mix(h);
}
