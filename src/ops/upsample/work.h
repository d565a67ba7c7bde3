#ifndef LACUNA_OPS_UPSAMPLE_WORK_H
#define LACUNA_OPS_UPSAMPLE_WORK_H

#include <stdint.h>

#include "ops/on_gpu.h"

typedef struct {
    int64_t rows, columns, height, width;
} UpsampleAttr;

/* The two places of an axis that place `at` of the result lies between, and the share of the second. */
typedef struct {
    int64_t first, second;
    float share;
} UpsampleBetween;

ON_GPU static inline UpsampleBetween upsample_between(int64_t at, int64_t in, int64_t out)
{
    double place = ((double)at + 0.5) * (double)in / (double)out - 0.5;
    UpsampleBetween b = {0, 0, 0};
    if (place > 0) {
        b.first = (int64_t)place;
        b.share = (float)(place - (double)b.first);
    }
    b.second = b.first + 1 < in ? b.first + 1 : in - 1;
    return b;
}

/* What place `at` of the result has of place `from`. */
ON_GPU static inline float upsample_weight(int64_t at, int64_t from, int64_t in, int64_t out)
{
    UpsampleBetween b = upsample_between(at, in, out);
    return (b.first == from ? 1 - b.share : 0) + (b.second == from ? b.share : 0);
}

/* Places of the result outside of which nothing is of place `from`. */
ON_GPU static inline int64_t upsample_begin(int64_t from, int64_t in, int64_t out)
{
    int64_t at = (2 * from - 1) * out / (2 * in) - 1;
    return at > 0 ? at : 0;
}

ON_GPU static inline int64_t upsample_end(int64_t from, int64_t in, int64_t out)
{
    int64_t at = (2 * from + 3) * out / (2 * in) + 1;
    return at < out ? at : out;
}

#endif
