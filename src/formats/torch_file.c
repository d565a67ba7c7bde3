#include "formats/torch_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "formats/zip.h"

enum {
    NAME_SHOWN = 120,
    LEVELS_MOST = 8,
    MODULES_MOST = 64,
    KEY_BYTES_MOST = 32,
    VIEWS_MOST = 4,
    VIEWS_FREE = 1 << 20,
    NAME_BYTES_MOST = 1024,
    NAMES_BYTES_MOST = 1 << 20, /* of all */
    TENSORS_MOST = 10000,
    PREAMBLE_OPCODES = 64 /* of a legacy file: a number, a dict of a few */
};

/* What a legacy file begins with: PROTO 2, LONG1 of 10 bytes, STOP. */
static const unsigned char legacy_magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                             0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
static const unsigned char zip_magic[] = {'P', 'K', 3, 4};

/* A storage: numbers in a row. */
typedef struct {
    char key[KEY_BYTES_MOST];
    const void *data;
    size_t bytes;
} Storage;

struct TorchFile {
    const char *origin;
    size_t size;
    Pickle *pickle;
    Zip *zip;          /* NULL: legacy */
    char *folder;      /* of the records, with its slash */
    Storage *storages; /* of a legacy file, by key */
    size_t storage_count;
    StridedTensor *tensors;
    size_t count, capacity;
    size_t name_bytes; /* of all tensors */
    uint64_t visits;   /* of modules and what they hold */
    Text words, others;
};

/* ---- numbers */

int64_t strided_count(const StridedTensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++)
        count *= t->shape[i];
    return count;
}

static bool is_contiguous(const StridedTensor *t)
{
    int64_t expected = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != expected)
            return false;
        expected *= t->shape[i];
    }
    return true;
}

