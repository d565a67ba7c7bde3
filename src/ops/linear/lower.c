/* What a device cannot fuse becomes layer_norm, activation, scale_add, operand beside a plain product.
 *
 * Where a device lacks both the prologue and the rounding of its products, the two gradients are split together: dx's first,
 * whose prologue reads x anyway and gives what dw multiplies on the way. */
#include "ops/linear/lower.h"

#include "ops/activation/activation.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/slots.h"
#include "ops/operand/operand.h"
#include "ops/scale_add/scale_add.h"

static bool lacks(const Lowering *l, uint32_t what)
{
    return l->device->lacks & what;
}

static bool splits_prologue(const Lowering *l, const LinearAttr *attr)
{
    return lacks(l, DEVICE_LACKS_PROLOGUE) && attr->prologue != PROLOGUE_NONE;
}

static bool rounds(const Lowering *l, const LinearAttr *attr)
{
    return lacks(l, DEVICE_LACKS_ROUNDING) && attr->bf16;
}

static bool is_bf16(const Lowering *l, Ref r)
{
    return tape_value(l->tape, r.slot)->dtype == DTYPE_BF16;
}

static bool same(Ref a, Ref b)
{
    return a.slot == b.slot && a.version == b.version;
}

static LinearAttr plain_of(const LinearAttr *attr)
{
    return (LinearAttr){PROLOGUE_NONE, 0, attr->bf16};
}

/* prologue(x) as a value of its own; stats, when given, is written too. */
static Ref lower_prologue(Lowering *l, const LinearAttr *attr, Ref x, Ref gamma, Ref beta, Ref stats)
{
    Ref out[2] = {lower_temp(l, rounds(l, attr) ? DTYPE_BF16 : DTYPE_REAL, *ref_shape(l->tape, x)), stats};
    if (attr->prologue == PROLOGUE_LAYER_NORM)
        lower_append(l, &layer_norm_op, &(LayerNormAttr){attr->eps}, (Ref[]){x, gamma, beta}, out, 0);
    else
        lower_append(l, &activation_op, &(ActivationAttr){prologue_activation(attr->prologue)}, (Ref[]){x}, out, 0);
    return out[0];
}

/* What a product multiplies: x itself if it is bf16 without scales, else made once for all of the segment who ask for it. */
static Ref lower_operand(Lowering *l, Ref x, Ref column_scale, Ref row_scale)
{
    if (!ref_given(x) || (is_bf16(l, x) && !ref_given(column_scale) && !ref_given(row_scale)))
        return x;
    const Ref ins[OPERAND_IN] = {x, column_scale, row_scale};
    const Node *made = lower_find(l, &operand_op, ins);
    if (made)
        return made->out[OPERAND_Y];
    Ref out[OPERAND_OUT] = {lower_temp(l, DTYPE_BF16, *ref_shape(l->tape, x)), REF_NONE};
    lower_append(l, &operand_op, NULL, ins, out, 0);
    return out[OPERAND_Y];
}

