/* Golden cases without training: position tables, schedules, resizing, augmentation. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/parity_case.h"
#include "image/augment.h"
#include "image/resize.h"
#include "nn/position.h"
#include "recipe/recipe.h"
#include "train/schedule.h"

enum { SIDE_MAX = 1 << 14, STAGES_MAX = 64 };

static void entry_name(char room[64], const char *list, size_t i)
{
    snprintf(room, 64, "%s[%zu]", list, i);
}

/* ---- position tables */

static bool fixed_table(ParityCase *c, const json_t *entry, size_t i)
{
    char where[64], name[64];
    int rows, columns, width;
    entry_name(where, "case.sincos", i);
    if (!parity_int(entry, where, "rows", 1, SIDE_MAX, &rows) || !parity_int(entry, where, "columns", 1, SIDE_MAX, &columns) ||
        !parity_int(entry, where, "width", 4, 1 << 20, &width))
        return false;
    if (width % 4)
        return error_set("%s.width %d is not a multiple of 4", where, width);
    bool class_row = json_is_true(json_object_get(entry, "class_token"));
    snprintf(name, sizeof name, "expect.sincos.%zu", i);
    float *table = parity_result(c, name, 3, (int64_t[]){1, (int64_t)rows * columns + class_row, width});
    if (table)
        position_sincos(rows, columns, width, class_row, table);
    return table != NULL;
}

static bool two_sizes(const json_t *entry, const char *where, const char *key, int size[2])
{
    const json_t *list = parity_list(entry, where, key);
    for (size_t i = 0; i < 2; i++) {
        json_t *number = json_array_get(list, i);
        if (!list || !json_is_integer(number) || json_integer_value(number) < 1 || json_integer_value(number) > SIDE_MAX)
            return error_set("%s.%s must be two whole numbers from 1 to %d", where, key, SIDE_MAX);
        size[i] = (int)json_integer_value(number);
    }
    return true;
}

static bool resized_table(ParityCase *c, const json_t *entry, size_t i, const SafeTensor *stored, const float *table)
{
    char where[64], name[64];
    int from[2], to[2], width = (int)stored->shape[2];
    entry_name(where, "case.resize", i);
    if (!two_sizes(entry, where, "from", from) || !two_sizes(entry, where, "to", to))
        return false;
    int64_t class_rows = stored->shape[1] - (int64_t)from[0] * from[1];
    if (class_rows != 0 && class_rows != 1)
        return error_set("%s.from does not fit the table's %lld rows", where, (long long)stored->shape[1]);
    snprintf(name, sizeof name, "expect.resize.%zu", i);
    float *out = parity_result(c, name, 3, (int64_t[]){1, (int64_t)to[0] * to[1] + class_rows, width});
    if (out)
        position_resize(table, from[0], from[1], width, class_rows == 1, to[0], to[1], out);
    return out != NULL;
}

bool parity_positions(ParityCase *c)
{
    const SafeTensor *stored = safetensors_find(c->stored, "table");
    const json_t *fixed = json_object_get(c->about, "sincos"), *resized = json_object_get(c->about, "resize");
    float *table = NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(fixed); i++)
        ok = fixed_table(c, json_array_get(fixed, i), i);
    if (ok && json_array_size(resized)) {
        if (!stored || stored->ndim != 3 || stored->shape[0] != 1 || stored->shape[2] > INT_MAX)
            return error_set("tensor table is missing, or is not (1, rows, width)");
        ok = (table = parity_input(c, "table", stored->ndim, stored->shape)) != NULL;
    }
    for (size_t i = 0; ok && i < json_array_size(resized); i++)
        ok = resized_table(c, json_array_get(resized, i), i, stored, table);
    memory_free(table);
    return ok;
}

/* ---- schedules */

static double number_of(const json_t *entry, const char *key, double otherwise)
{
    const json_t *number = json_object_get(entry, key);
    return json_is_number(number) ? json_number_value(number) : otherwise;
}

static bool one_schedule(ParityCase *c, const json_t *entry, size_t i)
{
    char where[64], name[64];
    int per_epoch;
    double stages[STAGES_MAX];
    const json_t *list = json_object_get(entry, "stages");
    size_t count = json_array_size(list);
    Recipe r;
    recipe_defaults(&r);
    entry_name(where, "case.settings", i);
    if (!parity_int(entry, where, "batch_size", 1, INT_MAX, &r.schedule.batch_size) ||
        !parity_int(entry, where, "epochs", 1, 1 << 14, &r.schedule.epochs) ||
        !parity_int(entry, where, "steps_per_epoch", 1, 1 << 14, &per_epoch))
        return false;
    if (count > STAGES_MAX)
        return error_set("%s.stages has more than %d entries", where, STAGES_MAX);
    for (size_t k = 0; k < count; k++)
        stages[k] = json_number_value(json_array_get(list, k));
    r.schedule.warmup_epochs = number_of(entry, "warmup_epochs", r.schedule.warmup_epochs);
    r.schedule.min_lr = number_of(entry, "min_lr", r.schedule.min_lr);
    r.schedule.blr = number_of(entry, "blr", RECIPE_AUTO);
    r.schedule.lr = number_of(entry, "lr", RECIPE_AUTO);
    snprintf(name, sizeof name, "expect.lr.%zu", i);
    int64_t steps = (int64_t)r.schedule.epochs * per_epoch;
    float *rates = parity_result(c, name, 1, &steps);
    for (int64_t s = 0; rates && s < steps; s++)
        rates[s] = (float)schedule_rate_of(&r, stages, (int)count, (double)s / per_epoch);
    return rates != NULL;
}

