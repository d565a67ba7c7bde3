#include "graph/param.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

int param_find(const ParamSet *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (!strcmp(set->params[i].name, name))
            return (int)i;
    return -1;
}

int param_add(ParamSet *set, const char *name, Shape shape, ParamKind kind, Init init, bool decay, int layer)
{
    if (!memory_grow((void **)&set->params, set->count, &set->capacity, sizeof *set->params))
        return -1;
    if (!shape_fits(&shape)) {
        error_set("parameter %s has more numbers than can be counted", name);
        return -1;
    }
    int64_t count = shape_count(&shape);
    int64_t padded = (count + PARAM_ALIGN - 1) / PARAM_ALIGN * PARAM_ALIGN;
    int64_t *total = kind == PARAM_TRAINED ? &set->trained_count : &set->fixed_count;
    char *copy = memory_string(name);
    if (!copy)
        return -1;
    set->params[set->count] = (Param){.name = copy,
                                      .shape = shape,
                                      .kind = kind,
                                      .init = init,
                                      .offset = *total,
                                      .count = count,
                                      .decay = decay,
                                      .layer = layer};
    *total += padded;
    return (int)set->count++;
}

int64_t param_trained_numbers(const ParamSet *set)
{
    int64_t numbers = 0;
    for (size_t i = 0; i < set->count; i++)
        if (set->params[i].kind == PARAM_TRAINED)
            numbers += set->params[i].count;
    return numbers;
}

void param_set_free(ParamSet *set)
{
    for (size_t i = 0; i < set->count; i++)
        memory_free(set->params[i].name);
    memory_free(set->params);
    *set = (ParamSet){0};
}
