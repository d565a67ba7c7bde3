/* Batches, in order, made ahead of time by worker threads in a ring of slots.
 *
 * What a batch holds follows from (source, options, its number) alone: not from the number of workers, the ring's length, the
 * cache or the batch that was asked for first. So a run that starts at step n gets what an unbroken run gets. */
#ifndef LACUNA_DATA_LOADER_H
#define LACUNA_DATA_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/cache.h"
#include "data/source.h"
#include "image/colour.h"
#include "image/resize.h"

enum { LOADER_CHANNELS = IMAGE_CHANNELS_MAX }; /* most channels of a result */

typedef struct {
    const Source *source;    /* borrowed until loader_close(), as is all that is pointed to here */
    const uint64_t *samples; /* the subset to go through, in this order when not training; NULL: all */
    size_t count;            /* of `samples`; ignored when NULL */

    /* Training: pictures in a new order each epoch, cropped and flipped at random, the rest of an epoch that fills no batch is
     * dropped (spec 15.5), no end unless `steps` is set. Otherwise: one pass in the order of the list, the last batch may be
     * smaller, the centre of the picture with the shape of the result, resized (spec 1.3), never flipped. */
    bool train;
    size_t batch;   /* pictures of a batch, at least 1 */
    uint64_t first; /* number of the batch to start with: the step of the stage, from 0 */
    uint64_t steps; /* the batch behind the last one (so that first..steps-1 are delivered); 0: no end, or the list's end */
    uint64_t seed;
    uint32_t stage;

    int height, width, channels; /* of the result */
    int other[2];                /* rows and columns of a second result of the same crop and flip; {0, 0}: none */
    int evaluate;                /* not training: image_evaluate() with this short side; 0: as said above */
    double crop_scale[2];        /* shares of the area; {0, 0}: {1, 1} */
    double crop_ratio[2];        /* width / height; {0, 0}: {3/4, 4/3} */
    double flip;                 /* probability */
    ColourOptions colours;       /* changes in training, behind the crop */
    int views;                   /* of each picture in training, each with draws of its own: 1 or 2; 0: 1 */
    bool shallow;                /* 16-bit samples become bytes and floats are refused, as changes of colours need it */
    ResizeFilter filter;
    bool exif;                   /* pictures are turned upright as their tags say, before they are cropped */
    int draft[2];                /* rows and columns that are enough of a JPEG picture, as in ImageRequest; {0, 0}: full size */
    float mean[LOADER_CHANNELS]; /* on 0..1 */
    float std[LOADER_CHANNELS];  /* all zero: 1 */

    int workers;         /* threads; 0: 1 */
    int ring;            /* batches made ahead, 0: 3 */
    bool whole_files;    /* files are decoded to their end at each look, not at the first alone: the same batches, slower */
    PictureCache *cache; /* of loader_form(), shared with other loaders of the source; NULL: an own one of cache_mb */
    size_t cache_mb;
    void *memory; /* loader_memory() bytes, aligned to MEMORY_ALIGN, for the pictures of the ring; NULL: allocated */

    double max_bad; /* share of the list's pictures that may be unreadable */
    /* Samples of the list that batches before `first` found unreadable, each once: they count, and are not told again. */
    const uint64_t *known_bad;
    size_t known_bad_count;
    /* Told of each unreadable picture once, in the order of the batches, on the thread that calls loader_next(). May be NULL.
     */
    void (*bad)(void *context, const char *key, const char *reason);
    void *bad_context;
} LoaderOptions;

typedef struct {
    const float *images;     /* (count, channels, height, width) */
    const float *second;     /* the second view of each, likewise; NULL: there is one view */
    const float *other;      /* (count, channels, rows, columns) of LoaderOptions.other; NULL: none */
    const uint64_t *samples; /* (count) index in the source of the picture that is there (of the replacement of a bad one) */
    const int32_t *labels;   /* (count) -1: none */
    size_t count;            /* pictures; 0: the end */
    uint64_t step;           /* number of the batch */
    uint32_t epoch;          /* step / loader_epoch_steps(); 0 when not training */
    double waited;           /* seconds this call of loader_next() waited for the workers */
} LoaderBatch;

typedef struct Loader Loader;

/* How the loader wants pictures of the source, for a cache that it is to share. */
ImageRequest loader_form(const LoaderOptions *options);

/* Bytes that the pictures of the ring take. False (error_set) on overflow. */
bool loader_memory(const LoaderOptions *options, size_t *bytes);

/* Starts the workers. Owned by the caller. NULL after error_set(): fewer training pictures than a batch (names
 * schedule.batch_size), no pictures, options out of range, no thread or memory. */
Loader *loader_open(const LoaderOptions *options);

/* Stops the workers, at any time, and frees all. NULL is fine. */
void loader_close(Loader *loader);

/* Batches in an epoch: floor(pictures / batch) in training, else the batches of the one pass. */
uint64_t loader_epoch_steps(const Loader *loader);

/* The next batch in order, waiting for it when needed. It stays valid until released. Behind the last batch *out has count 0.
 * An unreadable picture is replaced by the next readable one in the epoch's order (the list's, when not training), around the
 * end if need be. False after error_set(): more than max_bad of the pictures turned out unreadable so far, memory ran out, or
 * all slots are held by the caller. */
bool loader_next(Loader *loader, LoaderBatch *out);

/* Gives the oldest batch held back to the workers. */
void loader_release(Loader *loader);

/* Distinct pictures found unreadable in the batches delivered so far, those known before counted. */
size_t loader_bad_count(const Loader *loader);

#endif
