/* Which way up a picture is stored: EXIF's orientation tag, and turning as it says. Not for use outside this folder. */
#ifndef LACUNA_IMAGE_ORIENTATION_H
#define LACUNA_IMAGE_ORIENTATION_H

#include "image/image.h"

/* The tag's number in a block of EXIF, which is laid out like a TIFF file ("II*" or "MM", then directories); 0 when there is
 * none or the block is damaged. Reads nothing outside of it, and at most one directory. */
int orientation_find(const uint8_t *block, size_t size);

/* Whether rows and columns change places (5 to 8). */
bool orientation_lies(int orientation);

/* Where a part of the upright picture lies in the stored one of height x width pixels. */
ImageBox orientation_box(int orientation, ImageBox box, int height, int width);

/* Turns a stored picture upright, in memory of its own when it is not upright already. False after error_set(): memory. */
bool orientation_turn(int orientation, Image *image);

#endif
