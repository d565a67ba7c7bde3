/* What linear and its gradients keep in the workspace on a GPU: operands that had to be made, in the type that is multiplied,
 * results that are not final, partial sums, and the room of the product. For work.c and cuda*.cu. */
#ifndef LACUNA_OPS_LINEAR_CUDA_WORK_H
#define LACUNA_OPS_LINEAR_CUDA_WORK_H

#include <assert.h>
#include <string.h>

#include "device/cuda/stream.h"
#include "ops/layer_norm/work.h"
#include "ops/linear/slots.h"

/* Rows of dy whose column sums make one partial sum. */
enum { LINEAR_CUDA_TILE = 64 };

static_assert((int)LINEAR_CUDA_TILE <= (int)LAYER_NORM_TILE,
              "the room for partial sums is counted by the former, used by the latter");

/* Offsets in bytes; a part that is not needed has `needs` false and no room. */
typedef struct {
    bool needs;
    size_t at;
} LinearPart;

typedef struct {
    LinearPart x;        /* prologue(x) */
    LinearPart dy;       /* scaled dy */
    LinearPart w, b;     /* weights and bias in bf16 */
    LinearPart z;        /* f32: y before its scales, dx before its prologue, dW before its scale */
    LinearPart partials; /* f32 */
    LinearPart sums;     /* f32: column sums of dy */
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

static inline size_t linear_operand_size(const Call *c)
{
    return ((const LinearAttr *)c->attr)->bf16 ? 2 : 4;
}

static inline DType linear_operand_type(const Call *c)
{
    return ((const LinearAttr *)c->attr)->bf16 ? DTYPE_BF16 : DTYPE_REAL;
}

/* Whether a product of operands of that type may write values of the other. */
static inline bool linear_writes(DType operands, DType result)
{
    return result == DTYPE_REAL || operands == DTYPE_BF16;
}

static inline LinearRoom linear_cuda_room(const Call *c)
{
    LinearRoom room;
    memset(&room, 0, sizeof room);
    DType type = linear_operand_type(c);
    size_t size = linear_operand_size(c);
    const Tensor *x = &c->in[LINEAR_X], *y = &c->out[LINEAR_Y];
    bool scaled = c->in[LINEAR_COLUMN_SCALE].rows || c->in[LINEAR_ROW_SCALE].rows || c->in[LINEAR_RESIDUAL].rows;
    bool direct = linear_writes(type, y->dtype) && !(scaled && y->dtype == DTYPE_BF16);
    bool prepared = ((const LinearAttr *)c->attr)->prologue != PROLOGUE_NONE || x->dtype != type;
    linear_part_add(&room, &room.x, prepared, x->rows * x->columns, size);
    linear_part_add(&room, &room.w, type == DTYPE_BF16, y->columns * x->columns, size);
    linear_part_add(&room, &room.b, direct && y->dtype == DTYPE_BF16 && c->in[LINEAR_B].rows, y->columns, 2);
    linear_part_add(&room, &room.z, !direct, y->rows * y->columns, 4);
    linear_part_add(&room, &room.product, true, CUDA_PRODUCT_WORK, 1);
    return room;
}

static inline LinearRoom linear_dx_cuda_room(const Call *c)
{
    LinearRoom room;
    memset(&room, 0, sizeof room);
    DType type = linear_operand_type(c);
    size_t size = linear_operand_size(c);
    const Tensor *dy = &c->in[DX_DY], *dx = &c->out[DX_DX];
    Prologue prologue = ((const LinearAttr *)c->attr)->prologue;
    int64_t n = dy->columns, k = c->in[DX_W].rows * c->in[DX_W].columns / n;
    bool scaled = c->in[DX_COLUMN_SCALE].rows || c->in[DX_ROW_SCALE].rows;
    /* An activation's slope is multiplied in place, unless dx is added to. */
    bool direct = prologue != PROLOGUE_LAYER_NORM && linear_writes(type, dx->dtype) &&
                  (prologue == PROLOGUE_NONE || !call_accumulates(c, DX_DX));
    linear_part_add(&room, &room.dy, scaled || dy->dtype != type, dy->rows * n, size);
    linear_part_add(&room, &room.w, type == DTYPE_BF16, n * k, size);
    linear_part_add(&room, &room.z, !direct, dy->rows * k, 4);
    linear_part_add(&room, &room.partials, prologue == PROLOGUE_LAYER_NORM,
                    (dy->rows + LINEAR_CUDA_TILE - 1) / LINEAR_CUDA_TILE * 2 * k, 4);
    linear_part_add(&room, &room.product, true, CUDA_PRODUCT_WORK, 1);
    return room;
}

static inline LinearRoom linear_dw_cuda_room(const Call *c)
{
    LinearRoom room;
    memset(&room, 0, sizeof room);
    DType type = linear_operand_type(c);
    size_t size = linear_operand_size(c);
    const Tensor *dy = &c->in[DW_DY], *x = &c->in[DW_X];
    int64_t n = dy->columns, k = x->columns;
    bool prepared = ((const LinearAttr *)c->attr)->prologue != PROLOGUE_NONE || x->dtype != type;
    bool scale = c->in[DW_COLUMN_SCALE].rows > 0, sums = c->out[DW_DB].rows || c->out[DW_DCOLUMN].rows;
    linear_part_add(&room, &room.x, prepared, x->rows * k, size);
    linear_part_add(&room, &room.dy, c->in[DW_ROW_SCALE].rows || dy->dtype != type, dy->rows * n, size);
    linear_part_add(&room, &room.z, scale, n * k, 4);
    linear_part_add(&room, &room.partials, sums, (dy->rows + LINEAR_CUDA_TILE - 1) / LINEAR_CUDA_TILE * n, 4);
    linear_part_add(&room, &room.sums, sums, n, 4);
    linear_part_add(&room, &room.product, true, CUDA_PRODUCT_WORK, 1);
    return room;
}

#endif
