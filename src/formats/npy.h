/* numpy's .npy files (docs/spec/transfer.md F.2): a header, then the numbers, row-major. */
#ifndef LACUNA_FORMATS_NPY_H
#define LACUNA_FORMATS_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum { NPY_DIMS_MAX = 8 };

/* Appends the header of an array of little-endian f32 to *out; the numbers follow it in the file. False after error_set(). */
bool npy_header(const int64_t *shape, int ndim, Text *out);

/* An array of f32 read whole; `data` is owned by the holder, freed with npy_free(). */
typedef struct {
    int ndim;
    int64_t shape[NPY_DIMS_MAX];
    float *data;
} NpyArray;

/* Reads a file of f32, f64, i32, i64 or u8 numbers (little endian, row-major) as f32. Refused with a reason: other types,
 * pickles, Fortran order, a header that is not numpy's, a size that is not the shape's. False after error_set(). */
bool npy_read(const char *path, NpyArray *out);
void npy_free(NpyArray *array);

#endif
