/* Rows of a given length (docs/spec/pretraining.md 14): y = length x / |x|, the norm at least 1e-12. */
#ifndef LACUNA_OPS_UNIT_ROWS_H
#define LACUNA_OPS_UNIT_ROWS_H

#include "graph/tape.h"

/* x (..., D), each row on its own. */
Ref unit_rows(Tape *tape, Ref x, double length);

#endif
