/* The seam between image.c and the codecs, one codec a file. Not for use outside this folder. */
#ifndef LACUNA_IMAGE_CODEC_H
#define LACUNA_IMAGE_CODEC_H

#include "image/image.h"

/* When decoding of a picture began, by two clocks. */
typedef struct {
    const ImageLimits *limits;
    double wall, thread;
} CodecTime;

CodecTime codec_time_start(const ImageLimits *limits);

/* Whether there is time left; false after error_set(). Cheap enough to be asked at each row. */
bool codec_time_left(const CodecTime *time);

/* Whether a library's words for why it stopped say that it got no memory, which is no fault of the file. */
bool codec_is_want_of_memory(const char *why);

/* What a codec is to decode. */
typedef struct {
    const ImageLimits *limits;
    CodecTime time;
    int scale;    /* the picture's sides are divided by it, rounded up; other than 1 only for JPEG: 2, 4 or 8 */
    ImageBox box; /* the part wanted, in the reduced picture; it lies in it */
    bool known;   /* what lies behind the part need not be looked at */
    /* Made by image_new_deep() with the size of the box; may hold anything on failure. For files of 1 or 3 channels it has 1 or
     * 3 (1 only for grey files), or as many as the file including alpha, which is kept then; for others as many as the file.
     * The depth is that of the file, or IMAGE_U8 where the file has 16 bits. */
    Image *out;
} CodecJob;

typedef struct {
    const char *name;
    const char *suffixes[5]; /* of its files' names, with the dot, in small letters; NULL behind the last.
                              * A new one changes what a stored listing or index would hold: see `magic` in
                              * data/listing.c and data/tar_index.c. */
    bool reduces;            /* CodecJob.scale may be other than 1 */
    /* Whether the first bytes are this format's. */
    bool (*matches)(const uint8_t *bytes, size_t size);
    /* Reads the header; the orientation may be left at 0. False after error_set(). */
    bool (*header)(const uint8_t *bytes, size_t size, ImageFacts *facts);
    /* Errors say what is wrong, not with which file. */
    bool (*decode)(const uint8_t *bytes, size_t size, const CodecJob *job);
    /* The orientation tag's number; anything else than 2 to 8: upright. NULL: the header has it. */
    int (*orientation)(const uint8_t *bytes, size_t size);
} Codec;

extern const Codec CODEC_JPEG, CODEC_PNG, CODEC_WEBP, CODEC_TIFF;

/* Whether a part begins and ends with the rows of a picture of that width. */
static inline bool codec_box_is_wide(const ImageBox *box, int width)
{
    return box->left == 0 && box->width == width;
}

#endif
