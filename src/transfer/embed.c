#include "transfer/embed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formats/npy.h"
#include "formats/safetensors.h"

typedef struct {
    const EmbedOptions *options;
    const Source *source;
    const char *path;
    EmbedFormat format;
    size_t count;   /* pictures */
    int64_t rows;   /* of a picture and block */
    int64_t width;  /* of a row */
    size_t numbers; /* of a picture */
    Text part, key_file, names_file;
    int file;
    uint64_t first; /* batch to go on with */
    float *batch;   /* (batch, numbers) */
    float *one;     /* (batch, rows, width) of a want */
} Embed;

bool embed_format(const char *path, EmbedFormat *format)
{
    static const char *const SUFFIXES[] = {".npy", ".csv", ".safetensors"};
    size_t length = strlen(path);
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(SUFFIXES[i]);
        if (length > n && !strcasecmp(path + length - n, SUFFIXES[i])) {
            *format = (EmbedFormat)i;
            return true;
        }
    }
    return error_set("%s: features are written as .npy, .csv or .safetensors; the suffix says which", path);
}

/* ---- names */

/* A field of a CSV file (RFC 4180). */
static void add_field(Text *out, const char *field)
{
    if (!strpbrk(field, ",\"\r\n")) {
        text_add(out, "%s", field);
        return;
    }
    text_add(out, "\"");
    for (; *field; field++)
        text_add(out, *field == '"' ? "\"\"" : "%c", *field);
    text_add(out, "\"");
}

/* `path` or `path,label` of a picture. */
static void add_name(const Embed *e, size_t i, Text *out)
{
    char key[SOURCE_KEY_SIZE];
    add_field(out, source_key(e->source, i, key, sizeof key));
    if (source_class_count(e->source) == 0)
        return;
    int label = source_label(e->source, i);
    text_add(out, ",");
    if (label >= 0)
        add_field(out, source_class_name(e->source, label));
}

static bool write_names(const Embed *e)
{
    Text text = {0};
    text_add(&text, source_class_count(e->source) ? "path,label\n" : "path\n");
    for (size_t i = 0; i < e->count; i++) {
        add_name(e, i, &text);
        text_add(&text, "\n");
    }
    bool ok = !text.failed && file_write(e->names_file.data, text.data, text.length);
    text_free(&text);
    return ok;
}

/* ---- what stands before the rows */

static int feature_shape(const Embed *e, int64_t shape[4])
{
    int n = 0;
    shape[n++] = (int64_t)e->count;
    if (e->options->count > 1)
        shape[n++] = e->options->count;
    if (e->options->wants[0].pool == FEATURE_PATCHES)
        shape[n++] = e->rows;
    shape[n++] = e->width;
    return n;
}

static void add_wants(const Embed *e, Text *out)
{
    for (int i = 0; i < e->options->count; i++)
        text_add(out, "%s%d%s", i ? "," : "", e->options->wants[i].block, e->options->wants[i].norm ? " normed" : "");
}