bool linear_lower(Lowering *l, const Node *node)
{
    const LinearAttr *attr = node->attr, plain = plain_of(attr);
    bool prologue = splits_prologue(l, attr), rounding = rounds(l, attr);
    bool scaled = ref_given(node->in[LINEAR_COLUMN_SCALE]) || ref_given(node->in[LINEAR_ROW_SCALE]) ||
                  ref_given(node->in[LINEAR_RESIDUAL]);
    bool epilogue = lacks(l, DEVICE_LACKS_EPILOGUE) && scaled;
    if (!prologue && !epilogue && !rounding)
        return false;
    Ref ins[LINEAR_IN], outs[LINEAR_OUT] = {node->out[LINEAR_Y], node->out[LINEAR_STATS]};
    for (int i = 0; i < LINEAR_IN; i++)
        ins[i] = node->in[i];
    if (prologue) {
        ins[LINEAR_X] = lower_prologue(l, attr, ins[LINEAR_X], ins[LINEAR_GAMMA], ins[LINEAR_BETA], node->out[LINEAR_STATS]);
        ins[LINEAR_GAMMA] = ins[LINEAR_BETA] = outs[LINEAR_STATS] = REF_NONE;
    }
    if (rounding) {
        if (prologue || attr->prologue == PROLOGUE_NONE)
            ins[LINEAR_X] = lower_operand(l, ins[LINEAR_X], REF_NONE, REF_NONE);
        ins[LINEAR_W] = lower_operand(l, ins[LINEAR_W], REF_NONE, REF_NONE);
        if (!scaled && is_bf16(l, node->out[LINEAR_Y])) /* a bias is added in the type of the result */
            ins[LINEAR_B] = lower_operand(l, ins[LINEAR_B], REF_NONE, REF_NONE);
    }
    if (epilogue) {
        ins[LINEAR_COLUMN_SCALE] = ins[LINEAR_ROW_SCALE] = ins[LINEAR_RESIDUAL] = REF_NONE;
        outs[LINEAR_Y] = lower_temp(l, DTYPE_REAL, *ref_shape(l->tape, node->out[LINEAR_Y]));
    }
    lower_append(l, &linear_op, prologue ? &plain : attr, ins, outs, epilogue ? 0 : node->accumulate);
    if (epilogue)
        lower_append(
            l, &scale_add_op, NULL,
            (Ref[]){outs[LINEAR_Y], node->in[LINEAR_COLUMN_SCALE], node->in[LINEAR_ROW_SCALE], node->in[LINEAR_RESIDUAL]},
            (Ref[]){node->out[LINEAR_Y]}, node->accumulate);
    return true;
}

/* Has the activation's gradient that wrote dy take its column sums on the way. False where none did that can. */
static bool lower_sums(Lowering *l, Ref dy, Ref *sums, bool add)
{
    const Node *maker = lower_maker(l, dy);
    return maker && maker->op == &activation_grad_op && same(maker->out[ACTIVATION_GRAD_DX], dy) &&
           !(maker->accumulate >> ACTIVATION_GRAD_DX & 1) && !ref_given(maker->out[ACTIVATION_GRAD_SUMS]) &&
           lower_add_output(l, maker, ACTIVATION_GRAD_SUMS, sums, add);
}

/* What dw's product multiplies of dy, in ins, which become those of the node. Where row_scale dy is rounded, here or by the
 * activation's gradient that wrote it, its column sums are taken on the way: they are db, or with a column scale in between go
 * to dw. Returns whether db is written. */
static bool lower_dw_gradient(Lowering *l, const Node *node, Ref *ins)
{
    const LinearAttr *attr = node->attr;
    Ref dy = node->in[DW_DY], row = node->in[DW_ROW_SCALE], sums = node->out[DW_DB];
    bool scaled = ref_given(node->in[DW_COLUMN_SCALE]), add = !scaled && (node->accumulate >> DW_DB & 1),
         summed = rounds(l, attr) && (ref_given(node->out[DW_DB]) || ref_given(node->out[DW_DCOLUMN]));
    for (int i = 0; i < DW_IN; i++)
        ins[i] = node->in[i];
    if (summed && scaled)
        sums = lower_temp(l, DTYPE_REAL, shape_1(ref_columns(l->tape, dy)));
    if (summed && is_bf16(l, dy) && !ref_given(row)) {
        summed = lower_sums(l, dy, &sums, add);
    } else if (summed) {
        Ref out[OPERAND_OUT] = {lower_temp(l, DTYPE_BF16, *ref_shape(l->tape, dy)), sums};
        lower_append(l, &operand_op, NULL, (Ref[]){dy, REF_NONE, row}, out, add ? 1U << OPERAND_SUMS : 0);
        sums = out[OPERAND_SUMS];
        ins[DW_DY] = out[OPERAND_Y];
        ins[DW_ROW_SCALE] = REF_NONE;
    }
    if (summed) {
        ins[DW_SUMS] = scaled ? sums : REF_NONE;
        return !scaled;
    }
    if (rounds(l, attr)) {
        ins[DW_DY] = lower_operand(l, dy, REF_NONE, row);
        ins[DW_ROW_SCALE] = REF_NONE;
    } else if (lacks(l, DEVICE_LACKS_EPILOGUE) && ref_given(row)) {
        Ref out[] = {lower_temp(l, DTYPE_REAL, *ref_shape(l->tape, dy))};
        lower_append(l, &scale_add_op, NULL, (Ref[]){dy, REF_NONE, row, REF_NONE}, out, 0);
        ins[DW_DY] = out[0];
        ins[DW_ROW_SCALE] = REF_NONE;
    }
    return false;
}

