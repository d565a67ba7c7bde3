#include "report/run_data.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

enum { LINE_BYTES = 1 << 16, TEXT_BYTES_MAX = 1 << 24 };

/* ---- the log */

/* Two neighbours become one, so that any number of steps fits. */
static void halve(RunData *d, int *width)
{
    for (size_t i = 0; i < d->bin_count / 2; i++) {
        RunBin *to = &d->bins[i], a = d->bins[2 * i], b = d->bins[2 * i + 1];
        *to = (RunBin){.steps = a.steps + b.steps, .epoch = b.epoch};
        for (int k = 0; k < RUN_SERIES; k++) {
            to->counts[k] = a.counts[k] + b.counts[k];
            to->sums[k] = a.sums[k] + b.sums[k];
        }
    }
    d->bin_count /= 2;
    *width *= 2;
}

static void add_number(RunBin *bin, int series, const json_t *line, const char *key)
{
    const json_t *number = json_object_get(line, key);
    if (!json_is_number(number))
        return; /* null: it was not finite */
    bin->sums[series] += (series == RUN_ACCURACY ? 100 : 1) * json_number_value(number);
    bin->counts[series]++;
}

static bool add_validation(RunData *d, const json_t *line, double epoch)
{
    if (!json_object_get(line, "val_loss"))
        return true;
    if (!memory_grow((void **)&d->validations, d->validation_count, &d->validation_capacity, sizeof *d->validations))
        return false;
    RunValidation *v = &d->validations[d->validation_count++];
    v->epoch = epoch;
    for (int k = -1; k < RECIPE_DECODERS_MAX; k++) {
        char key[32] = "val_loss";
        if (k >= 0)
            snprintf(key, sizeof key, "val_loss.%d", k);
        const json_t *number = json_object_get(line, key);
        v->losses[k + 1] = json_is_number(number) ? json_number_value(number) : NAN;
    }
    if (d->recipe->decoder_count == 0)
        v->losses[1] = v->losses[0];
    const json_t *accuracy = json_object_get(line, "val_accuracy");
    v->accuracy = json_is_number(accuracy) ? 100 * json_number_value(accuracy) : NAN;
    return true;
}

static bool add_probe(RunData *d, const json_t *line, double epoch)
{
    const char *name, *block;
    json_t *blocks, *value;
    json_object_foreach(json_object_get(line, "probe"), name, blocks)
    {
        json_object_foreach(blocks, block, value)
        {
            if (!memory_grow((void **)&d->findings, d->finding_count, &d->finding_capacity, sizeof *d->findings))
                return false;
            RunFinding *f = &d->findings[d->finding_count++];
            *f = (RunFinding){.epoch = epoch,
                              .block = (int)strtol(block, NULL, 10),
                              .value = json_is_number(value) ? json_number_value(value) : NAN};
            snprintf(f->name, sizeof f->name, "%s", name);
        }
    }
    return true;
}

static bool add_line(RunData *d, const json_t *line, int *width)
{
    static const char *const keys[] = {"lr", "grad_norm", "images_per_second", NULL, "accuracy", "loss"};
    double epoch = json_number_value(json_object_get(line, "epoch"));
    RunBin *last = d->bin_count ? &d->bins[d->bin_count - 1] : NULL;
    if (!last || last->steps >= *width) {
        if (d->bin_count == RUN_BINS)
            halve(d, width);
        last = &d->bins[d->bin_count++];
        *last = (RunBin){0};
    }
    last->steps++;
    last->epoch = epoch;
    for (int k = 0; k <= RUN_LOSS; k++)
        if (keys[k])
            add_number(last, k, line, keys[k]);
    for (int k = 0; k < run_data_terms(d); k++) {
        char key[32] = "loss";
        if (d->recipe->decoder_count)
            snprintf(key, sizeof key, "loss.%d", k);
        add_number(last, RUN_LOSS + 1 + k, line, key);
    }
    d->steps = json_integer_value(json_object_get(line, "step"));
    double seconds = json_number_value(json_object_get(line, "seconds"));
    if (seconds > 0) {
        last->sums[RUN_WAIT] += 100 * json_number_value(json_object_get(line, "data_wait")) / seconds;
        last->counts[RUN_WAIT]++;
        d->seconds += seconds;
    }
    return add_validation(d, line, epoch) && add_probe(d, line, epoch);
}

