/* What decoders predict: pixels, histograms of gradients, tokens of a frozen teacher, codes (docs/spec/pretraining.md 2, 9.1,
 * 11, 12). */
#include <stdio.h>

#include "mim/names.h"
#include "nn/layers.h"
#include "ops/argmax/argmax.h"
#include "ops/gather/gather.h"
#include "ops/hog/hog.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/patches/patches.h"
#include "ops/scale_add/scale_add.h"
#include "ops/standardise/standardise.h"
#include "ops/window/window.h"

static Ref pixels(Tape *t, const RecipeDecoder *d, Ref image, int patch, Ref places)
{
    PatchOrder order = d->kind == DECODER_PIXEL_SHUFFLE ? PATCH_CHANNEL_FIRST : PATCH_CHANNEL_LAST;
    TargetNormalise how = recipe_normalise(&d->target);
    if (how == NORMALISE_WINDOW)
        image = window_standardise(t, image, d->target.window);
    Ref x = patches(t, image, places, patch, order);
    return how == NORMALISE_PATCH ? standardise(t, x) : x;
}

/* The pictures as the teacher sees them. */
static Ref teacher_image(Tape *t, const Mim *m, const MimTargets *targets)
{
    const MimTeacher *teacher = &m->teacher;
    if (!teacher->renormalise && !mim_teacher_resizes(m))
        return targets->image;
    return tape_input(t, "teacher.image", DTYPE_REAL,
                      shape_4(m->batch, m->encoder.channels, mim_teacher_rows(teacher), mim_teacher_columns(teacher)));
}

/* The teacher's tokens (N, class + L, D) of whole pictures. Nothing of it is trained, so nothing of it is kept for a gradient.
 */
static Ref teacher_tokens(Tape *t, const Mim *m, Ref image)
{
    const MimTeacher *teacher = &m->teacher;
    const Ref keep[2] = {REF_NONE, REF_NONE};
    VitInput in = vit_whole(t, &teacher->vit, m->batch);
    Ref x = vit_embed(t, image, &teacher->vit, &in);
    Ref bias = REF_NONE;
    for (int i = 0; i < teacher->vit.depth; i++) {
        if (i == 0 || teacher->vit.position == VIT_POSITION_RELATIVE_PER_BLOCK)
            bias = vit_relative_bias(t, &teacher->vit, i);
        scope_push(t, "blocks.%d", i);
        x = vit_block(t, x, &teacher->vit.block, keep, bias, i);
        scope_pop(t);
        tape_name(t, x, "teacher.blocks.%d", i);
    }
    return x;
}

/* Its tokens at the places that count. Norm, projection and standardisation look at one token alone, so they come after the
 * choice. */
static Ref features(Tape *t, const Mim *m, MimTargets *targets, const RecipeTarget *target, MimView view)
{
    const BlockConfig *block = &m->teacher.vit.block;
    int64_t rows = mim_view_rows(m, view);
    ParamsInUse student = tape_params_in_use(t);
    tape_use_params(t, m->teacher_params, "teacher", false);
    if (!ref_given(targets->teacher_tokens))
        targets->teacher_tokens = teacher_tokens(t, m, teacher_image(t, m, targets));
    Ref x = gather(t, (GatherArgs){.x = targets->teacher_tokens,
                                   .index = mim_view_input(t, view, "teacher", DTYPE_I32, shape_1(rows)),
                                   .inverse = REF_NONE,
                                   .tokens = REF_NONE,
                                   .table = REF_NONE,
                                   .place = REF_NONE,
                                   .shape = shape_2(rows, block->width)});
    if (target->final_norm) {
        Norm norm = norm_params(t, "norm", block->width, block->norm_eps, init_constant(0));
        x = layer_norm(t, x, norm.gamma, norm.beta, norm.eps);
    }
    if (target->projection)
        x = layer_apply(t, layer_map(t, "projection", m->teacher.projected, block->width, false, block->family, -1), x);
    tape_params_use_again(t, student);
    return target->normalise == NORMALISE_TOKEN ? standardise(t, x) : x;
}

static Ref view_places(Tape *t, const Mim *m, MimView view)
{
    return mim_view_input(t, view, "places", DTYPE_I32, shape_1(mim_view_rows(m, view)));
}

/* The number of the code book's row that is nearest: |x - c|^2 is least where x c - |c|^2 / 2 is largest. The book is a map
 * with -|c|^2 / 2 as its bias. */
