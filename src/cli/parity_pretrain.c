/* Golden cases of training: kinds `pretrain`, `classify` and `contrast`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/parity_case.h"
#include "image/augment.h"
#include "recipe/recipe.h"
#include "train/schedule.h"
#include "train/teacher.h"
#include "train/trainer.h"

typedef struct {
    ParityCase *golden;
    Recipe recipe;
    int steps, steps_per_epoch, batch, micro_batch;
    int places; /* L */
    int stage;
    TrainerOptions how; /* of `train` */
    MimTeacher teacher;
    Trainer *train;  /* does the steps */
    Trainer *looker; /* does the first one without savings, to read predictions and targets of all places */
    float *images;   /* of the present step */
    uint8_t *hidden, *kept;
    RecipeMethod method;
    float *second; /* views of the present step */
    int32_t *labels;
    float *soft;    /* in place of labels */
    int32_t *codes; /* (batch, L), when the case gives them */
    TrainerBatch input;
} Run;

static bool tensor_name(char room[64], const char *what, int number)
{
    snprintf(room, 64, "%s.%d", what, number);
    return true;
}

static bool read_sizes(Run *run)
{
    const ParityCase *c = run->golden;
    const Recipe *r = &run->recipe;
    const SafeTensor *images = safetensors_find(c->stored, "image.0");
    if (!parity_int(c->about, "case", "steps", 1, 1 << 20, &run->steps) ||
        !parity_int(c->about, "case", "steps_per_epoch", 1, 1 << 30, &run->steps_per_epoch))
        return false;
    if (!images || images->ndim != 4 || images->shape[0] < 1 || images->shape[0] > 1 << 16)
        return error_set("image.0 is missing, or is not (N, C, H, W)");
    int parts = r->schedule.accumulate > 0 ? r->schedule.accumulate : 1;
    run->batch = (int)images->shape[0];
    run->places = recipe_patches(r);
    if (run->batch % parts)
        return error_set("image.0 has %d pictures, which schedule.accumulate %d does not divide", run->batch, parts);
    run->micro_batch = run->batch / parts;
    for (int k = 0; k < r->decoder_count; k++)
        if (r->decoders[k].drop_path > 0)
            return error_set("decoders.%d.drop_path: a case gives no draws for decoders", k);
    return true;
}

/* Inputs that this kind of case does not have would be skipped without a word. */
static bool check_names(const Run *run)
{
    static const char *const known[] = {"weight2.", "weight3.", "weight4.", "image.", "noise.", "mask.",  "keep.", "token.",
                                        "weight.",  "teacher.", "expect.",  "grad.",  "after.", "label.", "soft.", "second."};
    const SafeTensors *stored = run->golden->stored;
    for (size_t i = 0; i < safetensors_count(stored); i++) {
        const char *name = safetensors_at(stored, i)->name;
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            found = found || !strncmp(name, known[k], strlen(known[k]));
        if (!found)
            return error_set("tensor %s is not carried out yet", name);
        if (!strncmp(name, "weight.", 7) && param_find(trainer_params(run->train), name + 7) < 0)
            return error_set("%s is not a parameter of this recipe's model", name);
        if (!strncmp(name, "weight", 6) && name[6] && name[7] == '.' && param_find(trainer_params(run->train), name + 8) < 0)
            return error_set("%s is not a parameter of this recipe's model", name);
        if (!strncmp(name, "teacher.", 8) && param_find(trainer_teacher_params(run->train), name + 8) < 0)
            return error_set("%s is not a parameter of the case's teacher", name);
    }
    return true;
}

/* ---- the teacher */

/* Whole names of picture statistics, which the student's pictures have and the teacher wants. */
static bool read_statistics(const json_t *names, int channels, MimTeacher *teacher)
{
    const ImageStatistics *from = image_statistics_find(json_string_value(json_array_get(names, 0))),
                          *to = image_statistics_find(json_string_value(json_array_get(names, 1)));
    if (!from || !to || channels != 3)
        return error_set("case.teacher.image_stats does not name two known statistics of three channels");
    teacher->renormalise = true;
    for (int k = 0; k < channels; k++) {
        teacher->scale[k] = from->std[k] / to->std[k];
        teacher->shift[k] = (from->mean[k] - to->mean[k]) / to->std[k];
    }
    return true;
}

