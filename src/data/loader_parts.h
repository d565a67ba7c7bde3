/* Private to src/data: what the ring (loader.c) and the filling of its slots (loader_fill.c) share. */
#ifndef LACUNA_DATA_LOADER_PARTS_H
#define LACUNA_DATA_LOADER_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "data/loader.h"

enum { LOADER_ERROR_SIZE = 512 };

/* A picture that was found unreadable while a place of a batch was filled. */
typedef struct {
    size_t place, attempt;
    uint64_t sample;
} Miss;

enum {
    LOADER_UNKNOWN,
    LOADER_BAD,  /* unreadable */
    LOADER_WHOLE /* decoded to its end without an error, so that later parts need not be followed by the rest */
};

/* Room for a batch, with what is needed to fill it. */
typedef struct {
    float *images;
    uint64_t *samples;
    int32_t *labels;
    size_t count;
    uint64_t step;
    uint32_t epoch;
    const uint32_t *order; /* of the epoch; NULL: that of the list */
    size_t from;           /* place in the order of the batch's first picture */
    size_t items, done;    /* parts of the batch that a worker fills at a time */
    Miss *misses;
    size_t miss_count, miss_capacity;
    char error[LOADER_ERROR_SIZE]; /* "": none */
} Slot;

/* An unreadable picture. */
typedef struct {
    uint64_t sample;
    char *reason;
} Bad;

typedef struct {
    Loader *loader;
    pthread_t thread;
    ResizeScratch scratch;
    uint8_t *pixels; /* the resized picture: bytes, or floats of deeper ones */
} Worker;

struct Loader {
    LoaderOptions o;
    PictureCache *cache, *own_cache;
    size_t count; /* pictures of the list */
    uint64_t epoch_steps, end;
    size_t item; /* pictures of an item */
    float *own_memory;
    Slot *slots;
    uint32_t *orders; /* those of the epochs that the ring can touch at once */
    uint64_t *order_epochs;
    size_t order_count;
    atomic_uchar *state; /* per sample of the source: LOADER_UNKNOWN .. */
    uint8_t *counted;    /* per sample: a batch delivered so far met it, and it is bad; of the caller's thread only */
    Worker *workers;
    int started;

    pthread_mutex_t lock; /* over all below, the slots' counts, misses and errors */
    pthread_cond_t work, ready;
    uint64_t next_step; /* the batch of which the next item is handed out */
    size_t next_item;
    uint64_t delivered, released; /* batches handed to the caller; given back */
    Bad *bads;
    size_t bad_count, bad_capacity, bad_counted;
    bool stop;
};

/* Numbers in a picture of the result, and of the second one, which lie behind those of the whole batch. */
size_t loader_picture_size(const LoaderOptions *o);
size_t loader_other_size(const LoaderOptions *o);

/* Where a slot's pictures of LoaderOptions.other begin: behind those of all views. */
float *loader_other_images(const Loader *loader, const Slot *slot);

/* Fills a place of a batch: picture, sample, label. Called by workers without the lock. False after error_set(). */
bool loader_fill(Worker *worker, Slot *slot, size_t place);

/* Counts and tells the unreadable pictures that a finished batch met, and refuses the batch when they are too many. They are
 * counted batch by batch, not when workers find them, so that a run stops at the same batch however far ahead the workers are.
 * Called by loader_next() without the lock. */
bool loader_count_misses(Loader *l, Slot *slot);

#endif
