/* Pictures in memory, and how they are read from files. What a decoder must give: docs/spec/pretraining.md
 * section 1.1. */
#ifndef LACUNA_IMAGE_IMAGE_H
#define LACUNA_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { IMAGE_U8, IMAGE_U16, IMAGE_F32, IMAGE_DEPTHS } ImageDepth;

enum { IMAGE_CHANNELS_MAX = 64 /* of a picture */ };

/* A picture: row-major, channels last, rows without gaps; sample (y, x, c) is number (y * width + x) * channels + c, a byte of
 * `data` or, at a greater depth, a uint16_t or float. {0} is the empty picture. Whoever holds it owns `data` and frees it with
 * image_free(). */
typedef struct {
    int height, width, channels;
    uint8_t *data;
    ImageDepth depth;
} Image;

/* A rectangle of a picture, in pixels. */
typedef struct {
    int top, left, height, width;
} ImageBox;

/* What a decoder may be asked to do. Pixels and scans are counted before memory is taken for the picture. */
typedef struct {
    int64_t max_pixels; /* height * width; and 16 times as many bytes of all channels together */
    int max_scans;      /* passes of a progressive JPEG; a small file may hold thousands that each cost a full picture */
    double max_seconds; /* of the thread's processor time, looked at between rows or scans; 0: no limit. So generous that it
                         * never decides on an honest file: results must not depend on the machine's speed */
} ImageLimits;

/* 178 956 970 pixels, 500 scans and 60 seconds, used where no limits are given. No side may be longer than 1 000 000 pixels in
 * any case. */
extern const ImageLimits IMAGE_LIMITS;

/* Memory for a picture of bytes, or of another depth, sizes at least 1; its samples are not set. The old content of *image is
 * not freed. False after error_set(), *image is then empty. */
bool image_new(Image *image, int height, int width, int channels);
bool image_new_deep(Image *image, int height, int width, int channels, ImageDepth depth);

/* Frees the samples and leaves the empty picture; does nothing to an empty one. */
void image_free(Image *image);

/* Bytes of a sample: 1, 2 or 4. */
size_t image_depth_bytes(ImageDepth depth);

/* Bytes of a picture's samples: height * width * channels, times those of one. */
size_t image_size(const Image *image);

/* Decodes a JPEG, PNG, WebP or TIFF file held in memory; the content decides which, `name` is only used in errors. `channels`
 * is 3 (RGB) or 1 (luma): grey is replicated, palettes are expanded, alpha is dropped, 16-bit samples become value / 257
 * rounded, luma is (19595 R + 38470 G + 7471 B + 32768) >> 16, CMYK is taken as inverted (what Adobe's programs write), the
 * EXIF orientation is not applied, an animation is refused, of a TIFF file with several pictures the first is taken. `limits`
 * may be NULL (IMAGE_LIMITS). On success *out is a fresh picture that the caller owns. False after error_set() for a file of
 * another kind, one that is cut off or damaged, or one beyond the limits; *out is then empty. Thread-safe. */
bool image_decode(const void *bytes, size_t size, const char *name, int channels, Image *out);
bool image_decode_within(const void *bytes, size_t size, const char *name, int channels, const ImageLimits *limits, Image *out);

/* What is wanted of a file, beyond what image_decode() gives. */
typedef struct {
    /* 1 and 3 as for image_decode(). Another number: the file's channels as they are, an alpha channel counted as one where
     * that makes up the number (4: RGB and alpha, or a TIFF file's four); files of another number are refused. */
    int channels;
    bool deep;    /* keep 16-bit and float samples (half floats become floats); else 16 bits become bytes, floats are refused */
    bool exif;    /* turn the picture upright, as its EXIF or TIFF orientation tag says */
    int draft[2]; /* rows and columns that are enough: a JPEG picture is decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 of
                   * its size that has them (sides rounded up), a larger one of another format as it is. {0, 0}: full size */
    bool known;   /* the file was decoded to its end without an error before, so what lies behind the part is left unread */
    const ImageLimits *limits; /* NULL: IMAGE_LIMITS */
    /* Chooses the part that is wanted, from the size of the (upright, reduced) picture; it must lie in it. Called at most once.
     * NULL: the whole. */
    ImageBox (*choose)(void *context, int height, int width);
    void *context;
} ImageRequest;

/* What `choose` says of a whole picture; without it, all of it. */
ImageBox image_choose(const ImageRequest *request, const Image *image);

/* As image_decode(), but *out is the chosen part alone: the same samples as those of the whole picture. The whole file is
 * looked at (unless `known`), so that whether it is good does not depend on the part. Float samples must be finite and within
 * +-1 000 000. */
bool image_decode_part(const void *bytes, size_t size, const char *name, const ImageRequest *request, Image *out);

/* What a file's header says of its picture; the pixels behind it may still turn out to be damaged. */
typedef struct {
    int height, width; /* as stored, before any turning */
    int channels;      /* 1: grey, 3: colour (palettes and CMYK are), or what a TIFF file has; without alpha */
    bool alpha;        /* there is a channel more, of alpha */
    ImageDepth depth;
    int orientation; /* EXIF's number, 1 to 8; 1: upright, or not told */
} ImageFacts;

/* False after error_set(). No limits are applied. */
bool image_facts(const void *bytes, size_t size, const char *name, ImageFacts *facts);

/* Whether a file that begins with these bytes is worth reading: false after error_set() when they are of no picture, or
 * announce one beyond the limits. What only the rest can tell is left to the decoder. */
bool image_start_is_sound(const void *start, size_t size, const char *name);

/* Size of the picture and its channels, from image_facts(). Each of the three may be NULL. */
bool image_probe(const void *bytes, size_t size, const char *name, int *height, int *width, int *channels);

/* The name of the readable format that a file's first bytes are of ("JPEG", "PNG", "WebP", "TIFF"); NULL: none. */
const char *image_format(const void *bytes, size_t size);

/* The name of the readable format that a file name's suffix, in any case, stands for; NULL: none. */
const char *image_suffix_format(const char *name);

/* Weights of luma, in 65536ths. */
enum { LUMA_RED = 19595, LUMA_GREEN = 38470, LUMA_BLUE = 7471 };

/* Luma of an RGB pixel; a grey pixel keeps its value. */
static inline uint8_t image_luma(const uint8_t *rgb)
{
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16);
}

/* Reads the file at `path` (at most 1 GiB) and decodes it with IMAGE_LIMITS. */
bool image_read(const char *path, int channels, Image *out);
bool image_read_part(const char *path, const ImageRequest *request, Image *out);

#endif