/* case.teacher: keys of an encoder, and what only teachers have. */
static bool read_teacher(Run *run)
{
    const json_t *about = json_object_get(run->golden->about, "teacher");
    json_t *encoder = json_deep_copy(about), *whole = json_object();
    const json_t *statistics = json_object_get(about, "image_stats");
    Recipe teacher;
    bool ok = encoder && whole;
    if (ok) {
        json_object_del(encoder, "projection");
        json_object_del(encoder, "image_stats");
        json_object_set(whole, "encoder", encoder);
        json_object_set(whole, "image", json_object_get(run->golden->root, "image"));
        char *text = json_dumps(whole, 0);
        ok = text && recipe_parse(&teacher, text, strlen(text), "case.teacher");
        free(text);
    }
    json_decref(encoder);
    json_decref(whole);
    if (!ok)
        return error_context("case.teacher");
    run->teacher = mim_teacher_alike(&teacher, recipe_depth(&teacher));
    run->teacher.projected = json_integer_value(json_object_get(about, "projection"));
    return !statistics || read_statistics(statistics, run->recipe.image.channels, &run->teacher);
}

static int64_t param_shape(const Param *p, int64_t shape[SHAPE_MAX])
{
    for (int i = 0; i < p->shape.n; i++)
        shape[i] = p->shape.d[i];
    return p->count;
}

/* Start weights of a stage of a trainer from the case. Tables that the program computes itself stay, to be compared
 * (`tables`). */
static bool load_weights(Run *run, Trainer *t, int stage, bool tables)
{
    const ParamSet *set = trainer_params(t);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        char name[256];
        int64_t shape[SHAPE_MAX];
        param_shape(p, shape);
        if (stage)
            snprintf(name, sizeof name, "weight%d.%s", stage + 1, p->name);
        else
            snprintf(name, sizeof name, "weight.%s", p->name);
        if (stage && p->kind != PARAM_TRAINED)
            continue;
        float *values = parity_input(run->golden, name, p->shape.n, shape);
        if (!values)
            return false;
        if (p->kind == PARAM_TRAINED)
            memcpy(trainer_weights(t) + p->offset, values, (size_t)p->count * sizeof *values);
        memory_free(values);
        if (p->kind == PARAM_TRAINED || !tables)
            continue;
        snprintf(name, sizeof name, "table.%s", p->name);
        float *table = parity_result(run->golden, name, p->shape.n, shape);
        if (!table)
            return false;
        memcpy(table, trainer_fixed(t) + p->offset, (size_t)p->count * sizeof *table);
    }
    return true;
}

static bool load_teacher(Run *run, Trainer *t)
{
    const ParamSet *set = trainer_teacher_params(t);
    if (run->codes)
        return true;
    if (!json_object_get(run->golden->about, "teacher"))
        return teacher_begin(&run->recipe, t, NULL);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        char name[256];
        int64_t shape[SHAPE_MAX];
        param_shape(p, shape);
        snprintf(name, sizeof name, "teacher.%s", p->name);
        float *values = p->kind == PARAM_TRAINED ? parity_input(run->golden, name, p->shape.n, shape) : NULL;
        if (values)
            memcpy(trainer_teacher_weights(t) + p->offset, values, (size_t)p->count * sizeof *values);
        memory_free(values);
        if (!values && p->kind == PARAM_TRAINED)
            return false;
    }
    return true;
}

/* The teacher's network in a stage whose teacher the case does not describe. */
static bool stage_teacher(Run *run, int stage, MimTeacher *model)
{
    Teacher *teacher = memory_new(1, sizeof *teacher);
    bool ok = teacher && teacher_find(&run->recipe, stage, teacher) && teacher_model(&run->recipe, teacher, model);
    memory_free(teacher);
    return ok;
}

/* Before a step: when it is the first of a stage, the student becomes the teacher of a new one. */
static bool enter_stage(Run *run, int step)
{
    const Recipe *r = &run->recipe;
    MimTeacher model;
    if (step < stage_end(r, run->steps_per_epoch, run->stage))
        return true;
    run->stage++;
    if (!stage_teacher(run, run->stage, &model))
        return false;
    TrainerOptions how = run->how;
    how.teacher = &model;
    Trainer *next = trainer_open(r, &how);
    bool ok = next && load_weights(run, next, run->stage, false) &&
              teacher_succeed(run->train, next, r->stages.items[run->stage].reset);
    trainer_close(ok ? run->train : next);
    if (ok)
        run->train = next;
    return ok;
}

/* ---- inputs of a step */

