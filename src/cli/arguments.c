/* Reading a command line by the table. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/verb.h"

/* ---- flags of a verb */

typedef struct {
    void (*see)(void *context, const Flag *flag);
    void *context;
} FlagVisit;

/* "--max-steps" for run.max_steps, "--data" and "--val" for data.train and data.val. */
static void see_key(void *context, const RecipeKeyInfo *info)
{
    FlagVisit *visit = context;
    char name[64];
    if (!info->carried_out || info->reserved)
        return;
    if (!strncmp(info->key, "run.", 4))
        snprintf(name, sizeof name, "%s", info->key + 4);
    else if (!strcmp(info->key, "data.train") || !strcmp(info->key, "data.val"))
        snprintf(name, sizeof name, "%s", strcmp(info->key, "data.val") ? "data" : "val");
    else
        return;
    for (char *c = name; *c; c++)
        if (*c == '_')
            *c = '-';
    char help[256];
    snprintf(help, sizeof help, "%s", info->help);
    size_t length = strlen(help);
    if (length && help[length - 1] == '.')
        help[length - 1] = 0;
    visit->see(visit->context, &(Flag){.name = name,
                                       .value = recipe_flag_is_switch(name) ? NULL : info->value,
                                       .path = info->is_text,
                                       .choice = info->is_word,
                                       .help = help,
                                       .initial = strcmp(info->initial, "none") ? info->initial : NULL,
                                       .setting = true});
}

