/* Saving checkpoints. */
#include "train/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "train/checkpoint_parts.h"

enum { NAME_BYTES = 64 };

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

/* All parameters, the trained ones from that buffer. */
static bool write_model(const char *folder, const char *file, const Trainer *t, const float *weights, const float *fixed,
                        const Recipe *recipe, const CheckpointMeta *meta)
{
    const ParamSet *set = trainer_params(t);
    Text yaml = {0};
    add_model_recipe(recipe, meta, &yaml);
    SafeTensor *tensors = memory_new(set->count, sizeof *tensors);
    bool ok = tensors && !yaml.failed;
    for (size_t i = 0; ok && i < set->count; i++) {
        const Param *p = &set->params[i];
        tensors[i] = tensor_of(p, p->name, p->kind == PARAM_TRAINED ? weights : fixed);
    }
    if (ok) {
        SafeMetadata metadata[] = {{"format", "lacuna"}, {"version", LACUNA_VERSION}, {"recipe", yaml.data}};
        ok = write_tensors(folder, file, tensors, set->count, metadata, sizeof metadata / sizeof *metadata);
    }
    memory_free(tensors);
    text_free(&yaml);
    return ok;
}

static bool write_state(const char *folder, const Trainer *t, const TrainerState *state)
{
    const ParamSet *sets[] = {trainer_params(t), trainer_params(t), trainer_teacher_params(t)};
    const float *buffers[] = {state->moment1, state->moment2, state->teacher};
    static const char *const prefixes[] = {"moment1", "moment2", "teacher"};
    enum { KINDS = sizeof sets / sizeof *sets };
    Text names = {0}; /* one behind the other, each with its zero */
    size_t count = 0, at = 0, most = 0;
    for (int m = 0; m < KINDS; m++)
        for (size_t i = 0; i < sets[m]->count; i++, most++)
            if (sets[m]->params[i].kind == PARAM_TRAINED) {
                text_add(&names, "%s.%s", prefixes[m], sets[m]->params[i].name);
                text_add_bytes(&names, "", 1);
            }
    SafeTensor *tensors = memory_new(most, sizeof *tensors);
    bool ok = tensors && !names.failed;
    for (int m = 0; ok && m < KINDS; m++)
        for (size_t i = 0; i < sets[m]->count; i++) {
            if (sets[m]->params[i].kind != PARAM_TRAINED)
                continue;
            tensors[count++] = tensor_of(&sets[m]->params[i], names.data + at, buffers[m]);
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

static bool add_hashes(Text *out, const char *folder, bool average)
{
    bool ok = true;
    text_add(out, "  \"files\": {");
    for (int i = 0; ok && i < (average ? CHECKPOINT_FILES : CHECKPOINT_FILES_ALWAYS); i++) {
        FileHash hash;
        ok = checkpoint_hash(folder, checkpoint_files[i], &hash);
        text_add(out, "%s\"%s\": {\"bytes\": %" PRId64 ", \"crc32\": %" PRIu32 "}", i ? ", " : "", checkpoint_files[i],
                 hash.bytes, hash.crc);
    }
    text_add(out, "},\n");
    return ok;
}

static bool write_meta(const char *folder, Trainer *t, const CheckpointMeta *meta)
{
    Text out = {0};
    char *path = file_join(folder, CHECKPOINT_META);
    text_add(&out, "{\n  \"lacuna\": \"%s\",\n  \"step\": %" PRId64 ",\n  \"optimizer_steps\": %" PRId64 ",\n", LACUNA_VERSION,
             meta->step, trainer_steps(t));
    text_add(&out, "  \"epoch\": %.17g,\n", (double)meta->step / (double)meta->steps_per_epoch);
    text_add(&out,
             "  \"steps_per_epoch\": %" PRId64 ",\n  \"pictures\": %" PRId64 ",\n  \"names\": \"%016" PRIx64
             "\",\n  \"seed\": %" PRIu64 ",\n",
             meta->steps_per_epoch, meta->pictures, meta->names, meta->seed);
    add_floats(&out, "mean", meta->mean, meta->channels);
    text_add(&out, ",\n");
    add_floats(&out, "std", meta->std, meta->channels);
    text_add(&out,
             ",\n  \"guard\": {\"draw\": %" PRId64 ", \"skipped\": %" PRId64 ", \"losses\": %" PRId64
             ", \"mean\": %.17g, \"variance\": %.17g},\n",
             meta->guard.draw, meta->guard.skipped, meta->guard.losses, meta->guard.mean, meta->guard.variance);
    if (meta->stage_ends)
        text_add(&out, "  \"stage_ends\": true,\n");
    bool ok = add_hashes(&out, folder, trainer_average(t) != NULL) && path && !out.failed;
    if (ok)
        text_add(&out, CHECKPOINT_META_CRC "%lu\n}\n", crc32_z(crc32(0, NULL, 0), (const Bytef *)out.data, out.length));
    ok = ok && !out.failed && file_write(path, out.data, out.length);
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
    char name[NAME_BYTES], present[NAME_BYTES] = "";
    snprintf(name, sizeof name, "step-%08" PRId64, step);
    char *aside = file_join(folder, ".tmp-latest"), *link = file_join(folder, "latest");
    bool ok = aside && link && file_remove(aside);
    bool stands = ok && readlink(link, present, sizeof present - 1) > 0 && !strcmp(present, name);
    if (ok && !stands && (symlink(name, aside) < 0 || rename(aside, link) < 0))
        ok = error_set("cannot make the link %s: %s", link, strerror(errno));
    memory_free(aside);
    memory_free(link);
    return ok;
}

bool checkpoint_point_latest(const char *run, int64_t step)
{
    char *folder = file_join(run, "checkpoints");
    bool ok = folder && point_latest(folder, step);
    memory_free(folder);
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
    bool ok = checkpoint_steps(folder, false, &steps, &count);
    for (size_t i = 0; ok && i < count; i++) {
        if (steps[i] >= saved)
            continue;
        char *old = checkpoint_folder(folder, steps[i]);
        ok = old != NULL;
        CheckpointMeta meta;
        if (ok && kept >= keep && !(checkpoint_meta(old, &meta) && meta.stage_ends))
            ok = remove_old(folder, old);
        else if (ok && checkpoint_is_complete(old, steps[i], false))
            kept++;
        memory_free(old);
    }
    memory_free(steps);
    return ok;
}

bool checkpoint_save(const char *run, Trainer *t, const Recipe *recipe, const CheckpointMeta *meta, int keep)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%sstep-%08" PRId64, CHECKPOINT_ASIDE, meta->step);
    char *folder = file_join(run, "checkpoints"), *aside = NULL, *final = NULL;
    int64_t *steps = NULL;
    size_t count;
    bool made = folder && !file_exists(folder);
    TrainerState state;
    bool ok = trainer_fetch(t, &state) && folder && file_make_folder(folder) && (!made || file_sync(run)) &&
              checkpoint_steps(folder, true, &steps, &count);
    ok = ok && (aside = file_join(folder, name)) && (final = checkpoint_folder(folder, meta->step)) && file_make_folder(aside);
    ok = ok && write_model(aside, CHECKPOINT_MODEL, t, state.weights, state.fixed, recipe, meta) &&
         (!state.average || write_model(aside, CHECKPOINT_AVERAGE, t, state.average, state.fixed, recipe, meta)) &&
         write_state(aside, t, &state) && write_meta(aside, t, meta) && file_sync(aside) && put_in_place(aside, final) &&
         file_sync(folder);
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
