#include "data/sums.h"

#include <math.h>

enum { FULL = 65535, BYTE = FULL / 255 };

static void add_bytes(PixelSums *sums, const Image *image, size_t pixels, size_t channels)
{
    for (size_t c = 0; c < channels; c++) {
        uint64_t sum = 0, square = 0;
        for (size_t p = 0; p < pixels; p++) {
            uint32_t byte = image->data[p * channels + c];
            sum += byte;
            square += byte * byte;
        }
        sums->sum[c] += (__int128)sum * BYTE;
        sums->square[c] += (__int128)square * BYTE * BYTE;
    }
}

static void add_wide(PixelSums *sums, const Image *image, size_t pixels, size_t channels)
{
    const uint16_t *samples = (const uint16_t *)(const void *)image->data;
    for (size_t c = 0; c < channels; c++) {
        uint64_t sum = 0, square = 0; /* of 2^32 pixels at most, more than a picture may have */
        for (size_t p = 0; p < pixels; p++) {
            uint64_t value = samples[p * channels + c];
            sum += value;
            square += value * value;
        }
        sums->sum[c] += sum;
        sums->square[c] += square;
    }
}

static void add_floats(PixelSums *sums, const Image *image, size_t pixels, size_t channels)
{
    const float *samples = (const float *)(const void *)image->data;
    for (size_t c = 0; c < channels; c++) {
        double sum = 0, square = 0;
        for (size_t p = 0; p < pixels; p++) {
            double value = FULL * (double)samples[p * channels + c];
            sum += value;
            square += value * value;
        }
        sums->sum[c] += (__int128)nearbyint(sum);
        sums->square[c] += (__int128)nearbyint(square);
    }
}

void pixel_sums_add_picture(PixelSums *sums, const Image *image)
{
    size_t pixels = (size_t)image->height * (size_t)image->width, channels = (size_t)image->channels;
    sums->channels = image->channels;
    sums->pixels += pixels;
    if (image->depth == IMAGE_U8)
        add_bytes(sums, image, pixels, channels);
    else if (image->depth == IMAGE_U16)
        add_wide(sums, image, pixels, channels);
    else
        add_floats(sums, image, pixels, channels);
}

void pixel_sums_add(PixelSums *sums, const PixelSums *more)
{
    sums->channels = more->channels ? more->channels : sums->channels;
    sums->pixels += more->pixels;
    for (int c = 0; c < more->channels; c++) {
        sums->sum[c] += more->sum[c];
        sums->square[c] += more->square[c];
    }
}

double pixel_sums_mean(const PixelSums *sums, int channel)
{
    return (double)sums->sum[channel] / (FULL * (double)sums->pixels);
}

double pixel_sums_deviation(const PixelSums *sums, int channel)
{
    /* n sum(x^2) - sum(x)^2 in 128 bits: exact, where doubles would cancel. Only large floats do not fit. */
    __int128 n = sums->pixels, sum = sums->sum[channel], left, right;
    if (!__builtin_mul_overflow(n, sums->square[channel], &left) && !__builtin_mul_overflow(sum, sum, &right))
        return left > right ? sqrt((double)(left - right)) / (FULL * (double)n) : 0;
    double mean = (double)sum / (double)n;
    return sqrt(fmax(0, (double)sums->square[channel] / (double)n - mean * mean)) / FULL;
}
