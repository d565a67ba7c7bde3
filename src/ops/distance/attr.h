#ifndef LACUNA_OPS_DISTANCE_ATTR_H
#define LACUNA_OPS_DISTANCE_ATTR_H

#include "ops/distance/distance.h"

typedef struct {
    DistanceKind kind;
    double beta;
} DistanceAttr;

/* Rows of a partial sum; partial sums are added in order, so the cut is part of the result. */
enum { DISTANCE_TILE = 64 };

#endif