void strided_to_f32(const StridedTensor *t, float *out)
{
    int64_t count = strided_count(t), index[TORCH_DIMS_MAX] = {0}, at = 0;
    size_t bytes = safetensors_dtype_bytes(t->dtype);
    if (t->dtype == SAFETENSORS_F32 && is_contiguous(t)) {
        if (count)
            memcpy(out, t->data, (size_t)count * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        out[i] = safetensors_number(t->dtype, (const char *)t->data + (size_t)at * bytes);
        for (int k = t->ndim - 1; k >= 0; k--) {
            at += t->stride[k];
            if (++index[k] < t->shape[k])
                break;
            at -= t->stride[k] * t->shape[k];
            index[k] = 0;
        }
    }
}

/* ---- storages */

static const struct {
    const char *storage, *value; /* names in the module torch */
    SafeDtype dtype;
} types[] = {
    {"DoubleStorage", "float64", SAFETENSORS_F64}, {"FloatStorage", "float32", SAFETENSORS_F32},
    {"HalfStorage", "float16", SAFETENSORS_F16},   {"BFloat16Storage", "bfloat16", SAFETENSORS_BF16},
    {"LongStorage", "int64", SAFETENSORS_I64},     {"IntStorage", "int32", SAFETENSORS_I32},
    {"ShortStorage", "int16", SAFETENSORS_I16},    {"CharStorage", "int8", SAFETENSORS_I8},
    {"ByteStorage", "uint8", SAFETENSORS_U8},      {"BoolStorage", "bool", SAFETENSORS_BOOL},
    {"UInt16Storage", "uint16", SAFETENSORS_U16},  {"UInt32Storage", "uint32", SAFETENSORS_U32},
    {"UInt64Storage", "uint64", SAFETENSORS_U64},
};
enum { TYPES = sizeof types / sizeof *types };

/* The type that a storage's class (or a dtype, `value`) names; storages of bytes are U8. */
static bool find_type(const PickleValue *name, bool value, SafeDtype *dtype)
{
    if (!value && pickle_is_name(name, "torch.storage", "UntypedStorage")) {
        *dtype = SAFETENSORS_U8;
        return true;
    }
    for (size_t i = 0; i < TYPES; i++)
        if (pickle_is_name(name, "torch", value ? types[i].value : types[i].storage)) {
            *dtype = types[i].dtype;
            return true;
        }
    return false;
}

static bool refuse(const TorchFile *f, const char *name, const char *why)
{
    return error_set("%s: tensor '%.*s': %s", f->origin, NAME_SHOWN, name, why);
}

/* What a tensor is a view of. */
typedef struct {
    SafeDtype dtype;
    const char *data;
    int64_t count; /* elements of dtype */
} Base;

static int by_key(const void *a, const void *b)
{
    return strcmp(((const Storage *)a)->key, ((const Storage *)b)->key);
}

/* The identifier of a storage: ('storage', class, key, location, count[, view]). */
static bool parse_identifier(const PickleValue *id, SafeDtype *dtype, char key[KEY_BYTES_MOST], int64_t *count)
{
    if (id->kind != PICKLE_TUPLE || id->count < 5 || !pickle_is_text(id->items[0], "storage") ||
        !find_type(id->items[1], false, dtype) || id->items[2]->kind != PICKLE_TEXT || id->items[2]->count >= KEY_BYTES_MOST ||
        id->items[4]->kind != PICKLE_INT || id->items[4]->integer < 0 || memchr(id->items[2]->bytes, 0, id->items[2]->count))
        return false;
    memcpy(key, id->items[2]->bytes, id->items[2]->count);
    key[id->items[2]->count] = 0;
    *count = id->items[4]->integer;
    return true;
}

/* A legacy file's storage may be a slice of another: (key, offset, size). */
static bool take_slice(const TorchFile *f, const char *name, const PickleValue *id, Base *base)
{
    if (id->count < 6 || id->items[5]->kind == PICKLE_NONE)
        return true;
    const PickleValue *slice = id->items[5];
    if (slice->kind != PICKLE_TUPLE || slice->count != 3 || slice->items[1]->kind != PICKLE_INT ||
        slice->items[2]->kind != PICKLE_INT)
        return refuse(f, name, "its storage is a slice of an unknown form");
    int64_t offset = slice->items[1]->integer, size = slice->items[2]->integer;
    if (offset < 0 || size < 0 || offset > base->count || size > base->count - offset)
        return refuse(f, name, "its storage is a slice that reaches outside of another");
    base->data += (size_t)offset * safetensors_dtype_bytes(base->dtype);
    base->count = size;
    return true;
}

static bool find_base(const TorchFile *f, const char *name, const PickleValue *persistent, Base *base)
{
    char key[KEY_BYTES_MOST], path[512];
    if (persistent->kind != PICKLE_PERSISTENT || !parse_identifier(persistent->items[0], &base->dtype, key, &base->count))
        return refuse(f, name, "its storage is of an unknown form or type");
    size_t bytes, found;
    if (!size_multiply((size_t)base->count, safetensors_dtype_bytes(base->dtype), &bytes))
        return refuse(f, name, "its storage overflows");
    if (f->zip) {
        snprintf(path, sizeof path, "%sdata/%s", f->folder, key);
        const ZipRecord *record = zip_find(f->zip, path);
        if (!record)
            return error_set("%s: tensor '%.*s': there is no record %s", f->origin, NAME_SHOWN, name, path);
        if (record->packed)
            return error_set("%s: tensor '%.*s': its record %s is compressed or encrypted; PyTorch stores numbers as they are",
                             f->origin, NAME_SHOWN, name, path);
        base->data = record->data;
        found = (size_t)record->bytes;
    } else {
        Storage wanted;
        memcpy(wanted.key, key, sizeof key);
        const Storage *s = f->storage_count ? bsearch(&wanted, f->storages, f->storage_count, sizeof wanted, by_key) : NULL;
        if (!s)
            return error_set("%s: tensor '%.*s': there is no storage %s", f->origin, NAME_SHOWN, name, key);
        base->data = s->data;
        found = s->bytes;
    }
    if (found != bytes)
        return error_set("%s: tensor '%.*s': its storage %s should have %zu bytes and has %zu", f->origin, NAME_SHOWN, name,
                         key, bytes, found);
    return take_slice(f, name, persistent->items[0], base);
}

/* ---- tensors */

/* Sizes or strides; -1 when the value holds anything else than numbers from 0 on. */
static int read_sizes(const PickleValue *v, int64_t *out)
{
    /* torch.Size(..) is a record of the tuple */
    if (v->kind == PICKLE_RECORD && pickle_is_name(v->record->callee, "torch", "Size") && v->record->arguments->count == 1)
        v = v->record->arguments->items[0];
    if ((v->kind != PICKLE_TUPLE && v->kind != PICKLE_LIST) || v->count > TORCH_DIMS_MAX)
        return -1;
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->items[i]->kind != PICKLE_INT || v->items[i]->integer < 0)
            return -1;
        out[i] = v->items[i]->integer;
    }
    return (int)v->count;
}

