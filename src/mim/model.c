#include "mim/model.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "mim/names.h"
#include "nn/layers.h"
#include "ops/cosine/cosine.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/distance/distance.h"
#include "ops/gather/gather.h"
#include "ops/layer_norm/layer_norm.h"

/* ---- inputs */

static Ref indices(Tape *t, const char *name, int64_t count)
{
    return tape_input(t, name, DTYPE_I32, shape_1(count));
}

Ref mim_view_input(Tape *t, MimView view, const char *what, DType dtype, Shape shape)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", mim_view_names[view], what);
    return tape_input(t, name, dtype, shape);
}

/* ---- encoder */

/* The class token of each picture, of a block's tokens. */
static VitRows class_rows(Tape *t, const Mim *m)
{
    int64_t n = m->batch;
    VitRows rows = {REF_NONE, REF_NONE, 1};
    int32_t *numbers = memory_new((size_t)(n * m->tokens), sizeof *numbers);
    if (!numbers) {
        tape_fail(t, NULL);
        return rows;
    }
    for (int64_t i = 0; i < n; i++)
        numbers[i] = (int32_t)(i * m->tokens);
    rows.index = tape_constant_i32(t, shape_1(n), numbers);
    for (int64_t k = 0; k < n * m->tokens; k++)
        numbers[k] = k % m->tokens ? -1 : (int32_t)(k / m->tokens);
    rows.inverse = tape_constant_i32(t, shape_1(n * m->tokens), numbers);
    memory_free(numbers);
    return rows;
}

/* Where the rows that count lie in (N, class + L), the same number in each picture. */
static VitRows view_rows(Tape *t, const Mim *m, MimView view)
{
    int64_t rows = mim_view_rows(m, view), from = m->batch * (m->encoder.class_tokens + m->places);
    return (VitRows){.index = mim_view_input(t, view, "rows", DTYPE_I32, shape_1(rows)),
                     .inverse = mim_view_input(t, view, "inverse", DTYPE_I32, shape_1(from)),
                     .count = rows / m->batch};
}

/* The tokens that enter the first block: those of each picture and, where hidden places share theirs, these. */
static VitTokens embed(Tape *t, const Mim *m, Ref image)
{
    const VitConfig *c = &m->encoder;
    int64_t n = m->batch, all = n * m->places, tokens = mim_embedded(m);
    bool shares = mim_shares_masks(m), replaces = c->mask_token && !shares;
    bool some = !m->plain && !replaces; /* embed visible patches only */
    VitInput in = {.batch = n,
                   .tokens = tokens,
                   .patches = some ? indices(t, "encoder.patches", n * m->visible) : REF_NONE,
                   .replaced = replaces ? indices(t, "encoder.replaced", all) : REF_NONE,
                   .replaced_inverse = replaces ? indices(t, "encoder.replaced_inverse", all) : REF_NONE,
                   .index = indices(t, "encoder.index", n * tokens),
                   .inverse = indices(t, "encoder.inverse", some ? n * m->visible : all),
                   .place = indices(t, "encoder.place", n * tokens)};
    if (!shares)
        return (VitTokens){.own = vit_embed(t, image, c, &in), .shared = REF_NONE};
    VitTokens x = vit_embed_masked(t, image, c, &in);
    /* The student's and a frozen model's inputs have the same names. */
    x.rows = (VitRows){indices(t, vit_has_table(c) ? "encoder.rows" : "encoder.rows_of_one", n * m->tokens),
                       indices(t, "encoder.rows_inverse", n * tokens), m->tokens};
    return x;
}

/* What is asked of the encoder's last block: all tokens, class tokens, or the rows of one view. */
typedef enum { LAST_ALL, LAST_CLASS, LAST_VIEW } LastKind;
typedef struct {
    LastKind kind;
    MimView view; /* of LAST_VIEW */
} Last;

static bool reads_last(const Mim *m, const RecipeDecoder *d)
{
    return d->tap == TAP_LAST || d->tap == m->encoder.depth;
}

/* What a decoder asks of the last block: a linear one reads nothing but the rows that its loss looks at. */
static Last last_for(const Mim *m, const RecipeDecoder *d, MimView view)
{
    return d->kind == DECODER_TRANSFORMER || mim_view_every(m, view) ? (Last){LAST_ALL, MIM_VIEWS} : (Last){LAST_VIEW, view};
}

static Last last_for_all(const Mim *m)
{
    Last all = {LAST_ALL, MIM_VIEWS};
    bool first = true;
    for (int k = 0; k < m->recipe->decoder_count; k++) {
        const RecipeDecoder *d = &m->recipe->decoders[k];
        if (!reads_last(m, d))
            continue;
        Last last = last_for(m, d, mim_view_of(m, k));
        if (!first && (last.kind != all.kind || last.view != all.view))
            return (Last){LAST_ALL, MIM_VIEWS};
        all = last;
        first = false;
    }
    return all;
}

