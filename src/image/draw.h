/* What sheets of pictures are made with. All drawing is clipped to the picture. */
#ifndef LACUNA_IMAGE_DRAW_H
#define LACUNA_IMAGE_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/image.h"

enum { TEXT_GLYPH_WIDTH = 5, TEXT_GLYPH_HEIGHT = 7, TEXT_ADVANCE = 6 }; /* pixels at scale 1 */

/* A PNG file in memory, owned by the caller (memory_free); NULL after error_set(). 1 channel: grey, 3: RGB, 4: RGBA. */
uint8_t *image_encode_png(const Image *image, size_t *size);

/* Likewise of grey samples of 16 bits, row-major. */
uint8_t *image_encode_png16(const uint16_t *samples, int height, int width, size_t *size);

enum { IMAGE_JPEG_SIDE = 65500 }; /* rows or columns that a JPEG file has at most */

/* A JPEG file in memory of a picture with 1 or 3 channels, colours as fine as brightness (4:4:4); quality 1..100. As
 * image_encode_png(). */
uint8_t *image_encode_jpeg(const Image *image, int quality, size_t *size);

/* Writes a PNG file through file_write(): readers see the old file or the whole new one. */
bool image_write_png(const char *path, const Image *image);

/* Undoes docs/spec/pretraining.md section 1.5: tensor (channels, height, width) to a fresh picture in *out, byte = round(255 *
 * (v * std[c] + mean[c])) clamped to 0..255, not-a-number 0. `mean` and `std` may be NULL (0 and 1). */
bool image_from_tensor(const float *tensor, int channels, int height, int width, const float *mean, const float *std,
                       Image *out);

/* Fills the part of `box` that lies in the picture. `colour` has image->channels entries. */
void draw_rectangle(Image *image, ImageBox box, const uint8_t *colour);

/* Copies `from`, each pixel enlarged to scale x scale, with its top left corner at row `top`, column `left` of `image`.
 * Channels may differ: grey becomes R = G = B, colour becomes luma (section 1.1). */
void draw_image(Image *image, int top, int left, const Image *from, int scale);

/* Writes one line of printable ASCII in a 5 x 7 bitmap font enlarged by `scale`, top left corner at (top, left); other
 * characters show as '?'. Only the strokes are drawn, the background stays. */
void draw_text(Image *image, int top, int left, const char *text, const uint8_t *colour, int scale);

/* Width in pixels of a line of draw_text(). */
int draw_text_width(const char *text, int scale);

#endif
