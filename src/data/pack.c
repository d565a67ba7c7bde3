#include "data/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/kinds.h"
#include "data/new_folder.h"
#include "data/pack_exif.h"
#include "data/pack_names.h"
#include "data/tar_write.h"
#include "image/draw.h"
#include "image/resize.h"

enum { THREADS_MOST = 64, AHEAD = 4 /* pictures per thread that are made before their turn */ };

/* What a thread has made of a sample. */
typedef struct {
    char *bytes;
    size_t size;
    const char *suffix; /* of the member's name; NULL: as the key has it */
    char *why;          /* it cannot be read, or (machine) nothing can */
    bool machine, done;
} Made;

typedef struct {
    const PackOptions *o;
    PackNames names;
    PackResult *result;
    /* the ring */
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t room, ready;
    Made *ring;
    size_t length, count, next, taken; /* of the ring; samples; the next to be made; given to the shards */
    bool stop;
    /* the shard that is written */
    char *folder, *path; /* OUT.tmp; NULL: no shard is open */
    int descriptor;
    uint64_t bytes;
    size_t pictures;
} Packing;

/* ---- one sample, on any thread */

/* The name that errors begin with, to be taken off again. */
static const char picture_name[] = "picture";

static const char *suffix_of_format(const char *format)
{
    return !strcmp(format, "JPEG") ? ".jpg" : !strcmp(format, "PNG") ? ".png" : !strcmp(format, "WebP") ? ".webp" : ".tif";
}

/* Replaces the picture by one whose shorter side is `side`, the longer one rounded down. */
static bool shrink(Image *image, int side, ResizeScratch *scratch)
{
    int height = image->height, width = image->width, least = height < width ? height : width;
    Image small;
    if (!image_new(&small, (int)((int64_t)height * side / least), (int)((int64_t)width * side / least), image->channels))
        return false;
    bool ok =
        image_resize(image, (ImageBox){0, 0, height, width}, small.height, small.width, RESIZE_BICUBIC, scratch, small.data);
    image_free(ok ? image : &small);
    if (ok)
        *image = small;
    return ok;
}

static bool encode(const PackOptions *o, const Image *image, bool lossless, Made *made)
{
    lossless = lossless || !o->quality || image->height > IMAGE_JPEG_SIDE || image->width > IMAGE_JPEG_SIDE;
    memory_free(made->bytes);
    made->bytes =
        lossless ? (char *)image_encode_png(image, &made->size) : (char *)image_encode_jpeg(image, o->quality, &made->size);
    made->suffix = lossless ? ".png" : ".jpg";
    return made->bytes != NULL;
}

/* Also pictures that are packed as they are, to know that they are good. Only what a PNG or JPEG file of bytes can hold is made
 * smaller. */
static bool decode(const PackOptions *o, const Made *made, Image *image, int *orientation)
{
    ImageFacts facts;
    if (!image_facts(made->bytes, made->size, picture_name, &facts))
        return false;
    *orientation = facts.orientation;
    bool shrinks = o->short_side && (facts.height < facts.width ? facts.height : facts.width) > o->short_side;
    ImageRequest request = {.channels = facts.channels, .deep = !shrinks};
    if (shrinks && facts.channels != 1 && facts.channels != 3)
        return error_set("a picture of %d channels cannot be made smaller: pack it as it is, without --short-side",
                         facts.channels);
    return image_decode_part(made->bytes, made->size, picture_name, &request, image);
}

