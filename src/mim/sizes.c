/* From a recipe to the sizes of a program: which rows there are, what decoders give, what is shared. */
#include <string.h>

#include "base/error.h"
#include "mim/model.h"
#include "mim/names.h"

const char *const mim_view_names[MIM_VIEWS] = {"masked", "all", "masked_class", "all_class"};

MimTeacher mim_teacher_alike(const Recipe *r, int depth)
{
    MimTeacher teacher = {.vit = encoder_config(r), .codes = r->target.codes};
    teacher.vit.depth = depth;
    teacher.vit.mask_token = false;
    return teacher;
}

bool mim_has_target(const Recipe *r, TargetKind kind)
{
    for (int k = 0; k < r->decoder_count; k++)
        if (r->decoders[k].target.kind == kind)
            return true;
    return false;
}

bool mim_needs_teacher(const Recipe *r)
{
    return mim_has_target(r, TARGET_FEATURES) || mim_has_target(r, TARGET_TOKENS) || r->hybrid.from[0];
}

int mim_teacher_rows(const MimTeacher *t)
{
    return t->vit.rows * t->vit.patch;
}

int mim_teacher_columns(const MimTeacher *t)
{
    return t->vit.columns * t->vit.patch;
}

bool mim_teacher_resizes(const Mim *m)
{
    return mim_needs_teacher(m->recipe) && (mim_teacher_rows(&m->teacher) != m->recipe->image.size[0] ||
                                            mim_teacher_columns(&m->teacher) != m->recipe->image.size[1]);
}

/* What a teacher must have for the recipe's targets. */
static bool teacher_fits(const Mim *m)
{
    const VitConfig *own = &m->encoder, *its = &m->teacher.vit;
    if (own->rows != its->rows || own->columns != its->columns)
        return error_set(
            "target.teacher has a grid of %d x %d patches and the encoder one of %d x %d; choose target.image_size, or "
            "encoder.patch and image.size, so that they are alike",
            its->rows, its->columns, own->rows, own->columns);
    if (m->recipe->hybrid.from[0] && !m->teacher.hybrid.recipe.encoder.depth)
        return error_set("target.hybrid: its model was not opened");
    if (own->channels != its->channels)
        return error_set("target.teacher sees pictures of %d channels, but image.channels is %d", its->channels, own->channels);
    for (int k = 0; k < m->recipe->decoder_count; k++) {
        const RecipeTarget *target = &m->recipe->decoders[k].target;
        bool tokens = target->kind == TARGET_TOKENS && m->teacher.codes_of == MIM_CODES_OF_TOKENS;
        if (target->kind != TARGET_FEATURES && !tokens)
            continue;
        if (target->projection && !m->teacher.projected)
            return error_set("target.projection: the teacher has no projection; leave the key out");
        if (target->class_token && own->class_tokens != its->class_tokens)
            return error_set("target.class_token: the teacher has %d class tokens and encoder.class_token is %d",
                             its->class_tokens, own->class_tokens);
    }
    return true;
}

bool mim_open(Mim *m, const Recipe *r, const MimTeacher *teacher, ParamSet *teacher_params, int64_t batch, bool plain,
              bool evaluate, bool keep)
{
    *m = (Mim){.recipe = r,
               .encoder = encoder_config(r),
               .teacher_params = teacher_params,
               .batch = batch,
               .places = recipe_patches(r),
               .visible = recipe_visible(r),
               .plain = plain,
               .evaluate = evaluate,
               .keep = keep};
    if (teacher)
        m->teacher = *teacher;
    int tokens = m->encoder.class_tokens > m->teacher.vit.class_tokens ? m->encoder.class_tokens : m->teacher.vit.class_tokens;
    if (batch < 1 || batch > INT32_MAX / (m->places + tokens))
        return error_set(
            "run.micro_batch: %lld pictures of %d patches are more than a program can number; use a smaller micro-batch",
            (long long)batch, m->places);
    if (mim_needs_teacher(r) && !teacher_fits(m))
        return false;
    m->tokens = m->encoder.class_tokens + (m->encoder.mask_token ? m->places : m->visible);
    for (int i = 0; i < r->optimizer.no_decay.count; i++)
        m->no_decay[i] = r->optimizer.no_decay.names[i];
    if (!drop_path_add(&m->drop, r->encoder.drop_path, recipe_depth(r)))
        return false;
    for (int k = 0; k < r->decoder_count; k++)
        if (!drop_path_add(&m->drop, r->decoders[k].drop_path, r->decoders[k].depth))
            return false;
    return true;
}

int mim_outputs(const Mim *m, int decoder)
{
    const RecipeTarget *target = &m->recipe->decoders[decoder].target;
    int channels = m->encoder.channels, patch = m->encoder.patch, cells;
    switch (target->kind) {
    case TARGET_HOG:
        cells = patch / target->cell;
        return channels * target->bins * cells * cells;
    case TARGET_FEATURES:
        return (int)(target->projection ? m->teacher.projected : m->teacher.vit.block.width);
    case TARGET_TOKENS:
        return m->teacher.codes;
    default:
        return channels * patch * patch;
    }
}

int mim_target_numbers(const Mim *m, int decoder)
{
    return m->recipe->decoders[decoder].target.kind == TARGET_TOKENS ? 1 : mim_outputs(m, decoder);
}

MimView mim_view_of(const Mim *m, int decoder)
{
    const RecipeDecoder *d = &m->recipe->decoders[decoder];
    bool all = d->loss.on == LOSS_ON_ALL;
    if (d->target.kind == TARGET_FEATURES && d->target.class_token)
        return all ? MIM_ALL_CLASS : MIM_MASKED_CLASS;
    return all ? MIM_ALL : MIM_MASKED;
}

int mim_target_places(const Mim *m, int decoder)
{
    return m->places + (mim_view_class(mim_view_of(m, decoder)) ? m->encoder.class_tokens : 0);
}

bool mim_even(const Mim *m)
{
    return !m->encoder.mask_token || m->recipe->mask.kind != MASK_BLOCK;
}

bool mim_view_every(const Mim *m, MimView view)
{
    return mim_view_all(view) || m->plain || !mim_even(m);
}

int64_t mim_view_rows(const Mim *m, MimView view)
{
    int tokens = mim_view_class(view) ? m->encoder.class_tokens : 0;
    return m->batch * (tokens + (mim_view_every(m, view) ? m->places : m->places - m->visible));
}

bool mim_view_weighted(const Mim *m, MimView view)
{
    return m->evaluate || (!mim_view_all(view) && (m->plain || !mim_even(m)));
}

/* Of few pictures there is little to share, and putting tokens together costs something. */
static bool much_is_hidden(const Mim *m)
{
    return m->batch * (m->places - m->visible) >= 2 * (int64_t)(m->encoder.class_tokens + m->places);
}

bool mim_shares_tokens(const Mim *m)
{
    return !m->plain && !m->encoder.mask_token && much_is_hidden(m);
}

bool mim_shares_masks(const Mim *m)
{
    return m->encoder.mask_token && !m->plain && mim_even(m) && much_is_hidden(m);
}

int mim_embedded(const Mim *m)
{
    return m->encoder.class_tokens + (m->encoder.mask_token && !mim_shares_masks(m) ? m->places : m->visible);
}
