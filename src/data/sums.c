#include "data/sums.h"

#include <math.h>

void pixel_sums_add_picture(PixelSums *sums, const Image *image)
{
    size_t pixels = (size_t)image->height * (size_t)image->width, channels = (size_t)image->channels;
    sums->pixels += pixels;
    for (size_t c = 0; c < channels; c++) {
        uint64_t sum = 0, square = 0;
        for (size_t p = 0; p < pixels; p++) {
            uint32_t byte = image->data[p * channels + c];
            sum += byte;
            square += byte * byte;
        }
        sums->sum[c] += sum;
        sums->square[c] += square;
    }
}

void pixel_sums_add(PixelSums *sums, const PixelSums *more)
{
    sums->pixels += more->pixels;
    for (int c = 0; c < PIXEL_SUMS_CHANNELS; c++) {
        sums->sum[c] += more->sum[c];
        sums->square[c] += more->square[c];
    }
}

double pixel_sums_mean(const PixelSums *sums, int channel)
{
    return (double)sums->sum[channel] / (255 * (double)sums->pixels);
}

double pixel_sums_deviation(const PixelSums *sums, int channel)
{
    /* n sum(x^2) - sum(x)^2 in 128 bits: exact, where doubles would cancel. */
    unsigned __int128 spread =
        (unsigned __int128)sums->pixels * sums->square[channel] - (unsigned __int128)sums->sum[channel] * sums->sum[channel];
    return sqrt((double)spread) / (255 * (double)sums->pixels);
}
