#ifndef LACUNA_OPS_PATCHES_ATTR_H
#define LACUNA_OPS_PATCHES_ATTR_H

#include "ops/patches/patches.h"

typedef struct {
    int patch;
    PatchOrder order;
} PatchesAttr;

extern const Op patches_op;

/* patches and standardise (ops/standardise) of each, of at most so many numbers a patch; what lowering makes of the two on a
 * GPU. Attributes and inputs are those of patches. */
enum { PATCHES_STANDARDISED_MOST = 8192 };
extern const Op patches_standardised_op;

#endif
