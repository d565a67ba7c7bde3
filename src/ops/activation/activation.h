/* Activations (spec/pretraining.md 5.1): gelu(x) = x (1 + erf(x / sqrt 2)) / 2, quick_gelu(x) = x sigmoid(1.702 x). */
#ifndef LACUNA_OPS_ACTIVATION_H
#define LACUNA_OPS_ACTIVATION_H

#include "graph/tape.h"

typedef enum { ACTIVATION_NONE, ACTIVATION_GELU, ACTIVATION_QUICK_GELU } Activation;

typedef struct {
    Activation kind;
} ActivationAttr;

Ref activation(Tape *tape, Ref x, Activation kind);

/* For lowering. activation: x -> y. activation_grad: dy, x -> dx, y (bf16) once more or none. The cpu's kernels take f32 alone
 * and give no y; a GPU's take and give bf16 too. */
extern const Op activation_op, activation_grad_op;

#endif
