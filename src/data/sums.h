/* Sums over the pixels of pictures, for means and deviations. Integers, so that neither the order of the pictures nor the
 * number of threads matters. */
#ifndef LACUNA_DATA_SUMS_H
#define LACUNA_DATA_SUMS_H

#include "image/image.h"

/* Samples count in 65535ths: bytes and 16-bit samples exactly, the sums of a float picture rounded. */
typedef struct {
    int channels; /* 0: no picture yet */
    uint64_t pixels;
    __int128 sum[IMAGE_CHANNELS_MAX], square[IMAGE_CHANNELS_MAX];
} PixelSums;

/* Adds a picture. All pictures of a sum have the same number of channels. */
void pixel_sums_add_picture(PixelSums *sums, const Image *image);

void pixel_sums_add(PixelSums *sums, const PixelSums *more);

/* Mean and population standard deviation of a channel on a scale of 0..1 (of float pictures: their own); there must be pixels.
 */
double pixel_sums_mean(const PixelSums *sums, int channel);
double pixel_sums_deviation(const PixelSums *sums, int channel);

#endif
