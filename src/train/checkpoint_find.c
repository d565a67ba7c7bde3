/* Finding checkpoints, and telling whole ones from damaged ones. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/checkpoint_parts.h"

enum { META_BYTES_MAX = 1 << 20, NAME_BYTES = 64, HASH_BYTES = 1 << 20 };
const char *const checkpoint_files[CHECKPOINT_FILES] = {CHECKPOINT_MODEL, CHECKPOINT_STATE};

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

bool checkpoint_steps(const char *folder, bool sweep, int64_t **steps, size_t *count)
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
        if (sweep && !strncmp(entry->d_name, CHECKPOINT_ASIDE, sizeof CHECKPOINT_ASIDE - 1)) {
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

char *checkpoint_folder(const char *folder, int64_t step)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "step-%08" PRId64, step);
    return file_join(folder, name);
}

/* ---- meta.json */

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
        if (!json_is_number(json_array_get(list, i)) || !isfinite(value))
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

static bool meta_files(const json_t *root, const char *path, FileHash hashes[CHECKPOINT_FILES])
{
    const json_t *files = json_object_get(root, "files");
    for (int i = 0; i < CHECKPOINT_FILES; i++) {
        const json_t *file = json_object_get(files, checkpoint_files[i]);
        int64_t crc;
        if (!meta_number(file, path, "bytes", 0, &hashes[i].bytes) || !meta_number(file, path, "crc32", 0, &crc))
            return false;
        hashes[i].crc = (uint32_t)crc;
    }
    return true;
}

/* The text's last line holds the checksum of all that stands before it. */
static bool check_text(const char *path, const char *text, size_t size)
{
    const char *last = NULL;
    for (const char *at = text; (at = strstr(at, CHECKPOINT_META_CRC)); at++)
        last = at;
    unsigned long stored = last ? strtoul(last + strlen(CHECKPOINT_META_CRC), NULL, 10) : 0;
    if (!last || stored != crc32_z(crc32(0, NULL, 0), (const Bytef *)text, (size_t)(last - text)))
        return error_set("%s (%zu bytes) is damaged: it does not agree with its checksum", path, size);
    return true;
}

static bool read_meta(const char *folder, CheckpointMeta *meta, FileHash hashes[CHECKPOINT_FILES])
{
    size_t size;
    json_t *root = NULL;
    char *path = file_join(folder, CHECKPOINT_META), *text = path ? file_read(path, META_BYTES_MAX, &size) : NULL;
    bool ok = false;
    json_error_t error;
    int64_t seed;
    *meta = (CheckpointMeta){0};
    if (!text || !check_text(path, text, size))
        goto done;
    root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        error_set("%s is not a JSON object: %s", path, root ? "something else stands there" : error.text);
        goto done;
    }
    ok = meta_number(root, path, "step", 0, &meta->step) &&
         meta_number(root, path, "optimizer_steps", 0, &meta->optimizer_steps) &&
         meta_number(root, path, "steps_per_epoch", 1, &meta->steps_per_epoch) &&
         meta_number(root, path, "pictures", 1, &meta->pictures) && meta_number(root, path, "seed", 0, &seed) &&
         meta_floats(root, path, "mean", &meta->channels, meta->mean) &&
         meta_floats(root, path, "std", &meta->channels, meta->std) && meta_guard(root, path, &meta->guard) &&
         meta_files(root, path, hashes);
    if (ok)
        meta->seed = (uint64_t)seed;
done:
    json_decref(root);
    memory_free(text);
    memory_free(path);
    return ok;
}

bool checkpoint_meta(const char *folder, CheckpointMeta *meta)
{
    FileHash hashes[CHECKPOINT_FILES];
    return read_meta(folder, meta, hashes);
}

/* ---- whole or damaged */

SafeTensors *checkpoint_part(const char *folder, const char *file)
{
    char *path = file_join(folder, file);
    SafeTensors *tensors = path ? safetensors_open(path) : NULL;
    memory_free(path);
    return tensors;
}

bool checkpoint_hash(const char *folder, const char *name, FileHash *hash)
{
    char *path = file_join(folder, name);
    Bytef *buffer = memory_new(HASH_BYTES, 1);
    FILE *file = path && buffer ? fopen(path, "re") : NULL;
    bool ok = file != NULL;
    if (path && buffer && !file)
        error_set("cannot open %s: %s", path, strerror(errno));
    *hash = (FileHash){.crc = (uint32_t)crc32(0, NULL, 0)};
    for (size_t n; ok && (n = fread(buffer, 1, HASH_BYTES, file));) {
        hash->crc = (uint32_t)crc32_z(hash->crc, buffer, n);
        hash->bytes += (int64_t)n;
    }
    if (ok && ferror(file))
        ok = error_set("cannot read %s: %s", path, strerror(errno));
    if (file)
        fclose(file);
    memory_free(buffer);
    memory_free(path);
    return ok;
}

static bool agrees(const char *folder, const char *name, const FileHash *expected)
{
    FileHash hash;
    return checkpoint_hash(folder, name, &hash) &&
           ((hash.bytes == expected->bytes && hash.crc == expected->crc) ||
            error_set("its %s is damaged: it does not agree with its checksum in %s", name, CHECKPOINT_META));
}

bool checkpoint_is_complete(const char *folder, int64_t step, bool contents)
{
    CheckpointMeta meta;
    FileHash hashes[CHECKPOINT_FILES];
    bool ok = read_meta(folder, &meta, hashes) &&
              (meta.step == step || error_set("its %s is of step %" PRId64, CHECKPOINT_META, meta.step));
    for (int i = 0; ok && i < CHECKPOINT_FILES; i++) {
        SafeTensors *part = checkpoint_part(folder, checkpoint_files[i]);
        ok = part && (!contents || agrees(folder, checkpoint_files[i], &hashes[i]));
        safetensors_close(part);
    }
    return ok;
}

bool checkpoint_newest(const char *run, char **newest, Text *passed_over)
{
    int64_t *steps = NULL;
    size_t count = 0;
    Text reasons = {0};
    *newest = NULL;
    char *folder = file_join(run, "checkpoints");
    bool ok = folder && checkpoint_steps(folder, false, &steps, &count);
    for (size_t i = 0; ok && i < count && !*newest; i++) {
        char *candidate = checkpoint_folder(folder, steps[i]);
        ok = candidate != NULL;
        if (ok && checkpoint_is_complete(candidate, steps[i], true)) {
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
