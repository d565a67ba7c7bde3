/* The total loss: sum of weight x loss over the decoders (spec/pretraining.md 7). */
#ifndef LACUNA_OPS_WEIGHTED_SUM_H
#define LACUNA_OPS_WEIGHTED_SUM_H

#include "graph/tape.h"

enum { WEIGHTED_SUM_MOST = 64 };

/* target (a scalar) = sum_i weights[i] * terms[i]; terms is a vector of `count` <= WEIGHTED_SUM_MOST elements. Carries no
 * gradient. */
void weighted_sum(Tape *tape, Ref target, Ref terms, const double *weights, int count);

#endif
