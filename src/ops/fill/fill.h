/* Writes one number everywhere. */
#ifndef LACUNA_OPS_FILL_H
#define LACUNA_OPS_FILL_H

#include "graph/tape.h"

/* Overwrites `target` (any shape) with `value`. */
void fill(Tape *tape, Ref target, double value);

#endif
