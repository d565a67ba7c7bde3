#ifndef LACUNA_OPS_CROSS_ENTROPY_WORK_H
#define LACUNA_OPS_CROSS_ENTROPY_WORK_H

#include <stdint.h>

/* Rows of a partial sum; partial sums are added in order, so the cut is part of the result. */
enum { CROSS_ENTROPY_TILE = 64 };

typedef struct {
    double smoothing;
    int64_t classes;
} CrossEntropyAttr;

#endif
