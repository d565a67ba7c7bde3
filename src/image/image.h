/* Pictures in memory as bytes, and how they are read from files. What a decoder must give: docs/spec/pretraining.md
 * section 1.1. */
#ifndef LACUNA_IMAGE_IMAGE_H
#define LACUNA_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A picture of 8-bit samples: row-major, channels last, rows without gaps; sample (y, x, c) is data[(y * width + x) * channels
 * + c]. {0} is the empty picture. Whoever holds it owns `data` and frees it with image_free(). */
typedef struct {
    int height, width, channels;
    uint8_t *data;
} Image;

/* A rectangle of a picture, in pixels. */
typedef struct {
    int top, left, height, width;
} ImageBox;

/* What a decoder may be asked to do. Pixels and scans are counted before memory is taken for the picture. */
typedef struct {
    int64_t max_pixels; /* height * width */
    int max_scans;      /* passes of a progressive JPEG; a small file may hold thousands that each cost a full picture */
    double max_seconds; /* of the thread's processor time, looked at between rows or scans; 0: no limit. So generous that it
                         * never decides on an honest file: results must not depend on the machine's speed */
} ImageLimits;

/* 178 956 970 pixels, 500 scans and 60 seconds, used where no limits are given. No side may be longer than 1 000 000 pixels in
 * any case. */
extern const ImageLimits IMAGE_LIMITS;

/* Memory for a picture, sizes at least 1; its samples are not set. The old content of *image is not freed. False after
 * error_set(), *image is then empty. */
bool image_new(Image *image, int height, int width, int channels);

/* Frees the samples and leaves the empty picture; does nothing to an empty one. */
void image_free(Image *image);

/* Bytes of a picture's samples: height * width * channels. */
size_t image_size(const Image *image);

/* Decodes a JPEG, PNG, WebP or TIFF file held in memory; the content decides which, `name` is only used in errors. `channels`
 * is 3 (RGB) or 1 (luma): grey is replicated, palettes are expanded, alpha is dropped, 16-bit samples become value / 257
 * rounded, luma is (19595 R + 38470 G + 7471 B + 32768) >> 16, CMYK is taken as inverted (what Adobe's programs write), the
 * EXIF orientation is not applied, an animation is refused, of a TIFF file with several pictures the first is taken. `limits`
 * may be NULL (IMAGE_LIMITS). On success *out is a fresh picture that the caller owns. False after error_set() for a file of
 * another kind, one that is cut off or damaged, or one beyond the limits; *out is then empty. Thread-safe. */
bool image_decode(const void *bytes, size_t size, const char *name, int channels, Image *out);
bool image_decode_within(const void *bytes, size_t size, const char *name, int channels, const ImageLimits *limits, Image *out);

/* Size of the picture and whether it is grey (1 channel) or in colour (3), from the file's header alone: the pixels behind it
 * may still turn out to be damaged. Each of the three may be NULL. False after error_set(). No limits are applied. */
bool image_probe(const void *bytes, size_t size, const char *name, int *height, int *width, int *channels);

/* The name of the readable format that a file's first bytes are of ("JPEG", "PNG", "WebP", "TIFF"); NULL: none. */
const char *image_format(const void *bytes, size_t size);

/* The name of the readable format that a file name's suffix, in any case, stands for; NULL: none. */
const char *image_suffix_format(const char *name);

/* Luma of an RGB pixel; a grey pixel keeps its value. */
static inline uint8_t image_luma(const uint8_t *rgb)
{
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}

/* Reads the file at `path` (at most 1 GiB) and decodes it with IMAGE_LIMITS. */
bool image_read(const char *path, int channels, Image *out);

#endif
