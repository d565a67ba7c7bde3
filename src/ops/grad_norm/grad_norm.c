#include "ops/grad_norm/grad_norm.h"

#include "ops/grad_norm/attr.h"
#include "ops/kernels.h"

REF_DECLARE(grad_norm);
CPU_DECLARE(grad_norm);
CUDA_DECLARE(grad_norm);

static const char *const in_names[] = {"gradient", "loss"}, *const out_names[] = {"status"};

static Cost cost(const Call *c)
{
    double n = (double)(c->in[0].rows * c->in[0].columns);
    return (Cost){2 * n, 4 * n};
}

static size_t workspace(const Call *c, const Device *device)
{
    size_t tiles = (size_t)(c->in[0].columns + GRAD_NORM_TILE - 1) / GRAD_NORM_TILE;
    return device->kind == DEVICE_REF ? 0 : tiles * sizeof(double);
}

static const Op grad_norm_op = {.name = "grad_norm",
                                .in_count = 2,
                                .out_count = 1,
                                .in_names = in_names,
                                .out_names = out_names,
                                .attr_size = sizeof(GradNormAttr),
                                .workspace = workspace,
                                .cost = cost,
                                .ref = REF_KERNELS(grad_norm),
                                .cuda = CUDA_KERNEL(grad_norm),
                                .cpu = CPU_KERNELS(grad_norm)};

const Op *const grad_norm_room[] = {&grad_norm_op, NULL};

void grad_norm(Tape *tape, Ref status, Ref gradient, Ref loss, double clip)
{
    tape_append(tape, &grad_norm_op, &(GradNormAttr){clip}, (Ref[]){gradient, loss}, (Ref[]){status}, 0);
}
