/* Bilinear enlargement of a grid of tokens, as dense heads bring logits to the size of the labels (docs/spec/transfer.md B.5):
 * place i of `out` looks at (i + 1/2) in / out - 1/2, not below 0, between its two neighbours (no aligned corners). */
#ifndef LACUNA_OPS_UPSAMPLE_H
#define LACUNA_OPS_UPSAMPLE_H

#include "graph/tape.h"

/* x (N, rows columns, C), tokens in image order -> (N, height width, C). */
Ref upsample(Tape *tape, Ref x, int64_t rows, int64_t columns, int64_t height, int64_t width);

#endif
