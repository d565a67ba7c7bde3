/* Reading meta.json of a checkpoint. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include <jansson.h>

#include "base/error.h"
#include "train/checkpoint_parts.h"

const char *const checkpoint_files[CHECKPOINT_FILES] = {CHECKPOINT_MODEL, CHECKPOINT_STATE, CHECKPOINT_AVERAGE};

static bool meta_number(const json_t *root, const char *path, const char *key, int64_t least, int64_t *value)
{
    const json_t *number = json_object_get(root, key);
    if (!json_is_integer(number) || json_integer_value(number) < least)
        return error_set("%s: \"%s\" is not a whole number of at least %" PRId64, path, key, least);
    *value = json_integer_value(number);
    return true;
}

static bool meta_floats(const json_t *root, const char *path, const char *key, int *count, float *values)
{
    const json_t *list = json_object_get(root, key);
    size_t size = json_array_size(list);
    if (size < 1 || size > RECIPE_CHANNELS_MAX || (*count && size != (size_t)*count))
        return error_set("%s: \"%s\" is not a list with a number for each channel", path, key);
    for (size_t i = 0; i < size; i++) {
        double value = json_number_value(json_array_get(list, i));
        if (!json_is_number(json_array_get(list, i)) || !(fabs(value) <= FLT_MAX))
            return error_set("%s: \"%s\" is not a list of numbers", path, key);
        values[i] = (float)value;
    }
    *count = (int)size;
    return true;
}

static bool meta_real(const json_t *root, const char *path, const char *key, double *value)
{
    const json_t *number = json_object_get(root, key);
    *value = json_number_value(number);
    return (json_is_number(number) && isfinite(*value)) || error_set("%s: \"%s\" is not a number", path, key);
}

static bool meta_guard(const json_t *root, const char *path, CheckpointGuard *guard)
{
    const json_t *object = json_object_get(root, "guard");
    return meta_number(object, path, "draw", 0, &guard->draw) && meta_number(object, path, "skipped", 0, &guard->skipped) &&
           meta_number(object, path, "losses", 0, &guard->losses) && meta_real(object, path, "mean", &guard->mean) &&
           meta_real(object, path, "variance", &guard->variance);
}

/* Checkpoints of earlier versions have none. */
static bool meta_names(const json_t *root, const char *path, uint64_t *names)
{
    const json_t *word = json_object_get(root, "names");
    char end;
    *names = 0;
    return !word ||
           (json_is_string(word) && json_string_length(word) == 16 &&
            sscanf(json_string_value(word), "%" SCNx64 "%c", names, &end) == 1) ||
           error_set("%s: \"names\" is not a number of 16 hexadecimal digits", path);
}

bool checkpoint_meta_parse(const char *text, size_t size, const char *path, CheckpointMeta *meta)
{
    json_error_t error;
    int64_t seed;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    bool ok = false;
    *meta = (CheckpointMeta){0};
    if (!json_is_object(root)) {
        error_set("%s is not a JSON object: %s", path, root ? "something else stands there" : error.text);
        goto done;
    }
    ok = meta_number(root, path, "step", 0, &meta->step) &&
         meta_number(root, path, "optimizer_steps", 0, &meta->optimizer_steps) &&
         meta_number(root, path, "steps_per_epoch", 1, &meta->steps_per_epoch) &&
         meta_number(root, path, "pictures", 1, &meta->pictures) && meta_names(root, path, &meta->names) &&
         meta_number(root, path, "seed", 0, &seed) && meta_floats(root, path, "mean", &meta->channels, meta->mean) &&
         meta_floats(root, path, "std", &meta->channels, meta->std) && meta_guard(root, path, &meta->guard);
    if (ok) {
        meta->seed = (uint64_t)seed;
        meta->stage_ends = json_is_true(json_object_get(root, "stage_ends"));
    }
done:
    json_decref(root);
    return ok;
}

bool checkpoint_meta_hashes(const char *text, size_t size, const char *path, FileHash hashes[CHECKPOINT_FILES])
{
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *files = json_object_get(root, "files");
    bool ok = true;
    for (int i = 0; ok && i < CHECKPOINT_FILES; i++) {
        const json_t *file = json_object_get(files, checkpoint_files[i]);
        int64_t crc = 0;
        hashes[i] = (FileHash){.bytes = -1};
        if (i >= CHECKPOINT_FILES_ALWAYS && !file)
            continue;
        ok = meta_number(file, path, "bytes", 0, &hashes[i].bytes) && meta_number(file, path, "crc32", 0, &crc);
        hashes[i].crc = (uint32_t)crc;
    }
    json_decref(root);
    return ok;
}
