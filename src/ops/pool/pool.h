/* The mean of some tokens of each sequence: a picture's feature (docs/spec/transfer.md A.1, B.1). */
#ifndef LACUNA_OPS_POOL_H
#define LACUNA_OPS_POOL_H

#include "graph/tape.h"

/* x (N, T, D) -> (N, D): the mean of tokens first .. first + count - 1. One token (count 1) is taken as it is. */
Ref pool(Tape *tape, Ref x, int64_t first, int64_t count);

#endif
