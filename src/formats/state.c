#include "formats/state.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/json_bounds.h"
#include "formats/map.h"

enum { CONFIG_BYTES_MAX = 8 << 20, FILES_MAX = 1000, NAME_SHOWN = 120 };

/* One file of weights. */
typedef struct {
    char *path;
    FileMap map;
    TorchFile *torch;
    SafeTensors *safe;
} Part;

struct StateDict {
    char *path, *key; /* key: behind the '#', or NULL */
    Part *parts;
    size_t part_count, part_capacity;
    StridedTensor *tensors;
    size_t count, capacity;
    json_t *config, *preprocessor;
    Text words;
};

/* ---- tensors */

static bool add_tensor(StateDict *s, const StridedTensor *t)
{
    if (!memory_grow((void **)&s->tensors, s->count, &s->capacity, sizeof *s->tensors))
        return false;
    s->tensors[s->count++] = *t;
    return true;
}

StridedTensor state_strided(const SafeTensor *t)
{
    StridedTensor out = {.name = t->name, .dtype = t->dtype, .ndim = t->ndim, .data = t->data};
    int64_t stride = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        out.shape[i] = t->shape[i];
        out.stride[i] = stride;
        stride *= t->shape[i];
    }
    return out;
}

static bool add_part_tensors(StateDict *s, const Part *part)
{
    bool ok = true;
    for (size_t i = 0; ok && part->torch && i < torch_count(part->torch); i++)
        ok = add_tensor(s, torch_at(part->torch, i));
    for (size_t i = 0; ok && part->safe && i < safetensors_count(part->safe); i++) {
        StridedTensor t = state_strided(safetensors_at(part->safe, i));
        ok = add_tensor(s, &t);
    }
    return ok;
}

static bool unknown_container(const char *path, const unsigned char *bytes, size_t size)
{
    if (size > 262 && !memcmp(bytes + 257, "ustar", 5))
        return error_set("%s is a tar archive; weights of PyTorch before 0.2 are not read: load and save them with a newer one",
                         path);
    if (size > 1 && bytes[0] == 0x80 && bytes[1] <= 5)
        return error_set("%s is a bare pickle and not a file of torch.save; save it again with torch.save", path);
    return error_set("%s: this is neither a file of torch.save, a TorchScript archive nor a safetensors file", path);
}

/* A key that is part of names, and names no mapping: MoCo v3 has two networks under one. */
static bool is_part_of_names(const char *key)
{
    return !strcmp(key, "base_encoder") || !strcmp(key, "momentum_encoder");
}

static const char safe_words[] = "safetensors file";

static bool open_bytes(StateDict *s, Part *part, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    if (torch_is_file(data, size))
        part->torch = torch_open(data, size, part->path, s->key && is_part_of_names(s->key) ? NULL : s->key);
    else if (size > 8 && bytes[8] == '{')
        part->safe = safetensors_open_memory(data, size, part->path);
    else
        return unknown_container(part->path, bytes, size);
    if (!part->torch && !part->safe)
        return false;
    if (s->key && !part->torch)
        return error_set("%s: a safetensors file has nothing under a key like '%.*s'", part->path, NAME_SHOWN, s->key);
    if (!s->words.length)
        text_add(&s->words, "%s", part->torch ? torch_words(part->torch) : safe_words);
    return add_part_tensors(s, part);
}

/* Takes a fresh string over. */
static Part *add_part(StateDict *s, char *path)
{
    if (!path || !memory_grow((void **)&s->parts, s->part_count, &s->part_capacity, sizeof *s->parts)) {
        memory_free(path);
        return NULL;
    }
    Part *part = &s->parts[s->part_count++];
    *part = (Part){.path = path};
    return part;
}

static bool open_file(StateDict *s, char *path)
{
    Part *part = add_part(s, path);
    return part && file_map(part->path, &part->map) && open_bytes(s, part, part->map.data, part->map.size);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const StridedTensor *)a)->name, ((const StridedTensor *)b)->name);
}

