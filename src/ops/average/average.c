#include "ops/average/average.h"

#include "ops/kernels.h"

REF_DECLARE(average);
CPU_DECLARE(average);
CUDA_DECLARE(average);

static const char *const in_names[] = {"weights", "take", "status"}, *const out_names[] = {"average"};

static Cost cost(const Call *c)
{
    double n = (double)(c->out[0].rows * c->out[0].columns);
    return (Cost){3 * n, 12 * n};
}

static const Op average_op = {.name = "average",
                              .in_count = 3,
                              .out_count = 1,
                              .in_names = in_names,
                              .out_names = out_names,
                              .cost = cost,
                              .ref = REF_KERNELS(average),
                              .cuda = CUDA_KERNEL(average),
                              .cpu = CPU_KERNELS(average)};

const Op *const average_room[] = {&average_op, NULL};

void average(Tape *tape, AverageArgs a)
{
    if (tape_failed(tape))
        return;
    if (ref_count(tape, a.weights) < ref_count(tape, a.average)) {
        tape_fail(tape, "average: it is longer than the weights");
        return;
    }
    /* The average is read too, which is what "added to" says. */
    tape_append(tape, &average_op, NULL, (Ref[]){a.weights, a.take, a.status}, (Ref[]){a.average}, 1);
}
