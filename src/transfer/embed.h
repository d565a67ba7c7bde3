/* Features of every picture of a source into a file, a batch at a time. */
#ifndef LACUNA_TRANSFER_EMBED_H
#define LACUNA_TRANSFER_EMBED_H

#include "transfer/features.h"

/* By the suffix of the file:
 * .npy          (pictures, [blocks,] [patches,] width) f32; the pictures' names stand in FILE.names.csv, lines `path` or
 *               `path,label` in the order of the rows;
 * .csv          a line a picture: path, label (when there are any), then the numbers as they are printed without loss;
 * .safetensors  `features` as in .npy, `labels` I32 when there are any; names and classes as JSON lists in the metadata,
 *               with `depth` and `full_depth` as in ProbeResult. */
typedef enum { EMBED_NPY, EMBED_CSV, EMBED_SAFETENSORS } EmbedFormat;

typedef struct {
    Device device;
    int batch;
    bool bf16;
    const FeatureWant *wants; /* all of the same pool; several: an axis of blocks */
    int count;
    int workers;
    double max_bad; /* share of unreadable pictures that is put up with; their numbers are NaN */
    /* Told of each batch done and of each unreadable picture. May be NULL. */
    void (*progress)(void *context, size_t done, size_t all);
    void (*bad)(void *context, const char *key, const char *reason);
    void *context;
} EmbedOptions;

/* False after error_set() for another suffix. */
bool embed_format(const char *path, EmbedFormat *format);

/* Writes PATH. What is done so far lies in PATH.part and is gone on with when PATH.part.key says that weights, pictures, and
 * all that the numbers depend on are the same; a file that was interrupted ends with the same bytes. *resumed: pictures that
 * were there already. Memory does not grow with the number of pictures, but for their names. False after error_set(), also when
 * PATH is the list that names the pictures, or another process writes PATH.part. */
bool embed_write(Backbone *backbone, const Source *source, const char *path, const EmbedOptions *options, size_t *resumed);

#endif