/* states[i]: tokens after i blocks; of the last one those that are asked for. */
static void encode(Tape *t, const Mim *m, Ref image, Last last, Ref *states)
{
    const VitConfig *c = &m->encoder;
    tape_layer(t, 0);
    VitTokens x = embed(t, m, image);
    states[0] = tape_name(t, vit_tokens(t, &x), "embed");
    Ref bias = REF_NONE;
    for (int i = 0; i < c->depth; i++) {
        Ref keep[2];
        VitRows wanted = {REF_NONE, REF_NONE, 0};
        bool part = i == c->depth - 1 && last.kind != LAST_ALL;
        drop_path_keep(t, m->evaluate ? NULL : &m->drop, 2 * i, m->batch, keep);
        bool shared = c->position == VIT_POSITION_RELATIVE;
        tape_layer(t, shared ? c->depth + 1 : i + 1);
        if (!shared || i == 0)
            bias = vit_relative_bias(t, c, i);
        tape_layer(t, i + 1);
        scope_push(t, "blocks.%d", i);
        if (part && ref_given(x.shared)) /* the only block: rows are numbered as those of all tokens */
            x = (VitTokens){.own = states[0], .shared = REF_NONE};
        if (part)
            wanted = last.kind == LAST_CLASS ? class_rows(t, m) : view_rows(t, m, last.view);
        states[i + 1] = vit_block_part(t, &x, part ? &wanted : NULL, &c->block, keep, bias, i);
        scope_pop(t);
        tape_name(t, states[i + 1], "blocks.%d", i);
        x = (VitTokens){.own = states[i + 1], .shared = REF_NONE};
    }
    tape_layer(t, c->depth + 1);
}

static Ref image_input(Tape *t, const Mim *m)
{
    const Recipe *r = m->recipe;
    return tape_input(t, "image", DTYPE_REAL, shape_4(m->batch, m->encoder.channels, r->image.size[0], r->image.size[1]));
}

void mim_encode(Tape *t, const Mim *m, bool class_only, Ref *states)
{
    tape_decay_rule(t, m->no_decay, m->recipe->optimizer.no_decay.count, m->recipe->optimizer.decay_all);
    encode(t, m, image_input(t, m), (Last){class_only ? LAST_CLASS : LAST_ALL, MIM_VIEWS}, states);
}

bool mim_has_norm(const Recipe *r)
{
    if (recipe_method(r) == METHOD_CLASSIFY && r->head.pool != HEAD_CLASS_TOKEN)
        return false; /* the head has one of its own */
    if (recipe_method(r) != METHOD_MASKED)
        return r->encoder.final_norm;
    for (int k = 0; k < r->decoder_count; k++)
        if (r->decoders[k].tap == TAP_LAST)
            return r->encoder.final_norm;
    return false;
}

Ref mim_norm(Tape *t, const Mim *m, Ref x)
{
    Norm norm = norm_params(t, "norm", m->encoder.block.width, m->encoder.block.norm_eps, init_constant(0));
    return layer_norm(t, x, norm.gamma, norm.beta, norm.eps);
}

/* ---- decoders */

/* Where the rows that count lie among the encoder's tokens and those that hidden places share. Hidden patches alone have none
 * of the encoder's. */
static VitRows view_tokens(Tape *t, const Mim *m, MimView view)
{
    int64_t rows = mim_view_rows(m, view);
    return (VitRows){.index = mim_view_input(t, view, "tokens", DTYPE_I32, shape_1(rows)),
                     .inverse = view != MIM_MASKED
                                    ? mim_view_input(t, view, "tokens_inverse", DTYPE_I32, shape_1(m->batch * m->tokens))
                                    : REF_NONE,
                     .count = rows / m->batch};
}

/* The rows of x (N, class + L) that count. */
static Ref counted_rows(Tape *t, const Mim *m, MimView view, Ref x)
{
    if (mim_view_all(view) && (m->encoder.class_tokens == 0 || mim_view_class(view)) && !m->plain)
        return x; /* all of them, in order */
    VitRows rows = view_rows(t, m, view);
    return gather(t, (GatherArgs){.x = x,
                                  .index = rows.index,
                                  .inverse = rows.inverse,
                                  .tokens = REF_NONE,
                                  .table = REF_NONE,
                                  .place = REF_NONE,
                                  .shape = shape_2(mim_view_rows(m, view), ref_columns(t, x))});
}

/* A map from a tap's tokens, through the encoder's final norm when the tap is `last`. */
static LinearArgs tap_map(const Mim *m, const RecipeDecoder *d, const Norm *final, LinearArgs map)
{
    return d->tap == TAP_LAST && m->recipe->encoder.final_norm ? norm_before(map, *final) : map;
}

