/* Private to src/data: EXIF's orientation tag for pictures that are encoded again. */
#ifndef LACUNA_DATA_PACK_EXIF_H
#define LACUNA_DATA_PACK_EXIF_H

#include <stdbool.h>
#include <stddef.h>

/* Puts a block of EXIF that says nothing but the orientation (2 to 8) into a PNG or JPEG file that image_encode_png() or
 * image_encode_jpeg() made. *bytes, of memory_new(), may move. False after error_set(). */
bool pack_orientation(char **bytes, size_t *size, bool png, int orientation);

#endif
