/* Which nodes a GPU carries out beside the others, on a second lane: weight gradients, which nobody reads before the update.
 * Which nodes must wait for others is found from the addresses that they read and write, so it holds for every plan of the
 * memory. */
#ifndef LACUNA_GRAPH_LANES_H
#define LACUNA_GRAPH_LANES_H

#include "graph/program_private.h"

enum { LANES = 2 };

/* Whether the program's node goes to the second lane. */
bool lanes_aside(const Program *p, size_t node);

/* The last node through which the plan keeps what a node aside reads, so that others need not wait for it at once: the next one
 * aside of its segment, or the segment's last. */
size_t lanes_keeps_until(const Program *p, size_t node);

/* Of nodes begin..end-1 of a segment, which are bound to memory and captured together: waits[n - begin], n = begin..end,
 * becomes the last node aside that must be done before node n begins, at `end` before all is over, or -1; what was waited for
 * is not named again. A node aside waits for all that stands before it in the other lane. */
void lanes_waits(const Program *p, size_t begin, size_t end, int64_t *waits);

#endif
