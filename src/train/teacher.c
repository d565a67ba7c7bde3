#include "train/teacher.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "train/checkpoint.h"

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

bool teacher_find(const Recipe *r, int stage, Teacher *teacher)
{
    int wanted = r->stages.count ? r->stages.items[stage].teacher_depth : RECIPE_AUTO;
    teacher->recipe = *r;
    if (stage == 0 && is_path(r->target.teacher) && !checkpoint_recipe(r->target.teacher, &teacher->recipe))
        return error_context("target.teacher");
    int depth = teacher->recipe.encoder.depth;
    if (wanted != RECIPE_AUTO && wanted > depth)
        return error_set("stages.%d.teacher_depth %d is more than the %d blocks of the teacher", stage, wanted, depth);
    teacher->depth = wanted == RECIPE_AUTO ? depth : wanted;
    return true;
}

/* The statistics that the teacher's pictures have: as target.mean and std say, else as its own recipe does. */
static bool statistics(const Recipe *student, const Recipe *its, bool deviation, float *out)
{
    const RecipeStatistics *given = deviation ? &student->target.std : &student->target.mean,
                           *own = deviation ? &its->image.std : &its->image.mean;
    return recipe_statistics(given->kind == STATISTICS_AUTO ? own : given, deviation, student->image.channels, out);
}

bool teacher_model(const Recipe *student, const Teacher *teacher, MimTeacher *model)
{
    Recipe its = teacher->recipe;
    float mean[2][RECIPE_CHANNELS_MAX], std[2][RECIPE_CHANNELS_MAX];
    memcpy(its.image.size, student->image.size, sizeof its.image.size);
    if (its.image.size[0] % its.encoder.patch || its.image.size[1] % its.encoder.patch)
        return error_set("target.teacher: its patches of %d pixels do not divide image.size %d x %d", its.encoder.patch,
                         student->image.size[0], student->image.size[1]);
    *model = mim_teacher_alike(&its, teacher->depth);
    if (its.image.channels != student->image.channels || student->image.mean.kind == STATISTICS_AUTO)
        return true; /* refused with the rest of the model; or only planned, before the pictures are measured */
    if (!recipe_statistics(&student->image.mean, false, student->image.channels, mean[0]) ||
        !recipe_statistics(&student->image.std, true, student->image.channels, std[0]) ||
        !statistics(student, &its, false, mean[1]) || !statistics(student, &its, true, std[1]))
        return error_context("target.teacher");
    for (int k = 0; k < student->image.channels; k++) {
        model->scale[k] = std[0][k] / std[1][k];
        model->shift[k] = (mean[0][k] - mean[1][k]) / std[1][k];
        model->renormalise = model->renormalise || mean[0][k] != mean[1][k] || std[0][k] != std[1][k];
    }
    return true;
}

bool teacher_of(const Recipe *r, int stage, MimTeacher *model)
{
    Teacher *teacher = memory_new(1, sizeof *teacher);
    bool ok = teacher && teacher_find(r, stage, teacher) && teacher_model(r, teacher, model);
    memory_free(teacher);
    return ok;
}

bool teacher_largest(const Recipe *r, MimTeacher *model)
{
    if (is_path(r->target.teacher))
        return teacher_of(r, 0, model);
    *model = mim_teacher_alike(r, r->encoder.depth);
    return true;
}

/* The teacher's parameters out of the student's of the same names. */
static bool copy_student(Trainer *from, Trainer *to)
{
    const ParamSet *student = trainer_params(from), *teacher = trainer_teacher_params(to);
    for (size_t i = 0; i < teacher->count; i++) {
        const Param *p = &teacher->params[i];
        if (p->kind != PARAM_TRAINED)
            continue;
        int at = param_find(student, p->name);
        if (at < 0 || !shape_equal(&student->params[at].shape, &p->shape))
            return error_set(
                "target.teacher: the student has no %s for it; with target.final_norm a decoder's tap must be last", p->name);
        memcpy(trainer_teacher_weights(to) + p->offset, trainer_weights(from) + student->params[at].offset,
               (size_t)p->count * sizeof(float));
    }
    return true;
}

bool teacher_begin(const Recipe *r, Trainer *t)
{
    if (!trainer_begin_averages(t))
        return false;
    if (!mim_needs_teacher(r) || !strcmp(r->target.teacher, "random"))
        return true;
    if (!strcmp(r->target.teacher, "initial"))
        return copy_student(t, t);
    return checkpoint_load_teacher(r->target.teacher, r, t) || error_context("target.teacher");
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