static bool sort_tensors(StateDict *s)
{
    if (!s->count)
        return error_set("%s holds no tensors", s->path);
    qsort(s->tensors, s->count, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->count; i++)
        if (!by_name(&s->tensors[i - 1], &s->tensors[i]))
            return error_set("%s: tensor '%.*s' stands in two of its files", s->path, NAME_SHOWN, s->tensors[i].name);
    return true;
}

/* ---- folders */

static bool holds(const char *folder, const char *name)
{
    char *path = file_join(folder, name);
    bool there = path && file_exists(path);
    memory_free(path);
    return there;
}

bool state_is_folder(const char *path)
{
    return file_is_folder(path) && (holds(path, "model.safetensors") || holds(path, "model.safetensors.index.json") ||
                                    holds(path, "pytorch_model.bin"));
}

/* The object of a JSON file of the folder into *out; NULL when there is no such file. */
static bool read_json(const char *folder, const char *name, json_t **out)
{
    char *path = file_join(folder, name), *text = NULL;
    size_t size;
    bool ok = path != NULL;
    *out = NULL;
    if (ok && file_exists(path)) {
        json_error_t error;
        text = file_read(path, CONFIG_BYTES_MAX, &size);
        static const JsonBounds bounds = {.signs = 200000, .strings = 4 << 20, .depth = 16, .objects = 16};
        ok = text && json_within(text, size, &bounds, path);
        if (ok && !(*out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error)))
            ok = error_set("%s is not sound JSON: %s, at byte %d", path, error.text, error.position);
        else if (ok && !json_is_object(*out))
            ok = error_set("%s is not a JSON object", path);
    }
    memory_free(text);
    memory_free(path);
    return ok;
}

/* The files that an index names, each once. */
static bool open_indexed(StateDict *s, const char *folder, const json_t *index)
{
    const char *key;
    json_t *value, *map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        return error_set("%s: its index has no weight_map", folder);
    json_object_foreach(map, key, value)
    {
        const char *name = json_string_value(value);
        bool known = false;
        if (!name || !name[0] || name[0] == '.' || strchr(name, '/'))
            return error_set("%s: its index names a file outside of the folder for '%.*s'", folder, NAME_SHOWN, key);
        for (size_t i = 0; !known && i < s->part_count; i++)
            known = !strcmp(file_name(s->parts[i].path), name);
        if (s->part_count >= FILES_MAX)
            return error_set("%s: its index names more than %d files", folder, FILES_MAX);
        if (!known && !open_file(s, file_join(folder, name)))
            return false;
    }
    return true;
}

static bool open_folder(StateDict *s, const char *folder)
{
    json_t *index = NULL;
    bool ok = read_json(folder, "config.json", &s->config) && read_json(folder, "preprocessor_config.json", &s->preprocessor);
    if (ok && holds(folder, "model.safetensors"))
        ok = open_file(s, file_join(folder, "model.safetensors"));
    else if (ok && holds(folder, "model.safetensors.index.json"))
        ok = read_json(folder, "model.safetensors.index.json", &index) && open_indexed(s, folder, index);
    else if (ok && holds(folder, "pytorch_model.bin"))
        ok = open_file(s, file_join(folder, "pytorch_model.bin"));
    else if (ok)
        ok = error_set("%s holds neither model.safetensors, its index, nor pytorch_model.bin", folder);
    json_decref(index);
    if (ok && s->config)
        text_add(&s->words, " with a config.json");
    return ok;
}

/* ---- opening */

/* Splits "PATH#KEY" unless a file has that very name. */
static bool split_path(StateDict *s, const char *path)
{
    const char *hash = strrchr(path, '#');
    s->path = memory_string(path);
    if (!s->path || !hash || file_exists(path))
        return s->path != NULL;
    s->path[hash - path] = 0;
    s->key = memory_string(hash + 1);
    return s->key != NULL;
}

