/* y = residual + scales (x W^T + b): multiplied, and what the product cannot multiply, or add before that, is done behind it.
 */
#include "ops/linear/cuda.cuh"
#include "ops/scale_add/cuda.cuh"

extern "C" bool CUDA(linear)(const Call *c, CudaStream *s)
{
    LinearRoom room = linear_cuda_room(c);
    const Tensor *x = &c->in[LINEAR_X], *y = &c->out[LINEAR_Y], *group = &c->in[LINEAR_ROW_SCALE];
    bool scaled = group->data || c->in[LINEAR_COLUMN_SCALE].data;
    CudaProduct p = linear_product(c, room, y->rows, y->columns, x->columns, x->dtype);
    p.a = x->data;
    p.a_stride = x->columns;
    p.b = c->in[LINEAR_W].data;
    p.b_stride = x->columns;
    p.b_turned = true;
    p.bias = c->in[LINEAR_B].data;
    p.c = room.z.needs ? linear_part(c, room.z) : y->data;
    p.c_type = room.z.needs ? DTYPE_REAL : y->dtype;
    if (!room.z.needs && !scaled)
        p.residual = c->in[LINEAR_RESIDUAL].data;
    if (!cuda_product(s, &p))
        return false;
    ScaleAdd end = {.rows = y->rows,
                    .columns = y->columns,
                    .per_group = group->data ? y->rows / group->columns : 1,
                    .z = static_cast<const float *>(p.c),
                    .column = data_of(&c->in[LINEAR_COLUMN_SCALE]),
                    .row = data_of(group),
                    .residual = data_of(&c->in[LINEAR_RESIDUAL]),
                    .y = y->data};
    if (room.z.needs || scaled)
        scale_add_launch(s, end, y->dtype);
    return cuda_launched(s, "linear");
}
