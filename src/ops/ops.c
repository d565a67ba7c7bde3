#include "ops/ops.h"

#include <stddef.h>

#define ROOM(name) extern const Op *const name##_room[];
#include "ops/table.inc"
#undef ROOM

static const Op *const *const rooms[] = {
#define ROOM(name) name##_room,
#include "ops/table.inc"
#undef ROOM
};

const Op *ops_at(int i)
{
    for (size_t r = 0; r < sizeof rooms / sizeof *rooms; r++)
        for (const Op *const *op = rooms[r]; *op; op++)
            if (i-- == 0)
                return *op;
    return NULL;
}
