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

int command_recipes(int argc, char **argv)
{
    static const char *const FLAGS[] = {"json", NULL};
    bool json = false;
    ArgReader args = arg_reader(argc, argv);
    for (ArgKind kind; (kind = arg_next(&args)) != ARG_END;)
        if (!(kind == ARG_FLAG && arg_is(&args, "json") ? arg_switch(&args, &json) : arg_unknown(&args, FLAGS)))
            return cli_usage("recipes");
    Text text = {0};
    bool ok = recipe_each_name(json ? print_json : print_line, &text) && !text.failed;
    if (ok && text.data)
        fputs(text.data, stdout);
    text_free(&text);
    return ok ? EXIT_DONE : cli_failed();
}
