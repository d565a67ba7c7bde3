/* Finding checkpoints, and telling whole ones from damaged ones. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/checkpoint_parts.h"

enum { META_BYTES_MAX = 1 << 20, NAME_BYTES = 64, HASH_BYTES = 1 << 20 };

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

/* hashes may be NULL. */
static bool read_meta(const char *folder, CheckpointMeta *meta, FileHash *hashes)
{
    size_t size;
    char *path = file_join(folder, CHECKPOINT_META), *text = path ? file_read(path, META_BYTES_MAX, &size) : NULL;
    bool ok = text && check_text(path, text, size) && checkpoint_meta_parse(text, size, path, meta) &&
              (!hashes || checkpoint_meta_hashes(text, size, path, hashes));
    memory_free(text);
    memory_free(path);
    return ok;
}

bool checkpoint_meta(const char *folder, CheckpointMeta *meta)
{
    return read_meta(folder, meta, NULL);
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
        if (hashes[i].bytes < 0)
            continue;
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
