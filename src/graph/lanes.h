/* Which nodes a GPU carries out beside the others, on a second lane: weight gradients, which nobody in the step reads. What
 * must not overtake what follows from the memory that nodes touch, so it holds for every plan of the memory. */
#ifndef LACUNA_GRAPH_LANES_H
#define LACUNA_GRAPH_LANES_H

#include "graph/program_private.h"

enum { LANES = 2 };

/* Whether the program's node goes to the second lane. */
bool lanes_aside(const Program *p, size_t node);

/* The node up to which the memory that a node aside reads must stay as it is, so that others need not wait for it at once: the
 * next one aside of its segment, or the segment's end. */
size_t lanes_keeps_until(const Program *p, size_t node);

/* Sets for the nodes begin..end-1 of a segment, which are bound to memory, and for its end, waits[n - begin]: the last node
 * aside that must be done before node n begins, or -1; waits for earlier ones are not repeated. A node aside waits for nothing
 * but what all of the other lane has done before it. */
void lanes_waits(const Program *p, Segment segment, int64_t *waits);

#endif
