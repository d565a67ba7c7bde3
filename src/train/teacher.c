#include "train/teacher.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/codes.h"
#include "train/weights.h"

/* ---- stages */

int stage_of(const Recipe *r, int64_t per_epoch, int64_t step)
{
    int stage = 0;
    while (stage + 1 < r->stages.count && step > stage_end(r, per_epoch, stage))
        stage++;
    return stage;
}

int64_t stage_first(const Recipe *r, int64_t per_epoch, int stage)
{
    int64_t epochs = 0;
    for (int i = 0; i < stage; i++)
        epochs += r->stages.items[i].epochs;
    return epochs * per_epoch;
}

int64_t stage_end(const Recipe *r, int64_t per_epoch, int stage)
{
    return r->stages.count ? stage_first(r, per_epoch, stage + 1) : r->schedule.epochs * per_epoch;
}

/* ---- the teacher */

static bool is_path(const char *teacher)
{
    return strcmp(teacher, "initial") != 0 && strcmp(teacher, "random") != 0;
}

/* The network of a file. */
static bool look_into(const char *path, Teacher *teacher)
{
    Weights *file = weights_open(path, &teacher->recipe, NULL);
    const Weight *projection = file ? weights_find(file, "projection.weight") : NULL;
    if (projection && projection->ndim == 2)
        teacher->projected = projection->shape[0];
    weights_close(file);
    return file != NULL;
}

bool teacher_find(const Recipe *r, int stage, Teacher *teacher)
{
    int wanted = r->stages.count ? r->stages.items[stage].teacher_depth : RECIPE_AUTO;
    teacher->recipe = *r;
    teacher->projected = 0;
    teacher->was_student = stage > 0;
    if (stage == 0 && is_path(r->target.teacher) && !look_into(r->target.teacher, teacher))
        return error_context("target.teacher");
    int depth = recipe_depth(&teacher->recipe);
    if (wanted != RECIPE_AUTO && wanted > depth)
        return error_set("stages.%d.teacher_depth %d is more than the %d blocks of the teacher", stage, wanted, depth);
    teacher->depth = wanted == RECIPE_AUTO ? depth : wanted;
    return true;
}

/* The size of the pictures that the first teacher sees. */
static const int *size_of(const Recipe *student)
{
    return student->target.image_size[0] ? student->target.image_size : student->image.size;
}

/* What makes the student's pictures those of a network with these statistics. */
static bool see(const Recipe *student, const RecipeStatistics *its_mean, const RecipeStatistics *its_std, bool *renormalise,
                float *scale, float *shift)
{
    const RecipeStatistics *from[2] = {&student->image.mean, &student->image.std}, *to[2] = {its_mean, its_std};
    float mean[2][RECIPE_CHANNELS_MAX], std[2][RECIPE_CHANNELS_MAX];
    int channels = student->image.channels;
    if (from[0]->kind == STATISTICS_AUTO)
        return true; /* only planned, before the pictures are measured */
    if (!recipe_statistics(from[0], false, channels, mean[0]) || !recipe_statistics(from[1], true, channels, std[0]) ||
        !recipe_statistics(to[0], false, channels, mean[1]) || !recipe_statistics(to[1], true, channels, std[1]))
        return false;
    for (int k = 0; k < channels; k++) {
        scale[k] = std[0][k] / std[1][k];
        shift[k] = (mean[0][k] - mean[1][k]) / std[1][k];
        *renormalise = *renormalise || mean[0][k] != mean[1][k] || std[0][k] != std[1][k];
    }
    return true;
}

/* As target.mean and std say, else those. */
static bool teacher_sees(const Recipe *student, const RecipeStatistics *own_mean, const RecipeStatistics *own_std,
                         MimTeacher *model)
{
    const RecipeTarget *target = &student->target;
    return see(student, target->mean.kind == STATISTICS_AUTO ? own_mean : &target->mean,
               target->std.kind == STATISTICS_AUTO ? own_std : &target->std, &model->renormalise, model->scale, model->shift) ||
           error_context("target.teacher");
}

