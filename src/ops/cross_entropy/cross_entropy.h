/* Softmax cross-entropy (docs/spec/transfer.md A.5): of a label y with smoothing s, (1-s)(-log p_y) + (s/C) sum over c of
 * -log p_c; of a dense target t, -sum over c of t_c log p_c. */
#ifndef LACUNA_OPS_CROSS_ENTROPY_H
#define LACUNA_OPS_CROSS_ENTROPY_H

#include "graph/tape.h"

typedef struct {
    Ref logits;       /* (rows, H C): H heads side by side, each of C classes */
    int64_t classes;  /* C */
    Ref labels;       /* I32 (rows), -1: this row does not count; or left out */
    Ref targets;      /* REAL (rows, C), instead of labels; they carry no gradient and hold the smoothing already */
    Ref scale;        /* scalar: 1 / rows that count in the whole batch */
    double smoothing; /* of labels */
} CrossEntropyArgs;

/* scale x sum over rows and heads: a scalar. */
Ref cross_entropy(Tape *tape, CrossEntropyArgs args);

#endif
