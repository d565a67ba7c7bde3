/* The op table: every room of src/ops, one line each in table.inc. */
#ifndef LACUNA_OPS_OPS_H
#define LACUNA_OPS_OPS_H

#include "graph/op.h"

/* The i-th op of all rooms, NULL past the last. */
const Op *ops_at(int i);

#endif
