#include "image/image.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/codec.h"
#include "image/orientation.h"

enum {
    FILE_LIMIT = 1 << 30,
    PIXEL_BYTES = 16,    /* that a pixel may take where a picture has as many as the limit */
    SIDE_LIMIT = 1000000 /* a row of pixels must stay cheap whatever its shape: resizing works on many rows at once */
};

const ImageLimits IMAGE_LIMITS = {.max_pixels = 178956970, .max_scans = 500, .max_seconds = 60};

static const Codec *const codecs[] = {&CODEC_JPEG, &CODEC_PNG, &CODEC_WEBP, &CODEC_TIFF};

size_t image_depth_bytes(ImageDepth depth)
{
    return depth == IMAGE_U8 ? 1 : depth == IMAGE_U16 ? 2 : 4;
}

bool image_new(Image *image, int height, int width, int channels)
{
    return image_new_deep(image, height, width, channels, IMAGE_U8);
}

bool image_new_deep(Image *image, int height, int width, int channels, ImageDepth depth)
{
    *image = (Image){0};
    if (height < 1 || width < 1 || channels < 1)
        return error_set("a picture of %d x %d pixels and %d channels cannot exist", height, width, channels);
    size_t pixels;
    if (!size_multiply((size_t)height, (size_t)width, &pixels))
        return error_set("a picture of %d x %d pixels is too large", height, width);
    uint8_t *data = memory_new_aligned(pixels, (size_t)channels * image_depth_bytes(depth));
    if (!data)
        return false;
    *image = (Image){.height = height, .width = width, .channels = channels, .depth = depth, .data = data};
    return true;
}

void image_free(Image *image)
{
    memory_free(image->data);
    *image = (Image){0};
}