/* The rest of dw, behind lower_dw_gradient(). prepared: prologue(x), when it is there already. */
static void lower_dw(Lowering *l, const Node *node, Ref *ins, bool wrote_db, Ref prepared)
{
    const LinearAttr *attr = node->attr, plain = plain_of(attr);
    bool prologue = splits_prologue(l, attr);
    Ref outs[DW_OUT] = {node->out[DW_DW], wrote_db ? REF_NONE : node->out[DW_DB], node->out[DW_DCOLUMN]};
    if (!ref_given(outs[DW_DW]) && !ref_given(outs[DW_DB]) && !ref_given(outs[DW_DCOLUMN]))
        return;
    if (prologue) {
        /* Recomputed rather than kept from the forward pass: memory is dearer. */
        ins[DW_X] = ref_given(prepared) ? prepared : lower_prologue(l, attr, ins[DW_X], ins[DW_GAMMA], ins[DW_BETA], REF_NONE);
        ins[DW_STATS] = ins[DW_GAMMA] = ins[DW_BETA] = REF_NONE;
    }
    if (rounds(l, attr) && (prologue || attr->prologue == PROLOGUE_NONE))
        ins[DW_X] = lower_operand(l, ins[DW_X], REF_NONE, REF_NONE);
    lower_append(l, &linear_dw_op, prologue ? &plain : attr, ins, outs, node->accumulate);
}

/* Whether the two are the gradients of one linear and are split together. What both add to keeps its order. */
static bool are_pair(const Lowering *l, const Node *dw, const Node *dx)
{
    if (!dw || !dx || dw->op != &linear_dw_op || dx->op != &linear_dx_op || dw->segment != dx->segment)
        return false;
    const LinearAttr *a = dw->attr, *b = dx->attr;
    for (int i = 0; i < DW_OUT; i++)
        for (int k = 0; k < DX_OUT; k++)
            if (refs_meet(l->tape, dw->out[i], dx->out[k]))
                return false;
    return splits_prologue(l, a) && rounds(l, a) && a->prologue == b->prologue && same(dw->in[DW_DY], dx->in[DX_DY]) &&
           same(dw->in[DW_X], dx->in[DX_X]) && same(dw->in[DW_STATS], dx->in[DX_STATS]);
}

bool linear_dw_lower(Lowering *l, const Node *node)
{
    const LinearAttr *attr = node->attr;
    bool epilogue = lacks(l, DEVICE_LACKS_EPILOGUE) && ref_given(node->in[DW_ROW_SCALE]);
    if (!splits_prologue(l, attr) && !epilogue && !rounds(l, attr))
        return false;
    if (are_pair(l, node, lower_neighbour(l, 1)))
        return true; /* dx's lowering sees to it */
    Ref ins[DW_IN];
    bool wrote_db = lower_dw_gradient(l, node, ins);
    lower_dw(l, node, ins, wrote_db, REF_NONE);
    return true;
}

