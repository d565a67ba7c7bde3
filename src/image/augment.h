/* From picture to network input: crop boxes and tensors. docs/spec/pretraining.md sections 1.2, 1.4 and 1.5. */
#ifndef LACUNA_IMAGE_AUGMENT_H
#define LACUNA_IMAGE_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "image/image.h"
#include "image/resize.h"

/* Mean and standard deviation per channel (R, G, B), of samples on 0..1. */
typedef struct {
    const char *name;
    float mean[3], std[3];
} ImageStatistics;

extern const ImageStatistics IMAGE_STATISTICS_IMAGENET, IMAGE_STATISTICS_CLIP;

/* The named statistics ("imagenet", "clip"); NULL, without setting an error, for another name. */
const ImageStatistics *image_statistics_find(const char *name);

/* Section 1.2: a random rectangle of a height x width picture whose share of the area lies in scale[0]..scale[1] and whose
 * width over height in ratio[0]..ratio[1], tried 10 times, then the centred rectangle that only obeys the ratio. 0 < scale[0]
 * <= scale[1], 0 < ratio[0] <= ratio[1]. Each try draws area then aspect; the accepted one then top and left. */
ImageBox crop_draw(Random *random, int height, int width, const double scale[2], const double ratio[2]);

/* docs/spec/transfer.md A.10, how a picture is evaluated: resized until its short side is `side`, then the centre of height x
 * width cut out, zeros around it where the picture is smaller. Of a picture more than 16 times as long as wide the middle of
 * that shape is taken first. `out` receives height * width * in->channels bytes. False after error_set(). */
bool image_evaluate(const Image *in, int side, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                    uint8_t *out);

/* The same for a picture of any depth, as image_resize_deep() has it: `out` receives floats. */
bool image_evaluate_deep(const Image *in, int side, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                         float *out);

/* A.10's short side for a square of `size` pixels: int(size / 0.875) up to 224, `size` above. */
int image_evaluate_side(int size);

/* The largest rectangle in the middle of a picture with the shape `rows` x `columns`. */
ImageBox crop_centre(int height, int width, int rows, int columns);

/* Sections 1.4 and 1.5: pixels (height, width, channels) bytes to out (channels, height, width), (byte / 255 - mean[c]) /
 * std[c], mirrored left to right when `flip`. Allocates nothing. `mean` and `std` have one entry per channel. */
void image_to_tensor(const uint8_t *pixels, int height, int width, int channels, bool flip, const float *mean, const float *std,
                     float *out);

/* The same for floats (image_resize_deep()): (value - mean[c]) / std[c]. */
void image_to_tensor_deep(const float *pixels, int height, int width, int channels, bool flip, const float *mean,
                          const float *std, float *out);

#endif
