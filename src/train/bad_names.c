#include "train/bad_names.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"

bool bad_names_hold(const BadNames *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (!strcmp(names->names[i], name))
            return true;
    return false;
}

bool bad_names_add(BadNames *names, const char *name)
{
    char *copy = memory_string(name);
    if (!copy || !memory_grow((void **)&names->names, names->count, &names->capacity, sizeof *names->names)) {
        memory_free(copy);
        return false;
    }
    names->names[names->count++] = copy;
    return true;
}

void bad_names_free(BadNames *names)
{
    for (size_t i = 0; i < names->count; i++)
        memory_free(names->names[i]);
    memory_free(names->names);
    *names = (BadNames){0};
}

/* Reads one record at `at`: its first field without quotes into `name`. Returns where the next one starts, NULL when this one
 * is not complete. */
static const char *read_record(const char *at, Text *name)
{
    bool quoted = false, first = true;
    for (; *at; at++) {
        if (*at == '"' && quoted && at[1] == '"')
            at++; /* two quotes inside quotes are one */
        else if (*at == '"') {
            quoted = !quoted;
            continue;
        } else if (!quoted && *at == ',')
            first = false;
        else if (!quoted && *at == '\n')
            return at + 1;
        if (first)
            text_add_bytes(name, at, 1);
    }
    return NULL;
}

bool bad_names_parse(BadNames *names, const char *text, size_t *whole)
{
    bool ok = true;
    *whole = 0;
    for (const char *at = text; ok && at;) {
        Text name = {0};
        bool header = at == text;
        at = read_record(at, &name);
        ok = !name.failed;
        if (ok && at) {
            *whole = (size_t)(at - text);
            ok = header || bad_names_add(names, name.data ? name.data : "");
        }
        text_free(&name);
    }
    return ok;
}
