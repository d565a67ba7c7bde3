#include "nn/vit.h"

#include <math.h>

#include "base/memory.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/gather/gather.h"
#include "ops/key_free_bias/key_free_bias.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/patches/patches.h"
#include "ops/relative_bias/relative_bias.h"

/* Those rows, of `own` (left out when none of them is taken) and `shared`. */
static Ref join(Tape *t, const VitTokens *x, const VitRows *rows, Ref own, Ref shared)
{
    return gather(t, (GatherArgs){.x = own,
                                  .index = rows->index,
                                  .inverse = rows->inverse,
                                  .tokens = shared,
                                  .table = REF_NONE,
                                  .place = REF_NONE,
                                  .shape = shape_3(ref_shape(t, x->own)->d[0], rows->count,
                                                   ref_columns(t, ref_given(own) ? own : shared))});
}

/* The tokens at those rows. */
static Ref tokens_at(Tape *t, const VitTokens *x, const VitRows *rows)
{
    return join(t, x, rows, ref_given(rows->inverse) ? x->own : REF_NONE, x->shared);
}

Ref vit_tokens(Tape *t, const VitTokens *x)
{
    return ref_given(x->shared) ? tokens_at(t, x, &x->rows) : x->own;
}

/* A map of the tokens at those rows, or of all own ones when none are shared. */
static Ref map_at(Tape *t, LinearArgs map, const VitTokens *x, const VitRows *rows)
{
    if (!ref_given(x->shared))
        return layer_apply(t, map, x->own);
    Ref own = ref_given(rows->inverse) ? layer_apply(t, map, x->own) : REF_NONE;
    return join(t, x, rows, own, layer_apply(t, map, x->shared));
}

/* Attention of norm1 x: queries `asking` (tokens of these rows) over all tokens, or of all over all when rows is NULL. */
static Ref block_attention(Tape *t, const VitTokens *x, const VitRows *rows, Ref asking, const BlockConfig *c, Norm norm1,
                           Ref bias)
{
    int64_t d = c->width;
    scope_push(t, "qkv");
    LinearArgs map = norm_before(layer_none(), norm1);
    map.w = param(t, "weight", shape_2(3 * d, d), init_qkv_weight(c->family, d));
    if (c->qkv_bias == VIT_BIAS_ALL)
        map.b = param(t, "bias", shape_1(3 * d), init_bias(c->family));
    scope_pop(t);
    map.dtype = tape_activation(t);
    Ref q_bias = REF_NONE, v_bias = REF_NONE;
    if (c->qkv_bias == VIT_BIAS_NO_K) {
        q_bias = param(t, "q_bias", shape_1(d), init_bias(c->family));
        v_bias = param(t, "v_bias", shape_1(d), init_bias(c->family));
    }
    if (!rows) {
        if (ref_given(q_bias))
            map.b = key_free_bias(t, q_bias, v_bias);
        Ref qkv = map_at(t, map, x, &x->rows), softmax;
        if (!tape_keeps(t, "map"))
            return self_attention(t, qkv, c->heads, bias);
        Ref heads = self_attention_map(t, qkv, c->heads, bias, &softmax);
        tape_name(t, softmax, "map");
        return heads;
    }
    LinearArgs q = layer_outputs(t, map, 0, d), kv = layer_outputs(t, map, d, 2 * d);
    if (ref_given(q_bias)) {
        q.b = q_bias;
        kv.b = key_free_bias(t, REF_NONE, v_bias);
    }
    return attention(t, (AttentionArgs){.q = ref_given(x->shared) ? map_at(t, q, x, rows) : layer_apply(t, q, asking),
                                        .kv = map_at(t, kv, x, &x->rows),
                                        .v_column = d,
                                        .width = d,
                                        .heads = c->heads,
                                        .index = REF_NONE,
                                        .bias = REF_NONE,
                                        .mask = REF_NONE});
}

/* Those rows of x (N, T, D), all of which are own tokens'. */
static Ref rows_of(Tape *t, Ref x, const VitRows *rows)
{
    return join(t, &(VitTokens){.own = x, .shared = REF_NONE}, rows, x, REF_NONE);
}