static Ref codes(Tape *t, const Mim *m, MimTargets *targets, const RecipeDecoder *d, MimView view)
{
    int64_t rows = mim_view_rows(m, view);
    Ref places = view_places(t, m, view);
    if (m->teacher.codes_of == MIM_CODES_GIVEN)
        return mim_view_input(t, view, "codes", DTYPE_I32, shape_1(rows));
    Ref x = m->teacher.codes_of == MIM_CODES_OF_TOKENS
                ? features(t, m, targets, &d->target, view)
                : pixels(t, d, teacher_image(t, m, targets), m->teacher.vit.patch, places);
    ParamsInUse student = tape_params_in_use(t);
    DType activation = tape_activation(t);
    tape_use_params(t, m->teacher_params, "teacher", false);
    tape_set_activation(t, DTYPE_REAL); /* two rows may be near each other */
    Ref near =
        layer_apply(t, layer_map(t, "codebook", m->teacher.codes, ref_columns(t, x), true, m->encoder.block.family, -1), x);
    tape_set_activation(t, activation);
    tape_params_use_again(t, student);
    return argmax(t, (ArgmaxArgs){.x = near,
                                  .weight = mim_view_weighted(m, view)
                                                ? mim_view_input(t, view, "weight", DTYPE_REAL, shape_1(rows))
                                                : REF_NONE});
}

static Ref make(Tape *t, const Mim *m, MimTargets *targets, const RecipeDecoder *d, MimView view, Ref image)
{
    switch (d->target.kind) {
    case TARGET_FEATURES:
        return features(t, m, targets, &d->target, view);
    case TARGET_TOKENS:
        return codes(t, m, targets, d, view);
    case TARGET_HOG:
        return hog(t, (HogArgs){.image = image,
                                .index = view_places(t, m, view),
                                .patch = m->encoder.patch,
                                .cell = d->target.cell,
                                .bins = d->target.bins,
                                .gaussian = d->target.gaussian});
    default:
        return pixels(t, d, image, m->encoder.patch, view_places(t, m, view));
    }
}

/* The picture that a decoder's target is of: mixed ones are of the frozen model's, whose space the mix is in. */
static Ref image_of(Tape *t, const Mim *m, const MimTargets *targets, int decoder)
{
    if (!recipe_is_mixed(m->recipe, decoder) || !m->teacher.hybrid.renormalise)
        return targets->image;
    return tape_input(t, "hybrid.image", DTYPE_REAL, *ref_shape(t, targets->image));
}

static Ref unmixed(Tape *t, const Mim *m, MimTargets *targets, int decoder, Ref image)
{
    const Recipe *r = m->recipe;
    const RecipeDecoder *d = &r->decoders[decoder];
    for (int k = 0; k < decoder; k++)
        if (mim_view_of(m, k) == mim_view_of(m, decoder) && recipe_target_equal(&r->decoders[k].target, &d->target) &&
            (r->decoders[k].kind == DECODER_PIXEL_SHUFFLE) == (d->kind == DECODER_PIXEL_SHUFFLE) &&
            image_of(t, m, targets, k).slot == image.slot)
            return targets->unmixed[k];
    return make(t, m, targets, d, mim_view_of(m, decoder), image);
}

/* share x (one number) + rest, or without a rest. */
static Ref scaled(Tape *t, Ref x, const char *share, int decoder, Ref rest)
{
    char name[32];
    snprintf(name, sizeof name, "hybrid.%s.%d", share, decoder);
    Ref out[] = {tape_temp(t, DTYPE_REAL, *ref_shape(t, x), false)};
    tape_append(t, &scale_add_op, NULL, (Ref[]){x, REF_NONE, tape_input(t, name, DTYPE_REAL, shape_1(1)), rest}, out, 0);
    return out[0];
}

Ref mim_target(Tape *t, const Mim *m, MimTargets *targets, int decoder)
{
    if (tape_failed(t))
        return REF_NONE;
    Ref image = image_of(t, m, targets, decoder), own = unmixed(t, m, targets, decoder, image);
    targets->unmixed[decoder] = own;
    if (!recipe_is_mixed(m->recipe, decoder))
        return own;
    if (!ref_given(targets->reconstruction))
        targets->reconstruction = mim_reconstruction(t, m, image, mim_view_of(m, decoder));
    if (tape_failed(t))
        return REF_NONE;
    return scaled(t, targets->reconstruction, "rest", decoder, scaled(t, own, "alpha", decoder, REF_NONE));
}
