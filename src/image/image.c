#include "image/image.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/codec.h"

enum {
    FILE_LIMIT = 1 << 30,
    SIDE_LIMIT = 1000000 /* a row of pixels must stay cheap whatever its shape: resizing works on many rows at once */
};

const ImageLimits IMAGE_LIMITS = {.max_pixels = 178956970, .max_scans = 500, .max_seconds = 60};

static const Codec *const codecs[] = {&CODEC_JPEG, &CODEC_PNG, &CODEC_WEBP, &CODEC_TIFF};

bool image_new(Image *image, int height, int width, int channels)
{
    *image = (Image){0};
    if (height < 1 || width < 1 || channels < 1)
        return error_set("a picture of %d x %d pixels and %d channels cannot exist", height, width, channels);
    size_t pixels;
    if (!size_multiply((size_t)height, (size_t)width, &pixels))
        return error_set("a picture of %d x %d pixels is too large", height, width);
    uint8_t *data = memory_new_aligned(pixels, (size_t)channels);
    if (!data)
        return false;
    *image = (Image){.height = height, .width = width, .channels = channels, .data = data};
    return true;
}

void image_free(Image *image)
{
    memory_free(image->data);
    *image = (Image){0};
}

size_t image_size(const Image *image)
{
    return (size_t)image->height * (size_t)image->width * (size_t)image->channels;
}

/* Formats that are often met under a wrong suffix, to say what a file is rather than only what it is not. */
static const char *foreign_format(const uint8_t *bytes, size_t size)
{
    static const struct {
        size_t offset;
        const char *magic, *name;
    } formats[] = {{0, "GIF8", "GIF"}, {0, "BM", "BMP"}, {4, "ftypavif", "AVIF"}, {4, "ftyphei", "HEIC"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        size_t offset = formats[i].offset, length = strlen(formats[i].magic);
        if (size >= offset + length && !memcmp(bytes + offset, formats[i].magic, length))
            return formats[i].name;
    }
    return NULL;
}

CodecTime codec_time_start(const ImageLimits *limits)
{
    return (CodecTime){limits, clock_seconds(), clock_thread_seconds()};
}

bool codec_time_left(const CodecTime *time)
{
    double most = time->limits->max_seconds;
    /* The wall clock costs a tenth of the thread's, and no less time passes on it. */
    if (most <= 0 || clock_seconds() - time->wall <= most || clock_thread_seconds() - time->thread <= most)
        return true;
    return error_set("decoding it takes more than %g seconds of processor time, the limit", most);
}

static const Codec *matching_codec(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (codecs[i]->matches(bytes, size))
            return codecs[i];
    return NULL;
}

const char *image_format(const void *bytes, size_t size)
{
    const Codec *codec = matching_codec(bytes, size);
    return codec ? codec->name : NULL;
}

const char *image_suffix_format(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof codecs / sizeof *codecs; i++)
        for (const char *const *suffix = codecs[i]->suffixes; *suffix; suffix++)
            if (!strcasecmp(dot, *suffix))
                return codecs[i]->name;
    return NULL;
}

static const Codec *find_codec(const uint8_t *bytes, size_t size)
{
    const Codec *codec = matching_codec(bytes, size);
    if (codec)
        return codec;
    const char *foreign = foreign_format(bytes, size);
    if (size == 0)
        error_set("the file is empty");
    else if (foreign)
        error_set("this is a %s file; only JPEG, PNG, WebP and TIFF can be read, convert it first", foreign);
    else
        error_set("this is neither a JPEG, PNG, WebP nor TIFF file");
    return NULL;
}

/* Replaces an RGB picture by its luma, in memory of its own size: kept pictures are counted by their bytes. */
static bool to_luma(Image *image)
{
    Image grey;
    if (!image_new(&grey, image->height, image->width, 1))
        return false;
    size_t pixels = image_size(&grey);
    for (size_t i = 0; i < pixels; i++)
        grey.data[i] = image_luma(image->data + 3 * i);
    image_free(image);
    *image = grey;
    return true;
}

static bool decode(const uint8_t *bytes, size_t size, int channels, const ImageLimits *limits, Image *out)
{
    if (channels != 1 && channels != 3)
        return error_set("pictures can be decoded to 1 or 3 channels, not %d", channels);
    const Codec *codec = find_codec(bytes, size);
    CodecHeader header;
    if (!codec || !codec->header(bytes, size, &header))
        return false;
    if ((int64_t)header.height * header.width > limits->max_pixels)
        return error_set("the %s file announces %d x %d pixels, more than the limit of %lld pixels", codec->name, header.height,
                         header.width, (long long)limits->max_pixels);
    if (header.height > SIDE_LIMIT || header.width > SIDE_LIMIT)
        return error_set("the %s file announces %d x %d pixels, a side longer than %d", codec->name, header.height,
                         header.width, (int)SIDE_LIMIT);
    if (!image_new(out, header.height, header.width, header.grey ? channels : 3))
        return false;
    return codec->decode(bytes, size, limits, out) && (out->channels == channels || to_luma(out));
}

bool image_decode_within(const void *bytes, size_t size, const char *name, int channels, const ImageLimits *limits, Image *out)
{
    *out = (Image){0};
    if (decode(bytes, size, channels, limits ? limits : &IMAGE_LIMITS, out))
        return true;
    image_free(out);
    return error_context("%s", name);
}

bool image_decode(const void *bytes, size_t size, const char *name, int channels, Image *out)
{
    return image_decode_within(bytes, size, name, channels, &IMAGE_LIMITS, out);
}

bool image_probe(const void *bytes, size_t size, const char *name, int *height, int *width, int *channels)
{
    const Codec *codec = find_codec(bytes, size);
    CodecHeader header;
    if (!codec || !codec->header(bytes, size, &header))
        return error_context("%s", name);
    if (height)
        *height = header.height;
    if (width)
        *width = header.width;
    if (channels)
        *channels = header.grey ? 1 : 3;
    return true;
}

bool image_read(const char *path, int channels, Image *out)
{
    *out = (Image){0};
    size_t size;
    char *bytes = file_read(path, FILE_LIMIT, &size);
    if (!bytes)
        return false;
    bool good = image_decode(bytes, size, path, channels, out);
    memory_free(bytes);
    return good;
}
