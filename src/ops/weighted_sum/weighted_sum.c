#include "ops/weighted_sum/weighted_sum.h"

#include <string.h>

#include "ops/kernels.h"
#include "ops/weighted_sum/attr.h"

REF_DECLARE(weighted_sum);
CUDA_DECLARE(weighted_sum);

static const char *const in_names[] = {"terms"}, *const out_names[] = {"sum"};

static const Op weighted_sum_op = {.name = "weighted_sum",
                                   .in_count = 1,
                                   .out_count = 1,
                                   .in_names = in_names,
                                   .out_names = out_names,
                                   .attr_size = sizeof(WeightedSumAttr),
                                   .ref = REF_KERNELS(weighted_sum),
                                   .cuda = CUDA_KERNEL(weighted_sum)};

const Op *const weighted_sum_room[] = {&weighted_sum_op, NULL};

void weighted_sum(Tape *tape, Ref target, Ref terms, const double *weights, int count)
{
    if (tape_failed(tape))
        return;
    if (count > WEIGHTED_SUM_MOST || ref_count(tape, terms) != count) {
        tape_fail(tape, "weighted_sum: %d weights for %lld terms", count, (long long)ref_count(tape, terms));
        return;
    }
    WeightedSumAttr attr = {.count = count};
    memcpy(attr.weights, weights, (size_t)count * sizeof *weights);
    tape_append(tape, &weighted_sum_op, &attr, (Ref[]){terms}, (Ref[]){target}, 0);
}