/* What dx's product multiplies, dy and W, in ins, which become those of the node. */
static void lower_dx_gradient(Lowering *l, const Node *node, Ref *ins)
{
    for (int i = 0; i < DX_IN; i++)
        ins[i] = node->in[i];
    bool scaled = ref_given(ins[DX_COLUMN_SCALE]) || ref_given(ins[DX_ROW_SCALE]);
    if (rounds(l, node->attr)) {
        ins[DX_DY] = lower_operand(l, ins[DX_DY], ins[DX_COLUMN_SCALE], ins[DX_ROW_SCALE]);
        ins[DX_W] = lower_operand(l, ins[DX_W], REF_NONE, REF_NONE);
    } else if (lacks(l, DEVICE_LACKS_EPILOGUE) && scaled) {
        Ref out[] = {lower_temp(l, DTYPE_REAL, *ref_shape(l->tape, ins[DX_DY]))};
        lower_append(l, &scale_add_op, NULL, (Ref[]){ins[DX_DY], ins[DX_COLUMN_SCALE], ins[DX_ROW_SCALE], REF_NONE}, out, 0);
        ins[DX_DY] = out[0];
    } else {
        return;
    }
    ins[DX_COLUMN_SCALE] = ins[DX_ROW_SCALE] = REF_NONE;
}

/* The product of dx and the prologue's gradient, behind lower_dx_gradient(). With `dw`, which goes together with it, returns
 * prologue(x), which dw multiplies; else REF_NONE. */
static Ref lower_dx_prologue(Lowering *l, const Node *node, Ref *ins, const Node *dw)
{
    const LinearAttr *attr = node->attr, plain = plain_of(attr);
    Ref x = ins[DX_X], stats = ins[DX_STATS], gamma = ins[DX_GAMMA], beta = dw ? dw->in[DW_BETA] : REF_NONE;
    Shape shape = *ref_shape(l->tape, x);
    Ref inner[DX_OUT] = {lower_temp(l, rounds(l, attr) ? DTYPE_BF16 : DTYPE_REAL, shape), REF_NONE, REF_NONE};
    Ref y = dw ? lower_temp(l, DTYPE_BF16, shape) : REF_NONE;
    ins[DX_X] = ins[DX_STATS] = ins[DX_GAMMA] = REF_NONE;
    lower_append(l, &linear_dx_op, &plain, ins, inner, 0);
    if (attr->prologue == PROLOGUE_LAYER_NORM) {
        Ref outs[] = {node->out[DX_DX], node->out[DX_DGAMMA], node->out[DX_DBETA], y};
        lower_append(l, &layer_norm_grad_op, &(LayerNormAttr){attr->eps}, (Ref[]){inner[0], x, stats, gamma, beta}, outs,
                     node->accumulate);
        return outs[3];
    }
    Ref outs[ACTIVATION_GRAD_OUT] = {node->out[DX_DX], y, REF_NONE};
    lower_append(l, &activation_grad_op, &(ActivationAttr){prologue_activation(attr->prologue)}, (Ref[]){inner[0], x}, outs,
                 node->accumulate);
    return outs[ACTIVATION_GRAD_Y];
}

bool linear_dx_lower(Lowering *l, const Node *node)
{
    const LinearAttr *attr = node->attr;
    const Node *dw = lower_neighbour(l, -1);
    bool scaled = ref_given(node->in[DX_COLUMN_SCALE]) || ref_given(node->in[DX_ROW_SCALE]);
    if (!splits_prologue(l, attr) && !rounds(l, attr) && !(lacks(l, DEVICE_LACKS_EPILOGUE) && scaled))
        return false;
    Ref ins[DX_IN];
    if (are_pair(l, dw, node)) {
        Ref dw_ins[DW_IN];
        l->node = dw;
        bool wrote_db = lower_dw_gradient(l, dw, dw_ins); /* first, so that dx finds what its sums have been taken of */
        l->node = node;
        lower_dx_gradient(l, node, ins);
        Ref y = lower_dx_prologue(l, node, ins, dw);
        l->node = dw;
        lower_dw(l, dw, dw_ins, wrote_db, y);
        l->node = node;
        return true;
    }
    lower_dx_gradient(l, node, ins);
    if (splits_prologue(l, attr)) {
        lower_dx_prologue(l, node, ins, NULL);
    } else {
        Ref outs[] = {node->out[DX_DX], node->out[DX_DGAMMA], node->out[DX_DBETA]};
        lower_append(l, &linear_dx_op, attr, ins, outs, node->accumulate);
    }
    return true;
}
