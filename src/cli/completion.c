/* Completion for bash, zsh and fish, made from the table. Names of recipes are asked of the program. */
#include <stdio.h>
#include <string.h>

#include "cli/help.h"

static const char list_recipes[] = "lacuna recipes 2>/dev/null | cut -d\" \" -f1";

/* Prints each verb's first word once, or the second words of a group. */
static void print_words(const char *group)
{
    char before[64] = "";
    size_t skip = group ? strlen(group) + 1 : 0;
    for (const Verb *const *verb = verbs_all(); *verb; verb++) {
        char word[64];
        if (group && (strncmp((*verb)->name, group, skip - 1) != 0 || (*verb)->name[skip - 1] != ' '))
            continue;
        snprintf(word, sizeof word, "%.*s", (int)strcspn((*verb)->name + skip, " "), (*verb)->name + skip);
        if (strcmp(word, before) != 0)
            printf("%s%s", before[0] ? " " : "", word);
        snprintf(before, sizeof before, "%s", word);
    }
}

static void print_choices(const char *joined, char between)
{
    for (; *joined; joined++)
        putchar(*joined == '|' ? between : *joined);
}

static void print_key(void *context, const RecipeKeyInfo *info)
{
    bool *any = context;
    if (!info->carried_out || info->reserved || !strncmp(info->key, "decoders.", 9))
        return;
    printf("%s%s=", *any ? " " : "", info->key);
    *any = true;
}

static void print_keys(void)
{
    bool any = false;
    recipe_each(print_key, &any);
}

/* Calls `print` for the first word of each group of verbs, once. */
static void each_group(void (*print)(const char *group))
{
    char before[64] = "";
    for (const Verb *const *verb = verbs_all(); *verb; verb++) {
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)strcspn((*verb)->name, " "), (*verb)->name);
        if (verb_is_group(word) && strcmp(word, before) != 0)
            print(word);
        snprintf(before, sizeof before, "%s", word);
    }
}

static bool takes_recipes(const Verb *verb)
{
    return verb->recipes;
}

static bool takes_settings(const Verb *verb)
{
    return verb->settings;
}

/* 'a'|'b' of the verbs that are so; a pattern that nothing matches when none is. */
static void print_pattern(bool (*is)(const Verb *verb))
{
    bool any = false;
    for (const Verb *const *verb = verbs_all(); *verb; verb++)
        if (is(*verb)) {
            printf("%s'%s'", any ? "|" : "", (*verb)->name);
            any = true;
        }
    if (!any)
        printf("''");
}

/* ---- bash */

static void bash_flag(void *context, const Flag *flag)
{
    (void)context;
    printf(" --%s", flag->name);
}

/* What follows a flag: words to choose from, a file (the shell's own completion), or nothing that could be guessed. */
static void bash_value(void *context, const Flag *flag)
{
    if (!flag->value)
        return;
    printf("    '%s --%s') ", (const char *)context, flag->name);
    if (flag->choice) {
        printf("COMPREPLY=($(compgen -W '");
        print_choices(flag->value, ' ');
        printf("' -- \"$word\")); ");
    }
    printf("return ;;\n");
}

static void bash_group(const char *group)
{
    printf("    %s) COMPREPLY=($(compgen -W '", group);
    print_words(group);
    printf("' -- \"$word\")); return ;;\n");
}

static void print_bash(void)
{
    printf("# bash completion of lacuna, made by `lacuna help --completion bash`\n"
           "_lacuna() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]} flags=--help\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" = 1 ] || { [ \"$COMP_CWORD\" = 2 ] && [ \"$verb\" = help ]; }; then\n"
           "        COMPREPLY=($(compgen -W '");
    print_words(NULL);
    printf(" --version --help' -- \"$word\"))\n        [ \"$COMP_CWORD\" = 1 ] && return\n    fi\n"
           "    [ \"$COMP_CWORD\" = 2 ] && case $verb in\n");
    each_group(bash_group);
    printf("    esac\n    case \"$verb ${COMP_WORDS[2]}\" in\n");
    for (const Verb *const *verb = verbs_all(); *verb; verb++)
        if (strchr((*verb)->name, ' '))
            printf("    '%s') verb='%s' ;;\n", (*verb)->name, (*verb)->name);
    printf("    esac\n    case \"$verb $before\" in\n");
    for (const Verb *const *verb = verbs_all(); *verb; verb++)
        verb_each_flag(*verb, bash_value, (void *)(uintptr_t)(*verb)->name);
    printf("    esac\n    case $verb in\n");
    for (const Verb *const *verb = verbs_all(); *verb; verb++) {
        printf("    '%s') flags='--help", (*verb)->name);
        verb_each_flag(*verb, bash_flag, NULL);
        printf("' ;;\n");
    }
    printf("    esac\n"
           "    case $word in\n"
           "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")); return ;;\n"
           "    esac\n"
           "    case $verb in\n    ");
    print_pattern(takes_recipes);
    printf(") COMPREPLY+=($(compgen -W \"$(%s)\" -- \"$word\")) ;;\n    esac\n    case $verb in\n    ", list_recipes);
    print_pattern(takes_settings);
    printf(") [ -z \"$word\" ] || COMPREPLY+=($(compgen -W '");
    print_keys();
    printf("' -- \"$word\")) ;;\n    esac\n"
           "    case ${COMPREPLY[*]} in *=) compopt -o nospace ;; esac\n"
           "}\n"
           "complete -o default -F _lacuna lacuna\n");
}

