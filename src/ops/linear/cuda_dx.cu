/* dx = or += (scales dy) W. In f32 dy may have scales; an operand of bf16 has been scaled before. */
#include "ops/linear/cuda.cuh"
#include "ops/scale_add/cuda.cuh"

extern "C" bool CUDA(linear_dx)(const Call *c, CudaStream *s)
{
    LinearRoom room = linear_dx_cuda_room(c);
    const Tensor *dy = &c->in[DX_DY], *dx = &c->out[DX_DX], *group = &c->in[DX_ROW_SCALE];
    int64_t rows = dy->rows, n = dy->columns, k = count_of(&c->in[DX_W]) / n;
    CudaProduct p = linear_product(c, room, rows, k, n, dy->dtype);
    p.a = dy->data;
    p.a_stride = n;
    p.b = c->in[DX_W].data;
    p.b_stride = k;
    p.c = dx->data;
    p.c_type = dx->dtype;
    p.accumulate = call_accumulates(c, DX_DX);
    if (room.dy.needs) {
        ScaleAdd scaled = {.rows = rows,
                           .columns = n,
                           .per_group = group->data ? rows / group->columns : 1,
                           .z = data_of(dy),
                           .column = data_of(&c->in[DX_COLUMN_SCALE]),
                           .row = data_of(group),
                           .residual = NULL,
                           .y = linear_part(c, room.dy)};
        scale_add_launch(s, scaled, DTYPE_REAL);
        p.a = scaled.y;
    }
    return cuda_launched(s, "linear_dx") && cuda_product(s, &p);
}