static void join_choices(const char *const *choices, const char *between, char *out, size_t size)
{
    out[0] = 0;
    for (size_t at = 0; *choices && at < size; choices++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", at ? between : "", *choices);
}

void verb_each_flag(const Verb *verb, void (*see)(void *context, const Flag *flag), void *context)
{
    for (const Option *o = verb->options; o && o->name; o++) {
        char choices[256] = "";
        if (o->kind == OPTION_CHOICE)
            join_choices(o->choices, "|", choices, sizeof choices);
        see(context, &(Flag){.name = o->name,
                             .value = o->kind == OPTION_SWITCH   ? NULL
                                      : o->kind == OPTION_CHOICE ? choices
                                                                 : o->value,
                             .path = o->kind == OPTION_PATH || o->kind == OPTION_WORDS,
                             .choice = o->kind == OPTION_CHOICE,
                             .help = o->help,
                             .initial = o->initial,
                             .needed = o->wanted != NULL});
    }
    if (verb->settings)
        recipe_each(see_key, &(FlagVisit){see, context});
}

/* ---- values */

/* A whole decimal number, nothing before or behind it. */
static bool read_number(const char *text, long long *number)
{
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && !isspace((unsigned char)*text);
}

static bool store_choice(const Option *o, const char *text, int *value)
{
    char all[256];
    Nearest near = nearest_to(text);
    for (int i = 0; o->choices[i]; i++) {
        if (!strcmp(o->choices[i], text)) {
            *value = i;
            return true;
        }
        nearest_offer(&near, o->choices[i]);
    }
    join_choices(o->choices, " or ", all, sizeof all);
    if (near.best[0])
        return error_set("--%s takes %s, not '%s': did you mean %s?", o->name, all, text, near.best);
    return error_set("--%s takes %s, not '%s'", o->name, all, text);
}

static bool store(const Option *o, const char *text, void *options)
{
    void *field = (char *)options + o->offset;
    long long number;
    switch (o->kind) {
    case OPTION_SWITCH:
        *(bool *)field = true;
        return true;
    case OPTION_INT:
        if (!read_number(text, &number) || number < o->low || number > o->high) {
            if (o->high == INT_MAX)
                return error_set("--%s wants a whole number of at least %d, not '%s'", o->name, o->low, text);
            return error_set("--%s wants a whole number from %d to %d, not '%s'", o->name, o->low, o->high, text);
        }
        *(int *)field = (int)number;
        return true;
    case OPTION_SEED:
        if (!read_number(text, &number) || number < 0)
            return error_set("--%s wants a whole number from 0 to 2^63 - 1, not '%s'", o->name, text);
        *(OptionSeed *)field = (OptionSeed){true, (uint64_t)number};
        return true;
    case OPTION_TEXT:
    case OPTION_PATH:
        *(const char **)field = text;
        return true;
    case OPTION_CHOICE:
        return store_choice(o, text, field);
    case OPTION_WORDS:
        ((OptionWords *)field)->at[((OptionWords *)field)->count++] = text;
        return true;
    }
    return false;
}

/* ---- reading */

typedef struct {
    const Verb *verb;
    int argc, at;
    char **argv;
    void *options;
    Arguments *out;
    const Option *list; /* of kind OPTION_WORDS, whose words are being read; NULL: none */
} Reader;

static bool is_pair(const char *text)
{
    const char *sign = strchr(text, '=');
    if (!sign || !isalpha((unsigned char)*text))
        return false;
    for (; text < sign; text++)
        if (!isalnum((unsigned char)*text) && *text != '.' && *text != '_')
            return false;
    return true;
}

static void offer_flag(void *context, const Flag *flag)
{
    nearest_offer(context, flag->name);
}

static bool fail_unknown(const Reader *in, const char *name)
{
    const char *text = in->argv[in->at];
    Nearest near = nearest_to(name);
    verb_each_flag(in->verb, offer_flag, &near);
    nearest_offer(&near, "help");
    if (text[1] == '-' && near.best[0])
        return error_set("there is no flag --%s: did you mean --%s?", name, near.best);
    if (text[1] == '-' && in->verb->settings)
        return error_set("there is no flag %s; keys of the recipe are given without dashes, as in schedule.epochs=100", text);
    return error_set("there is no flag %s", text);
}

/* The value behind the sign of --NAME=VALUE or the next argument, which is then taken. NULL after error_set(). */
static const char *take_value(Reader *in, const char *name, const char *inside)
{
    if (inside)
        return inside;
    if (in->at + 1 >= in->argc || !strncmp(in->argv[in->at + 1], "--", 2)) {
        error_set("--%s wants a value", name);
        return NULL;
    }
    return in->argv[++in->at];
}

static bool take_flag(Reader *in)
{
    char name[64];
    const char *text = in->argv[in->at], *start = text + (text[1] == '-' ? 2 : 1), *sign = strchr(start, '='), *value = "true";
    snprintf(name, sizeof name, "%.*s", sign ? (int)(sign - start) : (int)strlen(start), start);
    const char *inside = sign ? sign + 1 : NULL;
    const Option *o = in->verb->options;
    while (o && o->name && strcmp(o->name, name) != 0)
        o++;
    in->list = NULL;
    if (text[1] != '-')
        return fail_unknown(in, name);
    if (o && o->name) {
        if (o->kind == OPTION_SWITCH && inside)
            return error_set("--%s takes no value", name);
        if (o->kind != OPTION_SWITCH && !(value = take_value(in, name, inside)))
            return false;
        if (o->kind == OPTION_WORDS)
            in->list = o;
        return store(o, value, in->options);
    }
    if (!in->verb->settings || !recipe_flag_key(name))
        return fail_unknown(in, name);
    if ((inside || !recipe_flag_is_switch(name)) && !(value = take_value(in, name, inside)))
        return false;
    in->out->settings[in->out->setting_count++] = (Setting){start, value};
    return true;
}

static bool take(Reader *in, bool words)
{
    const char *text = in->argv[in->at];
    if (!words && text[0] == '-' && text[1])
        return take_flag(in);
    if (in->list)
        return store(in->list, text, in->options);
    if (!words && in->verb->settings && is_pair(text)) {
        in->out->settings[in->out->setting_count++] = (Setting){NULL, text};
        return true;
    }
    if (in->out->count >= in->verb->most)
        return error_set("'%s' is not expected here", text);
    in->out->words[in->out->count++] = text;
    return true;
}

static bool set_defaults(Reader *in)
{
    for (const Option *o = in->verb->options; o && o->name; o++) {
        if (o->kind == OPTION_WORDS)
            ((OptionWords *)(void *)((char *)in->options + o->offset))->at = in->out->listed;
        if (o->kind == OPTION_CHOICE)
            *(int *)(void *)((char *)in->options + o->offset) = -1;
        if (o->initial && !store(o, o->initial, in->options))
            return false;
    }
    return true;
}

/* Whether all that must be there is. What was given wins over a default, so it is the command line that is searched. */
static bool check_complete(const Reader *in)
{
    const Verb *verb = in->verb;
    if (in->out->count < verb->least) {
        int place = in->out->count < WORDS_MOST ? in->out->count : WORDS_MOST - 1;
        return error_set("%s wants %s", verb->name, verb->wanted[place]);
    }
    for (const Option *o = verb->options; o && o->name; o++)
        if (o->wanted && !*(const char *const *)(const void *)((const char *)in->options + o->offset))
            return error_set("%s wants --%s %s", verb->name, o->name, o->wanted);
    return true;
}

bool arguments_read(const Verb *verb, int argc, char **argv, void *options, Arguments *arguments)
{
    bool words = false;
    *arguments = (Arguments){.verb = verb,
                             .words = memory_new((size_t)argc + 1, sizeof(char *)),
                             .listed = memory_new((size_t)argc + 1, sizeof(char *)),
                             .settings = memory_new((size_t)argc + 1, sizeof(Setting))};
    Reader in = {.verb = verb, .argc = argc, .argv = argv, .options = options, .out = arguments};
    if (!arguments->words || !arguments->listed || !arguments->settings || !set_defaults(&in))
        return false;
    for (; in.at < argc; in.at++) {
        if (!words && !strcmp(argv[in.at], "--"))
            words = true;
        else if (!take(&in, words))
            return false;
    }
    return check_complete(&in);
}

void arguments_free(Arguments *arguments)
{
    memory_free(arguments->words);
    memory_free(arguments->listed);
    memory_free(arguments->settings);
    *arguments = (Arguments){0};
}

/* ---- settings */

/* A setting's flag points at "max-steps=3" or "max-steps". */
static void flag_name(const Setting *s, char *name, size_t size)
{
    snprintf(name, size, "%.*s", (int)strcspn(s->flag, "="), s->flag);
}

bool arguments_apply(const Arguments *arguments, Recipe *recipe, Text *keys)
{
    const char *lr = arguments_setting(arguments, "schedule.lr"), *blr = arguments_setting(arguments, "schedule.blr");
    if (lr && blr && strcmp(lr, "auto") != 0 && strcmp(blr, "auto") != 0)
        return error_set("command line: schedule.blr and schedule.lr exclude each other; give one of them");
    for (int i = 0; i < arguments->setting_count; i++) {
        const Setting *s = &arguments->settings[i];
        char name[64];
        bool known;
        if (s->flag)
            flag_name(s, name, sizeof name);
        if (!(s->flag ? recipe_set_flag(recipe, name, s->text, &known) : recipe_set_keys(recipe, s->text, keys)))
            return false;
    }
    return true;
}

const char *arguments_setting(const Arguments *arguments, const char *key)
{
    for (int i = arguments->setting_count - 1; i >= 0; i--) {
        const Setting *s = &arguments->settings[i];
        char name[64];
        size_t length = strlen(key);
        if (s->flag) {
            flag_name(s, name, sizeof name);
            if (!strcmp(recipe_flag_key(name), key))
                return s->text;
        } else if (!strncmp(s->text, key, length) && s->text[length] == '=') {
            return s->text + length + 1;
        }
    }
    return NULL;
}
