/* WebP through libwebp, lossy and lossless, with its default (accurate) upsampling; single pictures only. */
#include <string.h>

#include <webp/decode.h>

#include "base/error.h"
#include "image/codec.h"
#include "image/orientation.h"

static bool webp_matches(const uint8_t *bytes, size_t size)
{
    return size >= 12 && !memcmp(bytes, "RIFF", 4) && !memcmp(bytes + 8, "WEBP", 4);
}

/* Sets the error for what libwebp answered. */
static bool fail(VP8StatusCode status, size_t size)
{
    switch (status) {
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return error_set("the WebP file is cut off after %zu bytes", size);
    case VP8_STATUS_OUT_OF_MEMORY:
        error_set("out of memory: libwebp could not get what it needs");
        error_blame_machine();
        return false;
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return error_set("the WebP data cannot be read: libwebp does not know this kind of it");
    default:
        return error_set("the WebP data cannot be read: it is damaged");
    }
}

static bool webp_header(const uint8_t *bytes, size_t size, ImageFacts *facts)
{
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures(bytes, size, &features);
    if (status != VP8_STATUS_OK)
        return fail(status, size);
    if (features.has_animation)
        return error_set("this is an animated WebP file; only single pictures can be read, store its frames as files first");
    if (features.width < 1 || features.height < 1)
        return error_set("the WebP file announces a picture without pixels");
    /* WebP has no grey pictures. */
    *facts = (ImageFacts){.height = features.height, .width = features.width, .channels = 3, .alpha = features.has_alpha != 0};
    return true;
}

/* The whole picture into `whole`, three channels or four. Without alpha the colours under it stay as they are. libwebp passes
 * over a picture once, so the limit of pixels is one of time, too. */
static bool decode_whole(const uint8_t *bytes, size_t size, Image *whole)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return error_set("libwebp could not be started: it is another version than this program was built for");
    config.output.colorspace = whole->channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA =
        (WebPRGBABuffer){.rgba = whole->data, .stride = whole->width * whole->channels, .size = image_size(whole)};
    VP8StatusCode status = WebPDecode(bytes, size, &config);
    bool good = status == VP8_STATUS_OK;
    if (good && (config.output.width != whole->width || config.output.height != whole->height))
        good = error_set("the WebP file's header contradicts itself");
    else if (!good)
        fail(status, size);
    WebPFreeDecBuffer(&config.output);
    return good;
}

static bool webp_decode(const uint8_t *bytes, size_t size, const CodecJob *job)
{
    ImageFacts facts;
    Image whole, *out = job->out;
    const ImageBox *box = &job->box;
    if (!webp_header(bytes, size, &facts))
        return false;
    if (out->height == facts.height && out->width == facts.width)
        return decode_whole(bytes, size, out);
    if (!image_new(&whole, facts.height, facts.width, out->channels))
        return false;
    bool good = decode_whole(bytes, size, &whole);
    size_t pixel = (size_t)out->channels, part = (size_t)box->width * pixel;
    for (int y = 0; good && y < box->height; y++)
        memcpy(out->data + (size_t)y * part,
               whole.data + ((size_t)(box->top + y) * (size_t)whole.width + (size_t)box->left) * pixel, part);
    image_free(&whole);
    return good;
}

/* From the first chunk EXIF; some programs write JPEG's mark before it. */
static int webp_orientation(const uint8_t *bytes, size_t size)
{
    enum { FILE_HEADER = 12, CHUNK_HEADER = 8 };
    for (size_t at = FILE_HEADER; at + CHUNK_HEADER <= size;) {
        const uint8_t *chunk = bytes + at, *content = chunk + CHUNK_HEADER;
        size_t length = (size_t)chunk[4] | (size_t)chunk[5] << 8 | (size_t)chunk[6] << 16 | (size_t)chunk[7] << 24;
        size_t left = size - at - CHUNK_HEADER;
        if (length > left)
            return 0;
        if (!memcmp(chunk, "EXIF", 4)) {
            size_t mark = length >= 6 && !memcmp(content, "Exif\0", 6) ? 6 : 0;
            return orientation_find(content + mark, length - mark);
        }
        at += CHUNK_HEADER + length;
        at += length & 1 && at < size; /* filling to an even place */
    }
    return 0;
}

const Codec CODEC_WEBP = {"WebP", {".webp"}, false, webp_matches, webp_header, webp_decode, webp_orientation};
