#include "cli/choose.h"

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
               "data check` names them all; a larger data.max_bad (data.max_bad=0.05) leaves more of them out",
               s->unreadable, s->looked_at, where, r->data.max_bad);
}

static bool is_written(const void *arguments, const char *key)
{
    return arguments_setting(arguments, key) != NULL;
}

/* The settings of the command line, none of them in vain. */
static bool apply(const Arguments *arguments, Recipe *recipe)
{
    return arguments_apply(arguments, recipe) && recipe_check(recipe) && recipe_check_idle(recipe, is_written, arguments);
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

bool choose_recipe(const Arguments *arguments, Recipe *recipe, Text *why, int *code)
{
    const char *name = arguments->count ? arguments->words[0] : NULL, *data = arguments_setting(arguments, "data.train");
    if (!name && data)
        return propose(data, arguments, recipe, why, code);
    *code = EXIT_USAGE;
    bool loaded = recipe_load(recipe, name ? name : recipe_of_the_demo);
    if (!loaded && name && file_is_folder(name))
        error_set("%s is a folder, not a recipe: pictures are named with --data %s", name, name);
    return loaded && apply(arguments, recipe);
}
