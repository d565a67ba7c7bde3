/* Saving, finding and resuming checkpoints; what `--from` reads is in checkpoint_weights.c. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "train/checkpoint_parts.h"

enum { META_BYTES_MAX = 1 << 20, NAME_BYTES = 64 };

static const char aside_prefix[] = ".tmp-";

/* The step that a folder's name stands for, -1 when it is no checkpoint's. */
static int64_t step_of_name(const char *name)
{
    static const char prefix[] = "step-";
    if (strncmp(name, prefix, sizeof prefix - 1))
        return -1;
    const char *digits = name + sizeof prefix - 1;
    size_t count = strspn(digits, "0123456789");
    if (count < 8 || count > 18 || digits[count])
        return -1;
    return strtoll(digits, NULL, 10);
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* The steps of all checkpoints in the folder, the newest first; a folder that is not there has none. With `sweep` what killed
 * saves left behind is removed. False after error_set(). */
static bool list_steps(const char *folder, bool sweep, int64_t **steps, size_t *count)
{
    size_t capacity = 0;
    *steps = NULL;
    *count = 0;
    DIR *entries = opendir(folder);
    if (!entries)
        return errno == ENOENT || error_set("cannot open %s: %s", folder, strerror(errno));
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(entries));) {
        int64_t step = step_of_name(entry->d_name);
        if (sweep && !strncmp(entry->d_name, aside_prefix, sizeof aside_prefix - 1)) {
            char *remains = file_join(folder, entry->d_name);
            ok = remains && file_remove(remains);
            memory_free(remains);
        }
        if (step < 0 || !ok)
            continue;
        ok = memory_grow((void **)steps, *count, &capacity, sizeof **steps);
        if (ok)
            (*steps)[(*count)++] = step;
    }
    closedir(entries);
    if (*count)
        qsort(*steps, *count, sizeof **steps, newest_first);
    if (!ok) {
        memory_free(*steps);
        *steps = NULL;
        *count = 0;
    }
    return ok;
}

static char *step_folder(const char *folder, int64_t step)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "step-%08" PRId64, step);
    return file_join(folder, name);
}

static bool is_complete(const char *folder, int64_t step);

/* ---- writing */

static bool write_tensors(const char *folder, const char *file, SafeTensor *tensors, size_t count, const SafeMetadata *metadata,
                          size_t metadata_count)
{
    char *path = file_join(folder, file);
    bool ok = path && safetensors_write(path, tensors, count, metadata, metadata_count);
    memory_free(path);
    return ok;
}

static SafeTensor tensor_of(const Param *p, const char *name, const float *buffer)
{
    SafeTensor t = {.name = name, .dtype = SAFETENSORS_F32, .ndim = p->shape.n, .data = buffer + p->offset};
    for (int i = 0; i < p->shape.n; i++)
        t.shape[i] = p->shape.d[i];
    return t;
}

/* What says nothing about the model and may differ between two runs that compute the same is put back to its default. */
static void add_model_recipe(const Recipe *recipe, const CheckpointMeta *meta, Text *out)
{
    Recipe r = *recipe, defaults;
    recipe_defaults(&defaults);
    recipe_statistics_set(&r.image.mean, meta->channels, meta->mean);
    recipe_statistics_set(&r.image.std, meta->channels, meta->std);
    r.data.workers = defaults.data.workers;
    r.data.cache_mb = defaults.data.cache_mb;
    r.run.threads = defaults.run.threads;
    r.run.max_steps = defaults.run.max_steps;
    r.run.save_steps = defaults.run.save_steps;
    r.run.keep = defaults.run.keep;
    recipe_write(&r, out);
}

static bool write_model(const char *folder, Trainer *t, const Recipe *recipe, const CheckpointMeta *meta)
{
    const ParamSet *set = trainer_params(t);
    Text yaml = {0};
    add_model_recipe(recipe, meta, &yaml);
    SafeTensor *tensors = memory_new(set->count, sizeof *tensors);
    bool ok = tensors && !yaml.failed;
    for (size_t i = 0; ok && i < set->count; i++) {
        const Param *p = &set->params[i];
        tensors[i] = tensor_of(p, p->name, p->kind == PARAM_TRAINED ? trainer_weights(t) : trainer_fixed(t));
    }
    if (ok) {
        SafeMetadata metadata[] = {{"format", "lacuna"}, {"version", LACUNA_VERSION}, {"recipe", yaml.data}};
        ok = write_tensors(folder, CHECKPOINT_MODEL, tensors, set->count, metadata, sizeof metadata / sizeof *metadata);
    }
    memory_free(tensors);
    text_free(&yaml);
    return ok;
}

