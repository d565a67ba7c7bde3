/* LARS over whole buffers (docs/spec/transfer.md B.1; You, Gitman, Ginsburg, "Large batch training of convolutional networks",
 * 2017): g += decay w; g *= trust |w| / |g| (factor 1 when either norm is 0); momentum = m momentum + g; w -= rate momentum. */
#ifndef LACUNA_OPS_LARS_H
#define LACUNA_OPS_LARS_H

#include "graph/tape.h"

/* A tensor, or one head's part of it: norms are taken over it. */
typedef struct {
    int64_t offset, count;
    double rate;   /* factor of the learning rate */
    double decay;  /* weight decay */
    bool adaptive; /* the trust ratio applies; not for biases */
} LarsRange;

typedef struct {
    Ref weights, gradient, momentum; /* whole buffers of equal length; weights and momentum are updated in place */
    Ref rate;                        /* scalar: the learning rate */
    double keep;                     /* m */
    double trust;
    const LarsRange *ranges; /* copied; elements in no range keep their value */
    int range_count;
} LarsArgs;

void lars(Tape *tape, LarsArgs args);

#endif
