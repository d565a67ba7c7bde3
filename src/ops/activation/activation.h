/* Activations (spec/pretraining.md 5.1): gelu(x) = x (1 + erf(x / sqrt 2)) / 2, quick_gelu(x) = x sigmoid(1.702 x). */
#ifndef LACUNA_OPS_ACTIVATION_H
#define LACUNA_OPS_ACTIVATION_H

#include "graph/tape.h"

typedef enum { ACTIVATION_NONE, ACTIVATION_GELU, ACTIVATION_QUICK_GELU } Activation;

typedef struct {
    Activation kind;
} ActivationAttr;

Ref activation(Tape *tape, Ref x, Activation kind);

enum { ACTIVATION_GRAD_DY, ACTIVATION_GRAD_X, ACTIVATION_GRAD_IN };
enum { ACTIVATION_GRAD_DX, ACTIVATION_GRAD_Y, ACTIVATION_GRAD_SUMS, ACTIVATION_GRAD_OUT };

/* For lowering. activation: x -> y. activation_grad: dy, x -> dx, y (bf16) once more or none, sums (D) of the columns of what
 * it writes or adds to dx, before that is rounded, or none. The cpu's kernels take f32 alone and give neither y nor sums; a
 * GPU's take and give bf16 too. */
extern const Op activation_op, activation_grad_op;

#endif