static bool safetensors_prefix(const Embed *e, const Backbone *backbone, Text *out)
{
    char depth[16], full_depth[16];
    bool labelled = source_class_count(e->source) > 0, ok = false;
    Text names = {0}, classes = {0}, blocks = {0};
    char key[SOURCE_KEY_SIZE];
    int32_t *labels = memory_new(e->count, sizeof *labels);
    if (!labels)
        return false;
    text_add(&names, "[");
    for (size_t i = 0; i < e->count; i++) {
        text_add(&names, i ? "," : "");
        text_add_json_string(&names, source_key(e->source, i, key, sizeof key));
        labels[i] = source_label(e->source, i);
    }
    text_add(&names, "]");
    text_add(&classes, "[");
    for (int c = 0; c < source_class_count(e->source); c++) {
        text_add(&classes, c ? "," : "");
        text_add_json_string(&classes, source_class_name(e->source, c));
    }
    text_add(&classes, "]");
    add_wants(e, &blocks);
    if (!names.failed && !classes.failed && !blocks.failed) {
        SafeTensor tensors[] = {
            {.name = "labels", .dtype = SAFETENSORS_I32, .ndim = 1, .shape = {(int64_t)e->count}},
            {.name = "features", .dtype = SAFETENSORS_F32},
        };
        tensors[1].ndim = feature_shape(e, tensors[1].shape);
        snprintf(depth, sizeof depth, "%d", recipe_depth(&backbone->recipe));
        snprintf(full_depth, sizeof full_depth, "%d", backbone->recipe.encoder.depth);
        SafeMetadata metadata[] = {{"depth", depth},        {"full_depth", full_depth},
                                   {"blocks", blocks.data}, {"features", feature_pool_name(e->options->wants[0].pool)},
                                   {"names", names.data},   {"classes", classes.data}};
        int skip = labelled ? 0 : 1;
        ok = safetensors_header(e->path, tensors + skip, (size_t)(2 - skip), metadata, labelled ? 6 : 5, out);
        if (ok && labelled)
            text_add_bytes(out, labels, e->count * sizeof *labels);
        ok = ok && !out->failed;
    }
    text_free(&names);
    text_free(&classes);
    text_free(&blocks);
    memory_free(labels);
    return ok;
}

static bool make_prefix(const Embed *e, const Backbone *backbone, Text *out)
{
    int64_t shape[4];
    if (e->format == EMBED_NPY)
        return npy_header(shape, feature_shape(e, shape), out);
    if (e->format == EMBED_SAFETENSORS)
        return safetensors_prefix(e, backbone, out);
    text_add(out, source_class_count(e->source) ? "path,label" : "path");
    for (size_t i = 0; i < e->numbers; i++)
        text_add(out, ",f%zu", i);
    text_add(out, "\n");
    return !out->failed;
}

/* ---- going on */

/* All that the bytes of the file depend on, but for the libraries of a GPU, whose versions may change the last bits. */
static bool make_key(const Embed *e, const Backbone *backbone, Text *out)
{
    char key[SOURCE_KEY_SIZE], encoder[RECIPE_BLOCKS_SIZE];
    uint64_t names = 0;
    const Device *d = &e->options->device;
    for (size_t i = 0; i < e->count; i++)
        names = names * 31 + random_hash(source_key(e->source, i, key, sizeof key)) + (uint64_t)source_label(e->source, i);
    text_add(out, "lacuna %s\nweights %016" PRIx64 " of %s\npictures %zu %016" PRIx64 " %s\nblocks ", LACUNA_VERSION,
             backbone_hash(backbone), recipe_blocks(&backbone->recipe, encoder), e->count, names, source_where(e->source));
    add_wants(e, out);
    text_add(out, "\nfeatures %s\nproducts %s\nbatch %d\nkernels %s\n", feature_pool_name(e->options->wants[0].pool),
             e->options->bf16 ? "bf16" : "f32", e->options->batch,
             d->kind == DEVICE_CUDA  ? device_describe(d)
             : d->kind == DEVICE_CPU ? cpu_level_name(d->level)
                                     : "ref");
    return !out->failed;
}

static bool same_key(const Embed *e, const Text *key)
{
    size_t size;
    char *old = file_exists(e->key_file.data) && file_exists(e->part.data) ? file_read(e->key_file.data, 1 << 20, &size) : NULL;
    bool same = old && size == key->length && !memcmp(old, key->data, size);
    memory_free(old);
    return same;
}

