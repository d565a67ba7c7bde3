/* lacuna recipes: the names that `lacuna pretrain` knows. */
#include <stdio.h>

#include "base/text.h"
#include "cli/cli.h"
#include "recipe/recipe.h"

static void print_line(void *context, const char *name, const char *path)
{
    (void)context;
    printf("%-24s %s\n", name, path);
}

static void print_json(void *context, const char *name, const char *path)
{
    Text *t = context;
    text_add(t, "{\"name\": ");
    text_add_json_string(t, name);
    text_add(t, ", \"path\": ");
    text_add_json_string(t, path);
    text_add(t, "}\n");
}

typedef struct {
    bool json;
} RecipesOptions;

static int run_recipes(void *options, const Arguments *arguments)
{
    bool json = ((const RecipesOptions *)options)->json;
    Text text = {0};
    (void)arguments;
    bool ok = recipe_each_name(json ? print_json : print_line, &text) && !text.failed;
    if (ok && text.data)
        fputs(text.data, stdout);
    text_free(&text);
    return ok ? EXIT_DONE : cli_failed();
}

static const Option OPTIONS[] = {
    {"json", OPTION_SWITCH, offsetof(RecipesOptions, json), .help = "one JSON object a line for each recipe"}, {0}};

const Verb recipes_verb = {
    .name = "recipes",
    .line = "list the recipes that can be named",
    .about = "Lists the recipes by name with the file each is read from. LACUNA_RECIPES names a folder that is searched first.",
    .options = OPTIONS,
    .examples = "lacuna recipes\n",
    .size = sizeof(RecipesOptions),
    .run = run_recipes};
