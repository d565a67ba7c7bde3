#ifndef LACUNA_OPS_LARS_ATTR_H
#define LACUNA_OPS_LARS_ATTR_H

#include "ops/lars/lars.h"

typedef struct {
    double keep, trust;
    const LarsRange *ranges; /* owned by the tape */
    int range_count;
} LarsAttr;

#endif
