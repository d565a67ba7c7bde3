/* BatchNorm without weight and bias (docs/spec/transfer.md B.1): per column, (x - mean) / sqrt(variance + eps). */
#ifndef LACUNA_OPS_BATCH_NORM_H
#define LACUNA_OPS_BATCH_NORM_H

#include "graph/tape.h"

/* Training: mean and biased variance of the batch x (rows, D), at least two rows. running (2, D): mean and unbiased variance,
 * each becomes (1 - momentum) x itself + momentum x the batch's; updated in place. REF_NONE: not followed. */
Ref batch_norm(Tape *tape, Ref x, Ref running, double momentum, double eps);

/* Evaluation: by the running mean and variance, which carry no gradient. */
Ref batch_norm_fixed(Tape *tape, Ref x, Ref running, double eps);

#endif
