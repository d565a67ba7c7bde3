#include "ops/operand/cuda.cuh"

#include "ops/operand/operand.h"

template <int N, class From> static __global__ void round_kernel(const From *x, Bf16 *y, int64_t count)
{
    int64_t i = thread_number() * N;
    if (i < count)
        pack_store<N>(y + i, pack_load<N>(x + i));
}

/* What is neither scaled nor summed has no rows: a weight may be stored in any shape. */
static void round_launch(CudaStream *s, const Tensor *x, Bf16 *y)
{
    int64_t count = count_of(x);
    with_pack(packs_fit(count, data_of(x), y), [&](auto n) {
        with_type(x->dtype, [&](auto t) {
            typedef decltype(t) T;
            cuda_launch(s, round_kernel<n.value, T>, blocks_of(count, BLOCK * n.value), dim3(BLOCK), 0, data_of<T>(x), y,
                        count);
        });
    });
}

extern "C" bool CUDA(operand)(const Call *c, CudaStream *s)
{
    const Tensor *x = &c->in[OPERAND_X], *group = &c->in[OPERAND_ROW_SCALE], *column = &c->in[OPERAND_COLUMN_SCALE];
    float *sums = data_of(&c->out[OPERAND_SUMS]);
    OperandPass p = {.rows = x->rows,
                     .n = x->columns,
                     .per_group = group->data ? x->rows / group->columns : 1,
                     .x = x->data,
                     .column = data_of(column),
                     .row = data_of(group),
                     .y = data_of<Bf16>(&c->out[OPERAND_Y]),
                     .partials = sums ? static_cast<float *>(c->work) : NULL};
    if (!p.column && !p.row && !sums) {
        round_launch(s, x, p.y);
        return cuda_launched(s, "operand");
    }
    operand_launch(s, p, x->dtype);
    if (sums)
        operand_sums(s, p, sums, call_accumulates(c, OPERAND_SUMS));
    return cuda_launched(s, "operand");
}
