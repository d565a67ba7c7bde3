/* The slots of linear and its two gradients, shared by their kernels. */
#ifndef LACUNA_OPS_LINEAR_SLOTS_H
#define LACUNA_OPS_LINEAR_SLOTS_H

#include "ops/linear/linear.h"

typedef struct {
    Prologue prologue;
    double eps;
    bool bf16; /* operands may be rounded to bf16; sums are f32 */
} LinearAttr;

/* linear */
enum {
    LINEAR_X,
    LINEAR_W,
    LINEAR_B,
    LINEAR_GAMMA,
    LINEAR_BETA,
    LINEAR_COLUMN_SCALE,
    LINEAR_ROW_SCALE,
    LINEAR_RESIDUAL,
    LINEAR_IN
};
enum { LINEAR_Y, LINEAR_STATS /* (rows, 2): mean, 1 / deviation */, LINEAR_OUT };

/* linear_dw: dW += (row_scale column_scale dy)^T prologue(x) and what goes with it. DW_SUMS: the column sums of row_scale dy
 * (n), where lowering has taken them before dy was rounded; the cpu's kernels are never given them. */
enum { DW_DY, DW_X, DW_STATS, DW_GAMMA, DW_BETA, DW_COLUMN_SCALE, DW_ROW_SCALE, DW_W, DW_B, DW_SUMS, DW_IN };
enum { DW_DW, DW_DB, DW_DCOLUMN, DW_OUT };

/* linear_dx: dx = prologue'(x) ((row_scale column_scale dy) W) */
enum { DX_DY, DX_W, DX_X, DX_STATS, DX_GAMMA, DX_COLUMN_SCALE, DX_ROW_SCALE, DX_IN };
enum { DX_DX, DX_DGAMMA, DX_DBETA, DX_OUT };

static inline Activation prologue_activation(Prologue p)
{
    return p == PROLOGUE_GELU ? ACTIVATION_GELU : p == PROLOGUE_QUICK_GELU ? ACTIVATION_QUICK_GELU : ACTIVATION_NONE;
}

#endif
