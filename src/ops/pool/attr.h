#ifndef LACUNA_OPS_POOL_ATTR_H
#define LACUNA_OPS_POOL_ATTR_H

#include <stdint.h>

typedef struct {
    int64_t tokens, first, count;
} PoolAttr;

#endif
