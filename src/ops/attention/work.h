/* Workspace of the cpu kernels of attention, the same for every instruction set. */
#ifndef LACUNA_OPS_ATTENTION_WORK_H
#define LACUNA_OPS_ATTENTION_WORK_H

#include "graph/op.h"

/* Widest panel, in floats, and most rows of a block of any build. */
enum { ATTENTION_PANEL = 32, ATTENTION_BLOCK = 14 };

size_t attention_workspace(const Call *call, const Device *device);
size_t attention_grad_workspace(const Call *call, const Device *device);

/* n rounded up to whole panels. */
static inline int64_t attention_padded(int64_t n)
{
    return (n + ATTENTION_PANEL - 1) / ATTENTION_PANEL * ATTENTION_PANEL;
}

/* Floats that one thread needs, sized for f32, which bf16 does not exceed. Forward: the map (a block of queries x padded Tk),
 * packed keys and values, and rows of q as units. */
static inline int64_t attention_floats(int64_t queries, int64_t keys, int64_t d)
{
    return (ATTENTION_BLOCK + d) * attention_padded(keys) + (keys + queries) * attention_padded(d);
}

/* Backward: the whole map and its gradient, a number a query, packed operands, and rows of q and do as units. */
static inline int64_t attention_grad_floats(int64_t queries, int64_t keys, int64_t d)
{
    int64_t map = (queries + 1) * attention_padded(keys); /* bf16 takes rows in pairs */
    return 2 * map + attention_padded(queries) + 2 * d * attention_padded(keys) + (keys + 4 * queries) * attention_padded(d);
}

/* The gradient of a bias is summed over groups: in parts of them that the shape decides, each part's sum (heads, Tq, Tk) behind
 * the threads' memory, and then over the parts in their order. */
enum { ATTENTION_BIAS_PARTS = 8 };

static inline int64_t attention_bias_parts(int64_t groups)
{
    return groups < ATTENTION_BIAS_PARTS ? groups : ATTENTION_BIAS_PARTS;
}

#endif
