#include "ops/operand/operand.h"

#include "ops/kernels.h"
#include "ops/operand/work.h"

REF_DECLARE(operand);
CUDA_DECLARE(operand);

static const char *const in_names[] = {"x", "column_scale", "row_scale"}, *const out_names[] = {"y", "sums"};

static Cost cost(const Call *c)
{
    const Tensor *x = &c->in[OPERAND_X];
    double n = (double)x->rows * (double)x->columns;
    return (Cost){2 * n, tensor_bytes(x) + tensor_bytes(&c->out[OPERAND_Y])};
}

/* Sums of the columns of each tile of rows. */
static size_t workspace(const Call *c, const Device *device)
{
    size_t tiles = (size_t)(c->in[OPERAND_X].rows + OPERAND_TILE - 1) / OPERAND_TILE;
    return device->kind == DEVICE_CUDA && c->out[OPERAND_SUMS].rows ? tiles * (size_t)c->in[OPERAND_X].columns * sizeof(float)
                                                                    : 0;
}

const Op operand_op = {.name = "operand",
                       .takes_bf16 = true,
                       .in_count = OPERAND_IN,
                       .out_count = OPERAND_OUT,
                       .in_names = in_names,
                       .out_names = out_names,
                       .workspace = workspace,
                       .cost = cost,
                       .ref = REF_KERNELS(operand),
                       .cuda = CUDA_KERNEL(operand)};

const Op *const operand_room[] = {&operand_op, NULL};
