#include "ops/add/add.h"

#include "ops/kernels.h"

REF_DECLARE(add);
REF_DECLARE(add_to);
CPU_DECLARE(add);
CPU_DECLARE(add_to);
CUDA_DECLARE(add_to);
CUDA_DECLARE(add);

static const char *const add_names[] = {"a", "b"}, *const add_to_names[] = {"term"}, *const out_names[] = {"sum"};

static Cost add_cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){n, 12 * n};
}

static void add_gradient(Tape *tape, const Node *node)
{
    Ref dy = grad_of(tape, node->out[0]);
    grad_pass(tape, node->in[0], dy, add_to);
    grad_pass(tape, node->in[1], dy, add_to);
}

static Ref example(Tape *tape, int index)
{
    if (index > 1)
        return REF_NONE;
    Ref a = tape_input(tape, "a", DTYPE_REAL, shape_2(3, 5));
    /* The second form adds a value to itself, whose gradient then arrives twice over one path. */
    return index ? add(tape, a, a) : add(tape, a, tape_input(tape, "b", DTYPE_REAL, shape_2(3, 5)));
}

static const Op add_to_op = {.name = "add_to",
                             .in_count = 1,
                             .out_count = 1,
                             .in_names = add_to_names,
                             .out_names = out_names,
                             .cost = add_cost,
                             .ref = REF_KERNELS(add_to),
                             .cuda = CUDA_KERNEL(add_to),
                             .cpu = CPU_KERNELS(add_to)};

static const Op add_op = {.name = "add",
                          .in_count = 2,
                          .out_count = 1,
                          .in_names = add_names,
                          .out_names = out_names,
                          .gradient = add_gradient,
                          .cost = add_cost,
                          .in_place = {1},
                          .ref = REF_KERNELS(add),
                          .cuda = CUDA_KERNEL(add),
                          .cpu = CPU_KERNELS(add),
                          .example = example};

const Op *const add_room[] = {&add_op, &add_to_op, NULL};

void add_to(Tape *tape, Ref target, Ref term, uint32_t accumulate)
{
    if (ref_count(tape, target) != ref_count(tape, term)) {
        tape_fail(tape, "add_to: %lld elements to %lld", (long long)ref_count(tape, term), (long long)ref_count(tape, target));
        return;
    }
    tape_append(tape, &add_to_op, NULL, (Ref[]){term}, (Ref[]){target}, accumulate);
}

Ref add(Tape *tape, Ref a, Ref b)
{
    if (tape_failed(tape))
        return REF_NONE;
    if (!shape_equal(ref_shape(tape, a), ref_shape(tape, b)))
        return tape_fail(tape, "add: the two shapes differ");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, *ref_shape(tape, a), ref_needs_grad(tape, a) || ref_needs_grad(tape, b))};
    tape_append(tape, &add_op, NULL, (Ref[]){a, b}, out, 0);
    return out[0];
}
