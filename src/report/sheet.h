/* Sheets: a grid of small pictures with a caption over each column. */
#ifndef LACUNA_REPORT_SHEET_H
#define LACUNA_REPORT_SHEET_H

#include <stdbool.h>
#include <stdint.h>

#include "image/image.h"

enum {
    SHEET_CELL_LEAST = 96, /* pixels; smaller pictures are enlarged by the smallest whole number that reaches it */
    SHEET_MARGIN = 8       /* pixels around the sheet and between cells */
};

/* Lays out rows x columns pictures, cells[row * columns + column], all of the size of the first one (grey or colour), under
 * `captions` (one a column, printable ASCII; cut to the width of its column), on a light ground. *out receives a fresh RGB
 * picture, owned by the caller. False after error_set() when there are no cells, their sizes differ, or the sheet would be too
 * large. */
bool sheet_make(const Image *cells, int rows, int columns, const char *const *captions, Image *out);

/* How many times the pictures of a sheet are enlarged. */
int sheet_scale(const Image *cell);

/* Paints over what hidden patches show: hidden[l] of patch l (row-major) of side `patch`; the picture's sides are multiples of
 * it. */
void sheet_hide(Image *image, const uint8_t *hidden, int patch);

#endif
