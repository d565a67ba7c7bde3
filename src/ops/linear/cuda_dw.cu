/* dW = scale (row_scale dy)^T x, and what goes with it: with a column scale s, G and g are the gradients as if there
 * were none; then dW = s G, db = s g, ds_j = sum_k W_jk G_jk + b_j g_j. */
#include "ops/linear/cuda.cuh"
#include "ops/operand/cuda.cuh"
#include "ops/scale_add/cuda.cuh"

typedef struct {
    int64_t n, k;
    const float *g, *sums, *scale, *w, *b;
    float *dw, *db, *dscale; /* each may be NULL */
    bool add_dw, add_db, add_dscale;
} ScaleEnd;

/* A warp a row of W. */
static __global__ void scale_end_kernel(ScaleEnd e)
{
    int64_t j = warp_number();
    if (j >= e.n)
        return;
    float scale = e.scale[j], dot = 0;
    for (int64_t i = j * e.k + lane_number(); i < (j + 1) * e.k; i += WARP) {
        if (e.dscale)
            dot += e.w[i] * e.g[i];
        if (e.dw)
            e.dw[i] = e.add_dw ? e.dw[i] + scale * e.g[i] : scale * e.g[i];
    }
    dot = warp_sum(dot);
    if (lane_number() > 0)
        return;
    if (e.db)
        e.db[j] = e.add_db ? e.db[j] + scale * e.sums[j] : scale * e.sums[j];
    if (e.dscale) {
        dot += e.b ? e.b[j] * e.sums[j] : 0.0f;
        e.dscale[j] = e.add_dscale ? e.dscale[j] + dot : dot;
    }
}

/* row_scale dy; its column sums on the way, where they are wanted, in `sums`, or in db where there is no column scale. */
static const void *gradient_operand(const Call *c, CudaStream *s, const LinearRoom &room)
{
    const Tensor *dy = &c->in[DW_DY], *group = &c->in[DW_ROW_SCALE];
    bool scaled = c->in[DW_COLUMN_SCALE].data != NULL;
    float *rows_scaled = static_cast<float *>(linear_part(c, room.dy));
    if (rows_scaled) {
        ScaleAdd a = {.rows = dy->rows,
                      .columns = dy->columns,
                      .per_group = dy->rows / group->columns,
                      .z = data_of(dy),
                      .column = NULL,
                      .row = data_of(group),
                      .residual = NULL,
                      .y = rows_scaled};
        scale_add_launch(s, a, DTYPE_REAL);
    }
    OperandPass p = {.rows = dy->rows,
                     .n = dy->columns,
                     .per_group = 1,
                     .x = rows_scaled ? rows_scaled : dy->data,
                     .column = NULL,
                     .row = NULL,
                     .y = NULL,
                     .partials = static_cast<float *>(linear_part(c, room.partials))};
    if (p.partials) {
        operand_launch(s, p, dy->dtype);
        operand_sums(s, p, scaled ? static_cast<float *>(linear_part(c, room.sums)) : data_of(&c->out[DW_DB]),
                     !scaled && call_accumulates(c, DW_DB));
    }
    return p.x;
}

extern "C" bool CUDA(linear_dw)(const Call *c, CudaStream *s)
{
    LinearRoom room = linear_dw_cuda_room(c);
    const Tensor *x = &c->in[DW_X], *dy = &c->in[DW_DY];
    CudaProduct p = linear_product(c, room, dy->columns, x->columns, x->rows, x->dtype);
    p.a = gradient_operand(c, s, room);
    p.a_stride = dy->columns;
    p.a_turned = true;
    p.b = x->data;
    p.b_stride = x->columns;
    p.c = room.z.needs ? linear_part(c, room.z) : c->out[DW_DW].data;
    p.accumulate = !room.z.needs && call_accumulates(c, DW_DW);
    if (!cuda_launched(s, "linear_dw"))
        return false;
    if ((c->out[DW_DW].data || c->out[DW_DCOLUMN].data) && !cuda_product(s, &p))
        return false;
    if (room.z.needs) {
        ScaleEnd e = {.n = dy->columns,
                      .k = x->columns,
                      .g = static_cast<const float *>(p.c),
                      .sums =
                          room.sums.needs ? static_cast<const float *>(linear_part(c, room.sums)) : data_of(&c->in[DW_SUMS]),
                      .scale = data_of(&c->in[DW_COLUMN_SCALE]),
                      .w = data_of(&c->in[DW_W]),
                      .b = data_of(&c->in[DW_B]),
                      .dw = data_of(&c->out[DW_DW]),
                      .db = data_of(&c->out[DW_DB]),
                      .dscale = data_of(&c->out[DW_DCOLUMN]),
                      .add_dw = call_accumulates(c, DW_DW),
                      .add_db = call_accumulates(c, DW_DB),
                      .add_dscale = call_accumulates(c, DW_DCOLUMN)};
        cuda_launch(s, scale_end_kernel, blocks_of(e.n, WARPS), dim3(BLOCK), 0, e);
    }
    return cuda_launched(s, "linear_dw");
}
