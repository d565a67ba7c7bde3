#ifndef LACUNA_OPS_GRAD_NORM_ATTR_H
#define LACUNA_OPS_GRAD_NORM_ATTR_H

#include "ops/grad_norm/grad_norm.h"

typedef struct {
    double clip;
} GradNormAttr;

/* Elements of a partial sum; partial sums are added in order. */
enum { GRAD_NORM_TILE = 1 << 15 };

static inline double clip_factor(double norm, double clip)
{
    return clip > 0 && clip / (norm + 1e-6) < 1 ? clip / (norm + 1e-6) : 1;
}

#endif
