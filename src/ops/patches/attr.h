#ifndef LACUNA_OPS_PATCHES_ATTR_H
#define LACUNA_OPS_PATCHES_ATTR_H

#include "ops/patches/patches.h"

typedef struct {
    int patch;
    PatchOrder order;
} PatchesAttr;

#endif
