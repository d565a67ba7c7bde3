#include "formats/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/json_bounds.h"
#include "formats/map.h"

enum { LENGTH_BYTES = 8, NAME_SHOWN = 120 };

static const char metadata_name[] = "__metadata__";

static const struct {
    const char *name;
    size_t bytes;
} dtypes[SAFETENSORS_DTYPES] = {
    [SAFETENSORS_F64] = {"F64", 8},   [SAFETENSORS_F32] = {"F32", 4}, [SAFETENSORS_F16] = {"F16", 2},
    [SAFETENSORS_BF16] = {"BF16", 2}, [SAFETENSORS_I64] = {"I64", 8}, [SAFETENSORS_I32] = {"I32", 4},
    [SAFETENSORS_I16] = {"I16", 2},   [SAFETENSORS_I8] = {"I8", 1},   [SAFETENSORS_U64] = {"U64", 8},
    [SAFETENSORS_U32] = {"U32", 4},   [SAFETENSORS_U16] = {"U16", 2}, [SAFETENSORS_U8] = {"U8", 1},
    [SAFETENSORS_BOOL] = {"BOOL", 1},
};

struct SafeTensors {
    char *origin;
    FileMap map;    /* empty for bytes of the caller */
    json_t *header; /* owns the names */
    SafeTensor *tensors;
    const SafeTensor **by_name;
    size_t count;
    SafeMetadata *metadata;
    size_t metadata_count;
};

size_t safetensors_dtype_bytes(SafeDtype dtype)
{
    return dtypes[dtype].bytes;
}

const char *safetensors_dtype_name(SafeDtype dtype)
{
    return dtypes[dtype].name;
}

/* Elements and bytes of a shape; false when they are too many, also those that a size of 0 hides. */
static bool shape_sizes(const SafeTensor *t, size_t *count, size_t *bytes)
{
    size_t most = 1;
    *count = 1;
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] < 0 || !size_multiply(most, t->shape[i] ? (size_t)t->shape[i] : 1, &most) ||
            most > SAFETENSORS_COUNT_MOST)
            return false;
        *count *= (size_t)t->shape[i];
    }
    return size_multiply(*count, dtypes[t->dtype].bytes, bytes);
}

static bool refuse(const SafeTensors *file, const char *name, const char *why)
{
    return error_set("%s: tensor '%.*s': %s", file->origin, NAME_SHOWN, name, why);
}

static bool read_dtype(const SafeTensors *file, SafeTensor *t, const json_t *value)
{
    const char *name = json_string_value(value);
    if (!name)
        return refuse(file, t->name, "it has no dtype");
    for (int i = 0; i < SAFETENSORS_DTYPES; i++)
        if (!strcmp(name, dtypes[i].name)) {
            t->dtype = (SafeDtype)i;
            return true;
        }
    return error_set("%s: tensor '%.*s': its dtype '%.20s' is not known here", file->origin, NAME_SHOWN, t->name, name);
}

static bool read_shape(const SafeTensors *file, SafeTensor *t, const json_t *value)
{
    if (!json_is_array(value))
        return refuse(file, t->name, "it has no shape");
    size_t ndim = json_array_size(value);
    if (ndim > SAFETENSORS_DIMS_MAX)
        return error_set("%s: tensor '%.*s': %zu dimensions, at most %d are accepted", file->origin, NAME_SHOWN, t->name, ndim,
                         SAFETENSORS_DIMS_MAX);
    t->ndim = (int)ndim;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *size = json_array_get(value, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return refuse(file, t->name, "a size of its shape is not a whole number of at least 0");
        t->shape[i] = json_integer_value(size);
    }
    return true;
}