static bool read_log(RunData *d)
{
    char *path = file_join(d->path, "log.jsonl"), *line = memory_new(LINE_BYTES, 1);
    d->bins = memory_new(RUN_BINS, sizeof *d->bins);
    bool ok = path && line && d->bins;
    int width = 1;
    FILE *file = ok ? fopen(path, "re") : NULL;
    if (ok && !file && errno != ENOENT)
        ok = error_set("cannot open %s: %s", path, strerror(errno));
    while (ok && file && fgets(line, LINE_BYTES, file)) {
        size_t length = strlen(line);
        if (!length || line[length - 1] != '\n')
            break; /* torn */
        json_t *json = json_loadb(line, length, 0, NULL);
        ok = (json_is_object(json) || error_set("%s: the line behind step %lld is not a JSON object", path, d->steps)) &&
             add_line(d, json, &width);
        json_decref(json);
    }
    if (file)
        fclose(file);
    memory_free(line);
    memory_free(path);
    return ok;
}

/* ---- the rest */

/* A file of the run that need not be there. */
static bool read_text(const RunData *d, const char *name, char **text)
{
    size_t size;
    char *path = file_join(d->path, name);
    *text = NULL;
    bool there = path && file_exists(path), ok = path && (!there || (*text = file_read(path, TEXT_BYTES_MAX, &size)));
    memory_free(path);
    return ok;
}

static bool read_recipe(RunData *d)
{
    static const char lead[] = "# recipe: ";
    char *path = file_join(d->path, "recipe.yaml");
    d->recipe = memory_new(1, sizeof *d->recipe);
    bool ok = path && d->recipe && recipe_load(d->recipe, path) && read_text(d, "recipe.yaml", &d->yaml);
    memory_free(path);
    if (ok && d->yaml && !strncmp(d->yaml, lead, sizeof lead - 1))
        snprintf(d->name, sizeof d->name, "%.*s", (int)strcspn(d->yaml + sizeof lead - 1, "\n"), d->yaml + sizeof lead - 1);
    return ok;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_sheets(RunData *d)
{
    char *folder = file_join(d->path, "samples");
    DIR *entries = folder ? opendir(folder) : NULL;
    bool ok = folder && (entries || errno == ENOENT || error_set("cannot open %s: %s", folder, strerror(errno)));
    for (struct dirent *entry; ok && entries && (entry = readdir(entries));) {
        const char *suffix = strrchr(entry->d_name, '.');
        if (strncmp(entry->d_name, "step-", 5) || !suffix || strcmp(suffix, ".png"))
            continue;
        char *path = file_join(folder, entry->d_name);
        ok = path && memory_grow((void **)&d->sheets, d->sheet_count, &d->sheet_capacity, sizeof *d->sheets);
        if (ok)
            d->sheets[d->sheet_count++] = path;
        else
            memory_free(path);
    }
    if (entries)
        closedir(entries);
    if (d->sheet_count)
        qsort(d->sheets, d->sheet_count, sizeof *d->sheets, by_name);
    memory_free(folder);
    return ok;
}

bool run_data_read(RunData *d, const char *run)
{
    *d = (RunData){.path = memory_string(run)};
    bool ok = d->path && read_recipe(d) && read_log(d) && list_sheets(d) && read_text(d, "bad_files.csv", &d->bad_files) &&
              read_text(d, "environment.json", &d->environment);
    return ok || error_context("reading the run %s", run);
}

void run_data_free(RunData *d)
{
    for (size_t i = 0; i < d->sheet_count; i++)
        memory_free(d->sheets[i]);
    memory_free(d->sheets);
    memory_free(d->bins);
    memory_free(d->validations);
    memory_free(d->findings);
    memory_free(d->bad_files);
    memory_free(d->environment);
    memory_free(d->yaml);
    memory_free(d->recipe);
    memory_free(d->path);
    *d = (RunData){0};
}

int run_data_terms(const RunData *d)
{
    return d->recipe->decoder_count ? d->recipe->decoder_count : 1;
}

void run_data_decoder(const RunData *d, int decoder, char *name, size_t size)
{
    if (d->recipe->decoder_count == 0) {
        snprintf(name, size, "loss");
        return;
    }
    int tap = d->recipe->decoders[decoder].tap, same = 0;
    char number[16] = "";
    for (int k = 0; k < d->recipe->decoder_count; k++)
        same += d->recipe->decoders[k].tap == tap;
    if (same > 1)
        snprintf(number, sizeof number, " (%d)", decoder);
    if (tap == TAP_LAST)
        snprintf(name, size, "last block%s", number);
    else
        snprintf(name, size, "block %d%s", tap, number);
}
