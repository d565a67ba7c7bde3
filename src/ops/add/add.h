/* Sums of whole values. */
#ifndef LACUNA_OPS_ADD_H
#define LACUNA_OPS_ADD_H

#include "graph/tape.h"

/* target = term, or target += term when accumulate is 1. Same number of elements. Used for gradients and metrics; carries none
 * itself. */
void add_to(Tape *tape, Ref target, Ref term, uint32_t accumulate);

/* a + b, same shape. */
Ref add(Tape *tape, Ref a, Ref b);

#endif