/* The view lies in its storage, and has no more numbers than that. */
static bool check_view(const TorchFile *f, const StridedTensor *t, int64_t offset, const Base *base)
{
    int64_t last = offset, count = 1, most = 1; /* most: of what is multiplied when a size of 0 is left out */
    bool fits = offset >= 0 && offset <= base->count;
    for (int i = 0; fits && i < t->ndim; i++) {
        fits = !__builtin_mul_overflow(most, t->shape[i] ? t->shape[i] : 1, &most) && most <= SAFETENSORS_COUNT_MOST;
        count = fits ? count * t->shape[i] : 0;
    }
    for (int i = 0; fits && count && i < t->ndim; i++) {
        int64_t step;
        fits = !__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step) && !__builtin_add_overflow(last, step, &last);
    }
    if (!fits || (count && last >= base->count))
        return error_set("%s: tensor '%.*s' reaches outside of its storage of %" PRId64 " numbers", f->origin, NAME_SHOWN,
                         t->name, base->count);
    if (count > base->count)
        return error_set("%s: tensor '%.*s' repeats the %" PRId64 " numbers of its storage %" PRId64
                         " times; save a copy of it instead of an expanded one",
                         f->origin, NAME_SHOWN, t->name, base->count, count / (base->count ? base->count : 1));
    return true;
}

/* The record that makes a tensor, without the parameter around it; NULL when the value is none. */
static const PickleRecord *tensor_record(const PickleValue *v)
{
    static const char *const makers[] = {"_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_tensor_v3"};
    for (int level = 0; level < LEVELS_MOST && v && v->kind == PICKLE_RECORD; level++) {
        const PickleRecord *r = v->record;
        for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
            if (pickle_is_name(r->callee, "torch._utils", makers[i]))
                return r;
        if ((!pickle_is_name(r->callee, "torch._utils", "_rebuild_parameter") &&
             !pickle_is_name(r->callee, "torch._utils", "_rebuild_parameter_with_state")) ||
            !r->arguments->count)
            return NULL;
        v = r->arguments->items[0];
    }
    return NULL;
}

