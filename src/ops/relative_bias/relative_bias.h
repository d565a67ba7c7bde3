/* Relative position bias of a grid of patches (docs/spec/pretraining.md 3.4): what attention adds to its logits. */
#ifndef LACUNA_OPS_RELATIVE_BIAS_H
#define LACUNA_OPS_RELATIVE_BIAS_H

#include "graph/tape.h"

typedef struct {
    Ref table;         /* (relative_bias_rows(rows, columns), heads) */
    int rows, columns; /* grid of patches */
    int class_tokens;  /* in front of the patches; all of them use the table's last three rows */
} RelativeBiasArgs;

/* Rows of a grid's table: one for each offset, then class to patch, patch to class, class to class. */
int64_t relative_bias_rows(int rows, int columns);

/* Returns (heads, T, T) with T = class_tokens + rows x columns: for each query and key the table's row of their offset. */
Ref relative_bias(Tape *tape, RelativeBiasArgs args);

#endif
