/* AdamW over whole buffers in one pass (spec/pretraining.md 15.1, 15.2; Loshchilov and Hutter, "Decoupled weight decay
 * regularization", 2019). */
#ifndef LACUNA_OPS_ADAMW_H
#define LACUNA_OPS_ADAMW_H

#include "graph/tape.h"

enum { ADAMW_RATE, ADAMW_CORRECTION1, ADAMW_CORRECTION2, ADAMW_INPUTS };

/* A run of elements that are treated alike. */
typedef struct {
    int64_t offset, count;
    double rate;  /* factor of the learning rate (layer-wise decay) */
    double decay; /* weight decay, 0 for exempt ones */
} AdamwRange;

typedef struct {
    Ref weights, gradient, moment1, moment2; /* whole buffers of equal length; all but the gradient are updated in place */
    Ref inputs;                              /* (ADAMW_INPUTS): learning rate, 1 - beta1^t, 1 - beta2^t */
    Ref status; /* of grad_norm(): the gradient is multiplied by its factor; nothing is written unless finite */
    double beta1, beta2, eps;
    const AdamwRange *ranges; /* copied; elements in no range keep their value */
    int range_count;
} AdamwArgs;

void adamw(Tape *tape, AdamwArgs args);

#endif
