/* PNG through libpng; interlaced files, palettes, 1 to 16 bits a sample, alpha. */
#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/codec.h"
#include "image/orientation.h"

typedef struct {
    png_structp png;
    png_infop info;
    jmp_buf failed;
    const uint8_t *bytes;
    size_t size, position;
    ImageFacts *facts;
    const CodecJob *job;
    uint8_t *buffer; /* rows of which a part is wanted */
} Reader;

static void fail(png_structp png, png_const_charp reason)
{
    Reader *reader = png_get_error_ptr(png);
    error_set("the PNG data cannot be read: %s", reason);
    if (codec_is_want_of_memory(reason))
        error_blame_machine();
    longjmp(reader->failed, 1);
}

/* libpng warns about wrappings and slack only; damaged pixels are errors. */
static void warn(png_structp png, png_const_charp reason)
{
    (void)png;
    (void)reason;
}

static void read_bytes(png_structp png, png_bytep to, size_t count)
{
    Reader *reader = png_get_io_ptr(png);
    if (count > reader->size - reader->position) {
        error_set("the PNG file is cut off after %zu bytes", reader->size);
        longjmp(reader->failed, 1);
    }
    memcpy(to, reader->bytes + reader->position, count);
    reader->position += count;
}

static bool open_file(Reader *reader)
{
    reader->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, reader, fail, warn);
    if (reader->png)
        reader->info = png_create_info_struct(reader->png);
    if (!reader->info) {
        error_set("libpng could not be started: out of memory, or another version than this program was built for");
        error_blame_machine();
        return false;
    }
    png_set_read_fn(reader->png, reader, read_bytes);
    png_set_user_limits(reader->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* image.c has limits of its own */
    /* Comments, profiles, thumbnails: skipped unread, they could only cost memory. */
    png_set_keep_unknown_chunks(reader->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(reader->png, reader->info);
    return true;
}

static bool read_header(Reader *reader)
{
    if (!open_file(reader))
        return false;
    int type = png_get_color_type(reader->png, reader->info);
    *reader->facts = (ImageFacts){.height = (int)png_get_image_height(reader->png, reader->info),
                                  .width = (int)png_get_image_width(reader->png, reader->info),
                                  .channels = type & PNG_COLOR_MASK_COLOR ? 3 : 1,
                                  .alpha = (type & PNG_COLOR_MASK_ALPHA) != 0,
                                  .depth = png_get_bit_depth(reader->png, reader->info) == 16 ? IMAGE_U16 : IMAGE_U8};
    return true;
}

/* Has libpng give samples as the job wants them. */
static void convert(Reader *reader)
{
    png_structp png = reader->png;
    const Image *out = reader->job->out;
    int type = png_get_color_type(png, reader->info), depth = png_get_bit_depth(png, reader->info);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    else if (depth < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    if (depth == 16 && out->depth == IMAGE_U8)
        png_set_scale_16(png);
    else if (depth == 16)
        png_set_swap(png); /* to this machine's order */
    if (out->channels == 1 || out->channels == 3)
        png_set_strip_alpha(png);
    if (out->channels == 3 && !(type & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(png);
}

/* All rows of an interlaced picture, which come several times, are kept; of others one that is no whole row of the part. */
static bool read_rows(Reader *reader, int height, size_t stride, int passes)
{
    const CodecJob *job = reader->job;
    const ImageBox *box = &job->box;
    size_t pixel = stride / png_get_image_width(reader->png, reader->info), part = (size_t)box->width * pixel, kept;
    bool interlaced = passes > 1;
    if (!size_multiply(stride, interlaced ? (size_t)height : 1, &kept) || !(reader->buffer = memory_new(kept, 1)))
        return false;
    int last = job->known && !interlaced ? box->top + box->height : height;
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < last; y++) {
            if (!codec_time_left(&job->time))
                return false;
            bool inside = y >= box->top && y < box->top + box->height;
            uint8_t *to = inside ? job->out->data + (size_t)(y - box->top) * part : NULL;
            uint8_t *row = interlaced ? reader->buffer + (size_t)y * stride : inside && part == stride ? to : reader->buffer;
            png_read_row(reader->png, row, NULL);
            if (inside && row != to && pass + 1 == passes)
                memcpy(to, row + (size_t)box->left * pixel, part);
        }
    if (last == height)
        png_read_end(reader->png, NULL);
    return true;
}

static bool read_pixels(Reader *reader)
{
    if (!open_file(reader))
        return false;
    png_structp png = reader->png;
    const Image *out = reader->job->out;
    const ImageBox *box = &reader->job->box;
    convert(reader);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, reader->info);
    int height = (int)png_get_image_height(png, reader->info), width = (int)png_get_image_width(png, reader->info);
    size_t stride = (size_t)width * (size_t)out->channels * image_depth_bytes(out->depth);
    if (png_get_rowbytes(png, reader->info) != stride || box->top + box->height > height || box->left + box->width > width)
        return error_set("the PNG file's header contradicts itself");
    return read_rows(reader, height, stride, passes);
}

/* Runs `work` so that libpng's errors come back here. No local variable lives across the jump. */
static bool run(Reader *reader, bool (*work)(Reader *))
{
    bool good = !setjmp(reader->failed) && work(reader);
    png_destroy_read_struct(&reader->png, &reader->info, NULL);
    memory_free(reader->buffer);
    return good;
}

static bool png_matches(const uint8_t *bytes, size_t size)
{
    return size >= 8 && !png_sig_cmp(bytes, 0, 8);
}

static bool png_header(const uint8_t *bytes, size_t size, ImageFacts *facts)
{
    Reader reader = {.bytes = bytes, .size = size, .facts = facts};
    return run(&reader, read_header);
}

static bool png_decode(const uint8_t *bytes, size_t size, const CodecJob *job)
{
    Reader reader = {.bytes = bytes, .size = size, .job = job};
    return run(&reader, read_pixels);
}

/* From the first chunk eXIf. */
static int png_orientation(const uint8_t *bytes, size_t size)
{
    enum { AROUND = 12 /* length and type before a chunk's content, the sum behind */ };
    for (size_t at = 8; at + AROUND <= size;) {
        size_t length =
            (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | (size_t)bytes[at + 3];
        if (length > size - at - AROUND || !memcmp(bytes + at + 4, "IEND", 4))
            return 0;
        if (!memcmp(bytes + at + 4, "eXIf", 4))
            return orientation_find(bytes + at + 8, length);
        at += AROUND + length;
    }
    return 0;
}

const Codec CODEC_PNG = {"PNG", {".png"}, false, png_matches, png_header, png_decode, png_orientation};
