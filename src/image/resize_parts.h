/* What resizing of bytes (resize.c) and of deeper samples (resize_deep.c) share. Not for use outside this folder. */
#ifndef LACUNA_IMAGE_RESIZE_PARTS_H
#define LACUNA_IMAGE_RESIZE_PARTS_H

#include "image/resize.h"

/* The filter's reach on both sides, in inputs at a scale of 1, and its weight at x (before all are divided by their sum). */
double resize_filter_support(ResizeFilter filter);
double resize_filter_weight(ResizeFilter filter, double x);

/* False after error_set(): a size below 1, or a crop outside the picture. */
bool resize_check(const Image *in, ImageBox crop, int height, int width);

/* Whether the rows are made first, else the columns. */
bool resize_rows_first(ImageBox crop, int height, int width);

/* So many bytes of the scratch, aligned; NULL after error_set(). */
void *resize_room(ResizeScratch *scratch, size_t bytes);

#endif
