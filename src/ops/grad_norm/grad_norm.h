/* The global norm of the gradient, the factor that clips it, and whether the step may be taken
 * (spec/pretraining.md 15.3, 15.7). */
#ifndef LACUNA_OPS_GRAD_NORM_H
#define LACUNA_OPS_GRAD_NORM_H

#include "graph/tape.h"

enum { STATUS_NORM, STATUS_FACTOR, STATUS_FINITE, STATUS_COUNT };

/* gradient: a whole buffer; loss: a scalar. status (STATUS_COUNT elements) = the norm before clipping; min(1, clip / (norm +
 * 1e-6)), 1 when clip is 0; 1 when norm and loss are finite, else 0. */
void grad_norm(Tape *tape, Ref status, Ref gradient, Ref loss, double clip);

#endif
