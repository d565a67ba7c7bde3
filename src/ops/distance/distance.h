/* Elementwise losses (spec/pretraining.md 7): l2 the mean of e^2 over the outputs of a place, l1 the mean of |e|, smooth_l1 the
 * mean of e^2 / (2 beta) where |e| < beta and |e| - beta / 2 elsewhere. */
#ifndef LACUNA_OPS_DISTANCE_H
#define LACUNA_OPS_DISTANCE_H

#include "graph/tape.h"

typedef enum { DISTANCE_L2, DISTANCE_L1, DISTANCE_SMOOTH_L1 } DistanceKind;

typedef struct {
    Ref pred, target; /* (rows, out), or any shape whose last axis is out */
    Ref weight;       /* (rows) factor of each place (1: counts, 0: does not), or left out: all count */
    Ref scale;        /* scalar: 1 / number of places that count in the whole batch */
    DistanceKind kind;
    double beta;
} DistanceArgs;

/* scale x sum over places of weight x distance: a scalar. Targets carry no gradient. */
Ref distance(Tape *tape, DistanceArgs args);

#endif