static bool make(const PackOptions *o, size_t i, ResizeScratch *scratch, Made *made)
{
    Image image = {0};
    int orientation = 1;
    char key[SOURCE_KEY_SIZE];
    if (!source_file(o->source, i, &made->bytes, &made->size))
        return false;
    bool file = made->bytes != NULL;
    bool ok = file ? decode(o, made, &image, &orientation) : source_picture(o->source, i, 3, &image);
    if (ok && file) {
        const char *format = image_format(made->bytes, made->size);
        const char *promised = image_suffix_format(source_key(o->source, i, key, sizeof key)), *own = strrchr(key, '.');
        /* Readers of WebDataset know a JPEG by two suffixes. */
        bool known = promised && !strcmp(promised, format) && strcasecmp(own, ".jpe") != 0 && strcasecmp(own, ".jfif") != 0;
        made->suffix = known ? NULL : suffix_of_format(format);
    }
    int least = image.height < image.width ? image.height : image.width;
    bool shrinks = o->short_side && least > o->short_side;
    if (ok && shrinks)
        ok = shrink(&image, o->short_side, scratch);
    if (ok && (shrinks || !file))
        ok = encode(o, &image, !shrinks, made);
    if (ok && orientation > 1 && shrinks) /* the picture lies as it did, and its file still says how */
        ok = pack_orientation(&made->bytes, &made->size, !strcmp(made->suffix, ".png"), orientation);
    image_free(&image);
    return ok;
}

static void make_into(const PackOptions *o, size_t i, ResizeScratch *scratch, Made *made)
{
    *made = (Made){0};
    if (make(o, i, scratch, made))
        return;
    made->machine = error_is_machine();
    made->why = memory_string(error_without(picture_name, error_text()));
    if (!made->why)
        made->machine = true;
    memory_free(made->bytes);
    made->bytes = NULL;
}

static void *work(void *argument)
{
    Packing *p = argument;
    ResizeScratch scratch = {0};
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->next < p->count && p->next - p->taken >= p->length)
            pthread_cond_wait(&p->room, &p->lock);
        if (p->stop || p->next >= p->count)
            break;
        size_t i = p->next++;
        Made made;
        pthread_mutex_unlock(&p->lock);
        make_into(p->o, i, &scratch, &made);
        pthread_mutex_lock(&p->lock);
        made.done = true;
        p->ring[i % p->length] = made;
        pthread_cond_broadcast(&p->ready);
    }
    pthread_mutex_unlock(&p->lock);
    resize_scratch_free(&scratch);
    return NULL;
}

static Made take(Packing *p, size_t i)
{
    Made *place = &p->ring[i % p->length];
    pthread_mutex_lock(&p->lock);
    while (!place->done)
        pthread_cond_wait(&p->ready, &p->lock);
    Made made = *place;
    *place = (Made){0};
    p->taken = i + 1;
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->lock);
    return made;
}

/* ---- shards, on the caller's thread */

static bool close_shard(Packing *p)
{
    if (!p->path)
        return true;
    bool ok = tar_write_end(p->descriptor, p->path);
    if (ok && fsync(p->descriptor) < 0)
        ok = error_set("cannot flush %s: %s", p->path, strerror(errno));
    if (close(p->descriptor) < 0 && ok)
        ok = error_set("cannot close %s: %s", p->path, strerror(errno));
    memory_free(p->path);
    p->path = NULL;
    p->bytes = p->pictures = 0;
    return ok;
}

