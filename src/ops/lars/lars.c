#include "ops/lars/lars.h"

#include "ops/kernels.h"
#include "ops/lars/attr.h"

REF_DECLARE(lars);
CPU_DECLARE(lars);
CUDA_DECLARE(lars);

static const char *const in_names[] = {"gradient", "rate"}, *const out_names[] = {"weights", "momentum"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){12 * n, 28 * n};
}

static const Op lars_op = {.name = "lars",
                           .in_count = 2,
                           .out_count = 2,
                           .in_names = in_names,
                           .out_names = out_names,
                           .attr_size = sizeof(LarsAttr),
                           .cost = cost,
                           .ref = REF_KERNELS(lars),
                           .cuda = CUDA_KERNEL(lars),
                           .cpu = CPU_KERNELS(lars)};

const Op *const lars_room[] = {&lars_op, NULL};

void lars(Tape *tape, LarsArgs a)
{
    if (tape_failed(tape))
        return;
    int64_t n = ref_count(tape, a.weights);
    if (ref_count(tape, a.gradient) != n || ref_count(tape, a.momentum) != n) {
        tape_fail(tape, "lars: weights, gradient and momentum differ in length");
        return;
    }
    LarsAttr attr = {.keep = a.keep, .trust = a.trust, .range_count = a.range_count};
    attr.ranges = tape_attr(tape, a.ranges, (size_t)a.range_count * sizeof *a.ranges);
    /* The outputs are read too, which is what "added to" says. */
    tape_append(tape, &lars_op, &attr, (Ref[]){a.gradient, a.rate}, (Ref[]){a.weights, a.momentum}, 3);
}
