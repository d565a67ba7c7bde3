#include "nn/vit.h"

#include <math.h>

#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/gather/gather.h"
#include "ops/key_free_bias/key_free_bias.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/patches/patches.h"

Ref vit_block(Tape *t, Ref x, const BlockConfig *c, const Ref keep[2], int index)
{
    int64_t d = c->width, hidden = llround(c->mlp_ratio * (double)d);
    Prologue act = c->activation == ACTIVATION_QUICK_GELU ? PROLOGUE_QUICK_GELU : PROLOGUE_GELU;
    Norm norm1 = norm_params(t, "norm1", d, c->norm_eps);
    scope_push(t, "attn");
    LinearArgs map = layer_map(t, "qkv", 3 * d, d, c->qkv_bias == VIT_BIAS_ALL, c->family, -1);
    if (c->qkv_bias == VIT_BIAS_NO_K)
        map.b = key_free_bias(t, param(t, "q_bias", shape_1(d), init_constant(0)),
                              param(t, "v_bias", shape_1(d), init_constant(0)));
    map.dtype = tape_activation(t);
    Ref heads = self_attention(t, layer_apply(t, norm_before(map, norm1), x), c->heads);
    map = layer_map(t, "proj", d, d, true, c->family, index);
    scope_pop(t);
    if (c->layer_scale > 0)
        map.column_scale = param(t, "ls1.gamma", shape_1(d), init_constant(c->layer_scale));
    map.row_scale = keep[0];
    map.residual = x;
    x = layer_apply(t, map, heads);
    Norm norm2 = norm_params(t, "norm2", d, c->norm_eps);
    scope_push(t, "mlp");
    LinearArgs widen = norm_before(layer_map(t, "fc1", hidden, d, true, c->family, -1), norm2);
    widen.dtype = tape_activation(t);
    Ref wide = layer_apply(t, widen, x);
    map = layer_map(t, "fc2", d, hidden, true, c->family, index);
    scope_pop(t);
    map.prologue = act;
    if (c->layer_scale > 0)
        map.column_scale = param(t, "ls2.gamma", shape_1(d), init_constant(c->layer_scale));
    map.row_scale = keep[1];
    map.residual = x;
    return layer_apply(t, map, wide);
}

Ref vit_embed(Tape *t, Ref image, const VitConfig *c, const VitInput *in)
{
    const BlockConfig *b = &c->block;
    int64_t d = b->width, numbers = (int64_t)c->channels * c->patch * c->patch, places = (int64_t)c->rows * c->columns;
    Ref cut = patches(t, image, in->patches, c->patch, PATCH_CHANNEL_FIRST);
    scope_push(t, "patch_embed");
    LinearArgs map = layer_none();
    map.w = param(t, "proj.weight", shape_4(d, c->channels, c->patch, c->patch), init_patch_weight(b->family, d, numbers));
    if (c->patch_bias)
        map.b = param(t, "proj.bias", shape_1(d), init_patch_bias(b->family, numbers));
    scope_pop(t);
    Ref x = layer_apply(t, map, cut);
    if (c->mask_token) {
        Ref token = param(t, "mask_token", shape_3(1, 1, d), init_token(b->family));
        x = gather(t, (GatherArgs){.x = x,
                                   .index = in->replaced,
                                   .inverse = in->replaced_inverse,
                                   .tokens = token,
                                   .table = REF_NONE,
                                   .place = REF_NONE,
                                   .shape = shape_3(in->batch, places, d)});
    }
    Ref token = REF_NONE, table = REF_NONE;
    if (c->class_tokens)
        token = param(t, "cls_token", shape_3(1, 1, d), init_token(b->family));
    Shape table_shape = shape_3(1, places + c->class_tokens, d);
    if (c->position == VIT_POSITION_SINCOS)
        table = param_fixed(t, "pos_embed", table_shape, init_sincos(c->rows, c->columns));
    else if (c->position == VIT_POSITION_LEARNED)
        table = param(t, "pos_embed", table_shape, init_token(b->family));
    x = gather(t, (GatherArgs){.x = x,
                               .index = in->index,
                               .inverse = in->inverse,
                               .tokens = token,
                               .table = table,
                               .place = ref_given(table) ? in->place : REF_NONE,
                               .shape = shape_3(in->batch, in->tokens, d)});
    if (!c->norm_pre)
        return x;
    Norm norm = norm_params(t, "norm_pre", d, b->norm_eps);
    return layer_norm(t, x, norm.gamma, norm.beta, norm.eps);
}
