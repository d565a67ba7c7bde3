/* Resizing of a rectangle of a picture, byte for byte as Pillow 13.0 does it: docs/spec/pretraining.md section 1.3. */
#ifndef LACUNA_IMAGE_RESIZE_H
#define LACUNA_IMAGE_RESIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

typedef enum { RESIZE_BICUBIC, RESIZE_BILINEAR, RESIZE_LANCZOS, RESIZE_FILTERS } ResizeFilter;

/* "bicubic", "bilinear", "lanczos". */
const char *resize_filter_name(ResizeFilter filter);

/* False, without setting an error, when there is no filter of that name. */
bool resize_filter_find(const char *name, ResizeFilter *filter);

/* Working memory that grows as needed and is kept between calls; one per thread. {0} at first. */
typedef struct {
    uint8_t *data;
    size_t capacity; /* bytes */
    int kernels;     /* which build of the loops this processor runs; 0: not asked yet */
} ResizeScratch;

void resize_scratch_free(ResizeScratch *scratch);

/* Cuts `crop` out of `in`, a picture of bytes, and brings it to height x width: out receives height * width * in->channels
 * bytes, channels last. Pixels outside the crop have no influence. Takes no memory when the scratch is large enough from an
 * earlier call. False after error_set() when the crop does not lie in the picture, a size is below 1, or memory is out. `out`
 * must not overlap `in`. */
bool image_resize(const Image *in, ImageBox crop, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                  uint8_t *out);

/* The same for a picture of any depth: out receives height * width * in->channels floats, bytes and 16-bit samples as shares of
 * their largest number. The filter and the order of the axes are those of bytes, weights are exact, sums are taken in double,
 * and what lies between the axes is kept in float. */
bool image_resize_deep(const Image *in, ImageBox crop, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                       float *out);

#endif
