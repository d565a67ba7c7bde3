#include "cli/choose.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "train/forecast.h"
#include "train/propose.h"

static const char recipe_of_the_demo[] = "deepmim-world";

/* A run would stop when it has met too many of them, perhaps after hours. */
static bool are_readable(const PictureSurvey *s, const char *where, const Recipe *r)
{
    return (double)s->unreadable <= r->data.max_bad * (double)s->looked_at ||
           error_set(
               "%zu of the %zu pictures of %s that were tried cannot be read, more than data.max_bad (%g) allows: `lacuna "
               "data check` names them all; a larger data.max_bad leaves more of them out",
               s->unreadable, s->looked_at, where, r->data.max_bad);
}

/* Whether the key has a line among those. */
static bool is_written(const void *keys, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = ((const Text *)keys)->data; line && *line; line += strcspn(line, "\n") + 1)
        if (!strncmp(line, key, n) && line[n] == '\n')
            return true;
    return false;
}

/* The settings of the command line, none of them in vain. */
static bool apply(const Arguments *arguments, Recipe *recipe)
{
    Text keys = {0};
    bool ok = arguments_apply(arguments, recipe, &keys) && !keys.failed && recipe_check(recipe) &&
              recipe_check_idle(recipe, is_written, &keys);
    text_free(&keys);
    return ok;
}

static bool is_that(const void *key, const char *asked)
{
    return !strcmp(key, asked);
}

/* False after error_set() when that cannot be told. */
static bool find_idle(const Recipe *r, const char *key, bool *idle)
{
    *idle = !recipe_check_idle(r, is_that, key);
    return !*idle || !error_is_machine();
}

/* A line, whatever the name is. */
static void note(Text *notes, const char *name, const char *why)
{
    for (; *name; name++)
        text_add(notes, "%c", *name == '\n' ? '?' : *name);
    text_add(notes, ": %s\n", why);
}

/* Keys of the recipe's own file that do nothing in it, and do nothing still with the settings of the command line. False after
 * error_set() when memory is out. */
static bool note_idle(const char *name, const Recipe *file, const Recipe *recipe, const Text *keys, Text *notes)
{
    for (char *key = keys->data, *end; key && *key; key = end + 1) {
        bool idle;
        end = strchr(key, '\n');
        *end = 0;
        if (!find_idle(file, key, &idle) || (idle && !find_idle(recipe, key, &idle)))
            return false;
        if (idle)
            note(notes, name, error_text());
        if (notes->failed)
            return false;
    }
    error_clear();
    return true;
}

/* A recipe of that name or file with the settings upon it. */
static bool load(const char *name, const Arguments *arguments, Recipe *recipe, Text *notes)
{
    Text keys = {0};
    Recipe *file = memory_new(1, sizeof *file);
    bool ok = file && recipe_load_keys(recipe, name, &keys);
    char *own = file_join(name, "recipe.yaml");
    if (!ok && file && own && file_exists(own))
        error_set(
            "%s is a run, not a recipe: `lacuna pretrain --out %s --resume` goes on with it, and `--from %s` behind a recipe "
            "starts another with its weights",
            name, name, name);
    else if (!ok && file && arguments->count && file_is_folder(name))
        error_set("%s is a folder, not a recipe: pictures are named with --data %s", name, name);
    if (ok) {
        *file = *recipe;
        ok = apply(arguments, recipe);
    }
    ok = ok && note_idle(name, file, recipe, &keys, notes);
    memory_free(own);
    memory_free(file);
    text_free(&keys);
    return ok;
}

/* The first proposal, with the settings of the command line upon it, that fits into memory. */
static bool propose(const char *where, const Arguments *arguments, Recipe *recipe, Text *why, int *code)
{
    PictureSurvey survey;
    Forecast *forecast = memory_new(1, sizeof *forecast);
    bool ok = forecast && propose_look(where, &survey);
    *code = EXIT_FAILED;
    for (int smaller = 0; ok; smaller++) {
        Text reasons = {0};
        ok = propose_recipe(&survey, where, cpu_count(), smaller, recipe, &reasons);
        if (!ok && smaller > 0) /* there is no smaller one */
            error_set("the smallest encoder would take %.3g GB of memory, and %.3g GB are free: end what else runs, or give "
                      "smaller values of schedule.batch_size, run.micro_batch or image.size",
                      (double)forecast->memory / 1e9, (double)forecast->free / 1e9);
        if (ok && !apply(arguments, recipe)) {
            ok = false;
            *code = EXIT_USAGE;
        }
        ok = ok && are_readable(&survey, where, recipe);
        if (ok) {
            ok = forecast_make(recipe, false, forecast);
            device_close(&forecast->device);
        }
        bool fits = ok && (!forecast->free || forecast->memory <= forecast->free);
        if (fits)
            text_add(why, "%s", reasons.data);
        text_free(&reasons);
        if (fits)
            break;
    }
    memory_free(forecast);
    return ok;
}

bool choose_recipe(const Arguments *arguments, Recipe *recipe, Text *why, Text *notes, int *code)
{
    const char *name = arguments->count ? arguments->words[0] : NULL, *data = arguments_setting(arguments, "data.train");
    if (!name && data)
        return propose(data, arguments, recipe, why, code);
    bool ok = load(name ? name : recipe_of_the_demo, arguments, recipe, notes);
    *code = !ok && error_is_machine() ? EXIT_FAILED : EXIT_USAGE;
    return ok;
}

void choose_tell(Text *notes)
{
    for (char *line = notes->data, *end; line && *line; line = end + 1) {
        end = line + strcspn(line, "\n");
        *end = 0;
        cli_note(line, false);
    }
    text_free(notes);
}
