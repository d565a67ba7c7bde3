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

/* What a file announces. */
typedef struct {
    int height, width;
    bool grey;
} CodecHeader;

typedef struct {
    const char *name;
    const char *suffixes[3]; /* of its files' names, with the dot, in small letters; NULL behind the last.
                              * A new one changes what a stored listing would hold: see `magic` in data/listing.c. */
    /* Whether the first bytes are this format's. */
    bool (*matches)(const uint8_t *bytes, size_t size);
    /* Reads the header. False after error_set(). */
    bool (*header)(const uint8_t *bytes, size_t size, CodecHeader *header);
    /* Decodes to `channels` 1 or 3; 1 only for a grey file. *out was made by image_new() with the header's size and may hold
     * anything on failure. Errors say what is wrong, not with which file. */
    bool (*decode)(const uint8_t *bytes, size_t size, const ImageLimits *limits, Image *out);
} Codec;

extern const Codec CODEC_JPEG, CODEC_PNG, CODEC_WEBP, CODEC_TIFF;

#endif
