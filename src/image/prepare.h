/* From a decoded picture to the numbers that a network sees: resized, mirrored, normalised. */
#ifndef LACUNA_IMAGE_PREPARE_H
#define LACUNA_IMAGE_PREPARE_H

#include "image/colour.h"
#include "image/resize.h"

/* Brings `crop` of a picture to height x width (docs/spec/pretraining.md 1.3), changes its colours (NULL: not; bytes alone can
 * be), mirrors it when `flip` and writes (channels, height, width) to out, (value - mean[c]) / std[c] with values on 0..1,
 * those of float pictures as they are. Bytes are resized as bytes, deeper samples as floats. `room` holds height * width *
 * in->channels floats. False after error_set(). */
bool image_prepare(const Image *in, ImageBox crop, int height, int width, ResizeFilter filter, const ColourChange *colours,
                   bool flip, const float *mean, const float *std, ResizeScratch *scratch, void *room, float *out);

#endif
