#ifndef LACUNA_OPS_WEIGHTED_SUM_ATTR_H
#define LACUNA_OPS_WEIGHTED_SUM_ATTR_H

#include "ops/weighted_sum/weighted_sum.h"

typedef struct {
    int count;
    double weights[WEIGHTED_SUM_MOST];
} WeightedSumAttr;

#endif
