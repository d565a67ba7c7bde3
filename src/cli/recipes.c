/* lacuna recipes: the names that `lacuna pretrain` knows. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "recipe/recipe.h"

/* The first line of a recipe's file says in a comment what it is. "" when it does not. */
static void read_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "re");
    line[0] = 0;
    if (file && fgets(line, size, file))
        line[strcspn(line, "\n")] = 0;
    if (file)
        fclose(file);
    size_t skip = line[0] == '#' ? strspn(line, "# ") : strlen(line);
    memmove(line, line + skip, strlen(line) + 1 - skip);
}

static void print_line(void *context, const char *name, const char *path)
{
    char line[256];
    (void)context;
    read_line(path, line, sizeof line);
    printf("%-24s %s\n", name, line);
}

static void print_json(void *context, const char *name, const char *path)
{
    Text *t = context;
    char line[256];
    read_line(path, line, sizeof line);
    text_add(t, "{\"name\": ");
    text_add_json_string(t, name);
    text_add(t, ", \"about\": ");
    text_add_json_string(t, line);
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

const Verb recipes_verb = {.name = "recipes",
                           .line = "list the recipes that can be named",
                           .about = "Lists the recipes by name and what each is; --json adds the file it is read from. `lacuna "
                                    "show NAME` tells more. LACUNA_RECIPES names a folder that is searched first.",
                           .options = OPTIONS,
                           .examples = "lacuna recipes\n",
                           .size = sizeof(RecipesOptions),
                           .run = run_recipes};
