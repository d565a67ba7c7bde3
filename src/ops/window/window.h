/* Normalisation over a sliding window: `target.normalise: window` (docs/spec/pretraining.md 10, Swin V2). */
#ifndef LACUNA_OPS_WINDOW_H
#define LACUNA_OPS_WINDOW_H

#include "graph/tape.h"

/* image (N, C, H, W) -> the same shape: each number minus the mean over the `side` x `side` pixels around it in its channel,
 * divided by sqrt(unbiased variance + 1e-6); pixels outside the picture do not count. side: odd, and with at least two pixels
 * in every window. Carries no gradient. */
Ref window_standardise(Tape *tape, Ref image, int side);

#endif