static bool read_tensor(const TorchFile *f, const PickleRecord *r, StridedTensor *t)
{
    const PickleValue *a = r->arguments;
    bool typed = pickle_is_name(r->callee, "torch._utils", "_rebuild_tensor_v3");
    Base base;
    if (a->count < (typed ? 7u : 4u) || a->items[1]->kind != PICKLE_INT)
        return refuse(f, t->name, "it is made of too few arguments");
    if (!find_base(f, t->name, a->items[0], &base))
        return false;
    if (typed) {
        SafeDtype dtype;
        if (!find_type(a->items[6], true, &dtype))
            return refuse(f, t->name, "its type of number is not known here");
        base.count = base.count * (int64_t)safetensors_dtype_bytes(base.dtype) / (int64_t)safetensors_dtype_bytes(dtype);
        base.dtype = dtype;
    }
    int64_t offset = a->items[1]->integer;
    t->dtype = base.dtype;
    t->ndim = read_sizes(a->items[2], t->shape);
    if (t->ndim < 0 || read_sizes(a->items[3], t->stride) != t->ndim)
        return error_set("%s: tensor '%.*s': its sizes and strides are not two lists of up to %d whole numbers from 0 on",
                         f->origin, NAME_SHOWN, t->name, TORCH_DIMS_MAX);
    if (!check_view(f, t, offset, &base))
        return false;
    for (int i = 0; i < t->ndim; i++) /* a stride that is never walked may be any number */
        t->stride[i] = t->shape[i] > 1 ? t->stride[i] : 0;
    t->data = base.data + (size_t)offset * safetensors_dtype_bytes(base.dtype);
    return true;
}

/* Adds a tensor under PREFIX NAME; false after error_set(). */
static bool add_tensor(TorchFile *f, const PickleRecord *record, const char *prefix, const PickleValue *name)
{
    Text full = {0};
    StridedTensor t = {0};
    if (strlen(prefix) + name->count > NAME_BYTES_MOST)
        return error_set("%s: the name of a tensor is longer than %d bytes", f->origin, NAME_BYTES_MOST);
    if (f->count >= TENSORS_MOST)
        return error_set("%s: it holds more than %d tensors", f->origin, TENSORS_MOST);
    if ((f->name_bytes += strlen(prefix) + name->count) > NAMES_BYTES_MOST)
        return error_set("%s: the names of its tensors are longer than %d bytes together", f->origin, NAMES_BYTES_MOST);
    text_add(&full, "%s%.*s", prefix, (int)name->count, name->bytes);
    if (full.failed || !memory_grow((void **)&f->tensors, f->count, &f->capacity, sizeof *f->tensors)) {
        text_free(&full);
        return false;
    }
    t.name = full.data;
    bool ok = strlen(full.data) == strlen(prefix) + name->count || refuse(f, full.data, "its name holds a zero byte");
    ok = ok && read_tensor(f, record, &t);
    if (ok)
        f->tensors[f->count++] = t;
    else
        text_free(&full);
    return ok;
}

static void add_other(TorchFile *f, const PickleValue *name)
{
    enum { OTHERS_BYTES = 400 };
    if (f->others.length < OTHERS_BYTES)
        text_add(&f->others, "%s%.*s", f->others.length ? ", " : "", name->count < NAME_SHOWN ? (int)name->count : NAME_SHOWN,
                 name->bytes);
}

/* ---- which mapping holds the weights */

static bool add_mapping(TorchFile *f, const PickleValue *pairs)
{
    for (uint32_t i = 0; i + 1 < pairs->count; i += 2) {
        const PickleValue *name = pairs->items[i];
        const PickleRecord *record = tensor_record(pairs->items[i + 1]);
        if (name->kind != PICKLE_TEXT)
            continue;
        if (!record)
            add_other(f, name);
        else if (!add_tensor(f, record, "", name))
            return false;
    }
    return true;
}

/* A mapping that tensors may be taken from: a dict, an ordered one and their like. */
static const PickleValue *plain_mapping(const PickleValue *v)
{
    static const char *const classes[][2] = {
        {"collections", "OrderedDict"}, {"collections", "defaultdict"}, {"builtins", "dict"}, {"__builtin__", "dict"}};
    if (v->kind == PICKLE_DICT)
        return v;
    for (size_t i = 0; v->kind == PICKLE_RECORD && i < sizeof classes / sizeof *classes; i++)
        if (pickle_is_name(v->record->callee, classes[i][0], classes[i][1]))
            return v->record->added;
    return NULL;
}