StateDict *state_open(const char *path)
{
    StateDict *s = memory_new(1, sizeof *s);
    bool ok = s && split_path(s, path);
    if (ok)
        ok = file_is_folder(s->path) ? open_folder(s, s->path) : open_file(s, memory_string(s->path));
    if (!ok || !sort_tensors(s) || s->words.failed) {
        state_close(s);
        return NULL;
    }
    return s;
}

StateDict *state_of_safetensors(SafeTensors *file, const char *path)
{
    StateDict *s = memory_new(1, sizeof *s);
    Part *part = s && (s->path = memory_string(path)) ? add_part(s, memory_string(path)) : NULL;
    if (part)
        part->safe = file;
    else
        safetensors_close(file);
    if (part)
        text_add(&s->words, "%s", safe_words);
    if (!part || !add_part_tensors(s, part) || !sort_tensors(s) || s->words.failed) {
        state_close(s);
        return NULL;
    }
    return s;
}

StateDict *state_open_memory(const void *data, size_t size, const char *origin)
{
    StateDict *s = memory_new(1, sizeof *s);
    Part *part = s && (s->path = memory_string(origin)) ? add_part(s, memory_string(origin)) : NULL;
    if (!part || !open_bytes(s, part, data, size) || !sort_tensors(s) || s->words.failed) {
        state_close(s);
        return NULL;
    }
    return s;
}

void state_close(StateDict *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->part_count; i++) {
        torch_close(s->parts[i].torch);
        safetensors_close(s->parts[i].safe);
        file_unmap(&s->parts[i].map);
        memory_free(s->parts[i].path);
    }
    memory_free(s->parts);
    memory_free(s->tensors);
    memory_free(s->path);
    memory_free(s->key);
    json_decref(s->config);
    json_decref(s->preprocessor);
    text_free(&s->words);
    memory_free(s);
}

size_t state_count(const StateDict *s)
{
    return s->count;
}

const StridedTensor *state_at(const StateDict *s, size_t i)
{
    return &s->tensors[i];
}

const StridedTensor *state_find(const StateDict *s, const char *name)
{
    StridedTensor wanted = {.name = name};
    return bsearch(&wanted, s->tensors, s->count, sizeof wanted, by_name);
}

const char *state_words(const StateDict *s)
{
    return s->words.data;
}

const char *state_key(const StateDict *s)
{
    return s->key;
}

const char *state_others(const StateDict *s)
{
    return s->part_count && s->parts[0].torch ? torch_others(s->parts[0].torch) : "";
}

/* ---- settings */

static const json_t *json_of(const json_t *object, const char *key)
{
    const char *dot;
    while (object && (dot = strchr(key, '.'))) {
        object = json_object_getn(object, key, (size_t)(dot - key));
        key = dot + 1;
    }
    return object ? json_object_get(object, key) : NULL;
}

static const json_t *setting(const StateDict *s, const char *key)
{
    const json_t *value = json_of(s->config, key);
    return value ? value : json_of(s->preprocessor, key);
}

static const PickleValue *argument(const StateDict *s, const char *key)
{
    const TorchFile *torch = s->part_count ? s->parts[0].torch : NULL;
    return torch ? pickle_get(pickle_get(torch_root(torch), "args"), key) : NULL;
}

bool state_number(const StateDict *s, const char *key, double *number)
{
    const json_t *value = setting(s, key);
    const PickleValue *given = value ? NULL : argument(s, key);
    if (json_is_number(value))
        *number = json_number_value(value);
    else if (json_is_boolean(value))
        *number = json_is_true(value);
    else if (given && given->kind == PICKLE_REAL)
        *number = given->real;
    else if (given && (given->kind == PICKLE_INT || given->kind == PICKLE_BOOL))
        *number = (double)given->integer;
    else
        return false;
    return true;
}

const char *state_text(const StateDict *s, const char *key)
{
    return json_string_value(setting(s, key));
}

bool state_numbers(const StateDict *s, const char *key, int count, float *numbers)
{
    const json_t *list = setting(s, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)count)
        return false;
    for (int i = 0; i < count; i++) {
        if (!json_is_number(json_array_get(list, (size_t)i)))
            return false;
        numbers[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    }
    return true;
}
