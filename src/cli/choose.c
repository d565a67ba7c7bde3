#include "cli/choose.h"

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "train/forecast.h"
#include "train/propose.h"

static const char recipe_of_the_demo[] = "deepmim-world";

/* The first proposal that fits into memory; the last one in any case, so that the settings of the command line may still mend
 * it. */
static bool propose(const char *where, const Arguments *arguments, Recipe *recipe, Text *why, int *code)
{
    PictureSurvey survey;
    Forecast *forecast = memory_new(1, sizeof *forecast);
    bool ok = forecast && propose_look(where, &survey);
    *code = EXIT_FAILED;
    for (int smaller = 0; ok; smaller++) {
        Text reasons = {0};
        ok = propose_recipe(&survey, where, cpu_count(), smaller, recipe, &reasons);
        if (ok && !(arguments_apply(arguments, recipe) && recipe_check(recipe))) {
            ok = false;
            *code = EXIT_USAGE;
        }
        ok = ok && forecast_make(recipe, false, forecast);
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
    return recipe_load(recipe, name ? name : recipe_of_the_demo) && arguments_apply(arguments, recipe) && recipe_check(recipe);
}