/* Tokens (N, class + L) of a decoder's first block, of the encoder's tokens x (N, T): positions are added, and hidden places
 * become mask tokens. */
static VitTokens decoder_tokens(Tape *t, const Mim *m, Ref x, int64_t width)
{
    const VitConfig *c = &m->encoder;
    int64_t n = m->batch, length = c->class_tokens + m->places;
    GatherArgs in = {
        .x = x,
        .index = REF_NONE,
        .inverse = REF_NONE,
        .tokens = REF_NONE,
        .table = param_fixed(t, "pos_embed", shape_3(1, length, width), init_sincos(FAMILY_XAVIER, c->rows, c->columns)),
        .place = REF_NONE,
        .shape = shape_3(n, length, width)};
    if (c->mask_token)
        return (VitTokens){.own = gather(t, in), .shared = REF_NONE};
    Ref token = vit_mask_token(t, width, c->block.family);
    VitRows rows = {indices(t, "decoder.index", n * length), indices(t, "decoder.inverse", n * m->tokens), length};
    if (!mim_shares_tokens(m)) {
        in.tokens = token;
        in.index = rows.index;
        in.inverse = rows.inverse;
        return (VitTokens){.own = gather(t, in), .shared = REF_NONE};
    }
    in.place = indices(t, "encoder.place", n * m->tokens);
    in.shape = shape_3(n, m->tokens, width);
    return (VitTokens){.own = gather(t, in), .shared = vit_token_everywhere(t, token, in.table), .rows = rows};
}

static Ref transformer_decoder(Tape *t, const Mim *m, const RecipeDecoder *d, Ref x, const Norm *final, int branch,
                               MimView view, int outputs)
{
    const VitConfig *c = &m->encoder;
    LinearArgs embed = layer_map(t, "embed", d->width, c->block.width, true, c->block.family, -1);
    x = layer_apply(t, tap_map(m, d, final, embed), x);
    VitTokens tokens = decoder_tokens(t, m, x, d->width);
    BlockConfig block = c->block;
    block.width = d->width;
    block.heads = d->heads;
    block.layer_scale = 0;
    /* The last block is carried out where the loss looks. */
    bool fewer = !m->plain && mim_even(m) && mim_view_rows(m, view) < m->batch * (c->class_tokens + m->places);
    for (int i = 0; i < d->depth; i++) {
        Ref keep[2];
        VitRows wanted = {REF_NONE, REF_NONE, 0};
        bool last = fewer && i == d->depth - 1;
        if (last)
            wanted = ref_given(tokens.shared) ? view_tokens(t, m, view) : view_rows(t, m, view);
        drop_path_keep(t, m->evaluate ? NULL : &m->drop, branch + 2 * i, m->batch, keep);
        scope_push(t, "blocks.%d", i);
        tokens = (VitTokens){.own = vit_block_part(t, &tokens, last ? &wanted : NULL, &block, keep, REF_NONE, i),
                             .shared = REF_NONE};
        scope_pop(t);
    }
    Norm norm = norm_params(t, "norm", d->width, c->block.norm_eps, init_constant(0));
    LinearArgs pred = layer_map(t, "pred", outputs, d->width, true, c->block.family, -1);
    return layer_apply(t, norm_before(pred, norm), fewer ? tokens.own : counted_rows(t, m, view, tokens.own));
}

/* A linear map of the rows x that count. SimMIM's head lies outside its encoder's family; MaskFeat's starts at zero. */
static Ref linear_decoder(Tape *t, const Mim *m, const RecipeDecoder *d, Ref x, const Norm *final, int outputs)
{
    const BlockConfig *b = &m->encoder.block;
    LinearArgs map = layer_none();
    Init weight = init_weight(b->family, outputs, b->width, -1), bias = init_constant(0);
    if (d->kind == DECODER_PIXEL_SHUFFLE)
        weight = bias = init_pixel_head(b->width);
    else if (b->family == FAMILY_MASKFEAT)
        weight = init_constant(0);
    scope_push(t, "pred");
    map.w = param(t, "weight", shape_2(outputs, b->width), weight);
    map.b = param(t, "bias", shape_1(outputs), bias);
    scope_pop(t);
    return layer_apply(t, tap_map(m, d, final, map), x);
}

/* ---- losses */

