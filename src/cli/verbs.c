/* The list of verbs, and finding one in it. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/verb.h"

/* In the order of the help. A new verb: its declaration in cli.h, its line here. */
/* clang-format off */
static const Verb *const VERBS[] = {
    &pretrain_verb,
    &plan_verb,
    &show_verb,
    &runs_verb,
    &reconstruct_verb,
    &report_verb,
    &embed_verb,
    &probe_verb,
    &analyse_verb,
    &export_verb,
    &recipes_verb,
    &devices_verb,
    &data_check_verb,
    &data_stats_verb,
    &data_pack_verb,
    &data_world_verb,
    &parity_verb,
    &bench_train_verb,
    &bench_ops_verb,
    &bench_data_verb,
    &bench_embed_verb,
    &help_verb,
    NULL};
/* clang-format on */

const Verb *const *verbs_all(void)
{
    return VERBS;
}

Nearest nearest_to(const char *word)
{
    return (Nearest){.word = word, .least = (int)strlen(word) / 3 + 1};
}

void nearest_offer(Nearest *nearest, const char *candidate)
{
    int distance = text_distance(nearest->word, candidate);
    if (distance <= nearest->least) {
        snprintf(nearest->best, sizeof nearest->best, "%s", candidate);
        nearest->least = distance - 1;
    }
}

/* The length of the first of two words, 0 when there is one. */
static size_t group_length(const Verb *verb)
{
    const char *blank = strchr(verb->name, ' ');
    return blank ? (size_t)(blank - verb->name) : 0;
}

static bool is_in_group(const Verb *verb, const char *word)
{
    size_t length = group_length(verb);
    return length && strlen(word) == length && !strncmp(verb->name, word, length);
}

bool verb_is_group(const char *word)
{
    for (int i = 0; VERBS[i]; i++)
        if (is_in_group(VERBS[i], word))
            return true;
    return false;
}

/* "check, stats or world" */
static void add_members(Text *t, const char *group)
{
    int count = 0, seen = 0;
    for (int i = 0; VERBS[i]; i++)
        count += is_in_group(VERBS[i], group);
    for (int i = 0; VERBS[i]; i++)
        if (is_in_group(VERBS[i], group)) {
            seen++;
            text_add(t, "%s%s", seen == 1 ? "" : seen == count ? " or " : ", ", VERBS[i]->name + strlen(group) + 1);
        }
}

static const Verb *fail_in_group(const char *group, const char *second)
{
    Text members = {0};
    Nearest near = nearest_to(second ? second : "");
    add_members(&members, group);
    for (int i = 0; second && VERBS[i]; i++)
        if (is_in_group(VERBS[i], group))
            nearest_offer(&near, VERBS[i]->name + strlen(group) + 1);
    if (!second)
        error_set("%s wants to be told what to do: %s", group, members.data ? members.data : "");
    else if (near.best[0])
        error_set("%s does not know '%s': did you mean %s?", group, second, near.best);
    else
        error_set("%s does not know '%s': %s", group, second, members.data ? members.data : "");
    text_free(&members);
    return NULL;
}

const Verb *verb_find(int argc, char **argv, int *used)
{
    const char *word = argv[0], *second = argc > 1 ? argv[1] : NULL;
    Nearest near = nearest_to(word);
    for (int i = 0; VERBS[i]; i++) {
        size_t length = group_length(VERBS[i]);
        *used = length ? 2 : 1;
        if (!length ? !strcmp(VERBS[i]->name, word)
                    : is_in_group(VERBS[i], word) && second && !strcmp(VERBS[i]->name + length + 1, second))
            return VERBS[i];
        char first[64];
        snprintf(first, sizeof first, "%.*s", (int)(length ? length : strlen(VERBS[i]->name)), VERBS[i]->name);
        nearest_offer(&near, first);
    }
    if (verb_is_group(word))
        return fail_in_group(word, second);
    if (near.best[0])
        error_set("there is no verb '%s': did you mean %s?", word, near.best);
    else
        error_set("there is no verb '%s'", word);
    return NULL;
}
