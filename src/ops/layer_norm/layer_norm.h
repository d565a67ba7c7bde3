/* LayerNorm: (x - mean) / sqrt(biased variance + eps) x gamma + beta over the last axis (spec/pretraining.md 5.1). */
#ifndef LACUNA_OPS_LAYER_NORM_H
#define LACUNA_OPS_LAYER_NORM_H

#include "graph/tape.h"

typedef struct {
    double eps;
} LayerNormAttr;

/* x (..., D), gamma and beta (D). */
Ref layer_norm(Tape *tape, Ref x, Ref gamma, Ref beta, double eps);

/* For lowering. layer_norm: x, gamma, beta -> y, stats (rows, 2): mean and 1 / deviation. layer_norm_grad: dy, x, stats, gamma,
 * beta -> dx, dgamma, dbeta, y (bf16) once more; each may be left out, beta without y too. The cpu's kernels take f32 alone and
 * give no y; a GPU's take and give bf16 too. */
extern const Op layer_norm_op, layer_norm_grad_op;

#endif