static Ref loss_of(Tape *t, const Mim *m, const RecipeLoss *loss, MimView view, Ref pred, Ref target)
{
    int64_t rows = mim_view_rows(m, view);
    Ref weight = mim_view_weighted(m, view) ? mim_view_input(t, view, "weight", DTYPE_REAL, shape_1(rows)) : REF_NONE;
    Ref scale = mim_view_input(t, view, "scale", DTYPE_REAL, shape_0());
    DistanceArgs args = {.pred = pred, .target = target, .weight = weight, .scale = scale, .beta = loss->beta};
    switch (loss->kind) {
    case LOSS_L2:
        args.kind = DISTANCE_L2;
        return distance(t, args);
    case LOSS_L1:
        args.kind = DISTANCE_L1;
        return distance(t, args);
    case LOSS_SMOOTH_L1:
        args.kind = DISTANCE_SMOOTH_L1;
        return distance(t, args);
    case LOSS_COSINE:
        return cosine(t, (CosineArgs){.pred = pred, .target = target, .weight = weight, .scale = scale});
    case LOSS_CROSS_ENTROPY: /* codes are -1 where nothing counts */
        break;
    }
    return cross_entropy(
        t, (CrossEntropyArgs){
               .logits = pred, .classes = ref_columns(t, pred), .labels = target, .targets = REF_NONE, .scale = scale});
}

Ref mim_reconstruction(Tape *t, const Mim *m, Ref image, MimView view)
{
    const MimHybrid *h = &m->teacher.hybrid;
    const RecipeDecoder *d = &h->recipe.decoders[0];
    Ref states[DROP_PATH_MOST / 2 + 1], x;
    Mim *frozen = memory_new(1, sizeof *frozen);
    if (!frozen || !mim_open(frozen, &h->recipe, NULL, NULL, m->batch, m->plain, m->evaluate, false)) {
        memory_free(frozen);
        return tape_fail(t, NULL);
    }
    memset(frozen->drop.rates, 0, sizeof frozen->drop.rates); /* it drops nothing */
    ParamsInUse student = tape_params_in_use(t);
    tape_use_params(t, m->teacher_params, "teacher", false);
    scope_push(t, "hybrid");
    const Last last = last_for(frozen, d, view);
    encode(t, frozen, image, last, states);
    Norm final = {REF_NONE, REF_NONE, 0};
    if (h->recipe.encoder.final_norm)
        final = norm_params(t, "norm", frozen->encoder.block.width, frozen->encoder.block.norm_eps, init_constant(0));
    scope_push(t, "decoders.%d", h->decoder);
    x = states[frozen->encoder.depth];
    if (d->kind == DECODER_TRANSFORMER)
        x = transformer_decoder(t, frozen, d, x, &final, 2 * frozen->encoder.depth, view, mim_outputs(frozen, 0));
    else
        x = linear_decoder(t, frozen, d, last.kind == LAST_VIEW ? x : counted_rows(t, frozen, view, x), &final,
                           mim_outputs(frozen, 0));
    scope_pop(t);
    scope_pop(t);
    tape_layer(t, m->encoder.depth + 1);
    tape_params_use_again(t, student);
    memory_free(frozen);
    return x;
}

void mim_forward(Tape *t, const Mim *m, Ref losses[RECIPE_DECODERS_MAX])
{
    const Recipe *r = m->recipe;
    const VitConfig *c = &m->encoder;
    enum { DEPTH_MOST = DROP_PATH_MOST / 2 };
    Ref states[DEPTH_MOST + 1];
    tape_decay_rule(t, m->no_decay, r->optimizer.no_decay.count, r->optimizer.decay_all);
    Ref image = image_input(t, m);
    MimTargets targets = {.image = image, .teacher_tokens = REF_NONE, .reconstruction = REF_NONE};
    const Last last = last_for_all(m);
    encode(t, m, image, last, states);
    Norm final = {REF_NONE, REF_NONE, 0};
    if (mim_has_norm(r))
        final = norm_params(t, "norm", c->block.width, c->block.norm_eps, init_constant(0));
    int branch = 2 * c->depth;
    for (int k = 0; k < r->decoder_count; k++) {
        const RecipeDecoder *d = &r->decoders[k];
        MimView view = mim_view_of(m, k);
        Ref x = states[d->tap == TAP_LAST ? c->depth : d->tap], pred;
        scope_push(t, "decoders.%d", k);
        if (d->kind == DECODER_TRANSFORMER) {
            pred = transformer_decoder(t, m, d, x, &final, branch, view, mim_outputs(m, k));
        } else {
            bool counted = last.kind == LAST_VIEW && reads_last(m, d);
            pred = linear_decoder(t, m, d, counted ? x : counted_rows(t, m, view, x), &final, mim_outputs(m, k));
        }
        scope_pop(t);
        branch += 2 * d->depth;
        Ref target = mim_target(t, m, &targets, k);
        losses[k] = loss_of(t, m, &d->loss, view, pred, target);
        if (m->keep) {
            char name[32];
            snprintf(name, sizeof name, "pred.%d", k);
            tape_keep(t, pred, name);
            snprintf(name, sizeof name, "target.%d", k);
            tape_keep(t, target, name);
        }
    }
}