/* Where the batch behind the last whole one begins in a CSV file. */
static bool csv_place(const Embed *e, off_t *place, uint64_t *batches)
{
    char bytes[1 << 14];
    bool quoted = false;
    off_t at = 0;
    int64_t lines = -1; /* the first names the columns */
    *place = 0;
    *batches = 0;
    for (;;) {
        ssize_t n = pread(e->file, bytes, sizeof bytes, at);
        if (n < 0)
            return error_set("cannot read %s: %s", e->part.data, strerror(errno));
        if (n == 0)
            return true;
        for (ssize_t i = 0; i < n; i++) {
            quoted ^= bytes[i] == '"';
            if (bytes[i] != '\n' || quoted || ++lines % e->options->batch)
                continue;
            *batches = (uint64_t)(lines / e->options->batch);
            *place = at + i + 1;
        }
        at += n;
    }
}

/* The list of the pictures is nothing to write upon. */
static bool is_not_the_data(const Embed *e)
{
    const char *names[] = {e->path, e->names_file.data};
    struct stat data, out;
    for (int i = 0; i < (e->format == EMBED_NPY ? 2 : 1); i++)
        if (stat(source_where(e->source), &data) == 0 && stat(names[i], &out) == 0 && data.st_dev == out.st_dev &&
            data.st_ino == out.st_ino)
            return error_set("%s is what names the pictures: choose another file for the features", names[i]);
    return true;
}

/* The lock goes with the descriptor. Whoever had it until now may have renamed the file meanwhile. */
static bool lock_part(const Embed *e)
{
    struct stat opened, named;
    bool locked = flock(e->file, LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno != EWOULDBLOCK)
        return error_set("cannot lock %s: %s", e->part.data, strerror(errno));
    return (locked && fstat(e->file, &opened) == 0 && stat(e->part.data, &named) == 0 && opened.st_dev == named.st_dev &&
            opened.st_ino == named.st_ino) ||
           error_set("%s is being written by another process: wait until it ends, or choose another file", e->part.data);
}