static bool write_state(const char *folder, Trainer *t)
{
    static const char *const moments[] = {"moment1", "moment2"};
    const ParamSet *set = trainer_params(t);
    Text names = {0}; /* one behind the other, each with its zero */
    size_t count = 0, at = 0;
    SafeTensor *tensors = memory_new(set->count, 2 * sizeof *tensors);
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; i < set->count; i++)
            if (set->params[i].kind == PARAM_TRAINED) {
                text_add(&names, "%s.%s", moments[m], set->params[i].name);
                text_add_bytes(&names, "", 1);
            }
    bool ok = tensors && !names.failed;
    for (int m = 0; ok && m < 2; m++)
        for (size_t i = 0; i < set->count; i++) {
            if (set->params[i].kind != PARAM_TRAINED)
                continue;
            tensors[count++] = tensor_of(&set->params[i], names.data + at, m ? trainer_moment2(t) : trainer_moment1(t));
            at += strlen(names.data + at) + 1;
        }
    SafeMetadata metadata[] = {{"format", "lacuna"}};
    ok = ok && write_tensors(folder, CHECKPOINT_STATE, tensors, count, metadata, 1);
    memory_free(tensors);
    text_free(&names);
    return ok;
}

static void add_floats(Text *out, const char *name, const float *values, int count)
{
    text_add(out, "  \"%s\": [", name);
    for (int i = 0; i < count; i++)
        text_add(out, "%s%.9g", i ? ", " : "", (double)values[i]);
    text_add(out, "]");
}

static bool write_meta(const char *folder, Trainer *t, const CheckpointMeta *meta)
{
    Text out = {0};
    char *path = file_join(folder, CHECKPOINT_META);
    text_add(&out, "{\n  \"lacuna\": \"%s\",\n  \"step\": %" PRId64 ",\n  \"optimizer_steps\": %" PRId64 ",\n", LACUNA_VERSION,
             meta->step, trainer_steps(t));
    text_add(&out, "  \"epoch\": %.17g,\n", (double)meta->step / (double)meta->steps_per_epoch);
    text_add(&out, "  \"steps_per_epoch\": %" PRId64 ",\n  \"pictures\": %" PRId64 ",\n  \"seed\": %" PRIu64 ",\n",
             meta->steps_per_epoch, meta->pictures, meta->seed);
    add_floats(&out, "mean", meta->mean, meta->channels);
    text_add(&out, ",\n");
    add_floats(&out, "std", meta->std, meta->channels);
    text_add(&out, "\n}\n");
    bool ok = path && !out.failed && file_write(path, out.data, out.length);
    memory_free(path);
    text_free(&out);
    return ok;
}

/* Puts the finished folder `aside` in its place. A folder that is there already, one that could not be read or one of an
 * earlier try, changes places with it, so that at no moment there is none. */
static bool put_in_place(const char *aside, const char *final)
{
    if (renameat2(AT_FDCWD, aside, AT_FDCWD, final, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EEXIST) {
        /* A file system without the flags; rename() replaces nothing but an empty folder. */
        if (rename(aside, final) == 0)
            return true;
    } else if (renameat2(AT_FDCWD, aside, AT_FDCWD, final, RENAME_EXCHANGE) == 0) {
        return file_remove(aside);
    }
    if (file_exists(final) && file_remove(final) && rename(aside, final) == 0)
        return true;
    return error_set("cannot rename %s to %s: %s", aside, final, strerror(errno));
}

static bool point_latest(const char *folder, int64_t step)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "step-%08" PRId64, step);
    char *aside = file_join(folder, ".tmp-latest"), *link = file_join(folder, "latest");
    bool ok = aside && link && file_remove(aside);
    if (ok && (symlink(name, aside) < 0 || rename(aside, link) < 0))
        ok = error_set("cannot make the link %s: %s", link, strerror(errno));
    memory_free(aside);
    memory_free(link);
    return ok;
}

/* A folder loses its name first, so that a half removed one is never taken for whole. */
static bool remove_old(const char *folder, const char *old)
{
    char *aside = file_join(folder, ".tmp-old");
    bool ok = aside && file_remove(aside);
    if (ok && rename(old, aside) < 0)
        ok = error_set("cannot remove the old checkpoint %s: %s", old, strerror(errno));
    ok = ok && file_remove(aside);
    memory_free(aside);
    return ok;
}

/* Of the checkpoints before the one just saved, removes those that are older than the newest `keep` - 1 complete ones. What
 * bears a later step was damaged, or the run had gone on from it: it stays until the run gets there. */
static bool prune(const char *folder, int64_t saved, int keep)
{
    int64_t *steps;
    size_t count;
    int kept = 1;
    bool ok = list_steps(folder, false, &steps, &count);
    for (size_t i = 0; ok && i < count; i++) {
        if (steps[i] >= saved)
            continue;
        char *old = step_folder(folder, steps[i]);
        ok = old != NULL;
        if (ok && kept >= keep)
            ok = remove_old(folder, old);
        else if (ok && is_complete(old, steps[i]))
            kept++;
        memory_free(old);
    }
    memory_free(steps);
    return ok;
}