/* Hidden are all but the `visible` patches of the smallest noise. */
static void hide_by_noise(const float *noise, int places, int visible, uint8_t *hidden)
{
    for (int i = 0; i < places; i++) {
        int rank = 0;
        for (int j = 0; j < places; j++)
            rank += noise[j] < noise[i] || (noise[j] == noise[i] && j < i);
        hidden[i] = rank >= visible;
    }
}

/* Classes, or probabilities of them. */
static bool read_labels(Run *run, int step)
{
    char name[64];
    int64_t shape[] = {run->batch, run->recipe.head.classes};
    tensor_name(name, run->how.soft_labels ? "soft" : "label", step);
    memory_free(run->soft);
    run->soft = NULL;
    float *values = parity_input(run->golden, name, run->how.soft_labels ? 2 : 1, shape);
    if (!values)
        return false;
    if (run->how.soft_labels) {
        run->soft = values;
    } else {
        for (int i = 0; i < run->batch; i++)
            run->labels[i] = (int32_t)values[i];
        memory_free(values);
    }
    run->input.labels = run->labels;
    run->input.soft = run->soft;
    return true;
}

/* The second views, and how far the momentum encoder follows. */
static bool read_second(Run *run, int step)
{
    char name[64];
    const Recipe *r = &run->recipe;
    tensor_name(name, "second", step);
    memory_free(run->second);
    run->second =
        parity_input(run->golden, name, 4, (int64_t[]){run->batch, r->image.channels, r->image.size[0], r->image.size[1]});
    run->input.second = run->second;
    run->input.momentum = schedule_momentum(r, (double)(step + 1) / run->steps_per_epoch);
    return run->second != NULL;
}

static bool read_masks(Run *run, int step)
{
    char name[64];
    const Recipe *r = &run->recipe;
    if (run->method == METHOD_CLASSIFY)
        return read_labels(run, step);
    if (run->method == METHOD_CONTRAST)
        return read_second(run, step);
    bool given = tensor_name(name, "mask", step) && safetensors_find(run->golden->stored, name);
    if (!given)
        tensor_name(name, "noise", step);
    float *values = parity_input(run->golden, name, 2, (int64_t[]){run->batch, run->places});
    int visible = recipe_visible(r);
    for (int i = 0; values && i < run->batch; i++) {
        const float *from = values + (size_t)i * (size_t)run->places;
        uint8_t *to = run->hidden + (size_t)i * (size_t)run->places;
        if (!given)
            hide_by_noise(from, run->places, visible, to);
        for (int l = 0; given && l < run->places; l++)
            to[l] = from[l] != 0;
    }
    memory_free(values);
    return values != NULL;
}

/* Masks are given: how they could be drawn does not matter, but a program is built for one number of hidden places, or, as for
 * blocks, for any. */
static bool fit_masks(Run *run)
{
    char name[64];
    int least = run->places, most = 0;
    if (run->recipe.encoder.input != ENCODER_INPUT_MASK_TOKEN)
        return true;
    for (int step = 0; step < run->steps && tensor_name(name, "mask", step) && safetensors_find(run->golden->stored, name);
         step++) {
        float *values = parity_input(run->golden, name, 2, (int64_t[]){run->batch, run->places});
        for (int i = 0; values && i < run->batch; i++) {
            int here = 0;
            for (int l = 0; l < run->places; l++)
                here += values[(size_t)i * (size_t)run->places + (size_t)l] != 0;
            least = here < least ? here : least;
            most = here > most ? here : most;
        }
        memory_free(values);
        if (!values)
            return false;
    }
    if (least < most)
        run->recipe.mask.kind = MASK_BLOCK;
    else if (most > 0) {
        run->recipe.mask.kind = MASK_RANDOM;
        run->recipe.mask.ratio = (most - 0.5) / run->places; /* of which as many are left as are visible */
    }
    return recipe_check(&run->recipe);
}

static bool read_kept(Run *run, int step)
{
    char name[64];
    tensor_name(name, "keep", step);
    int branches = trainer_branches(run->train), depth = recipe_depth(&run->recipe);
    run->input.kept = NULL;
    if (!safetensors_find(run->golden->stored, name) && !branches)
        return true;
    float *values = parity_input(run->golden, name, 3, (int64_t[]){depth, 2, run->batch});
    for (int b = 0; values && b < 2 * depth; b++)
        for (int i = 0; i < run->batch; i++) {
            size_t at = (size_t)b * (size_t)run->batch + (size_t)i;
            bool drops = branches && trainer_branch_rate(run->train, b) > 0;
            if (values[at] == 0 && !drops) {
                memory_free(values);
                return error_set("%s drops branch %d, which encoder.drop_path never drops", name, b);
            }
            if (branches)
                run->kept[at] = values[at] != 0;
        }
    memory_free(values);
    if (branches)
        run->input.kept = run->kept;
    return values != NULL;
}

