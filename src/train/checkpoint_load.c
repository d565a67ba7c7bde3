/* Reading a checkpoint back into a trainer; what `--from` reads is in checkpoint_weights.c. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/checkpoint_parts.h"

static void add_shape(Text *out, int n, const int64_t *d)
{
    text_add(out, "[");
    for (int i = 0; i < n; i++)
        text_add(out, "%s%" PRId64, i ? ", " : "", d[i]);
    text_add(out, "]");
}

bool checkpoint_same_shape(const SafeTensor *t, const Param *p)
{
    return t->ndim == p->shape.n && !memcmp(t->shape, p->shape.d, sizeof *t->shape * (size_t)t->ndim);
}

void checkpoint_add_shapes(Text *out, const SafeTensor *t, const Param *p)
{
    text_add(out, "%.200s (", t->name);
    add_shape(out, t->ndim, t->shape);
    text_add(out, " instead of ");
    add_shape(out, p->shape.n, p->shape.d);
    text_add(out, ")");
}

/* A list for an error: at most a few names, then how many more. */
typedef struct {
    Text text;
    int count;
} Names;

enum { NAMES_SHOWN = 4 };

static bool names_room(Names *names)
{
    if (names->count++ >= NAMES_SHOWN)
        return false;
    text_add(&names->text, names->text.length ? ", " : "");
    return true;
}

static void names_end(Names *names, const char *what, Text *out)
{
    if (names->count) {
        text_add(out, "%s%s %s", out->length ? "; " : "", what, names->text.data ? names->text.data : "");
        if (names->count > NAMES_SHOWN)
            text_add(out, " and %d more", names->count - NAMES_SHOWN);
    }
    text_free(&names->text);
}

/* Copies tensors named PREFIX + parameter into a buffer of the layout: the trained ones, or (buffer `fixed`) all. */
static bool fill(const SafeTensors *file, const char *origin, const ParamSet *set, const char *prefix, float *trained,
                 float *fixed)
{
    Names missing = {0}, shapes = {0}, unexpected = {0};
    Text wrong = {0};
    size_t length = strlen(prefix);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        float *buffer = p->kind == PARAM_TRAINED ? trained : fixed;
        Text name = {0};
        if (!buffer)
            continue;
        text_add(&name, "%s%s", prefix, p->name);
        const SafeTensor *t = name.failed ? NULL : safetensors_find(file, name.data);
        if (!t && names_room(&missing))
            text_add(&missing.text, "%s", name.data ? name.data : p->name);
        if (t && !checkpoint_same_shape(t, p)) {
            if (names_room(&shapes))
                checkpoint_add_shapes(&shapes.text, t, p);
        } else if (t) {
            safetensor_to_f32(t, buffer + p->offset);
        }
        text_free(&name);
    }
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_at(file, i)->name;
        if (strncmp(name, prefix, length))
            continue;
        int at = param_find(set, name + length);
        if ((at < 0 || (!fixed && set->params[at].kind != PARAM_TRAINED)) && names_room(&unexpected))
            text_add(&unexpected.text, "%.200s", name);
    }
    bool ok = !missing.count && !shapes.count && !unexpected.count;
    names_end(&missing, "missing:", &wrong);
    names_end(&unexpected, "unexpected:", &wrong);
    names_end(&shapes, "of another shape:", &wrong);
    if (!ok)
        error_set("%s does not fit the recipe: %s", origin, wrong.data ? wrong.data : "");
    text_free(&wrong);
    return ok;
}

/* The state has moments and a teacher, and nothing else. */
static bool check_state_names(const SafeTensors *file, const char *folder)
{
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_at(file, i)->name;
        if (strncmp(name, "moment1.", 8) && strncmp(name, "moment2.", 8) && strncmp(name, "teacher.", 8))
            return error_set("%s/%s does not fit the recipe: unexpected: %.200s", folder, CHECKPOINT_STATE, name);
    }
    return true;
}

bool checkpoint_load(const char *folder, Trainer *t, CheckpointMeta *meta)
{
    const ParamSet *set = trainer_params(t);
    SafeTensors *model = NULL, *state = NULL;
    char *origin = NULL;
    bool ok = checkpoint_meta(folder, meta) && (model = checkpoint_part(folder, CHECKPOINT_MODEL)) &&
              (origin = file_join(folder, CHECKPOINT_MODEL)) &&
              fill(model, origin, set, "", trainer_weights(t), trainer_fixed(t));
    memory_free(origin);
    origin = NULL;
    if (ok && trainer_moment1(t) && trainer_average(t)) {
        SafeTensors *average = checkpoint_part(folder, CHECKPOINT_AVERAGE);
        ok = average && (origin = file_join(folder, CHECKPOINT_AVERAGE)) &&
             fill(average, origin, set, "", trainer_average(t), trainer_fixed(t));
        safetensors_close(average);
        memory_free(origin);
        origin = NULL;
    }
    if (ok && trainer_moment1(t))
        ok = (state = checkpoint_part(folder, CHECKPOINT_STATE)) && (origin = file_join(folder, CHECKPOINT_STATE)) &&
             check_state_names(state, folder) && fill(state, origin, set, "moment1.", trainer_moment1(t), NULL) &&
             fill(state, origin, set, "moment2.", trainer_moment2(t), NULL) &&
             fill(state, origin, trainer_teacher_params(t), "teacher.", trainer_teacher_weights(t), NULL);
    if (ok)
        trainer_set_steps(t, meta->optimizer_steps);
    else
        error_context("the checkpoint %s cannot be used", folder);
    safetensors_close(model);
    safetensors_close(state);
    memory_free(origin);
    return ok;
}
