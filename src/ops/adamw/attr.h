#ifndef LACUNA_OPS_ADAMW_ATTR_H
#define LACUNA_OPS_ADAMW_ATTR_H

#include "ops/adamw/adamw.h"

typedef struct {
    double beta1, beta2, eps;
    const AdamwRange *ranges; /* owned by the tape */
    int range_count;
} AdamwAttr;

#endif