/* One entry of the header. */
static bool read_tensor(SafeTensors *file, SafeTensor *t, const json_t *entry, const char *data, size_t data_size)
{
    if (!json_is_object(entry))
        return refuse(file, t->name, "its entry is not an object");
    if (!read_dtype(file, t, json_object_get(entry, "dtype")) || !read_shape(file, t, json_object_get(entry, "shape")))
        return false;
    const json_t *range = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(range, 0), *last = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return refuse(file, t->name, "its data_offsets are not two whole numbers");
    if (json_object_size(entry) != 3)
        return refuse(file, t->name, "its entry has keys besides dtype, shape and data_offsets");
    int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > data_size)
        return error_set("%s: tensor '%.*s': its data_offsets %" PRId64 " to %" PRId64
                         " do not lie in the %zu bytes of data; is the file cut short?",
                         file->origin, NAME_SHOWN, t->name, begin, end, data_size);
    size_t count;
    if (!shape_sizes(t, &count, &t->bytes))
        return refuse(file, t->name, "its shape overflows");
    if (t->bytes != (uint64_t)(end - begin))
        return error_set("%s: tensor '%.*s': its shape needs %zu bytes of %s, its data_offsets hold %" PRId64, file->origin,
                         NAME_SHOWN, t->name, t->bytes, dtypes[t->dtype].name, end - begin);
    t->data = data + begin;
    return true;
}

static bool read_metadata(SafeTensors *file, json_t *entry)
{
    if (!json_is_object(entry))
        return error_set("%s: %s is not an object", file->origin, metadata_name);
    file->metadata = memory_new(json_object_size(entry), sizeof *file->metadata);
    if (!file->metadata)
        return false;
    const char *key;
    json_t *value;
    json_object_foreach(entry, key, value)
    {
        if (!json_is_string(value))
            return error_set("%s: the value of '%.*s' in %s is not a string", file->origin, NAME_SHOWN, key, metadata_name);
        file->metadata[file->metadata_count++] = (SafeMetadata){key, json_string_value(value)};
    }
    return true;
}

static int by_place(const void *a, const void *b)
{
    const SafeTensor *s = a, *t = b;
    if (s->data != t->data)
        return (const char *)s->data < (const char *)t->data ? -1 : 1;
    if (s->bytes != t->bytes)
        return s->bytes < t->bytes ? -1 : 1;
    return strcmp(s->name, t->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const SafeTensor *const *)a)->name, (*(const SafeTensor *const *)b)->name);
}

/* Every byte of the data belongs to one tensor. */
static bool check_places(const SafeTensors *file, const char *data, size_t data_size)
{
    size_t reached = 0;
    for (size_t i = 0; i < file->count; i++) {
        const SafeTensor *t = &file->tensors[i];
        size_t begin = (size_t)((const char *)t->data - data);
        if (begin < reached)
            return error_set("%s: tensor '%.*s': its data overlap those of '%.*s'", file->origin, NAME_SHOWN, t->name,
                             NAME_SHOWN, file->tensors[i - 1].name);
        if (begin > reached)
            return error_set("%s: tensor '%.*s': %zu bytes in front of its data belong to no tensor", file->origin, NAME_SHOWN,
                             t->name, begin - reached);
        reached = begin + t->bytes;
    }
    if (reached != data_size)
        return error_set("%s: %zu bytes at its end belong to no tensor", file->origin, data_size - reached);
    return true;
}