static bool not_a_mapping(const TorchFile *f, const PickleValue *v, const char *where)
{
    if (v->kind == PICKLE_RECORD && pickle_is_name(v->record->callee, "collections", "OrderedDict"))
        return error_set("%s: %s is empty", f->origin, where);
    if (v->kind == PICKLE_RECORD || v->kind == PICKLE_NAME) {
        const PickleName *n = v->kind == PICKLE_NAME ? v->name : v->record->callee->name;
        return error_set(
            "%s: %s is an object of the class %.*s.%.*s, whose code would be needed; save its state_dict() instead", f->origin,
            where, (int)n->module_bytes, n->module, (int)n->name_bytes, n->name);
    }
    return error_set("%s: %s is no mapping from names to tensors", f->origin, where);
}

static bool holds_tensors(const PickleValue *pairs)
{
    for (uint32_t i = 0; i + 1 < pairs->count; i += 2)
        if (tensor_record(pairs->items[i + 1]))
            return true;
    return false;
}

static bool no_tensors(const TorchFile *f, const PickleValue *pairs, const char *where)
{
    Text keys = {0};
    for (uint32_t i = 0; i + 1 < pairs->count && i < 24; i += 2)
        if (pairs->items[i]->kind == PICKLE_TEXT)
            text_add(&keys, "%s%.*s", keys.length ? ", " : "", pairs->items[i]->count < 40 ? (int)pairs->items[i]->count : 40,
                     pairs->items[i]->bytes);
    error_set("%s: %s holds no tensors (it holds: %s)", f->origin, where, keys.data ? keys.data : "nothing");
    text_free(&keys);
    return false;
}

/* Networks beside the one that is taken. Many names may mean one large mapping, so only beginnings are looked at. */
static void add_siblings(TorchFile *f, const PickleValue *pairs, const PickleValue *taken)
{
    enum { NAMES_MOST = 64, TENSORS_LOOKED = 8 };
    for (uint32_t i = 0; i + 1 < pairs->count && i < 2 * NAMES_MOST; i += 2) {
        const PickleValue *inner = plain_mapping(pairs->items[i + 1]);
        bool any = false;
        if (pairs->items[i]->kind != PICKLE_TEXT || pairs->items[i + 1] == taken || !inner)
            continue;
        for (uint32_t k = 0; !any && k + 1 < inner->count && k < 2 * TENSORS_LOOKED; k += 2)
            any = tensor_record(inner->items[k + 1]) != NULL;
        if (any)
            add_other(f, pairs->items[i]);
    }
}

/* What holds a network's tensors in files of many projects, the likeliest first. */
static const char *const network_keys[] = {"model",          "state_dict", "module",    "teacher",        "student",
                                           "target_encoder", "encoder",    "model_ema", "state_dict_ema", "net"};
enum { NETWORK_KEYS = sizeof network_keys / sizeof *network_keys, SHORTEST = 3, LONGEST = 14 /* of them, in bytes */ };

/* The first of them that pairs have and that is a mapping, by one walk; *which names it. NULL: there is none. */
static const PickleValue *find_network(const PickleValue *pairs, int *which)
{
    const PickleValue *found[NETWORK_KEYS] = {0};
    for (size_t i = pairs->count; i >= 2; i -= 2) { /* of a key that occurs twice the last */
        const PickleValue *key = pairs->items[i - 2];
        if (key->kind != PICKLE_TEXT || key->count < SHORTEST || key->count > LONGEST)
            continue;
        for (int k = 0; k < NETWORK_KEYS; k++)
            if (!found[k] && key->bytes[0] == network_keys[k][0] && pickle_is_text(key, network_keys[k]))
                found[k] = pairs->items[i - 1];
    }
    for (int k = 0; k < NETWORK_KEYS; k++)
        if (found[k] && !tensor_record(found[k]) && (found[k]->kind == PICKLE_DICT || found[k]->kind == PICKLE_RECORD)) {
            *which = k;
            return found[k];
        }
    return NULL;
}

