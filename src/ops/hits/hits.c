#include "ops/hits/hits.h"

#include "ops/kernels.h"

REF_DECLARE(hits);
CPU_DECLARE(hits);
CUDA_DECLARE(hits);

static const char *const in_names[] = {"logits", "labels", "scale"}, *const out_names[] = {"share"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){n, 4 * n};
}

static size_t workspace(const Call *c, const Device *device)
{
    return device->kind == DEVICE_REF ? 0 : (size_t)c->in[0].rows * sizeof(float);
}

static const Op hits_op = {.name = "hits",
                           .in_count = 3,
                           .out_count = 1,
                           .in_names = in_names,
                           .out_names = out_names,
                           .workspace = workspace,
                           .cost = cost,
                           .ref = REF_KERNELS(hits),
                           .cuda = CUDA_KERNEL(hits),
                           .cpu = CPU_KERNELS(hits)};

const Op *const hits_room[] = {&hits_op, NULL};

Ref hits(Tape *tape, Ref logits, Ref labels, Ref scale)
{
    if (tape_failed(tape))
        return REF_NONE;
    if (ref_count(tape, labels) != ref_rows(tape, logits))
        return tape_fail(tape, "hits: there is not a label for each row");
    Ref out[] = {tape_temp(tape, DTYPE_REAL, shape_0(), false)};
    tape_append(tape, &hits_op, NULL, (Ref[]){logits, labels, scale}, out, 0);
    return out[0];
}
