/* How linear and its gradients are split where a device lacks something (DEVICE_LACKS_ in device/device.h). For op->lower. */
#ifndef LACUNA_OPS_LINEAR_LOWER_H
#define LACUNA_OPS_LINEAR_LOWER_H

#include "graph/lower.h"

extern const Op linear_op, linear_dw_op, linear_dx_op;

bool linear_lower(Lowering *lowering, const Node *node);
bool linear_dw_lower(Lowering *lowering, const Node *node);
bool linear_dx_lower(Lowering *lowering, const Node *node);

#endif