static bool add_weights(TorchFile *f, const char *key)
{
    const PickleValue *at = pickle_root(f->pickle);
    char where[64] = "the object of the file";
    if (key && key[0]) {
        const PickleValue *under = plain_mapping(at) ? pickle_get(at, key) : NULL;
        if (!under)
            return error_set("%s: it holds nothing under '%.*s'", f->origin, NAME_SHOWN, key);
        at = under;
        snprintf(where, sizeof where, "what stands under '%.40s'", key);
        text_add(&f->words, ", tensors under '%s'", key);
    }
    for (int level = 0; level < LEVELS_MOST; level++) {
        const PickleValue *pairs = plain_mapping(at);
        int which;
        if (!pairs)
            return not_a_mapping(f, at, where);
        const PickleValue *next = find_network(pairs, &which);
        if (!next)
            return holds_tensors(pairs) ? add_mapping(f, pairs) : no_tensors(f, pairs, where);
        snprintf(where, sizeof where, "what stands under '%s'", network_keys[which]);
        text_add(&f->words, "%s '%s'", level || key ? "," : ", tensors under", network_keys[which]);
        add_siblings(f, pairs, next);
        at = next;
    }
    return error_set("%s: its mappings lie too deep in each other", f->origin);
}

/* ---- TorchScript: modules with attributes, which are tensors or modules */

static bool is_module(const PickleValue *v)
{
    static const char prefix[] = "__torch__";
    return v->kind == PICKLE_RECORD && v->record->callee->name->module_bytes >= sizeof prefix - 1 &&
           !memcmp(v->record->callee->name->module, prefix, sizeof prefix - 1);
}

