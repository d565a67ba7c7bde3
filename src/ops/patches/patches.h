/* Cuts pictures into patches (spec/pretraining.md 0 and 2). */
#ifndef LACUNA_OPS_PATCHES_H
#define LACUNA_OPS_PATCHES_H

#include "graph/tape.h"

/* Order of the numbers of a patch: channel, row, column (as weights of the patch embedding, pixel shuffle) or row, column,
 * channel (targets of the transformer and linear decoders). */
typedef enum { PATCH_CHANNEL_FIRST, PATCH_CHANNEL_LAST } PatchOrder;

/* image (N, C, H, W), H and W multiples of `patch`. index: NULL-like (REF_NONE) for all patches, result (N, L, C P P); or I32
 * (rows), each n L + l, result (rows, C P P). Carries no gradient. */
Ref patches(Tape *tape, Ref image, Ref index, int patch, PatchOrder order);

#endif
