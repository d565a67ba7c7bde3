#ifndef LACUNA_OPS_HOG_ATTR_H
#define LACUNA_OPS_HOG_ATTR_H

#include <math.h>
#include <stdint.h>

#include "ops/hog/hog.h"
#include "ops/on_gpu.h"

typedef struct {
    int patch, cell, bins, gaussian;
} HogAttr;

/* A picture continues behind its edges as in a mirror that stands on the outermost pixels. */
ON_GPU static inline int64_t hog_mirror(int64_t i, int64_t n)
{
    return i < 0 ? -i : i < n ? i : 2 * n - 2 - i;
}

/* The window's weight at a pixel, before all weights are divided by hog_window_sum(). */
ON_GPU static inline double hog_window(int side, int64_t y, int64_t x)
{
    const int half = side / 2; /* a whole number, as in MaskFeat */
    double middle = (side - 1) / 2.0, deviation = half;
    double a = ((double)(y % side) - middle) / deviation, b = ((double)(x % side) - middle) / deviation;
    return exp(-(a * a + b * b) / 2);
}

static inline double hog_window_sum(int side)
{
    double sum = 0;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            sum += hog_window(side, y, x);
    return sum;
}

#endif