static bool add_module(TorchFile *f, const PickleValue *module, const char *prefix, int level)
{
    const PickleValue *state = module->record->state;
    f->visits += MODULES_MOST + (state && state->kind == PICKLE_DICT ? (uint64_t)state->count : 0);
    if (level >= MODULES_MOST || f->visits > PICKLE_OPCODES_MAX)
        return error_set("%s: its modules lie too deep in each other", f->origin);
    if (!state || state->kind != PICKLE_DICT)
        return true;
    for (uint32_t i = 0; i + 1 < state->count; i += 2) {
        const PickleValue *name = state->items[i], *value = state->items[i + 1];
        const PickleRecord *record = tensor_record(value);
        if (name->kind != PICKLE_TEXT || (!record && !is_module(value)))
            continue;
        if (record) {
            if (!add_tensor(f, record, prefix, name))
                return false;
            continue;
        }
        Text inner = {0};
        text_add(&inner, "%s%.*s.", prefix, name->count < NAME_SHOWN ? (int)name->count : NAME_SHOWN, name->bytes);
        bool ok = !inner.failed && add_module(f, value, inner.data, level + 1);
        text_free(&inner);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- containers */

static bool ends_in(const ZipRecord *r, const char *end)
{
    size_t n = strlen(end);
    return r->name_bytes >= n && !memcmp(r->name + r->name_bytes - n, end, n);
}

static bool open_zip(TorchFile *f, const void *data, const char *key)
{
    enum { FOLDER_MOST = 400 };
    const ZipRecord *pkl = NULL;
    bool script = false;
    if (!(f->zip = zip_open(data, f->size, f->origin)))
        return false;
    for (size_t i = 0; i < zip_count(f->zip); i++) {
        const ZipRecord *r = zip_at(f->zip, i);
        script = script || ends_in(r, "/constants.pkl");
        if (!ends_in(r, "/data.pkl"))
            continue;
        if (pkl)
            return error_set("%s: this zip archive has two records data.pkl", f->origin);
        pkl = r;
    }
    if (!pkl || pkl->name_bytes > FOLDER_MOST || memchr(pkl->name, 0, pkl->name_bytes))
        return error_set("%s: this zip archive has no record data.pkl: it was not written by torch.save", f->origin);
    if (pkl->packed)
        return error_set("%s: its record data.pkl is compressed or encrypted; PyTorch stores it as it is", f->origin);
    f->folder = memory_new(pkl->name_bytes + 1u, 1);
    if (!f->folder)
        return false;
    memcpy(f->folder, pkl->name, pkl->name_bytes - strlen("data.pkl"));
    char path[FOLDER_MOST + 16];
    snprintf(path, sizeof path, "%sbyteorder", f->folder);
    const ZipRecord *order = zip_find(f->zip, path);
    if (order && (order->bytes != 6 || memcmp(order->data, "little", 6)))
        return error_set("%s: its numbers are big-endian, which is not read", f->origin);
    text_add(&f->words, script ? "TorchScript archive" : "PyTorch zip archive");
    f->pickle = pickle_read(pkl->data, (size_t)pkl->bytes, 0, PICKLE_OPCODES_MAX, f->origin);
    if (!f->pickle)
        return false;
    const PickleValue *root = pickle_root(f->pickle);
    return script && is_module(root) ? add_module(f, root, "", 0) : add_weights(f, key);
}

/* The types of a legacy file's storages stand where they are used. */
static bool storage_types(TorchFile *f, const PickleValue *keys)
{
    f->storages = memory_new(keys->count, sizeof *f->storages);
    if (!f->storages)
        return false;
    for (uint32_t i = 0; i < keys->count; i++) {
        const PickleValue *key = keys->items[i];
        if (key->kind != PICKLE_TEXT || key->count >= KEY_BYTES_MOST || memchr(key->bytes, 0, key->count))
            return error_set("%s: its list of storages is damaged", f->origin);
        memcpy(f->storages[i].key, key->bytes, key->count);
    }
    f->storage_count = keys->count;
    if (f->storage_count)
        qsort(f->storages, f->storage_count, sizeof *f->storages, by_key);
    for (size_t i = 1; i < f->storage_count; i++)
        if (!by_key(&f->storages[i - 1], &f->storages[i]))
            return error_set("%s: storage %s occurs twice", f->origin, f->storages[i].key);
    for (size_t i = 0; i < pickle_persistent_count(f->pickle); i++) {
        Storage wanted, *s;
        SafeDtype dtype;
        int64_t count;
        if (!parse_identifier(pickle_persistent_at(f->pickle, i), &dtype, wanted.key, &count))
            continue; /* refused when a tensor needs it */
        s = f->storage_count ? bsearch(&wanted, f->storages, f->storage_count, sizeof wanted, by_key) : NULL;
        if (!s)
            continue;
        if (s->bytes && s->bytes != safetensors_dtype_bytes(dtype))
            return error_set("%s: storage %s has two types", f->origin, s->key);
        s->bytes = safetensors_dtype_bytes(dtype); /* of an element, until its place is found */
    }
    return true;
}

static bool open_legacy(TorchFile *f, const void *data, const char *key)
{
    size_t at = sizeof legacy_magic;
    text_add(&f->words, "PyTorch file of the old format");
    for (int i = 0; i < 2; i++) { /* the protocol's version, sizes of types */
        Pickle *p = pickle_read(data, f->size, at, PREAMBLE_OPCODES, f->origin);
        if (!p)
            return false;
        const PickleValue *little = pickle_get(pickle_root(p), "little_endian");
        bool big = little && little->kind == PICKLE_BOOL && !little->integer;
        at = pickle_end(p);
        pickle_free(p);
        if (big)
            return error_set("%s: its numbers are big-endian, which is not read", f->origin);
    }
    if (!(f->pickle = pickle_read(data, f->size, at, PICKLE_OPCODES_MAX, f->origin)))
        return false;
    Pickle *list = pickle_read(data, f->size, pickle_end(f->pickle), 4 * TENSORS_MOST, f->origin);
    if (!list)
        return false;
    const PickleValue *keys = pickle_root(list);
    bool ok =
        (keys->kind == PICKLE_LIST || error_set("%s: its list of storages is not there", f->origin)) && storage_types(f, keys);
    at = pickle_end(list);
    for (uint32_t i = 0; ok && i < keys->count; i++) {
        Storage wanted = {0};
        memcpy(wanted.key, keys->items[i]->bytes, keys->items[i]->count);
        Storage *s = bsearch(&wanted, f->storages, f->storage_count, sizeof wanted, by_key);
        int64_t count;
        size_t bytes;
        if (f->size - at < sizeof count) {
            ok = error_set("%s: storage %s is not there; is the file cut short?", f->origin, wanted.key);
            break;
        }
        memcpy(&count, (const char *)data + at, sizeof count);
        at += sizeof count;
        if (!s->bytes)
            ok = error_set("%s: storage %s belongs to nothing of a known type", f->origin, wanted.key);
        else if (count < 0 || !size_multiply((size_t)count, s->bytes, &bytes) || bytes > f->size - at)
            ok = error_set("%s: storage %s of %" PRId64 " numbers does not lie in the file; is it cut short?", f->origin,
                           wanted.key, count);
        if (!ok)
            break;
        s->data = (const char *)data + at;
        s->bytes = bytes;
        at += bytes;
    }
    pickle_free(list);
    return ok && add_weights(f, key);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const StridedTensor *)a)->name, ((const StridedTensor *)b)->name);
}

