/* JPEG writing through libjpeg-turbo. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/draw.h"

typedef struct {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    unsigned char *bytes; /* of malloc() */
    unsigned long size;
} Writer;

static void fail(j_common_ptr info)
{
    Writer *writer = info->client_data;
    char reason[JMSG_LENGTH_MAX];
    writer->errors.format_message(info, reason);
    error_set("a JPEG file cannot be made: %s", reason);
    if (info->err->msg_code == JERR_OUT_OF_MEMORY)
        error_blame_machine();
    longjmp(writer->failed, 1);
}

/* No local variable lives across the jump. */
static bool encode(Writer *writer, const Image *image, int quality)
{
    struct jpeg_compress_struct *info = &writer->info;
    info->err = jpeg_std_error(&writer->errors);
    info->client_data = writer;
    writer->errors.error_exit = fail;
    if (setjmp(writer->failed))
        return false;
    jpeg_create_compress(info);
    jpeg_mem_dest(info, &writer->bytes, &writer->size);
    info->image_height = (JDIMENSION)image->height;
    info->image_width = (JDIMENSION)image->width;
    info->input_components = image->channels;
    info->in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(info);
    jpeg_set_quality(info, quality, TRUE);
    info->comp_info[0].h_samp_factor = info->comp_info[0].v_samp_factor = 1; /* colours as fine as brightness */
    info->optimize_coding = TRUE;
    jpeg_start_compress(info, TRUE);
    while (info->next_scanline < info->image_height) {
        JSAMPROW row = image->data + info->next_scanline * (size_t)image->width * (size_t)image->channels;
        jpeg_write_scanlines(info, &row, 1);
    }
    jpeg_finish_compress(info);
    return true;
}

uint8_t *image_encode_jpeg(const Image *image, int quality, size_t *size)
{
    if ((image->channels != 1 && image->channels != 3) || image->height > IMAGE_JPEG_SIDE || image->width > IMAGE_JPEG_SIDE) {
        error_set("a picture of %d x %d pixels and %d channels cannot be written as JPEG", image->height, image->width,
                  image->channels);
        return NULL;
    }
    Writer writer = {0};
    uint8_t *data = NULL;
    if (encode(&writer, image, quality) && (data = memory_new_aligned(writer.size, 1))) {
        memcpy(data, writer.bytes, writer.size);
        *size = writer.size;
    }
    jpeg_destroy_compress(&writer.info);
    free(writer.bytes);
    return data;
}
