/* JPEG through libjpeg-turbo, with its default (accurate) transform and upsampling. Of a part only what it needs is transformed
 * and coloured; its samples are those of the whole picture (jpeg_part_test.c). */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "base/error.h"
#include "image/codec.h"
#include "image/orientation.h"

typedef struct {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    const uint8_t *bytes;
    size_t size;
    ImageFacts *facts;
    const CodecJob *job;
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
    return error_set("the JPEG file has more than %d scans, the limit", reader->job->limits->max_scans);
}

/* Called by libjpeg between rows and scans. */
static void watch(j_common_ptr info)
{
    Reader *reader = info->client_data;
    bool few = reader->info.input_scan_number <= reader->job->limits->max_scans || too_many_scans(reader);
    if (!few || !codec_time_left(&reader->job->time))
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
        if (scans > reader->job->limits->max_scans)
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
    *reader->facts = (ImageFacts){.height = (int)reader->info.image_height,
                                  .width = (int)reader->info.image_width,
                                  .channels = reader->info.num_components == 1 ? 1 : 3};
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

/* The kinds of files of which a part is decoded alone: whole colours or colours at half of the columns, the rows or both. A
 * lossless file, which newer libraries read, has no blocks: its one scan names a predictor instead of coefficients. */
static bool has_parts(const struct jpeg_decompress_struct *info)
{
    const jpeg_component_info *c = info->comp_info;
    if (info->arith_code || info->scale_denom != 1 || (info->num_components != 1 && info->num_components != 3))
        return false;
    if (!info->progressive_mode && (info->Ss != 0 || info->Se != DCTSIZE2 - 1))
        return false;
    return info->num_components == 1 || (c[0].h_samp_factor <= 2 && c[0].v_samp_factor <= 2 && c[1].h_samp_factor == 1 &&
                                         c[1].v_samp_factor == 1 && c[2].h_samp_factor == 1 && c[2].v_samp_factor == 1);
}

/* Leaves all columns away that the part does not need: whole blocks, and one more beside the part, since colours between two
 * blocks are made from both. A progressive file may end before its last scans; blocks are smoothed then, looking at two more
 * to each side. *left becomes the part's first column in the rows that follow. */
static void keep_columns(struct jpeg_decompress_struct *info, const ImageBox *box, JDIMENSION *left)
{
    JDIMENSION beside = DCTSIZE * (JDIMENSION)info->max_h_samp_factor * (info->progressive_mode ? 3 : 1);
    JDIMENSION first = *left > beside ? *left - beside : 0, right = *left + (JDIMENSION)box->width + beside;
    JDIMENSION columns = (right < info->output_width ? right : info->output_width) - first;
    jpeg_crop_scanline(info, &first, &columns);
    *left -= first;
}

static bool read_pixels(Reader *reader)
{
    if (!open_file(reader))
        return false;
    struct jpeg_decompress_struct *info = &reader->info;
    const CodecJob *job = reader->job;
    Image *out = job->out;
    bool cmyk = info->num_components == 4;
    int samples = cmyk ? 4 : out->channels;
    if (jpeg_has_multiple_scans(info) && !scans_are_few(reader))
        return false;
    info->out_color_space = cmyk ? JCS_CMYK : out->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    info->scale_num = 1;
    info->scale_denom = (unsigned)job->scale;
    reader->progress.progress_monitor = watch;
    info->progress = &reader->progress;
    jpeg_start_decompress(info);
    JDIMENSION top = (JDIMENSION)job->box.top, left = (JDIMENSION)job->box.left, bottom = top + (JDIMENSION)job->box.height;
    if (info->output_height < bottom || info->output_width < left + (JDIMENSION)job->box.width ||
        info->output_components != samples)
        return error_set("the JPEG file's header contradicts itself");
    bool wide = codec_box_is_wide(&job->box, (int)info->output_width), parts = has_parts(info);
    bool direct = wide && !cmyk; /* a row comes as it is wanted */
    JSAMPARRAY buffer = info->mem->alloc_sarray((j_common_ptr)info, JPOOL_IMAGE, info->output_width * (JDIMENSION)samples, 1);
    if (parts && !wide)
        keep_columns(info, &job->box, &left);
    if (parts && top)
        jpeg_skip_scanlines(info, top);
    size_t stride = (size_t)out->width * (size_t)out->channels;
    while (info->output_scanline < bottom) {
        bool inside = info->output_scanline >= top;
        uint8_t *row = out->data + (inside ? info->output_scanline - top : 0) * stride;
        jpeg_read_scanlines(info, direct ? &row : buffer, 1);
        if (cmyk && inside)
            cmyk_to_rgb(buffer[0] + left * 4, out->width, row);
        else if (!direct && inside)
            memcpy(row, buffer[0] + left * (size_t)samples, stride);
    }
    if (job->known)
        return true;
    /* Damage behind the part counts. Skipping to the very end would leave it unread. */
    if (parts && info->output_height - info->output_scanline > 1)
        jpeg_skip_scanlines(info, info->output_height - info->output_scanline - 1);
    while (info->output_scanline < info->output_height)
        jpeg_read_scanlines(info, buffer, 1);
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

static bool jpeg_header(const uint8_t *bytes, size_t size, ImageFacts *facts)
{
    Reader reader = {.bytes = bytes, .size = size, .facts = facts};
    return run(&reader, read_header);
}

static bool jpeg_decode(const uint8_t *bytes, size_t size, const CodecJob *job)
{
    Reader reader = {.bytes = bytes, .size = size, .job = job};
    return run(&reader, read_pixels);
}

/* From the first EXIF segment before the picture's data. */
static int jpeg_orientation(const uint8_t *bytes, size_t size)
{
    enum { START_OF_SCAN = 0xDA, END = 0xD9, APP1 = 0xE1 };
    for (size_t at = 2; at + 4 <= size && bytes[at] == 0xFF;) {
        uint8_t marker = bytes[at + 1];
        if (marker == 0xFF) { /* filling */
            at++;
            continue;
        }
        size_t length = (size_t)bytes[at + 2] << 8 | bytes[at + 3], left = size - at - 2;
        if (marker == START_OF_SCAN || marker == END || length < 2 || length > left)
            return 0;
        if (marker == APP1 && length >= 8 && !memcmp(bytes + at + 4, "Exif\0", 6))
            return orientation_find(bytes + at + 10, length - 8);
        at += 2 + length;
    }
    return 0;
}

const Codec CODEC_JPEG = {"JPEG",          {".jpg", ".jpeg", ".jpe", ".jfif"}, true, jpeg_matches, jpeg_header, jpeg_decode,
                          jpeg_orientation};
