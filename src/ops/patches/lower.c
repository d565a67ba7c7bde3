#include "ops/patches/lower.h"

#include "ops/patches/attr.h"

bool patches_standardise_lower(Lowering *l, const Node *node)
{
    if (l->device->kind != DEVICE_CUDA || ref_columns(l->tape, node->in[0]) > PATCHES_STANDARDISED_MOST)
        return false;
    const Node *maker = lower_maker(l, node->in[0]);
    if (!maker || maker->op != &patches_op)
        return false;
    const Ref ins[] = {maker->in[0], maker->in[1]};
    Ref outs[] = {node->out[0]};
    lower_append(l, &patches_standardised_op, maker->attr, ins, outs, 0);
    return true;
}