size_t image_size(const Image *image)
{
    return (size_t)image->height * (size_t)image->width * (size_t)image->channels * image_depth_bytes(image->depth);
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

bool codec_is_want_of_memory(const char *why)
{
    static const char *const words[] = {"out of memory", "insufficient memory", "no space for", "failed to allocate"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(why, words[i]))
            return true;
    return false;
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

static bool read_facts(const Codec *codec, const uint8_t *bytes, size_t size, bool turned, ImageFacts *facts)
{
    *facts = (ImageFacts){0};
    if (!codec->header(bytes, size, facts))
        return false;
    int orientation = !turned ? 1 : codec->orientation ? codec->orientation(bytes, size) : facts->orientation;
    facts->orientation = orientation >= 1 && orientation <= 8 ? orientation : 1;
    return true;
}

/* Replaces an RGB picture by its luma, in memory of its own size: kept pictures are counted by their bytes. */
static bool to_luma(Image *image)
{
    Image grey;
    if (!image_new_deep(&grey, image->height, image->width, 1, image->depth))
        return false;
    size_t pixels = (size_t)grey.height * (size_t)grey.width;
    const uint16_t *wide = (const uint16_t *)(const void *)image->data;
    const float *real = (const float *)(const void *)image->data;
    for (size_t i = 0; i < pixels; i++) {
        if (image->depth == IMAGE_U8)
            grey.data[i] = image_luma(image->data + 3 * i);
        else if (image->depth == IMAGE_U16)
            ((uint16_t *)(void *)grey.data)[i] =
                (uint16_t)(((uint32_t)LUMA_RED * wide[3 * i] + (uint32_t)LUMA_GREEN * wide[3 * i + 1] +
                            (uint32_t)LUMA_BLUE * wide[3 * i + 2] + 32768) >>
                           16);
        else
            ((float *)(void *)grey.data)[i] =
                (float)(((double)LUMA_RED * (double)real[3 * i] + (double)LUMA_GREEN * (double)real[3 * i + 1] +
                         (double)LUMA_BLUE * (double)real[3 * i + 2]) /
                        65536);
    }
    image_free(image);
    *image = grey;
    return true;
}

static bool check_size(const Codec *codec, const ImageFacts *facts, const ImageLimits *limits)
{
    if ((int64_t)facts->height * facts->width > limits->max_pixels)
        return error_set("the %s file announces %d x %d pixels, more than the limit of %lld pixels", codec->name, facts->height,
                         facts->width, (long long)limits->max_pixels);
    if (facts->height > SIDE_LIMIT || facts->width > SIDE_LIMIT)
        return error_set("the %s file announces %d x %d pixels, a side longer than %d", codec->name, facts->height,
                         facts->width, (int)SIDE_LIMIT);
    int64_t bytes =
        (int64_t)facts->height * facts->width * (facts->channels + facts->alpha) * (int64_t)image_depth_bytes(facts->depth);
    if (bytes / PIXEL_BYTES > limits->max_pixels)
        return error_set("the %s file announces %d x %d pixels of %d channels, more than the limit of %lld bytes", codec->name,
                         facts->height, facts->width, facts->channels + facts->alpha,
                         (long long)limits->max_pixels * PIXEL_BYTES);
    return true;
}

/* How many channels the codec is to give for as many as are wanted; false after error_set() when the file has others. */
static bool find_channels(const ImageFacts *facts, int wanted, int *given)
{
    bool ordinary = facts->channels == 1 || facts->channels == 3;
    *given = wanted;
    if (ordinary && (wanted == 1 || wanted == 3)) {
        *given = facts->channels == 1 ? wanted : 3;
        return true;
    }
    if (wanted == facts->channels || wanted == facts->channels + facts->alpha)
        return true;
    return error_set("the picture has %d channel%s%s where %d are wanted: set image.channels, or leave the file out",
                     facts->channels, facts->channels == 1 ? "" : "s", facts->alpha ? " and alpha" : "", wanted);
}

static int divide_up(int side, int scale)
{
    return (side + scale - 1) / scale;
}

/* The largest divisor of the sides that leaves as many rows and columns as are enough. */
static int find_scale(int height, int width, const int enough[2])
{
    int scale = 1;
    while (scale < 8 && divide_up(height, 2 * scale) >= enough[0] && divide_up(width, 2 * scale) >= enough[1])
        scale *= 2;
    return scale;
}

ImageBox image_choose(const ImageRequest *request, const Image *image)
{
    return request->choose ? request->choose(request->context, image->height, image->width)
                           : (ImageBox){0, 0, image->height, image->width};
}

static bool decode_part(const uint8_t *bytes, size_t size, const ImageRequest *request, Image *out)
{
    CodecJob job = {
        .limits = request->limits ? request->limits : &IMAGE_LIMITS, .scale = 1, .known = request->known, .out = out};
    job.time = codec_time_start(job.limits);
    const Codec *codec = find_codec(bytes, size);
    ImageFacts facts;
    int channels;
    if (request->channels < 1 || request->channels > IMAGE_CHANNELS_MAX)
        return error_set("pictures can be decoded to 1 to %d channels, not %d", IMAGE_CHANNELS_MAX, request->channels);
    if (!codec || !read_facts(codec, bytes, size, request->exif, &facts) || !check_size(codec, &facts, job.limits) ||
        !find_channels(&facts, request->channels, &channels))
        return false;
    int height = facts.height, width = facts.width;
    bool lies = orientation_lies(facts.orientation);
    if (request->draft[0] > 0 && codec->reduces) {
        job.scale = find_scale(height, width, (int[2]){request->draft[lies], request->draft[!lies]});
        height = divide_up(height, job.scale);
        width = divide_up(width, job.scale);
    }
    ImageBox box = {0, 0, lies ? width : height, lies ? height : width};
    if (request->choose) {
        int most[2] = {box.height, box.width};
        box = request->choose(request->context, most[0], most[1]);
        if (box.top < 0 || box.left < 0 || box.height < 1 || box.width < 1 || box.height > most[0] - box.top ||
            box.width > most[1] - box.left)
            return error_set("the part of %d x %d pixels at row %d, column %d does not lie in the picture of %d x %d pixels",
                             box.height, box.width, box.top, box.left, most[0], most[1]);
    }
    job.box = orientation_box(facts.orientation, box, height, width);
    ImageDepth depth = request->deep || facts.depth != IMAGE_U16 ? facts.depth : IMAGE_U8;
    if (!request->deep && facts.depth == IMAGE_F32)
        return error_set("the %s file has float samples, which are no bytes: convert it to 8 or 16 bits", codec->name);
    return image_new_deep(out, job.box.height, job.box.width, channels, depth) && codec->decode(bytes, size, &job) &&
           (channels == request->channels || to_luma(out)) && orientation_turn(facts.orientation, out);
}

bool image_decode_part(const void *bytes, size_t size, const char *name, const ImageRequest *request, Image *out)
{
    *out = (Image){0};
    if (decode_part(bytes, size, request, out))
        return true;
    image_free(out);
    return error_context("%s", name);
}

bool image_decode_within(const void *bytes, size_t size, const char *name, int channels, const ImageLimits *limits, Image *out)
{
    ImageRequest request = {.channels = channels, .limits = limits};
    return image_decode_part(bytes, size, name, &request, out);
}

bool image_decode(const void *bytes, size_t size, const char *name, int channels, Image *out)
{
    return image_decode_within(bytes, size, name, channels, &IMAGE_LIMITS, out);
}

bool image_facts(const void *bytes, size_t size, const char *name, ImageFacts *facts)
{
    const Codec *codec = find_codec(bytes, size);
    return (codec && read_facts(codec, bytes, size, true, facts)) || error_context("%s", name);
}

bool image_start_is_sound(const void *start, size_t size, const char *name)
{
    const Codec *codec = find_codec(start, size);
    ImageFacts facts = {0};
    if (!codec)
        return error_context("%s", name);
    if (codec == &CODEC_TIFF) /* its directory may be anywhere */
        return true;
    if (!codec->header(start, size, &facts)) {
        error_clear(); /* for want of the rest, perhaps */
        return true;
    }
    return check_size(codec, &facts, &IMAGE_LIMITS) || error_context("%s", name);
}

bool image_probe(const void *bytes, size_t size, const char *name, int *height, int *width, int *channels)
{
    ImageFacts facts;
    if (!image_facts(bytes, size, name, &facts))
        return false;
    if (height)
        *height = facts.height;
    if (width)
        *width = facts.width;
    if (channels)
        *channels = facts.channels;
    return true;
}

bool image_read_part(const char *path, const ImageRequest *request, Image *out)
{
    *out = (Image){0};
    size_t size;
    char *bytes = file_read_if(path, FILE_LIMIT, image_start_is_sound, &size);
    if (!bytes)
        return false;
    bool good = image_decode_part(bytes, size, path, request, out);
    memory_free(bytes);
    return good;
}

bool image_read(const char *path, int channels, Image *out)
{
    ImageRequest request = {.channels = channels};
    return image_read_part(path, &request, out);
}
