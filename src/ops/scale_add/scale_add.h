/* residual + row_scale x column_scale x z: the epilogue of `linear` on its own, for devices that cannot fuse it (layer scale,
 * drop path, residual: spec/pretraining.md 5.1, 5.2). */
#ifndef LACUNA_OPS_SCALE_ADD_H
#define LACUNA_OPS_SCALE_ADD_H

#include "graph/tape.h"

/* ins: z (rows, D), column_scale (D) or none, row_scale (G) or none: row r belongs to group r / (rows / G), residual (rows, D)
 * or none; out: y. It has no gradient of its own: the gradient is taken of the node it is split from. */
extern const Op scale_add_op;

#endif
