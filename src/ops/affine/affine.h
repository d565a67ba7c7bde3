/* y = max(0, gamma x + beta), column by column: what stands behind a batch norm in MoCo's heads (docs/spec/pretraining.md 14).
 */
#ifndef LACUNA_OPS_AFFINE_H
#define LACUNA_OPS_AFFINE_H

#include "graph/tape.h"

/* x (..., D), gamma and beta (D). */
Ref affine_relu(Tape *tape, Ref x, Ref gamma, Ref beta);

#endif
