/* What a product of bf16 multiplies, made once for all who multiply it: for devices whose products take their operands as they
 * lie in memory. */
#ifndef LACUNA_OPS_OPERAND_H
#define LACUNA_OPS_OPERAND_H

#include "graph/tape.h"

enum { OPERAND_X, OPERAND_COLUMN_SCALE, OPERAND_ROW_SCALE, OPERAND_IN };
enum { OPERAND_Y, OPERAND_SUMS, OPERAND_OUT };

/* For lowering, behind the gradients: it has none. ins: x (rows, D) f32 or bf16, column_scale (D) or none, row_scale
 * (G) or none: row r belongs to group r / (rows / G); outs: y = row_scale x column_scale x x in bf16, sums (D) of the columns
 * of what is rounded, before it is rounded, or none. */
extern const Op operand_op;

#endif
