/* Per-row standardisation of targets: `target.normalise: patch` and `token` (spec/pretraining.md 2). */
#ifndef LACUNA_OPS_STANDARDISE_H
#define LACUNA_OPS_STANDARDISE_H

#include "graph/tape.h"

/* Each row of x minus its mean, divided by sqrt(unbiased variance + 1e-6). Rows have at least two elements. Carries no
 * gradient. */
Ref standardise(Tape *tape, Ref x);

#endif
