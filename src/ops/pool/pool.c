#include "ops/pool/pool.h"

#include "ops/kernels.h"
#include "ops/pool/attr.h"

REF_DECLARE(pool);
REF_DECLARE(pool_grad);
CPU_DECLARE(pool);
CPU_DECLARE(pool_grad);
CUDA_DECLARE(pool_grad);
CUDA_DECLARE(pool);

static const char *const in_names[] = {"x"}, *const out_names[] = {"y"};
static const char *const grad_in_names[] = {"dy"}, *const grad_out_names[] = {"dx"};

static Cost cost(const Call *c)
{
    const PoolAttr *attr = c->attr;
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){n * (double)attr->count, 4 * n * (double)(attr->count + 1)};
}

static Cost grad_cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){n, 4 * n};
}

static const Op pool_grad_op = {.name = "pool_grad",
                                .in_count = 1,
                                .out_count = 1,
                                .in_names = grad_in_names,
                                .out_names = grad_out_names,
                                .attr_size = sizeof(PoolAttr),
                                .cost = grad_cost,
                                .ref = REF_KERNELS(pool_grad),
                                .cuda = CUDA_KERNEL(pool_grad),
                                .cpu = CPU_KERNELS(pool_grad)};

static void gradient(Tape *tape, const Node *node)
{
    uint32_t accumulate = 0;
    Ref dx = grad_into(tape, node->in[0], 0, &accumulate);
    tape_append(tape, &pool_grad_op, node->attr, (Ref[]){grad_of(tape, node->out[0])}, (Ref[]){dx}, accumulate);
}

static Ref example(Tape *tape, int index)
{
    static const int64_t sizes[][5] = {{3, 5, 7, 1, 4}, {2, 4, 21, 0, 1}, {5, 3, 40, 0, 3}};
    if (index > 2)
        return REF_NONE;
    const int64_t *s = sizes[index];
    return pool(tape, tape_input(tape, "x", DTYPE_REAL, shape_3(s[0], s[1], s[2])), s[3], s[4]);
}

static const Op pool_op = {.name = "pool",
                           .in_count = 1,
                           .out_count = 1,
                           .in_names = in_names,
                           .out_names = out_names,
                           .attr_size = sizeof(PoolAttr),
                           .gradient = gradient,
                           .cost = cost,
                           .ref = REF_KERNELS(pool),
                           .cuda = CUDA_KERNEL(pool),
                           .cpu = CPU_KERNELS(pool),
                           .example = example};

const Op *const pool_room[] = {&pool_op, &pool_grad_op, NULL};

Ref pool(Tape *tape, Ref x, int64_t first, int64_t count)
{
    if (tape_failed(tape))
        return REF_NONE;
    const Shape *shape = ref_shape(tape, x);
    if (shape->n != 3)
        return tape_fail(tape, "pool: x is not (pictures, tokens, width)");
    if (first < 0 || count < 1 || first + count > shape->d[1])
        return tape_fail(tape, "pool: there are no tokens %lld .. %lld among %lld", (long long)first,
                         (long long)(first + count - 1), (long long)shape->d[1]);
    PoolAttr attr = {shape->d[1], first, count};
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_2(shape->d[0], shape->d[2]), ref_needs_grad(tape, x))};
    tape_append(tape, &pool_op, &attr, (Ref[]){x}, out, 0);
    return out[0];
}
