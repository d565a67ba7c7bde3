#include "ops/linear/work.h"

#include "ops/linear/cuda_work.h"
#include "ops/linear/slots.h"

/* Whether a call multiplies pairs of bf16 on this device (ops/unit.h: HAS_PAIRS). */
static bool uses_pairs(const Call *c, const Device *device)
{
    const LinearAttr *attr = c->attr;
    return attr->bf16 && (device->level == CPU_AVX512BF16 || device->level == CPU_WIDE);
}

/* Packed weights, and for each thread a tile of the prepared input. */
size_t linear_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    if (device->kind == DEVICE_CUDA)
        return linear_cuda_room(c).bytes;
    int64_t k = unit_count(c->in[LINEAR_X].columns, uses_pairs(c, device)), n = c->out[LINEAR_Y].columns;
    int64_t tile = linear_tile_rows(c->in[LINEAR_X].rows, k);
    return (size_t)(k * linear_padded(n) + device->threads * tile * linear_stride(k)) * sizeof(float);
}

/* Packed weights; for each thread a tile of dy and one of the gradient before LayerNorm's; partial sums of dgamma and dbeta. */
size_t linear_dx_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    if (device->kind == DEVICE_CUDA)
        return linear_dx_cuda_room(c).bytes;
    const LinearAttr *attr = c->attr;
    int64_t n = c->in[DX_DY].columns, k = c->in[DX_W].rows * c->in[DX_W].columns / n;
    int64_t units = unit_count(n, uses_pairs(c, device));
    int64_t tile = linear_tile_rows(c->in[DX_DY].rows, units > k ? units : k);
    bool norm = attr->prologue == PROLOGUE_LAYER_NORM;
    return (size_t)(units * linear_padded(k) + device->threads * tile * (linear_stride(units) + (norm ? linear_padded(k) : 0)) +
                    (norm ? linear_tiles(c->in[DX_DY].rows, tile) * 2 * k : 0)) *
           sizeof(float);
}

/* For each thread a packed chunk of x and a stack of blocks of dy; sums of dy; with a column scale, the sums of the whole dW.
 */
size_t linear_dw_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    if (device->kind == DEVICE_CUDA)
        return linear_dw_cuda_room(c).bytes;
    bool pairs = uses_pairs(c, device), scaled = c->in[DW_COLUMN_SCALE].rows > 0;
    int64_t n = c->in[DW_DY].columns, k = c->in[DW_X].columns;
    int64_t pitch = dw_pitch(unit_count(dw_chunk_rows(c->in[DW_X].rows, pairs), pairs));
    return (size_t)(device->threads * dw_room(k, pitch) + n + (scaled ? n * k : 0)) * sizeof(float);
}