bool checkpoint_save(const char *run, Trainer *t, const Recipe *recipe, const CheckpointMeta *meta, int keep)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%sstep-%08" PRId64, aside_prefix, meta->step);
    char *folder = file_join(run, "checkpoints"), *aside = NULL, *final = NULL;
    int64_t *steps = NULL;
    size_t count;
    bool made = folder && !file_exists(folder);
    bool ok = trainer_fetch(t) && folder && file_make_folder(folder) && (!made || file_sync(run)) &&
              list_steps(folder, true, &steps, &count);
    ok = ok && (aside = file_join(folder, name)) && (final = step_folder(folder, meta->step)) && file_make_folder(aside);
    ok = ok && write_model(aside, t, recipe, meta) && write_state(aside, t) && write_meta(aside, t, meta) && file_sync(aside) &&
         put_in_place(aside, final) && file_sync(folder);
    if (!ok && aside) {
        char *why = memory_string(error_text());
        file_remove(aside);
        if (why)
            error_set("%s", why);
        memory_free(why);
    }
    ok = ok && point_latest(folder, meta->step) && prune(folder, meta->step, keep) && file_sync(folder);
    if (!ok)
        error_context("saving the checkpoint of step %" PRId64, meta->step);
    memory_free(steps);
    memory_free(folder);
    memory_free(aside);
    memory_free(final);
    return ok;
}

/* ---- reading */

static bool read_meta(const char *folder, CheckpointMeta *meta)
{
    size_t size;
    char *path = file_join(folder, CHECKPOINT_META), *text = path ? file_read(path, META_BYTES_MAX, &size) : NULL;
    bool ok = text && checkpoint_meta_parse(text, size, path, meta);
    memory_free(text);
    memory_free(path);
    return ok;
}

static SafeTensors *open_part(const char *folder, const char *file)
{
    char *path = file_join(folder, file);
    SafeTensors *tensors = path ? safetensors_open(path) : NULL;
    memory_free(path);
    return tensors;
}

/* All three files are there and sound as far as sizes go; else the error says why not. */
static bool is_complete(const char *folder, int64_t step)
{
    CheckpointMeta meta;
    SafeTensors *model = open_part(folder, CHECKPOINT_MODEL), *state = open_part(folder, CHECKPOINT_STATE);
    bool ok = model && state && read_meta(folder, &meta) &&
              (meta.step == step || error_set("its %s is of step %" PRId64, CHECKPOINT_META, meta.step));
    safetensors_close(model);
    safetensors_close(state);
    return ok;
}

bool checkpoint_meta(const char *folder, CheckpointMeta *meta)
{
    return read_meta(folder, meta);
}

bool checkpoint_newest(const char *run, char **newest, Text *passed_over)
{
    int64_t *steps = NULL;
    size_t count = 0;
    Text reasons = {0};
    *newest = NULL;
    char *folder = file_join(run, "checkpoints");
    bool ok = folder && list_steps(folder, false, &steps, &count);
    for (size_t i = 0; ok && i < count && !*newest; i++) {
        char *candidate = step_folder(folder, steps[i]);
        ok = candidate != NULL;
        if (ok && is_complete(candidate, steps[i])) {
            *newest = candidate;
            break;
        }
        if (ok)
            text_add(&reasons, "%s%s: %s", i ? "; " : "", file_name(candidate), error_text());
        memory_free(candidate);
    }
    const char *why = reasons.data ? reasons.data : "";
    if (ok && count > 0 && !*newest)
        ok = error_set("none of the checkpoints in %s can be used; to start again from the first step, move that folder away "
                       "(%s)",
                       folder, why);
    else if (ok)
        error_clear(); /* what was wrong with those passed over */
    if (ok && passed_over && reasons.length)
        text_add(passed_over, "%s", why);
    text_free(&reasons);
    memory_free(steps);
    memory_free(folder);
    return ok;
}

/* ---- comparing and filling */

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

/* Moments may carry no other names than the two kinds. */
static bool check_state_names(const SafeTensors *file, const char *folder)
{
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_at(file, i)->name;
        if (strncmp(name, "moment1.", 8) && strncmp(name, "moment2.", 8))
            return error_set("%s/%s does not fit the recipe: unexpected: %.200s", folder, CHECKPOINT_STATE, name);
    }
    return true;
}

bool checkpoint_load(const char *folder, Trainer *t, CheckpointMeta *meta)
{
    const ParamSet *set = trainer_params(t);
    SafeTensors *model = NULL, *state = NULL;
    char *origin = NULL;
    bool ok = read_meta(folder, meta) && (model = open_part(folder, CHECKPOINT_MODEL)) &&
              (origin = file_join(folder, CHECKPOINT_MODEL)) &&
              fill(model, origin, set, "", trainer_weights(t), trainer_fixed(t));
    memory_free(origin);
    origin = NULL;
    if (ok && trainer_moment1(t))
        ok = (state = open_part(folder, CHECKPOINT_STATE)) && (origin = file_join(folder, CHECKPOINT_STATE)) &&
             check_state_names(state, folder) && fill(state, origin, set, "moment1.", trainer_moment1(t), NULL) &&
             fill(state, origin, set, "moment2.", trainer_moment2(t), NULL);
    if (ok)
        trainer_set_steps(t, meta->optimizer_steps);
    else
        error_context("the checkpoint %s cannot be used", folder);
    safetensors_close(model);
    safetensors_close(state);
    memory_free(origin);
    return ok;
}
