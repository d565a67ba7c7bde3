/* What linear and its gradients keep in the workspace on a GPU: results that are not final, partial sums, and the room of the
 * product. For work.c and cuda*.cu. */
#ifndef LACUNA_OPS_LINEAR_CUDA_WORK_H
#define LACUNA_OPS_LINEAR_CUDA_WORK_H

#include <string.h>

#include "device/cuda/stream.h"
#include "ops/linear/slots.h"
#include "ops/operand/work.h"

/* Offsets in bytes; a part that is not needed has `needs` false and no room. */
typedef struct {
    bool needs;
    size_t at;
} LinearPart;

typedef struct {
    LinearPart dy;       /* f32: scaled dy */
    LinearPart z;        /* f32: y before its scales, dW before its scale */
    LinearPart partials; /* f32, of the column sums of dy */
    LinearPart sums;     /* f32 */
    LinearPart product;
    size_t bytes;
} LinearRoom;

static inline void linear_part_add(LinearRoom *room, LinearPart *part, bool needs, int64_t count, size_t size)
{
    part->needs = needs;
    part->at = room->bytes;
    if (needs)
        room->bytes += ((size_t)count * size + 255) / 256 * 256;
}

static inline LinearRoom linear_cuda_room(const Call *c)
{
    LinearRoom room;
    memset(&room, 0, sizeof room);
    const Tensor *y = &c->out[LINEAR_Y];
    bool scaled = c->in[LINEAR_COLUMN_SCALE].rows || c->in[LINEAR_ROW_SCALE].rows || c->in[LINEAR_RESIDUAL].rows;
    linear_part_add(&room, &room.z, scaled && y->dtype == DTYPE_BF16, y->rows * y->columns, 4);
    linear_part_add(&room, &room.product, true, CUDA_PRODUCT_WORK, 1);
    return room;
}

static inline LinearRoom linear_dx_cuda_room(const Call *c)
{
    LinearRoom room;
    memset(&room, 0, sizeof room);
    const Tensor *dy = &c->in[DX_DY];
    linear_part_add(&room, &room.dy, c->in[DX_COLUMN_SCALE].rows || c->in[DX_ROW_SCALE].rows, dy->rows * dy->columns, 4);
    linear_part_add(&room, &room.product, true, CUDA_PRODUCT_WORK, 1);
    return room;
}

static inline LinearRoom linear_dw_cuda_room(const Call *c)
{
    LinearRoom room;
    memset(&room, 0, sizeof room);
    const Tensor *dy = &c->in[DW_DY];
    int64_t n = dy->columns, k = c->in[DW_X].columns;
    bool scale = c->in[DW_COLUMN_SCALE].rows > 0,
         sums = (c->out[DW_DB].rows || c->out[DW_DCOLUMN].rows) && !c->in[DW_SUMS].rows;
    linear_part_add(&room, &room.dy, c->in[DW_ROW_SCALE].rows, dy->rows * n, 4);
    linear_part_add(&room, &room.z, scale, n * k, 4);
    linear_part_add(&room, &room.partials, sums, (dy->rows + OPERAND_TILE - 1) / OPERAND_TILE * n, 4);
    linear_part_add(&room, &room.sums, sums, n, 4);
    linear_part_add(&room, &room.product, true, CUDA_PRODUCT_WORK, 1);
    return room;
}

#endif