static bool open_shard(Packing *p)
{
    Text path = {0};
    const char *name = file_name(p->o->out);
    text_add(&path, "%s/%s-%06zu.tar", p->folder, name, p->result->shards);
    if (path.failed)
        return false;
    p->descriptor = open(path.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (p->descriptor < 0) {
        error_set("cannot create %s: %s", path.data, strerror(errno));
        text_free(&path);
        return false;
    }
    p->path = path.data;
    p->result->shards++;
    return true;
}

static bool write_sample(Packing *p, size_t i, const Made *made)
{
    const PackOptions *o = p->o;
    char label[16] = "", key[SOURCE_KEY_SIZE];
    const char *stem = p->names.text.data + p->names.stem[i];
    const char *suffix = made->suffix ? made->suffix : strrchr(source_key(o->source, i, key, sizeof key), '.');
    Text picture = {0}, cls = {0};
    text_add(&picture, "%s%s", stem, suffix);
    text_add(&cls, "%s.cls", stem);
    bool ok = !picture.failed && !cls.failed;
    if (ok && source_class_count(o->source))
        snprintf(label, sizeof label, "%d", source_label(o->source, i));
    uint64_t more =
        ok ? tar_member_size(picture.data, made->size) + (label[0] ? tar_member_size(cls.data, strlen(label)) : 0) : 0;
    if (ok && p->path && (p->bytes + more > o->shard_bytes || (o->shard_count && p->pictures >= o->shard_count)))
        ok = close_shard(p);
    ok = ok && (p->path || open_shard(p)) && tar_write_member(p->descriptor, p->path, picture.data, made->bytes, made->size) &&
         (!label[0] || tar_write_member(p->descriptor, p->path, cls.data, label, strlen(label)));
    p->bytes += more;
    p->pictures++;
    p->result->pictures += ok;
    text_free(&picture);
    text_free(&cls);
    return ok;
}

static bool leave_out(Packing *p, size_t i, const Made *made)
{
    char key[SOURCE_KEY_SIZE];
    source_key(p->o->source, i, key, sizeof key);
    if (made->machine)
        return error_set("%s: %s", key, made->why ? made->why : "out of memory");
    p->result->bad++;
    if (p->o->bad)
        p->o->bad(p->o->context, key, made->why);
    return true;
}

static bool write_shards(Packing *p)
{
    bool ok = true;
    for (size_t i = 0; ok && i < p->count; i++) {
        Made made = take(p, i);
        ok = made.bytes ? write_sample(p, i, &made) : leave_out(p, i, &made);
        memory_free(made.bytes);
        memory_free(made.why);
        if (p->o->progress)
            p->o->progress(p->o->context, i + 1);
    }
    ok = close_shard(p) && ok;
    return ok && (p->result->pictures || error_set("not one picture at %s can be read", source_where(p->o->source)));
}

/* ---- classes */

static bool classes_are_lines(const Source *source)
{
    for (int c = 0; c < source_class_count(source); c++)
        if (!*source_class_name(source, c) || strpbrk(source_class_name(source, c), "\r\n"))
            return error_set(
                "the name of class %d cannot stand in " SHARD_CLASSES ", a line each: it is empty or has a line's end", c);
    return true;
}

static bool write_classes(const Packing *p)
{
    const Source *source = p->o->source;
    Text text = {0};
    for (int c = 0; c < source_class_count(source); c++)
        text_add(&text, "%s\n", source_class_name(source, c));
    char *path = file_join(p->folder, SHARD_CLASSES);
    bool ok = path && !text.failed && (!text.length || file_write(path, text.data, text.length));
    memory_free(path);
    text_free(&text);
    return ok;
}

/* ---- all of it */

static void stop(Packing *p, pthread_t *threads, int started)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->lock);
    for (int t = 0; t < started; t++)
        pthread_join(threads[t], NULL);
    for (size_t r = 0; r < p->length; r++) {
        memory_free(p->ring[r].bytes);
        memory_free(p->ring[r].why);
    }
}

static bool run(Packing *p)
{
    pthread_t threads[THREADS_MOST];
    int wanted = p->o->threads > THREADS_MOST ? THREADS_MOST : p->o->threads, started = 0;
    p->length = AHEAD * (size_t)wanted;
    p->ring = memory_new(p->length, sizeof *p->ring);
    if (!p->ring || !pack_names_make(&p->names, p->o->source))
        return false;
    while (started < wanted && pthread_create(&threads[started], NULL, work, p) == 0)
        started++;
    bool ok = started ? write_shards(p) : error_set("no thread can be started");
    stop(p, threads, started);
    return ok && write_classes(p);
}

bool source_pack(const PackOptions *options, PackResult *result)
{
    Packing p = {.o = options, .result = result, .count = source_count(options->source), .descriptor = -1};
    *result = (PackResult){0};
    if (!classes_are_lines(options->source) || !(p.folder = new_folder_begin(options->out)))
        return false;
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.room, NULL);
    pthread_cond_init(&p.ready, NULL);
    bool ok = new_folder_end(p.folder, run(&p));
    pack_names_free(&p.names);
    memory_free(p.ring);
    pthread_cond_destroy(&p.room);
    pthread_cond_destroy(&p.ready);
    pthread_mutex_destroy(&p.lock);
    return ok;
}
