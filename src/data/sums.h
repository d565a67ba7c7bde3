/* Sums over the pixels of pictures, for means and deviations. Integers, so that neither the order of the pictures nor the
 * number of threads matters; 64 bits hold the squares of 2.8e14 pixels. */
#ifndef LACUNA_DATA_SUMS_H
#define LACUNA_DATA_SUMS_H

#include "image/image.h"

enum { PIXEL_SUMS_CHANNELS = 3 };

typedef struct {
    uint64_t pixels, sum[PIXEL_SUMS_CHANNELS], square[PIXEL_SUMS_CHANNELS];
} PixelSums;

/* Adds a picture of at most PIXEL_SUMS_CHANNELS channels. */
void pixel_sums_add_picture(PixelSums *sums, const Image *image);

void pixel_sums_add(PixelSums *sums, const PixelSums *more);

/* Mean and population standard deviation of a channel on a scale of 0..1; there must be pixels. */
double pixel_sums_mean(const PixelSums *sums, int channel);
double pixel_sums_deviation(const PixelSums *sums, int channel);

#endif
