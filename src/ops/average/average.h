/* Running averages of weights over whole buffers (docs/spec/pretraining.md 14 and 15.7): a momentum encoder, ema.decay. */
#ifndef LACUNA_OPS_AVERAGE_H
#define LACUNA_OPS_AVERAGE_H

#include "graph/tape.h"

typedef struct {
    Ref average; /* updated in place: average += take (weights - average), so that what is equal stays equal */
    Ref weights; /* at least as long; what lies behind the average's end is left out */
    Ref take;    /* scalar: 1 - decay */
    Ref status;  /* of grad_norm(): nothing is written unless finite */
} AverageArgs;

void average(Tape *tape, AverageArgs args);

#endif
