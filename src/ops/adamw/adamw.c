#include "ops/adamw/adamw.h"

#include "ops/adamw/attr.h"
#include "ops/kernels.h"

REF_DECLARE(adamw);
CPU_DECLARE(adamw);
CUDA_DECLARE(adamw);

static const char *const in_names[] = {"gradient", "inputs", "status"}, *const out_names[] = {"weights", "moment1", "moment2"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){12 * n, 28 * n};
}

static const Op adamw_op = {.name = "adamw",
                            .in_count = 3,
                            .out_count = 3,
                            .in_names = in_names,
                            .out_names = out_names,
                            .attr_size = sizeof(AdamwAttr),
                            .cost = cost,
                            .ref = REF_KERNELS(adamw),
                            .cuda = CUDA_KERNEL(adamw),
                            .cpu = CPU_KERNELS(adamw)};

const Op *const adamw_room[] = {&adamw_op, NULL};

void adamw(Tape *tape, AdamwArgs a)
{
    if (tape_failed(tape))
        return;
    int64_t n = ref_count(tape, a.weights);
    if (ref_count(tape, a.gradient) != n || ref_count(tape, a.moment1) != n || ref_count(tape, a.moment2) != n) {
        tape_fail(tape, "adamw: weights, gradient and moments differ in length");
        return;
    }
    AdamwAttr attr = {.beta1 = a.beta1, .beta2 = a.beta2, .eps = a.eps, .range_count = a.range_count};
    attr.ranges = tape_attr(tape, a.ranges, (size_t)a.range_count * sizeof *a.ranges);
    /* The outputs are read too, which is what "added to" says. */
    tape_append(tape, &adamw_op, &attr, (Ref[]){a.gradient, a.inputs, a.status}, (Ref[]){a.weights, a.moment1, a.moment2}, 7);
}
