/* Lowering: a coarse node that the device has no kernel for becomes several. For op->lower. */
#ifndef LACUNA_GRAPH_LOWER_H
#define LACUNA_GRAPH_LOWER_H

#include "graph/tape.h"

struct Lowering {
    Tape *tape; /* grows temporaries only */
    const Device *device;
    const Node *node; /* the one being split */
    Node *nodes;      /* the result */
    size_t count, capacity;
    bool failed;
};

Ref lower_temp(Lowering *lowering, DType dtype, Shape shape);

/* Appends a node to the result. Refs of the original node are passed on as they are, and each of its outputs is written exactly
 * once; outputs that are temporaries of lower_temp() come back as they are to be read. */
void lower_append(Lowering *lowering, const Op *op, const void *attr, const Ref *ins, Ref *outs, uint32_t accumulate);

/* All nodes of a tape for that device, into lowering->nodes (memory_free() them). false after error_set(). */
bool lower_tape(Lowering *lowering, Tape *tape, const Device *device);

#endif