bool teacher_model(const Recipe *student, const Teacher *teacher, MimTeacher *model)
{
    Recipe its = teacher->recipe;
    memcpy(its.image.size, teacher->was_student ? student->image.size : size_of(student), sizeof its.image.size);
    if (its.image.size[0] % its.encoder.patch || its.image.size[1] % its.encoder.patch)
        return error_set(
            "target.teacher: its patches of %d pixels do not divide its pictures of %d x %d; choose target.image_size",
            its.encoder.patch, its.image.size[0], its.image.size[1]);
    *model = mim_teacher_alike(&its, teacher->depth);
    model->projected = teacher->projected;
    model->codes = student->target.codes;
    if (its.image.channels != student->image.channels || teacher->was_student)
        return true; /* other channels are refused with the rest of the model */
    return teacher_sees(student, &its.image.mean, &its.image.std, model);
}

/* A code book of patches, whose side follows from the size of its pictures. */
static bool patches_model(const Recipe *r, const CodeFile *file, MimTeacher *model)
{
    int rows, columns;
    const int *size = size_of(r);
    recipe_grid(r, &rows, &columns);
    if (size[0] % rows || size[1] % columns || size[0] / rows != size[1] / columns)
        return error_set("target.image_size %d x %d does not make square patches of the %d x %d that the encoder sees", size[0],
                         size[1], rows, columns);
    *model = mim_teacher_alike(r, 0);
    model->vit.patch = size[0] / rows;
    bool own = file && file->has_statistics;
    return teacher_sees(r, own ? &file->mean : &r->image.mean, own ? &file->std : &r->image.std, model);
}

/* Whether a mix of a decoder's target and of the frozen model's predictions is one of like things. */
static bool mixes(const Recipe *r, int decoder, const RecipeDecoder *its)
{
    const RecipeDecoder *own = &r->decoders[decoder];
    const RecipeTarget *a = &own->target, *b = &its->target;
    const char *kinds[2] = {recipe_word("target.kind", (int)a->kind), recipe_word("target.kind", (int)b->kind)},
               *how[2] = {recipe_word("target.normalise", (int)a->normalise),
                          recipe_word("target.normalise", (int)b->normalise)};
    if (a->kind != b->kind || a->normalise != b->normalise)
        return error_set(
            "decoders.%d has target.kind %s and target.normalise %s, but by its file it was trained with %s and %s: they "
            "must be alike (a file of another project may not tell; docs/checkpoints.md)",
            decoder, kinds[0], how[0], kinds[1], how[1]);
    if (a->kind == TARGET_HOG && (a->bins != b->bins || a->cell != b->cell || a->gaussian != b->gaussian))
        return error_set("decoders.%d: it was trained with other target.bins, cell or gaussian", decoder);
    if (a->normalise == NORMALISE_WINDOW && a->window != b->window)
        return error_set("decoders.%d: it was trained with another target.window", decoder);
    if ((own->kind == DECODER_PIXEL_SHUFFLE) != (its->kind == DECODER_PIXEL_SHUFFLE))
        return error_set(
            "decoders.%d.kind and its own order a patch's pixels differently: both must be pixel_shuffle, or neither", decoder);
    return true;
}

