#include "ops/linear/work.h"

#include "ops/linear/slots.h"

/* Packed weights, and for each thread a tile of the prepared input. */
size_t linear_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    int64_t k = c->in[LINEAR_X].columns, n = c->out[LINEAR_Y].columns;
    return (size_t)(k * linear_padded(n) + device->threads * linear_tile_rows(k) * linear_stride(k)) * sizeof(float);
}

/* Packed weights; for each thread a tile of dy and one of the gradient before LayerNorm's; partial sums of dgamma and dbeta. */
size_t linear_dx_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    int64_t rows = c->in[DX_DY].rows, n = c->in[DX_DY].columns, k = c->in[DX_W].rows * c->in[DX_W].columns / n;
    int64_t tile_rows = linear_tile_rows(n > k ? n : k);
    return (size_t)(n * linear_padded(k) + device->threads * tile_rows * (linear_stride(n) + linear_padded(k)) +
                    linear_tiles(rows, tile_rows) * 2 * k) *
           sizeof(float);
}

/* For each thread a packed chunk, a block of sums and sums of dy; partial sums of dcolumn. */
size_t linear_dw_workspace(const Call *c, const Device *device)
{
    if (device->kind == DEVICE_REF)
        return 0;
    int64_t n = c->in[DW_DY].columns, k = c->in[DW_X].columns;
    return (size_t)(device->threads * DW_THREAD_FLOATS + linear_tiles(k, DW_COLUMNS) * n) * sizeof(float);
}
