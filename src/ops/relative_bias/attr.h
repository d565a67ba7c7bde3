#ifndef LACUNA_OPS_RELATIVE_BIAS_ATTR_H
#define LACUNA_OPS_RELATIVE_BIAS_ATTR_H

#include "ops/on_gpu.h"
#include "ops/relative_bias/relative_bias.h"

typedef struct {
    int rows, columns, class_tokens;
} RelativeBiasAttr;

/* The table's row for a query and a key, both tokens of a sequence. */
ON_GPU static inline int64_t relative_bias_row(const RelativeBiasAttr *a, int64_t query, int64_t key)
{
    int64_t across = 2 * a->columns - 1, offsets = (2 * a->rows - 1) * across;
    query -= a->class_tokens;
    key -= a->class_tokens;
    if (query < 0)
        return key < 0 ? offsets + 2 : offsets;
    if (key < 0)
        return offsets + 1;
    int64_t down = query / a->columns - key / a->columns, right = query % a->columns - key % a->columns;
    return (down + a->rows - 1) * across + right + a->columns - 1;
}

#endif
