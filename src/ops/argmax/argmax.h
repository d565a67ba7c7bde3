/* Which column of a row is the largest. A code book's row is the nearest to x when x c - |c|^2 / 2 is largest, so this behind a
 * `linear` gives the code of a token (docs/spec/pretraining.md 12). */
#ifndef LACUNA_OPS_ARGMAX_H
#define LACUNA_OPS_ARGMAX_H

#include "graph/tape.h"

typedef struct {
    Ref x;      /* (..., C) */
    Ref weight; /* REAL (rows), or left out: rows of weight 0 do not count */
} ArgmaxArgs;

/* Returns I32 (rows): the column of the row's largest number, of equals the first; -1 where nothing counts. What is not a
 * number is passed over, unless it comes first: then 0. No gradient flows. */
Ref argmax(Tape *tape, ArgmaxArgs args);

#endif