static bool read_header(SafeTensors *file, const unsigned char *bytes, size_t size)
{
    if (size < LENGTH_BYTES)
        return error_set("%s: %zu bytes are too few for a safetensors file", file->origin, size);
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > SAFETENSORS_HEADER_MAX)
        return error_set("%s: a header of %" PRIu64 " bytes is announced, at most %d are accepted; is this a safetensors file?",
                         file->origin, length, SAFETENSORS_HEADER_MAX);
    if (length > size - LENGTH_BYTES)
        return error_set("%s: a header of %" PRIu64 " bytes is announced, but only %zu follow; is the file cut short?",
                         file->origin, length, size - LENGTH_BYTES);
    const char *text = (const char *)bytes + LENGTH_BYTES, *data = text + length;
    size_t data_size = size - LENGTH_BYTES - (size_t)length;
    /* A tensor has about 15 signs: a comma and a colon, an object of three pairs, two lists. */
    static const JsonBounds bounds = {.signs = 20 * SAFETENSORS_MOST, .strings = 1 << 20, .depth = 3, .objects = 2};
    json_error_t error;
    if (!json_within(text, (size_t)length, &bounds, file->origin))
        return false;
    file->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return error_set("%s: its header is not sound JSON: %s, at byte %d", file->origin, error.text,
                         error.position + LENGTH_BYTES);
    if (!json_is_object(file->header))
        return error_set("%s: its header is not a JSON object", file->origin);
    size_t entries = json_object_size(file->header);
    file->tensors = memory_new(entries, sizeof *file->tensors);
    file->by_name = memory_new(entries, sizeof *file->by_name);
    if (!file->tensors || !file->by_name)
        return false;
    const char *key;
    json_t *entry;
    json_object_foreach(file->header, key, entry)
    {
        if (!strcmp(key, metadata_name)) {
            if (!read_metadata(file, entry))
                return false;
            continue;
        }
        SafeTensor *t = &file->tensors[file->count++];
        t->name = key;
        if (!read_tensor(file, t, entry, data, data_size))
            return false;
    }
    if (file->count)
        qsort(file->tensors, file->count, sizeof *file->tensors, by_place);
    for (size_t i = 0; i < file->count; i++)
        file->by_name[i] = &file->tensors[i];
    if (file->count)
        qsort(file->by_name, file->count, sizeof *file->by_name, by_name);
    return check_places(file, data, data_size);
}

SafeTensors *safetensors_open_memory(const void *data, size_t size, const char *origin)
{
    SafeTensors *file = memory_new(1, sizeof *file);
    if (!file)
        return NULL;
    file->origin = memory_string(origin);
    if (!file->origin || !read_header(file, data, size)) {
        safetensors_close(file);
        return NULL;
    }
    return file;
}

SafeTensors *safetensors_open(const char *path)
{
    FileMap map;
    if (!file_map(path, &map))
        return NULL;
    SafeTensors *file = safetensors_open_memory(map.data, map.size, path);
    if (file)
        file->map = map;
    else
        file_unmap(&map);
    return file;
}

void safetensors_close(SafeTensors *file)
{
    if (!file)
        return;
    file_unmap(&file->map);
    json_decref(file->header);
    memory_free(file->tensors);
    memory_free(file->by_name);
    memory_free(file->metadata);
    memory_free(file->origin);
    memory_free(file);
}

size_t safetensors_count(const SafeTensors *file)
{
    return file->count;
}

const SafeTensor *safetensors_at(const SafeTensors *file, size_t i)
{
    return &file->tensors[i];
}

const SafeTensor *safetensors_find(const SafeTensors *file, const char *name)
{
    size_t low = 0, high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->by_name[middle]->name);
        if (!order)
            return file->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static void add_shape(Text *out, int ndim, const int64_t *shape)
{
    text_add(out, "[");
    for (int i = 0; i < ndim; i++)
        text_add(out, "%s%" PRId64, i ? ", " : "", shape[i]);
    text_add(out, "]");
}

const SafeTensor *safetensors_need(const SafeTensors *file, const char *name, int ndim, const int64_t *shape)
{
    const SafeTensor *t = safetensors_find(file, name);
    if (!t) {
        error_set("%s: there is no tensor '%.*s'", file->origin, NAME_SHOWN, name);
        return NULL;
    }
    if (t->ndim == ndim && (!ndim || !memcmp(t->shape, shape, sizeof *shape * (size_t)ndim)))
        return t;
    Text words = {0};
    add_shape(&words, t->ndim, t->shape);
    text_add(&words, ", but ");
    add_shape(&words, ndim, shape);
    error_set("%s: tensor '%.*s': its shape is %s is needed", file->origin, NAME_SHOWN, name, words.data ? words.data : "");
    text_free(&words);
    return NULL;
}

