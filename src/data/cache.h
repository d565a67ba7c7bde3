/* Decoded pictures kept in memory, so that small sets are decoded once. Filled by whoever decodes first, never emptied; whether
 * a picture is found here or decoded again makes no difference to any result. Safe for any number of threads. */
#ifndef LACUNA_DATA_CACHE_H
#define LACUNA_DATA_CACHE_H

#include "data/source.h"

typedef struct PictureCache PictureCache;

/* A cache for the pictures of `source` (borrowed, must outlive it) as `form` wants them whole (channels, depth, exif, draft;
 * copied), that holds at most `limit` bytes; 0: nothing is kept. Owned by the caller. NULL after error_set(). */
PictureCache *picture_cache_new(const Source *source, const ImageRequest *form, size_t limit);
void picture_cache_free(PictureCache *cache);

/* The picture of sample i, from memory or as source_part() makes it: *out holds at least the part that `choose` chose (see
 * ImageRequest), at *box of it. While there is room pictures are decoded whole, to be kept; once one did not fit, only the
 * parts. `known`: as in ImageRequest. *kept: the bytes belong to the cache and stay as long as it does, else the caller frees
 * *out with image_free(). False as source_part(). */
bool picture_cache_get(PictureCache *cache, size_t i, ImageBox (*choose)(void *context, int height, int width), void *context,
                       bool known, Image *out, ImageBox *box, bool *kept);

/* Bytes of pictures held at the moment. */
size_t picture_cache_bytes(const PictureCache *cache);

#endif