/* Codes of all places. They may be anything below target.codes. */
static bool read_codes(Run *run, int step)
{
    char name[64];
    if (!run->codes)
        return true;
    tensor_name(name, "token", step);
    size_t count = (size_t)run->batch * (size_t)run->places;
    float *values = parity_input(run->golden, name, 2, (int64_t[]){run->batch, run->places});
    bool ok = values != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        run->codes[i] = (int32_t)values[i];
        if (values[i] < 0 || values[i] >= (float)run->recipe.target.codes)
            ok = error_set("%s holds %g, which is no code of target.codes %d", name, (double)values[i],
                           run->recipe.target.codes);
    }
    memory_free(values);
    run->input.codes = run->codes;
    return ok;
}

static bool read_step(Run *run, int step)
{
    const Recipe *r = &run->recipe;
    char name[64];
    memory_free(run->images);
    tensor_name(name, "image", step);
    run->images =
        parity_input(run->golden, name, 4, (int64_t[]){run->batch, r->image.channels, r->image.size[0], r->image.size[1]});
    run->input.images = run->images;
    run->input.hidden = run->hidden;
    run->input.lr = schedule_rate(r, (double)step / run->steps_per_epoch);
    return run->images && read_masks(run, step) && read_kept(run, step) && read_codes(run, step);
}

/* ---- results */

static bool take_params(Run *run, const char *prefix, const ParamSet *set, const float *buffer)
{
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        if (p->kind != PARAM_TRAINED)
            continue;
        char name[256];
        int64_t shape[SHAPE_MAX];
        param_shape(p, shape);
        snprintf(name, sizeof name, "%s.%s", prefix, p->name);
        float *to = parity_result(run->golden, name, p->shape.n, shape);
        if (!to)
            return false;
        memcpy(to, buffer + p->offset, (size_t)p->count * sizeof *to);
    }
    return true;
}

/* Predictions and targets of all places, from a step of its own on the start weights. */
static bool look(Run *run)
{
    TrainerMetrics metrics;
    if (run->method == METHOD_CONTRAST)
        return true; /* there is nothing to look at */
    if (!trainer_step(run->looker, &run->input, &metrics))
        return false;
    if (run->method == METHOD_CLASSIFY) {
        float *logits = parity_result(run->golden, "expect.logits", 2, (int64_t[]){run->batch, run->recipe.head.classes});
        if (logits)
            trainer_prediction(run->looker, 0, logits);
        return logits != NULL;
    }
    for (int k = 0; k < run->recipe.decoder_count; k++) {
        char name[64];
        int64_t shape[] = {run->batch, trainer_places(run->looker, k), trainer_outputs(run->looker, k)};
        tensor_name(name, "expect.pred", k);
        float *predictions = parity_result(run->golden, name, 3, shape);
        tensor_name(name, "expect.target", k);
        bool codes = run->recipe.decoders[k].target.kind == TARGET_TOKENS;
        float *targets = predictions ? parity_result(run->golden, name, codes ? 2 : 3, shape) : NULL;
        if (!targets)
            return false;
        trainer_prediction(run->looker, k, predictions);
        trainer_target(run->looker, k, targets);
        /* Where the loss does not look there is no code. */
        for (int64_t i = 0; codes && i < shape[0] * shape[1]; i++)
            if (run->codes && targets[i] < 0 && !run->hidden[i])
                targets[i] = (float)run->codes[i];
    }
    return true;
}

static bool do_steps(Run *run)
{
    const int decoders = run->recipe.decoder_count > 0 ? run->recipe.decoder_count : 0;
    float *series[RECIPE_DECODERS_MAX];
    int64_t shape[] = {run->steps};
    float *lr = parity_result(run->golden, "expect.lr", 1, shape), *loss = parity_result(run->golden, "expect.loss", 1, shape),
          *norm = parity_result(run->golden, "expect.grad_norm", 1, shape);
    if (!lr || !loss || !norm)
        return false;
    for (int k = 0; k < decoders; k++) {
        char name[64];
        tensor_name(name, "expect.loss", k);
        if (!(series[k] = parity_result(run->golden, name, 1, shape)))
            return false;
    }
    for (int step = 0; step < run->steps; step++) {
        TrainerMetrics metrics;
        if (!enter_stage(run, step) || !read_step(run, step) || (step == 0 && !look(run)) ||
            !trainer_step(run->train, &run->input, &metrics))
            return false;
        if (step == 0 && !take_params(run, "grad", trainer_params(run->train), trainer_gradient(run->train)))
            return false;
        lr[step] = (float)run->input.lr;
        loss[step] = (float)metrics.loss;
        norm[step] = (float)metrics.grad_norm;
        for (int k = 0; k < decoders; k++)
            series[k][step] = (float)metrics.losses[k];
    }
    return take_params(run, "after", trainer_params(run->train), trainer_weights(run->train)) &&
           (run->method != METHOD_CONTRAST ||
            take_params(run, "expect.averaged", trainer_teacher_params(run->train), trainer_teacher_weights(run->train)));
}

