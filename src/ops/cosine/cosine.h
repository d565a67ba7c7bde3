/* Cosine loss (spec/pretraining.md 7): 2 - 2 p.t / (|p| |t|), each norm at least 1e-12. */
#ifndef LACUNA_OPS_COSINE_H
#define LACUNA_OPS_COSINE_H

#include "graph/tape.h"

typedef struct {
    Ref pred, target; /* (rows, out), or any shape whose last axis is out */
    Ref weight;       /* (rows) factor of each place, or left out: all count */
    Ref scale;        /* scalar: 1 / number of places that count in the whole batch */
} CosineArgs;

/* scale x sum over places of weight x distance: a scalar. Targets carry no gradient. */
Ref cosine(Tape *tape, CosineArgs args);

#endif