/* ---- zsh */

/* A character that the shell or _arguments would take for its own is left out. */
static void print_plain(const char *text)
{
    for (; *text; text++)
        putchar(strchr("'[]:\\`\"$", *text) ? ' ' : *text);
}

static void zsh_flag(void *context, const Flag *flag)
{
    (void)context;
    printf(" \\\n            '--%s[", flag->name);
    print_plain(flag->help);
    putchar(']');
    if (flag->value && flag->choice) {
        printf(":value:(");
        print_choices(flag->value, ' ');
        putchar(')');
    } else if (flag->value) {
        printf(":value:%s", flag->path ? "_files" : " ");
    }
    putchar('\'');
}

static void zsh_group(const char *group)
{
    printf("    %s) if (( CURRENT == 3 )); then\n            compadd ", group);
    print_words(group);
    printf("\n            return\n        fi\n        verb=\"$verb $words[3]\" ;;\n");
}

static void print_zsh(void)
{
    printf("#compdef lacuna\n# zsh completion of lacuna, made by `lacuna help --completion zsh`\n_lacuna() {\n"
           "    local verb=$words[2]\n    if (( CURRENT == 2 )); then\n        compadd ");
    print_words(NULL);
    printf("\n        return\n    fi\n    case $verb in\n");
    each_group(zsh_group);
    printf("    help) compadd ");
    print_words(NULL);
    printf(" ;;\n    esac\n    case $verb in\n    ");
    print_pattern(takes_recipes);
    printf(") compadd ${(f)\"$(%s)\"} ;;\n    esac\n    case $verb in\n    ", list_recipes);
    print_pattern(takes_settings);
    printf(") [[ -z $PREFIX ]] || compadd -S '' ");
    print_keys();
    printf(" ;;\n    esac\n    case $verb in\n");
    for (const Verb *const *verb = verbs_all(); *verb; verb++) {
        printf("    '%s') _arguments '--help[tell of this verb]'", (*verb)->name);
        verb_each_flag(*verb, zsh_flag, NULL);
        printf(" \\\n            '*:file:_files' ;;\n");
    }
    printf("    esac\n}\n_lacuna \"$@\"\n");
}

/* ---- fish */

static void fish_condition(const Verb *verb)
{
    int first = (int)strcspn(verb->name, " ");
    printf("complete -c lacuna -n '__fish_seen_subcommand_from %.*s", first, verb->name);
    if (verb->name[first])
        printf("; and __fish_seen_subcommand_from %s", verb->name + first + 1);
    putchar('\'');
}

static void fish_flag(void *context, const Flag *flag)
{
    fish_condition(context);
    printf(" -l %s", flag->name);
    if (flag->value && flag->choice) {
        printf(" -x -a '");
        print_choices(flag->value, ' ');
        putchar('\'');
    } else if (flag->value) {
        printf(" %s", flag->path ? "-r -F" : "-x");
    }
    printf(" -d '");
    print_plain(flag->help);
    printf("'\n");
}

static void fish_group(const char *group)
{
    printf("complete -c lacuna -f -n '__fish_seen_subcommand_from %s; and not __fish_seen_subcommand_from ", group);
    print_words(group);
    printf("' -a '");
    print_words(group);
    printf("'\n");
}

static void print_fish(void)
{
    printf("# fish completion of lacuna, made by `lacuna help --completion fish`\n"
           "complete -c lacuna -f -n __fish_use_subcommand -a '");
    print_words(NULL);
    printf("'\n");
    each_group(fish_group);
    for (const Verb *const *verb = verbs_all(); *verb; verb++) {
        if ((*verb)->recipes) {
            fish_condition(*verb);
            printf(" -a '(%s)'\n", list_recipes);
        }
        verb_each_flag(*verb, fish_flag, (void *)(uintptr_t)*verb);
    }
}

void help_completion(Shell shell)
{
    if (shell == SHELL_BASH)
        print_bash();
    else if (shell == SHELL_ZSH)
        print_zsh();
    else
        print_fish();
}
