#include "ops/linear/work.h"

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
    int64_t k = linear_units(c->in[LINEAR_X].columns, uses_pairs(c, device)), n = c->out[LINEAR_Y].columns;
    LinearTiles tiles = linear_tiles(c->in[LINEAR_X].rows, k);
    return (size_t)(k * linear_padded(n) + device->threads * tiles.large * linear_stride(k)) * sizeof(float);
}

/* Packed weights; for each thread a tile of dy and one of the gradient before LayerNorm's; partial sums of dgamma and dbeta. */
size_t linear_dx_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    const LinearAttr *attr = c->attr;
    int64_t n = c->in[DX_DY].columns, k = c->in[DX_W].rows * c->in[DX_W].columns / n;
    int64_t units = linear_units(n, uses_pairs(c, device));
    LinearTiles tiles = linear_tiles(c->in[DX_DY].rows, units > k ? units : k);
    bool norm = attr->prologue == PROLOGUE_LAYER_NORM;
    return (size_t)(units * linear_padded(k) +
                    device->threads * tiles.large * (linear_stride(units) + (norm ? linear_padded(k) : 0)) +
                    (norm ? tiles.count * 2 * k : 0)) *
           sizeof(float);
}

/* A packed chunk of x and of dy, two of each where there are several; sums of dy for each DW_ROWS rows; with a column scale,
 * the sums of the whole dW. */
size_t linear_dw_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    bool pairs = uses_pairs(c, device);
    int64_t rows = c->in[DW_X].rows, n = c->in[DW_DY].columns, k = c->in[DW_X].columns;
    int64_t left = device->level == CPU_AVX2 ? dw_left_width(n, 6, 8) : dw_left_width(n, 14, 16);
    int64_t units = linear_units(dw_chunk_rows(rows, pairs), pairs);
    int64_t buffers = dw_chunks(rows, pairs) > 1 ? 2 : 1, sums = (rows + DW_ROWS - 1) / DW_ROWS * n;
    bool scaled = c->in[DW_COLUMN_SCALE].columns && c->in[DW_COLUMN_SCALE].rows;
    return (size_t)(buffers * units * (left + linear_padded(k)) + sums + (scaled ? n * k : 0)) * sizeof(float);
}