/* Names differ, and views do not blow a small file up. */
static bool check_tensors(TorchFile *f)
{
    uint64_t bytes = 0;
    if (f->count)
        qsort(f->tensors, f->count, sizeof *f->tensors, by_name);
    for (size_t i = 0; i < f->count; i++) {
        if (i && !by_name(&f->tensors[i - 1], &f->tensors[i]))
            return refuse(f, f->tensors[i].name, "its name occurs twice");
        bytes += (uint64_t)strided_count(&f->tensors[i]) * safetensors_dtype_bytes(f->tensors[i].dtype);
    }
    if (bytes > VIEWS_FREE && bytes / VIEWS_MOST > f->size)
        return error_set("%s: its tensors share storages so that %" PRIu64
                         " bytes are made of a file of %zu; save copies instead",
                         f->origin, bytes, f->size);
    return true;
}

bool torch_is_file(const void *data, size_t size)
{
    return (size >= sizeof zip_magic && !memcmp(data, zip_magic, sizeof zip_magic)) ||
           (size >= sizeof legacy_magic && !memcmp(data, legacy_magic, sizeof legacy_magic));
}

TorchFile *torch_open(const void *data, size_t size, const char *origin, const char *key)
{
    TorchFile *f = memory_new(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (TorchFile){.origin = origin, .size = size};
    bool ok = torch_is_file(data, size) || error_set("%s: this is no file of torch.save", origin);
    ok = ok && (*(const char *)data == 'P' ? open_zip(f, data, key) : open_legacy(f, data, key)) && check_tensors(f);
    if (!ok || f->words.failed || f->others.failed) {
        torch_close(f);
        return NULL;
    }
    return f;
}

void torch_close(TorchFile *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++)
        memory_free((char *)f->tensors[i].name);
    memory_free(f->tensors);
    memory_free(f->storages);
    memory_free(f->folder);
    text_free(&f->words);
    text_free(&f->others);
    zip_close(f->zip);
    pickle_free(f->pickle);
    memory_free(f);
}

size_t torch_count(const TorchFile *f)
{
    return f->count;
}

const StridedTensor *torch_at(const TorchFile *f, size_t i)
{
    return &f->tensors[i];
}

const char *torch_words(const TorchFile *f)
{
    return f->words.data;
}

const char *torch_others(const TorchFile *f)
{
    return f->others.data ? f->others.data : "";
}

const PickleValue *torch_root(const TorchFile *f)
{
    return pickle_root(f->pickle);
}
