/* Lowering: a coarse node that the device has no kernel for becomes several. For op->lower. */
#ifndef LACUNA_GRAPH_LOWER_H
#define LACUNA_GRAPH_LOWER_H

#include "graph/tape.h"

struct Lowering {
    Tape *tape; /* grows temporaries only */
    const Device *device;
    size_t at;        /* which node is being split */
    const Node *node; /* the one whose outputs are written; op->lower may point it to a neighbour meanwhile that left its
                         outputs to it */
    Node *nodes;      /* the result */
    size_t count, capacity;
    bool failed;
};

Ref lower_temp(Lowering *lowering, DType dtype, Shape shape);

/* Appends a node to the result. Refs of the original node are passed on as they are, and each of its outputs is written exactly
 * once; outputs that are temporaries of lower_temp() come back as they are to be read. */
void lower_append(Lowering *lowering, const Op *op, const void *attr, const Ref *ins, Ref *outs, uint32_t accumulate);

/* The last node of that op and with those inputs, op->in_count of them, among those appended for the segment, or NULL.
 * Attributes are not compared: of an op without any, an output that is not added to is what a new node would write. Valid until
 * the next lower_append(). */
const Node *lower_find(const Lowering *lowering, const Op *op, const Ref *ins);

/* The node of those appended for the segment that writes this value, or NULL. Valid until the next lower_append(). */
const Node *lower_maker(const Lowering *lowering, Ref value);

/* Gives a node that was appended the output number `which`, which it lacks; `out` goes and comes back as in lower_append().
 * False, and nothing is changed, where that node or one behind it reads or writes memory that `out` lies on: it would be
 * written too early. */
bool lower_add_output(Lowering *lowering, const Node *node, int which, Ref *out, bool accumulate);

/* Whether two values lie on common memory. */
bool refs_meet(const Tape *tape, Ref a, Ref b);

/* The node of the tape that many before (< 0) or behind the one being split; NULL beyond the ends. */
const Node *lower_neighbour(const Lowering *lowering, int step);

/* All nodes of a tape for that device, into lowering->nodes (memory_free() them). false after error_set(). */
bool lower_tape(Lowering *lowering, Tape *tape, const Device *device);

#endif