/* The frozen model of target.hybrid: its last decoder at tap `last` reconstructs. */
static bool find_hybrid(const Recipe *r, MimHybrid *hybrid)
{
    Recipe *its = &hybrid->recipe;
    int decoder = -1;
    if (!checkpoint_recipe(r->hybrid.from, its))
        return false;
    for (int k = 0; k < its->decoder_count; k++)
        decoder = its->decoders[k].tap == TAP_LAST ? k : decoder;
    if (decoder < 0)
        return error_set("none of its decoders has tap last, so nothing tells what its whole encoder reconstructs");
    if (its->encoder.patch != r->encoder.patch || its->image.channels != r->image.channels)
        return error_set("it has encoder.patch %d and image.channels %d, here they are %d and %d: they must be alike",
                         its->encoder.patch, its->image.channels, r->encoder.patch, r->image.channels);
    if (its->encoder.input != r->encoder.input || its->encoder.class_token != r->encoder.class_token)
        return error_set("it has encoder.input %s and encoder.class_token %d, here they are %s and %d: to see the same visible "
                         "patches they must be alike",
                         recipe_word("encoder.input", (int)its->encoder.input), its->encoder.class_token,
                         recipe_word("encoder.input", (int)r->encoder.input), r->encoder.class_token);
    for (int k = 0; k < r->decoder_count; k++)
        if (recipe_is_mixed(r, k) && !mixes(r, k, &its->decoders[decoder]))
            return false;
    hybrid->decoder = decoder;
    memcpy(its->image.size, r->image.size, sizeof its->image.size);
    its->mask = r->mask;
    its->hybrid.from[0] = 0; /* what it learnt from is past */
    its->decoders[0] = its->decoders[decoder];
    its->decoder_count = 1;
    return see(r, &its->image.mean, &its->image.std, &hybrid->renormalise, hybrid->scale, hybrid->shift);
}

/* What is frozen beside the teacher. */
static bool hybrid_of(const Recipe *r, MimTeacher *model)
{
    return !r->hybrid.from[0] || find_hybrid(r, &model->hybrid) || error_context("target.hybrid.from %s", r->hybrid.from);
}

bool teacher_of(const Recipe *r, int stage, MimTeacher *model)
{
    CodeFile file = {.of = MIM_CODES_OF_PATCHES};
    bool tokens = mim_has_target(r, TARGET_TOKENS), path = is_path(r->target.teacher);
    if (tokens && path && !code_file_look(r->target.teacher, &file))
        return error_context("target.teacher");
    if (path && tokens && file.of == MIM_CODES_OF_PATCHES && mim_has_target(r, TARGET_FEATURES))
        return error_set("target.teacher %s is a code book of patches: target.kind features needs a network",
                         r->target.teacher);
    Teacher *teacher = memory_new(1, sizeof *teacher);
    bool ok = teacher != NULL;
    if (ok && (mim_has_target(r, TARGET_FEATURES) || file.of == MIM_CODES_OF_TOKENS))
        ok = teacher_find(r, stage, teacher) && teacher_model(r, teacher, model);
    else if (ok && tokens)
        ok = patches_model(r, &file, model);
    else if (ok)
        *model = mim_teacher_alike(r, 0);
    memory_free(teacher);
    if (!ok || !hybrid_of(r, model))
        return false;
    model->codes_of = file.of;
    model->codes = file.codes ? file.codes : r->target.codes;
    for (int k = 0; k < r->decoder_count; k++)
        if (r->decoders[k].target.kind == TARGET_TOKENS && r->decoders[k].target.normalise == NORMALISE_PATCH &&
            file.of == MIM_CODES_OF_TOKENS)
            return error_set(
                "decoders.%d: target.normalise patch is of patches, but target.teacher is a network: use token or none", k);
    return true;
}

/* What its blocks multiply, up to a factor: which of two teachers needs more memory. */
static double work_of(const MimTeacher *m)
{
    double width = (double)m->vit.block.width, tokens = (double)mim_teacher_rows(m) * mim_teacher_columns(m);
    return m->vit.depth * width * width * tokens;
}

bool teacher_largest(const Recipe *r, MimTeacher *model)
{
    MimTeacher student = mim_teacher_alike(r, recipe_depth(r));
    if (!is_path(r->target.teacher)) {
        *model = student;
        return hybrid_of(r, model);
    }
    if (!teacher_of(r, 0, model))
        return false;
    if (r->stages.count > 1 && work_of(&student) > work_of(model))
        *model = student;
    return hybrid_of(r, model);
}

