/* WebP through libwebp, lossy and lossless, with its default (accurate) upsampling; single pictures only. */
#include <string.h>

#include <webp/decode.h>

#include "base/error.h"
#include "image/codec.h"

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

static bool webp_header(const uint8_t *bytes, size_t size, CodecHeader *header)
{
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures(bytes, size, &features);
    if (status != VP8_STATUS_OK)
        return fail(status, size);
    if (features.has_animation)
        return error_set("this is an animated WebP file; only single pictures can be read, store its frames as files first");
    if (features.width < 1 || features.height < 1)
        return error_set("the WebP file announces a picture without pixels");
    *header = (CodecHeader){.height = features.height, .width = features.width}; /* WebP has no grey pictures */
    return true;
}

static bool webp_decode(const uint8_t *bytes, size_t size, const ImageLimits *limits, Image *out)
{
    (void)limits; /* libwebp passes over a picture once: the limit of pixels is one of time, too */
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return error_set("libwebp could not be started: it is another version than this program was built for");
    config.output.colorspace = MODE_RGB; /* alpha is left away, the colours under it stay as they are */
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){.rgba = out->data, .stride = out->width * 3, .size = image_size(out)};
    VP8StatusCode status = WebPDecode(bytes, size, &config);
    bool good = status == VP8_STATUS_OK;
    if (good && (config.output.width != out->width || config.output.height != out->height))
        good = error_set("the WebP file's header contradicts itself");
    else if (!good)
        fail(status, size);
    WebPFreeDecBuffer(&config.output);
    return good;
}

const Codec CODEC_WEBP = {"WebP", {".webp"}, webp_matches, webp_header, webp_decode};
