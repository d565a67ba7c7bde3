#include "ops/scale_add/cuda.cuh"

extern "C" bool CUDA(scale_add)(const Call *c, CudaStream *s)
{
    const Tensor *y = &c->out[0], *group = &c->in[2];
    ScaleAdd a = {.rows = y->rows,
                  .columns = y->columns,
                  .per_group = group->data ? y->rows / group->columns : 1,
                  .z = data_of(&c->in[0]),
                  .column = data_of(&c->in[1]),
                  .row = data_of(group),
                  .residual = data_of(&c->in[3]),
                  .y = y->data};
    scale_add_launch(s, a, y->dtype);
    return cuda_launched(s, "scale_add");
}