bool parity_schedule(ParityCase *c)
{
    const json_t *settings = parity_list(c->about, "case", "settings");
    bool ok = settings != NULL;
    for (size_t i = 0; ok && i < json_array_size(settings); i++)
        ok = one_schedule(c, json_array_get(settings, i), i);
    return ok;
}

/* ---- pictures */

typedef struct {
    Image image; /* borrowed from the case */
    ImageBox crop;
    int size[2];
    ResizeFilter filter;
} Job;

static bool read_job(const ParityCase *c, const json_t *entry, const char *where, Job *job)
{
    char name[64];
    int number;
    if (!parity_int(entry, where, "image", 0, INT_MAX, &number) || !two_sizes(entry, where, "size", job->size))
        return false;
    snprintf(name, sizeof name, "image.%d", number);
    const SafeTensor *t = safetensors_find(c->stored, name);
    if (!t || t->dtype != SAFETENSORS_U8 || t->ndim != 3 || t->shape[0] > SIDE_MAX || t->shape[1] > SIDE_MAX ||
        (t->shape[2] != 1 && t->shape[2] != 3))
        return error_set("%s: %s is missing, or is not (rows, columns, 1 or 3) of U8", where, name);
    job->image = (Image){.height = (int)t->shape[0],
                         .width = (int)t->shape[1],
                         .channels = (int)t->shape[2],
                         .data = (uint8_t *)(uintptr_t)t->data};
    job->crop = (ImageBox){0, 0, job->image.height, job->image.width};
    const json_t *crop = json_object_get(entry, "crop");
    int *fields[] = {&job->crop.top, &job->crop.left, &job->crop.height, &job->crop.width};
    for (size_t i = 0; json_is_array(crop) && i < 4; i++) {
        const json_t *field = json_array_get(crop, i);
        if (!json_is_integer(field) || json_integer_value(field) < 0 || json_integer_value(field) > SIDE_MAX)
            return error_set("%s.crop must be top, left, height, width", where);
        *fields[i] = (int)json_integer_value(field);
    }
    const char *filter = json_string_value(json_object_get(entry, "filter"));
    if (!filter || !resize_filter_find(filter, &job->filter))
        return error_set("%s.filter is not known", where);
    return true;
}

/* The resized picture of a job, owned by the caller. */
static uint8_t *resized_bytes(const Job *job, size_t *count)
{
    ResizeScratch scratch = {0};
    *count = (size_t)job->size[0] * (size_t)job->size[1] * (size_t)job->image.channels;
    uint8_t *bytes = memory_new(*count, 1);
    if (bytes && !image_resize(&job->image, job->crop, job->size[0], job->size[1], job->filter, &scratch, bytes)) {
        memory_free(bytes);
        bytes = NULL;
    }
    resize_scratch_free(&scratch);
    return bytes;
}

bool parity_resize(ParityCase *c)
{
    const json_t *jobs = parity_list(c->about, "case", "jobs");
    bool ok = jobs != NULL;
    for (size_t i = 0; ok && i < json_array_size(jobs); i++) {
        char where[64], name[64];
        Job job;
        size_t count = 0;
        entry_name(where, "case.jobs", i);
        snprintf(name, sizeof name, "expect.%zu", i);
        ok = read_job(c, json_array_get(jobs, i), where, &job);
        uint8_t *bytes = ok ? resized_bytes(&job, &count) : NULL;
        float *out = bytes ? parity_result(c, name, 3, (int64_t[]){job.size[0], job.size[1], job.image.channels}) : NULL;
        for (size_t k = 0; out && k < count; k++)
            out[k] = bytes[k];
        ok = out != NULL;
        memory_free(bytes);
    }
    return ok;
}

/* Numbers of `mean` or `std`: the name of a known pair, or a list. */
static bool read_statistics(const json_t *entry, const char *where, const char *key, int channels, float out[3])
{
    const json_t *given = json_object_get(entry, key);
    if (json_is_string(given)) {
        const ImageStatistics *known = image_statistics_find(json_string_value(given));
        if (!known || channels != 3)
            return error_set("%s.%s is not known for %d channels", where, key, channels);
        memcpy(out, *key == 'm' ? known->mean : known->std, sizeof known->mean);
        return true;
    }
    for (int i = 0; i < channels; i++) {
        const json_t *number = json_array_get(given, (size_t)i);
        if (!json_is_number(number))
            return error_set("%s.%s must be a name or %d numbers", where, key, channels);
        out[i] = (float)json_number_value(number);
    }
    return true;
}

bool parity_augment(ParityCase *c)
{
    const json_t *jobs = parity_list(c->about, "case", "jobs");
    bool ok = jobs != NULL;
    for (size_t i = 0; ok && i < json_array_size(jobs); i++) {
        char where[64], name[64];
        const json_t *entry = json_array_get(jobs, i);
        float mean[3], std[3];
        Job job;
        size_t count;
        entry_name(where, "case.jobs", i);
        snprintf(name, sizeof name, "expect.%zu", i);
        ok = read_job(c, entry, where, &job) && read_statistics(entry, where, "mean", job.image.channels, mean) &&
             read_statistics(entry, where, "std", job.image.channels, std);
        uint8_t *bytes = ok ? resized_bytes(&job, &count) : NULL;
        float *out = bytes ? parity_result(c, name, 3, (int64_t[]){job.image.channels, job.size[0], job.size[1]}) : NULL;
        if (out)
            image_to_tensor(bytes, job.size[0], job.size[1], job.image.channels, json_is_true(json_object_get(entry, "flip")),
                            mean, std, out);
        ok = out != NULL;
        memory_free(bytes);
    }
    return ok;
}