Ref vit_block_part(Tape *t, const VitTokens *tokens, const VitRows *wanted, const BlockConfig *c, const Ref keep[2], Ref bias,
                   int index)
{
    int64_t d = c->width, hidden = llround(c->mlp_ratio * (double)d);
    Prologue act = c->activation == ACTIVATION_QUICK_GELU ? PROLOGUE_QUICK_GELU : PROLOGUE_GELU;
    /* Taken before the maps of all tokens: then their gradient writes every row, and this one's adds to some. */
    Ref x = wanted ? tokens_at(t, tokens, wanted) : vit_tokens(t, tokens);
    Norm norm1 = norm_params(t, "norm1", d, c->norm_eps, init_bias(c->family));
    scope_push(t, "attn");
    Ref heads = block_attention(t, tokens, ref_given(bias) ? NULL : wanted, x, c, norm1, bias);
    if (wanted && ref_given(bias))
        heads = rows_of(t, heads, wanted);
    LinearArgs map = layer_map(t, "proj", d, d, true, c->family, index);
    scope_pop(t);
    if (c->layer_scale > 0)
        map.column_scale = param(t, "ls1.gamma", shape_1(d), init_constant(c->layer_scale));
    map.row_scale = keep[0];
    map.residual = x;
    x = layer_apply(t, map, heads);
    Norm norm2 = norm_params(t, "norm2", d, c->norm_eps, init_bias(c->family));
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

Ref vit_block(Tape *t, Ref x, const BlockConfig *c, const Ref keep[2], Ref bias, int index)
{
    return vit_block_part(t, &(VitTokens){.own = x, .shared = REF_NONE}, NULL, c, keep, bias, index);
}

Ref vit_relative_bias(Tape *t, const VitConfig *c, int index)
{
    Shape shape = shape_2(relative_bias_rows(c->rows, c->columns), c->block.heads);
    RelativeBiasArgs args = {.rows = c->rows, .columns = c->columns, .class_tokens = c->class_tokens};
    if (c->position != VIT_POSITION_RELATIVE && c->position != VIT_POSITION_RELATIVE_PER_BLOCK)
        return REF_NONE;
    if (c->position == VIT_POSITION_RELATIVE)
        scope_push(t, "rel_pos_bias");
    else
        scope_push(t, "blocks.%d.attn", index);
    args.table = param(t, "relative_position_bias_table", shape, init_constant(0));
    scope_pop(t);
    return relative_bias(t, args);
}

VitInput vit_whole(Tape *t, const VitConfig *c, int64_t batch)
{
    int64_t places = (int64_t)c->rows * c->columns, tokens = c->class_tokens + places;
    VitInput in = {.batch = batch,
                   .tokens = tokens,
                   .patches = REF_NONE,
                   .replaced = REF_NONE,
                   .replaced_inverse = REF_NONE,
                   .index = REF_NONE,
                   .inverse = REF_NONE,
                   .place = REF_NONE};
    int32_t *index = memory_new((size_t)(batch * tokens), sizeof *index),
            *inverse = memory_new((size_t)(batch * places), sizeof *inverse);
    if (index && inverse) {
        for (int64_t i = 0; i < batch * tokens; i++) {
            int64_t at = i % tokens - c->class_tokens, from = i / tokens * places + at;
            index[i] = (int32_t)(at < 0 ? -1 - i % tokens : from);
            if (at >= 0)
                inverse[from] = (int32_t)i;
        }
        in.index = tape_constant_i32(t, shape_1(batch * tokens), index);
        in.inverse = tape_constant_i32(t, shape_1(batch * places), inverse);
    } else {
        tape_fail(t, NULL);
    }
    memory_free(index);
    memory_free(inverse);
    return in;
}

bool vit_has_table(const VitConfig *c)
{
    return c->position == VIT_POSITION_SINCOS || c->position == VIT_POSITION_LEARNED;
}

/* The patches that `in` names, through their map. */
static Ref embed_patches(Tape *t, Ref image, const VitConfig *c, const VitInput *in)
{
    const BlockConfig *b = &c->block;
    int64_t d = b->width, numbers = (int64_t)c->channels * c->patch * c->patch;
    Ref cut = patches(t, image, in->patches, c->patch, PATCH_CHANNEL_FIRST);
    scope_push(t, "patch_embed");
    LinearArgs map = layer_none();
    ParamsInUse all = tape_params_in_use(t);
    if (b->family == FAMILY_MOCO) /* drawn, saved and read as trained ones are, but without a gradient */
        tape_params_use_again(t, (ParamsInUse){.use = all.use});
    map.w = param(t, "proj.weight", shape_4(d, c->channels, c->patch, c->patch), init_patch_weight(b->family, d, numbers));
    if (c->patch_bias)
        map.b = param(t, "proj.bias", shape_1(d), init_patch_bias(b->family, numbers));
    tape_params_use_again(t, all);
    scope_pop(t);
    return layer_apply(t, map, cut);
}

Ref vit_mask_token(Tape *t, int64_t width, InitFamily family)
{
    return param(t, "mask_token", shape_3(1, 1, width), init_token(family));
}

Ref vit_token_everywhere(Tape *t, Ref token, Ref table)
{
    return gather(t, (GatherArgs){.x = table,
                                  .index = REF_NONE,
                                  .inverse = REF_NONE,
                                  .tokens = REF_NONE,
                                  .table = token,
                                  .place = REF_NONE,
                                  .shape = shape_2(ref_shape(t, table)->d[1], ref_columns(t, table))});
}

/* Tokens of embedded patches x: class tokens before them, positions added. *table: of the positions, or left out. */
static Ref place_tokens(Tape *t, Ref x, const VitConfig *c, const VitInput *in, Ref *table)
{
    const BlockConfig *b = &c->block;
    int64_t d = b->width, places = (int64_t)c->rows * c->columns;
    Ref token = REF_NONE;
    *table = REF_NONE;
    if (c->class_tokens)
        token = param(t, "cls_token", shape_3(1, c->class_tokens, d), init_token(b->family));
    Shape shape = shape_3(1, places + c->class_tokens, d);
    if (c->position == VIT_POSITION_SINCOS)
        *table = param_fixed(t, "pos_embed", shape, init_sincos(b->family, c->rows, c->columns));
    else if (c->position == VIT_POSITION_LEARNED)
        *table = param(t, "pos_embed", shape, init_token(b->family));
    return gather(t, (GatherArgs){.x = x,
                                  .index = in->index,
                                  .inverse = in->inverse,
                                  .tokens = token,
                                  .table = *table,
                                  .place = ref_given(*table) ? in->place : REF_NONE,
                                  .shape = shape_3(in->batch, in->tokens, d)});
}

Ref vit_embed(Tape *t, Ref image, const VitConfig *c, const VitInput *in)
{
    Ref x = embed_patches(t, image, c, in), table;
    if (c->mask_token)
        x = gather(t, (GatherArgs){.x = x,
                                   .index = in->replaced,
                                   .inverse = in->replaced_inverse,
                                   .tokens = vit_mask_token(t, c->block.width, c->block.family),
                                   .table = REF_NONE,
                                   .place = REF_NONE,
                                   .shape = shape_3(in->batch, (int64_t)c->rows * c->columns, c->block.width)});
    x = place_tokens(t, x, c, in, &table);
    if (!c->norm_pre)
        return x;
    Norm norm = norm_params(t, "norm_pre", c->block.width, c->block.norm_eps, init_bias(c->block.family));
    return layer_norm(t, x, norm.gamma, norm.beta, norm.eps);
}

VitTokens vit_embed_masked(Tape *t, Ref image, const VitConfig *c, const VitInput *in)
{
    Ref x = embed_patches(t, image, c, in), shared = vit_mask_token(t, c->block.width, c->block.family), table;
    x = place_tokens(t, x, c, in, &table);
    if (ref_given(table))
        shared = vit_token_everywhere(t, shared, table);
    if (c->norm_pre) {
        Norm norm = norm_params(t, "norm_pre", c->block.width, c->block.norm_eps, init_bias(c->block.family));
        x = layer_norm(t, x, norm.gamma, norm.beta, norm.eps);
        shared = layer_norm(t, shared, norm.gamma, norm.beta, norm.eps);
    }
    return (VitTokens){.own = x, .shared = shared};
}
