/* The product that everything else is built around: y = residual + row_scale x column_scale x (prologue(x) W^T + b).
 *
 * Its gradient is two products of the same family: linear_dw (dW, db, dcolumn_scale) and linear_dx (dx and what the prologue
 * learns). */
#ifndef LACUNA_OPS_LINEAR_H
#define LACUNA_OPS_LINEAR_H

#include "graph/tape.h"
#include "ops/activation/activation.h"

typedef enum { PROLOGUE_NONE, PROLOGUE_LAYER_NORM, PROLOGUE_GELU, PROLOGUE_QUICK_GELU } Prologue;

typedef struct {
    Ref x; /* (..., K) */
    Ref w; /* (N, K), or any shape of N rows whose other axes have K elements together (a patch embedding's) */
    Ref b; /* (N), or left out */
    Prologue prologue;
    Ref gamma, beta; /* (K), of PROLOGUE_LAYER_NORM */
    double eps;
    Ref column_scale; /* (N): layer scale, or left out */
    Ref row_scale;    /* (G): drop path, a factor for each of G equal groups of rows, or left out */
    Ref residual;     /* (..., N), or left out */
    DType dtype;      /* of y: REAL unless said, or BF16; x may be either. What is multiplied follows tape_activation() */
} LinearArgs;

/* Returns (..., N). */
Ref linear(Tape *tape, LinearArgs args);

#endif