bool parity_pretrain(ParityCase *c, const ParityOptions *options)
{
    const double BF16_LOSS = 2e-2, GPU_LOSS = 1e-4;
    Run run = {.golden = c};
    TrainerOptions how = {.device = options->device, .plain = options->plain};
    bool ok = false;
    if (!recipe_load_case(&run.recipe, c->path))
        goto done;
    bool classifies = !strcmp(parity_case_kind(c), "classify");
    how.soft_labels = classifies && safetensors_find(c->stored, "soft.0");
    if (classifies)
        run.recipe.decoder_count = 0; /* which a recipe says itself */
    if (safetensors_find(c->stored, "mask.0"))
        run.recipe.mask.kind = MASK_RANDOM;
    /* The case brings its teacher, as a file would. */
    if (json_object_get(c->about, "teacher"))
        for (int k = -1; k < run.recipe.decoder_count; k++)
            snprintf(k < 0 ? run.recipe.target.teacher : run.recipe.decoders[k].target.teacher, RECIPE_PATH_BYTES, "%s",
                     c->path);
    bool codes = safetensors_find(c->stored, "token.0") != NULL;
    for (int k = -1; codes && k < run.recipe.decoder_count; k++)
        snprintf(k < 0 ? run.recipe.target.teacher : run.recipe.decoders[k].target.teacher, RECIPE_PATH_BYTES, "%s", c->path);
    if (!recipe_check(&run.recipe) || !read_sizes(&run) || !fit_masks(&run))
        goto done;
    run.method = recipe_method(&run.recipe);
    if (codes && !(run.codes = memory_new((size_t)run.batch * (size_t)run.places, sizeof *run.codes)))
        goto done;
    run.recipe.run.precision = options->bf16 ? RUN_PRECISION_BF16 : RUN_PRECISION_F32;
    c->loss_tolerance = options->bf16 ? BF16_LOSS : 0;
    c->loss_least = options->device.cuda ? GPU_LOSS : 0;
    if (codes) {
        run.teacher = mim_teacher_alike(&run.recipe, recipe_depth(&run.recipe));
        run.teacher.codes_of = MIM_CODES_GIVEN;
        how.teacher = &run.teacher;
    } else if (json_object_get(c->about, "teacher")) {
        if (!read_teacher(&run))
            goto done;
        how.teacher = &run.teacher;
    } else if (mim_needs_teacher(&run.recipe)) {
        if (!stage_teacher(&run, 0, &run.teacher))
            goto done;
        how.teacher = &run.teacher;
    }
    how.batch = run.batch;
    how.micro_batch = run.micro_batch;
    run.how = how;
    if (!(run.train = trainer_open(&run.recipe, &how)))
        goto done;
    how.micro_batch = run.batch;
    how.plain = how.keep_predictions = true;
    if (!(run.looker = trainer_open(&run.recipe, &how)))
        goto done;
    size_t branches = (size_t)trainer_branches(run.train) + 1, batch = (size_t)run.batch;
    run.hidden = memory_new(batch, (size_t)run.places);
    run.kept = memory_new(batch, branches);
    run.labels = memory_new(batch, sizeof *run.labels);
    if (!run.hidden || !run.kept || !run.labels)
        goto done;
    memset(run.kept, 1, batch * branches);
    ok = check_names(&run) && load_weights(&run, run.train, 0, true) && load_weights(&run, run.looker, 0, false) &&
         load_teacher(&run, run.train) && load_teacher(&run, run.looker) && do_steps(&run);
done:
    trainer_close(run.train);
    trainer_close(run.looker);
    memory_free(run.images);
    memory_free(run.hidden);
    memory_free(run.kept);
    memory_free(run.labels);
    memory_free(run.soft);
    memory_free(run.second);
    memory_free(run.codes);
    return ok;
}
