/* A code book made of many rows of numbers, by k-means (docs/spec/pretraining.md 12): k-means++ chooses the first codes, then
 * rounds of nearest codes and means. */
#ifndef LACUNA_MIM_CODEBOOK_H
#define LACUNA_MIM_CODEBOOK_H

#include "device/device.h"

enum { CODEBOOK_ROUNDS = 20 };

/* Fills `book` (codes, width), the caller's, from `count` >= codes rows of `width` numbers. Draws come from `seed`; products
 * are the device's. *left: the share of the rows' variance that their codes do not explain. False after error_set(). */
bool codebook_make(const Device *device, const float *rows, int64_t count, int64_t width, int codes, uint64_t seed, float *book,
                   double *left);

/* What the search for the nearest code adds to each product: -|c|^2 / 2. */
void codebook_bias(const float *book, int codes, int64_t width, float *bias);

#endif
