/* JPEG through libjpeg-turbo, with its default (accurate) transform and upsampling. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "base/error.h"
#include "image/codec.h"

typedef struct {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    const uint8_t *bytes;
    size_t size;
    const ImageLimits *limits;
    CodecTime time;
    CodecHeader *header;
    Image *out;
} Reader;

/* libjpeg's way to fail: must not return. The reason is in the manager's message. */
static void fail(j_common_ptr info)
{
    Reader *reader = info->client_data;
    char reason[JMSG_LENGTH_MAX];
    reader->errors.format_message(info, reason);
    error_set("the JPEG data cannot be read: %s", reason);
    if (info->err->msg_code == JERR_OUT_OF_MEMORY)
        error_blame_machine();
    longjmp(reader->failed, 1);
}

/* After most warnings libjpeg goes on with made-up pixels, which training must not see. The others concern only wrappings. */
static void warn(j_common_ptr info, int level)
{
    Reader *reader = info->client_data;
    if (level >= 0)
        return;
    switch (info->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_ICC:
    case JWRN_TOO_MUCH_DATA:
        return;
    case JWRN_JPEG_EOF:
        error_set("the JPEG file is cut off after %zu bytes", reader->size);
        longjmp(reader->failed, 1);
    default:
        fail(info);
    }
}

static void stay_silent(j_common_ptr info)
{
    (void)info;
}

static bool too_many_scans(const Reader *reader)
{
    return error_set("the JPEG file has more than %d scans, the limit", reader->limits->max_scans);
}

/* Called by libjpeg between rows and scans. */
static void watch(j_common_ptr info)
{
    Reader *reader = info->client_data;
    bool few = reader->info.input_scan_number <= reader->limits->max_scans || too_many_scans(reader);
    if (!few || !codec_time_left(&reader->time))
        longjmp(reader->failed, 1);
}

/* Scans of the file from the first one on, whose header libjpeg has just read: markers are found between the coded bytes, where
 * a byte of 255 is always followed by a zero. Counted before libjpeg takes memory for all of a picture's coefficients; what a
 * file hides from this count libjpeg's own finds later. */
static bool scans_are_few(const Reader *reader)
{
    const uint8_t *at = reader->info.src->next_input_byte, *end = reader->bytes + reader->size;
    int scans = 1;
    while ((at = memchr(at, 0xFF, (size_t)(end - at))) && end - at >= 4) {
        uint8_t marker = at[1];
        if (marker == 0xD9) /* the picture's end */
            break;
        if (marker == 0xFF) { /* filling */
            at++;
            continue;
        }
        if (marker == 0 || (marker >= 0xD0 && marker <= 0xD7)) {
            at += 2;
            continue;
        }
        scans += marker == 0xDA;
        if (scans > reader->limits->max_scans)
            return too_many_scans(reader);
        size_t length = (size_t)at[2] << 8 | at[3], left = (size_t)(end - at) - 2;
        if (length < 2 || length > left)
            break;
        at += 2 + length;
    }
    return true;
}

static bool open_file(Reader *reader)
{
    jpeg_create_decompress(&reader->info);
    jpeg_mem_src(&reader->info, reader->bytes, reader->size);
    jpeg_read_header(&reader->info, TRUE);
    switch (reader->info.num_components) {
    case 1:
    case 3:
    case 4:
        return true;
    default:
        return error_set("the JPEG file has %d colour components; 1, 3 and 4 can be read", reader->info.num_components);
    }
}

static bool read_header(Reader *reader)
{
    if (!open_file(reader))
        return false;
    *reader->header = (CodecHeader){.height = (int)reader->info.image_height,
                                    .width = (int)reader->info.image_width,
                                    .grey = reader->info.num_components == 1};
    return true;
}

/* (a * b + 127.5) / 255, rounded down, for bytes. */
static uint32_t multiply_bytes(uint32_t a, uint32_t b)
{
    uint32_t t = a * b + 128;
    return (t + (t >> 8)) >> 8;
}

/* Ink amounts are stored inverted (255: none) by every program that matters. What is left of white under black and one ink. */
static void cmyk_to_rgb(const uint8_t *cmyk, int width, uint8_t *rgb)
{
    for (int x = 0; x < width; x++, cmyk += 4, rgb += 3)
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(cmyk[3] - multiply_bytes(255u - cmyk[c], cmyk[3]));
}

static bool read_pixels(Reader *reader)
{
    if (!open_file(reader))
        return false;
    struct jpeg_decompress_struct *info = &reader->info;
    Image *out = reader->out;
    bool cmyk = info->num_components == 4;
    if (jpeg_has_multiple_scans(info) && !scans_are_few(reader))
        return false;
    info->out_color_space = cmyk ? JCS_CMYK : out->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    reader->progress.progress_monitor = watch;
    info->progress = &reader->progress;
    jpeg_start_decompress(info);
    if (info->output_height != (JDIMENSION)out->height || info->output_width != (JDIMENSION)out->width ||
        info->output_components != (cmyk ? 4 : out->channels))
        return error_set("the JPEG file's header contradicts itself");
    JSAMPARRAY wide =
        cmyk ? info->mem->alloc_sarray((j_common_ptr)info, JPOOL_IMAGE, info->output_width * 4, 1) : NULL; /* freed with info */
    size_t stride = (size_t)out->width * (size_t)out->channels;
    while (info->output_scanline < info->output_height) {
        uint8_t *row = out->data + info->output_scanline * stride;
        jpeg_read_scanlines(info, wide ? wide : &row, 1);
        if (wide)
            cmyk_to_rgb(wide[0], out->width, row);
    }
    return jpeg_finish_decompress(info);
}

/* Runs `work` so that libjpeg's errors come back here. No local variable lives across the jump. */
static bool run(Reader *reader, bool (*work)(Reader *))
{
    reader->info.err = jpeg_std_error(&reader->errors);
    reader->info.client_data = reader;
    reader->errors.error_exit = fail;
    reader->errors.emit_message = warn;
    reader->errors.output_message = stay_silent;
    bool good = !setjmp(reader->failed) && work(reader);
    jpeg_destroy_decompress(&reader->info);
    return good;
}

static bool jpeg_matches(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

static bool jpeg_header(const uint8_t *bytes, size_t size, CodecHeader *header)
{
    Reader reader = {.bytes = bytes, .size = size, .header = header};
    return run(&reader, read_header);
}

static bool jpeg_decode(const uint8_t *bytes, size_t size, const ImageLimits *limits, Image *out)
{
    Reader reader = {.bytes = bytes, .size = size, .limits = limits, .time = codec_time_start(limits), .out = out};
    return run(&reader, read_pixels);
}

const Codec CODEC_JPEG = {"JPEG", {".jpg", ".jpeg"}, jpeg_matches, jpeg_header, jpeg_decode};