const char *safetensors_metadata(const SafeTensors *file, const char *key)
{
    for (size_t i = 0; i < file->metadata_count; i++)
        if (!strcmp(file->metadata[i].key, key))
            return file->metadata[i].value;
    return NULL;
}

size_t safetensors_metadata_count(const SafeTensors *file)
{
    return file->metadata_count;
}

SafeMetadata safetensors_metadata_at(const SafeTensors *file, size_t i)
{
    return file->metadata[i];
}

size_t safetensor_count(const SafeTensor *t)
{
    return t->bytes / dtypes[t->dtype].bytes;
}

/* Half precision: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
static float half_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31, exponent = half >> 10 & 31, fraction = half & 1023;
    uint32_t bits;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f; /* zero and subnormal numbers */
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    } else {
        bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float element_to_f32(SafeDtype dtype, const char *at)
{
    union {
        double f64;
        float f32;
        uint64_t u64;
        int64_t i64;
        uint32_t u32;
        int32_t i32;
        uint16_t u16;
        int16_t i16;
        uint8_t u8;
        int8_t i8;
    } v = {0};
    memcpy(&v, at, dtypes[dtype].bytes);
    switch (dtype) {
    case SAFETENSORS_F64:
        return (float)v.f64;
    case SAFETENSORS_F32:
        return v.f32;
    case SAFETENSORS_F16:
        return half_to_f32(v.u16);
    case SAFETENSORS_BF16:
        v.u32 = (uint32_t)v.u16 << 16;
        return v.f32;
    case SAFETENSORS_I64:
        return (float)v.i64;
    case SAFETENSORS_I32:
        return (float)v.i32;
    case SAFETENSORS_I16:
        return v.i16;
    case SAFETENSORS_I8:
        return v.i8;
    case SAFETENSORS_U64:
        return (float)v.u64;
    case SAFETENSORS_U32:
        return (float)v.u32;
    case SAFETENSORS_U16:
        return v.u16;
    case SAFETENSORS_U8:
        return v.u8;
    case SAFETENSORS_BOOL:
        return v.u8 != 0;
    case SAFETENSORS_DTYPES:
        break;
    }
    return 0;
}

float safetensors_number(SafeDtype dtype, const void *at)
{
    return element_to_f32(dtype, at);
}

bool safetensor_to_f32(const SafeTensor *t, float *out)
{
    if (t->dtype == SAFETENSORS_F32) {
        if (t->bytes)
            memcpy(out, t->data, t->bytes);
        return true;
    }
    if (t->dtype >= SAFETENSORS_DTYPES)
        return error_set("tensor '%.*s': its numbers cannot be turned into f32", NAME_SHOWN, t->name);
    size_t count = safetensor_count(t), bytes = dtypes[t->dtype].bytes;
    for (size_t i = 0; i < count; i++)
        out[i] = element_to_f32(t->dtype, (const char *)t->data + i * bytes);
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names must differ; `names` is sorted. */
static bool check_names(const char *path, const char **names, size_t count)
{
    if (count)
        qsort(names, count, sizeof *names, by_text);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(names[i - 1], names[i]))
            return error_set("cannot write %s: the name '%.*s' is given twice", path, NAME_SHOWN, names[i]);
    return true;
}

/* The length and the padded JSON. */
static bool make_header(const char *path, const SafeTensor *tensors, size_t count, const SafeMetadata *metadata,
                        size_t metadata_count, Text *json)
{
    size_t offset = 0;
    text_add(json, "{");
    if (metadata_count) {
        text_add(json, "\"%s\":{", metadata_name);
        for (size_t i = 0; i < metadata_count; i++) {
            text_add(json, i ? "," : "");
            text_add_json_string(json, metadata[i].key);
            text_add(json, ":");
            text_add_json_string(json, metadata[i].value);
        }
        text_add(json, "}");
    }
    for (size_t i = 0; i < count; i++) {
        const SafeTensor *t = &tensors[i];
        size_t elements, bytes;
        if (t->ndim < 0 || t->ndim > SAFETENSORS_DIMS_MAX || t->dtype >= SAFETENSORS_DTYPES ||
            !shape_sizes(t, &elements, &bytes) || bytes > SIZE_MAX / 2 - offset || (t->bytes && t->bytes != bytes) ||
            !strcmp(t->name, metadata_name))
            return error_set("cannot write %s: tensor '%.*s' has an impossible shape, type, size or name", path, NAME_SHOWN,
                             t->name);
        text_add(json, i || metadata_count ? "," : "");
        text_add_json_string(json, t->name);
        text_add(json, ":{\"dtype\":\"%s\",\"shape\":[", dtypes[t->dtype].name);
        for (int k = 0; k < t->ndim; k++)
            text_add(json, "%s%" PRId64, k ? "," : "", t->shape[k]);
        text_add(json, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
        offset += bytes;
    }
    text_add(json, "}");
    while (!json->failed && json->length % 8)
        text_add(json, " ");
    if (json->failed)
        return false;
    if (json->length > SAFETENSORS_HEADER_MAX)
        return error_set("cannot write %s: its header would have %zu bytes, at most %d are accepted", path, json->length,
                         SAFETENSORS_HEADER_MAX);
    return true;
}

bool safetensors_header(const char *path, const SafeTensor *tensors, size_t count, const SafeMetadata *metadata,
                        size_t metadata_count, Text *out)
{
    bool ok = false;
    Text json = {0};
    if (count > SAFETENSORS_MOST)
        return error_set("cannot write %s: it would hold %zu tensors, at most %d are accepted", path, count, SAFETENSORS_MOST);
    const char **names = memory_new(count > metadata_count ? count : metadata_count, sizeof *names);
    if (!names)
        return false;
    for (size_t i = 0; i < count; i++)
        names[i] = tensors[i].name;
    if (!check_names(path, names, count))
        goto done;
    for (size_t i = 0; i < metadata_count; i++)
        names[i] = metadata[i].key;
    if (!check_names(path, names, metadata_count) || !make_header(path, tensors, count, metadata, metadata_count, &json))
        goto done;
    unsigned char length[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++)
        length[i] = (unsigned char)((uint64_t)json.length >> (8 * i));
    text_add_bytes(out, length, sizeof length);
    text_add_bytes(out, json.data, json.length);
    ok = !out->failed;
done:
    memory_free(names);
    text_free(&json);
    return ok;
}

static bool write_all(int fd, const char *path, const Text *header, const SafeTensor *tensors, size_t count)
{
    if (!file_write_all(fd, path, header->data, header->length))
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t elements, bytes;
        if (shape_sizes(&tensors[i], &elements, &bytes) && bytes && !file_write_all(fd, path, tensors[i].data, bytes))
            return false;
    }
    return true;
}

bool safetensors_write(const char *path, const SafeTensor *tensors, size_t count, const SafeMetadata *metadata,
                       size_t metadata_count)
{
    bool ok = false;
    int fd = -1;
    Text header = {0}, aside = {0};
    text_add(&aside, "%s.tmp", path);
    if (aside.failed || !safetensors_header(path, tensors, count, metadata, metadata_count, &header))
        goto done;
    fd = open(aside.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        error_set("cannot create %s: %s", aside.data, strerror(errno));
        goto done;
    }
    ok = write_all(fd, aside.data, &header, tensors, count);
    if (ok && fsync(fd) < 0)
        ok = error_set("cannot flush %s: %s", aside.data, strerror(errno));
    if (close(fd) < 0 && ok)
        ok = error_set("cannot close %s: %s", aside.data, strerror(errno));
    if (ok && rename(aside.data, path) < 0)
        ok = error_set("cannot rename to %s: %s", path, strerror(errno));
    if (!ok)
        unlink(aside.data);
done:
    text_free(&header);
    text_free(&aside);
    return ok;
}