/* The teacher's parameters out of the student's of the same names. */
static bool copy_student(Trainer *from, Trainer *to)
{
    const ParamSet *student = trainer_params(from), *teacher = trainer_teacher_params(to);
    for (size_t i = 0; i < teacher->count; i++) {
        const Param *p = &teacher->params[i];
        if (p->kind != PARAM_TRAINED)
            continue;
        if (!teacher_is_network(p->name)) { /* it goes on as it is */
            int before = param_find(trainer_teacher_params(from), p->name);
            memmove(trainer_teacher_weights(to) + p->offset,
                    trainer_teacher_weights(from) + trainer_teacher_params(from)->params[before].offset,
                    (size_t)p->count * sizeof(float));
            continue;
        }
        int at = param_find(student, p->name);
        if (at < 0 || !shape_equal(&student->params[at].shape, &p->shape))
            return error_set(
                "target.teacher: the student has no %s for it; with target.final_norm a decoder's tap must be last", p->name);
        memcpy(trainer_teacher_weights(to) + p->offset, trainer_weights(from) + student->params[at].offset,
               (size_t)p->count * sizeof(float));
    }
    return true;
}

/* What belongs to a network has no use with a code book of patches; a book brings its own number of codes. */
static bool suits_codes(const Recipe *r, const CodeFile *file)
{
    Recipe *plain = memory_new(1, sizeof *plain);
    if (!plain)
        return false;
    recipe_defaults(plain);
    int usual = plain->target.codes;
    memory_free(plain);
    if (file->codes && r->target.codes != usual && r->target.codes != file->codes)
        return error_set("target.codes is %d, but the code book of %s has %d: give target.codes=%d", r->target.codes,
                         r->target.teacher, file->codes, file->codes);
    for (int k = 0; file->of == MIM_CODES_OF_PATCHES && k < r->decoder_count; k++) {
        const RecipeTarget *t = &r->decoders[k].target;
        const char *idle = t->kind != TARGET_TOKENS          ? NULL
                           : t->normalise == NORMALISE_TOKEN ? "target.normalise token"
                           : t->final_norm                   ? "target.final_norm"
                           : t->projection                   ? "target.projection"
                                                             : NULL;
        if (idle)
            return error_set("decoders.%d: %s is of a network's tokens, and %s is a code book of patches", k, idle,
                             r->target.teacher);
    }
    return true;
}

bool teacher_begin(const Recipe *r, Trainer *t, Text *note)
{
    CodeFile file;
    if (!trainer_begin_averages(t))
        return false;
    if (r->hybrid.from[0] && !checkpoint_load_hybrid(r->hybrid.from, r, t, note))
        return error_context("target.hybrid.from");
    if (!mim_needs_teacher(r) || !strcmp(r->target.teacher, "random"))
        return true;
    if (!strcmp(r->target.teacher, "initial"))
        return copy_student(t, t);
    bool tokens = mim_has_target(r, TARGET_TOKENS);
    bool ok = !tokens || (code_file_look(r->target.teacher, &file) && suits_codes(r, &file));
    if (ok && (!tokens || file.of == MIM_CODES_OF_TOKENS))
        ok = checkpoint_load_teacher(r->target.teacher, r, t, note);
    if (ok && tokens && file.codes)
        ok = code_file_load(r->target.teacher, t);
    return ok || error_context("target.teacher");
}

/* Of what both have in the same shape. A prediction has another one when the first teacher was of another width: it starts at
 * zero. */
static void copy_moment(const ParamSet *of, const float *from, const ParamSet *set, float *to)
{
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        int at = p->kind == PARAM_TRAINED ? param_find(of, p->name) : -1;
        if (at >= 0 && shape_equal(&of->params[at].shape, &p->shape))
            memcpy(to + p->offset, from + of->params[at].offset, (size_t)p->count * sizeof *to);
    }
}

bool teacher_succeed(Trainer *from, Trainer *to, bool reset)
{
    if (!copy_student(from, to))
        return false;
    if (reset)
        return true;
    copy_moment(trainer_params(from), trainer_moment1(from), trainer_params(to), trainer_moment1(to));
    copy_moment(trainer_params(from), trainer_moment2(from), trainer_params(to), trainer_moment2(to));
    trainer_set_steps(to, trainer_steps(from));
    return true;
}