/* Opens PATH.part at the place to go on from. */
static bool open_part(Embed *e, const Backbone *backbone)
{
    Text key = {0}, prefix = {0};
    const uint64_t batch_bytes = (uint64_t)e->options->batch * (e->numbers ? e->numbers : 1) * sizeof(float);
    off_t place = 0;
    bool ok = make_key(e, backbone, &key) && make_prefix(e, backbone, &prefix);
    if (ok && (e->file = open(e->part.data, O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0)
        ok = error_set("cannot create %s: %s", e->part.data, strerror(errno));
    ok = ok && lock_part(e);
    if (ok && !same_key(e, &key))
        ok = (ftruncate(e->file, 0) == 0 || error_set("cannot write %s: %s", e->part.data, strerror(errno))) &&
             file_write(e->key_file.data, key.data, key.length);
    struct stat info = {0};
    if (ok && fstat(e->file, &info) < 0)
        ok = error_set("cannot read %s: %s", e->part.data, strerror(errno));
    if (ok && e->format == EMBED_CSV) {
        ok = csv_place(e, &place, &e->first);
    } else if (ok && (uint64_t)info.st_size > prefix.length) {
        uint64_t bytes = (uint64_t)info.st_size - prefix.length;
        bytes -= bytes % batch_bytes;
        e->first = bytes / batch_bytes;
        place = (off_t)(prefix.length + bytes);
    }
    if (ok && (ftruncate(e->file, place) < 0 || lseek(e->file, place, SEEK_SET) < 0))
        ok = error_set("cannot write %s: %s", e->part.data, strerror(errno));
    if (ok && place == 0)
        ok = file_write_all(e->file, e->part.data, prefix.data, prefix.length);
    text_free(&key);
    text_free(&prefix);
    return ok;
}

/* ---- batches */

static bool gather_batch(Embed *e, Features *f, const LoaderBatch *batch)
{
    size_t block = (size_t)(e->rows * e->width);
    for (int want = 0; want < e->options->count; want++) {
        if (!features_read(f, want, (int)batch->count, e->one))
            return false;
        for (size_t i = 0; i < batch->count; i++)
            memcpy(e->batch + i * e->numbers + (size_t)want * block, e->one + i * block, block * sizeof *e->one);
    }
    for (size_t i = 0; i < batch->count; i++)
        for (size_t k = 0; k < e->numbers && !features_is_own(f, batch, i); k++)
            e->batch[i * e->numbers + k] = NAN;
    return true;
}

static bool write_batch(void *context, Features *f, const LoaderBatch *batch)
{
    Embed *e = context;
    size_t first = (size_t)batch->step * (size_t)e->options->batch;
    bool ok = gather_batch(e, f, batch);
    if (!ok)
        return false;
    if (e->format == EMBED_CSV) {
        Text lines = {0};
        for (size_t i = 0; i < batch->count; i++) {
            add_name(e, first + i, &lines);
            for (size_t k = 0; k < e->numbers; k++)
                text_add(&lines, ",%.9g", (double)e->batch[i * e->numbers + k]);
            text_add(&lines, "\n");
        }
        ok = !lines.failed && file_write_all(e->file, e->part.data, lines.data, lines.length);
        text_free(&lines);
    } else {
        ok = file_write_all(e->file, e->part.data, e->batch, batch->count * e->numbers * sizeof *e->batch);
    }
    if (ok && e->options->progress)
        e->options->progress(e->options->context, first + batch->count, e->count);
    return ok;
}

static void tell_bad(void *context, const char *key, const char *reason)
{
    const Embed *e = context;
    if (e->options->bad)
        e->options->bad(e->options->context, key, reason);
}

static bool finish(Embed *e)
{
    bool ok = fsync(e->file) == 0 || error_set("cannot flush %s: %s", e->part.data, strerror(errno));
    ok = ok && (e->format != EMBED_NPY || write_names(e));
    if (ok && rename(e->part.data, e->path) < 0)
        ok = error_set("cannot rename to %s: %s", e->path, strerror(errno));
    return ok && file_remove(e->key_file.data);
}

bool embed_write(Backbone *backbone, const Source *source, const char *path, const EmbedOptions *o, size_t *resumed)
{
    FeaturesOptions options = {.device = o->device, .batch = o->batch, .bf16 = o->bf16, .wants = o->wants, .count = o->count};
    Embed e = {.options = o, .source = source, .path = path, .count = source_count(source), .file = -1};
    Features *f = NULL;
    bool ok = embed_format(path, &e.format) && (f = features_open(backbone, &options));
    *resumed = 0;
    if (!ok)
        goto done;
    e.rows = features_rows(f, 0);
    e.width = features_width(f, 0);
    e.numbers = (size_t)o->count * (size_t)(e.rows * e.width);
    text_add(&e.part, "%s.part", path);
    text_add(&e.key_file, "%s.part.key", path);
    text_add(&e.names_file, "%s.names.csv", path);
    size_t numbers;
    ok = !e.part.failed && !e.key_file.failed && !e.names_file.failed && size_multiply(e.numbers, (size_t)o->batch, &numbers) &&
         (e.batch = memory_new(numbers, sizeof *e.batch)) && (e.one = memory_new(numbers, sizeof *e.one)) &&
         is_not_the_data(&e) && open_part(&e, backbone);
    FeaturesPass pass = {.source = source,
                         .first = e.first,
                         .workers = o->workers,
                         .max_bad = o->max_bad,
                         .bad = tell_bad,
                         .batch = write_batch,
                         .context = &e};
    *resumed = (size_t)e.first * (size_t)o->batch;
    if (ok && *resumed < e.count)
        ok = features_pass(f, &pass);
    else if (*resumed > e.count)
        *resumed = e.count;
    ok = ok && finish(&e);
done:
    if (e.file >= 0)
        close(e.file);
    text_free(&e.part);
    text_free(&e.key_file);
    text_free(&e.names_file);
    memory_free(e.batch);
    memory_free(e.one);
    features_close(f);
    return ok;
}
