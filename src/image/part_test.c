/* A part of a file holds the samples of the whole picture, and whether a file is good does not depend on the part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>

#include "base/random.h"
#include "image/damage_case.h"

/* A kind of file: sampling factors of the first component, those of the others, and how it is coded. */
typedef struct {
    int h, v, others_h, others_v, components;
    bool progressive, arithmetic;
    int restart; /* blocks between restart marks */
} Kind;

static const Kind kinds[] = {
    {1, 1, 1, 1, 1, false, false, 0}, {1, 1, 1, 1, 3, false, false, 0}, {2, 1, 1, 1, 3, false, false, 0},
    {2, 2, 1, 1, 3, false, false, 0}, {1, 2, 1, 1, 3, false, false, 0}, {4, 1, 1, 1, 3, false, false, 0},
    {2, 2, 1, 2, 3, false, false, 0}, {2, 2, 2, 1, 3, false, false, 0}, {2, 1, 1, 1, 3, true, false, 0},
    {2, 2, 1, 1, 3, true, false, 0},  {1, 1, 1, 1, 3, true, false, 0},  {2, 2, 1, 1, 3, false, true, 0},
    {2, 2, 1, 1, 3, false, false, 3}, {2, 2, 1, 1, 1, false, false, 0}, {1, 1, 1, 1, 4, false, false, 0}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const struct {
    int height, width;
} sizes[] = {{97, 131}, {64, 96}, {33, 17}, {16, 16}, {1, 50}, {50, 1}, {200, 43}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static DamageFile write_jpeg(const Kind *kind, int height, int width)
{
    DamageFile file = {0};
    unsigned long size = 0;
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &file.data, &size);
    info.image_height = (JDIMENSION)height;
    info.image_width = (JDIMENSION)width;
    info.input_components = kind->components;
    info.in_color_space = kind->components == 1 ? JCS_GRAYSCALE : kind->components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 90, TRUE);
    for (int c = 0; c < kind->components; c++) {
        info.comp_info[c].h_samp_factor = c == 0 ? kind->h : kind->others_h;
        info.comp_info[c].v_samp_factor = c == 0 ? kind->v : kind->others_v;
    }
    if (kind->progressive)
        jpeg_simple_progression(&info);
    info.arith_code = kind->arithmetic;
    info.restart_interval = (unsigned)kind->restart;
    jpeg_start_compress(&info, TRUE);
    Random random = random_stream(11, RANDOM_TEST, 0, 0, (uint64_t)(height * width));
    uint8_t *row = malloc((size_t)width * 4);
    assert_non_null(row);
    for (int y = 0; y < height; y++) {
        for (int i = 0; i < width * kind->components; i++)
            row[i] = (uint8_t)random_below(&random, 256);
        jpeg_write_scanlines(&info, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    file.size = size;
    return file;
}

static void append(png_structp png, png_bytep bytes, size_t count)
{
    DamageFile *file = png_get_io_ptr(png);
    file->data = realloc(file->data, file->size + count);
    assert_non_null(file->data);
    memcpy(file->data + file->size, bytes, count);
    file->size += count;
}

static DamageFile write_png(int type, int depth, bool interlaced, int height, int width)
{
    DamageFile file = {0};
    uint8_t *row = malloc((size_t)width * 8);
    assert_non_null(row);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &file, append, NULL);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, type,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++) {
        Random random = random_stream(12, RANDOM_TEST, 0, 0, (uint64_t)(height * width));
        for (int y = 0; y < height; y++) {
            for (int i = 0; i < width * 8; i++)
                row[i] = (uint8_t)random_below(&random, 256);
            png_write_row(png, row);
        }
    }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(row);
    return file;
}

static ImageBox given_box(void *box, int height, int width)
{
    (void)height;
    (void)width;
    return *(ImageBox *)box;
}

static ImageBox draw_box(Random *random, int height, int width)
{
    ImageBox box = {.height = 1 + (int)random_below(random, (uint32_t)height),
                    .width = 1 + (int)random_below(random, (uint32_t)width)};
    box.top = (int)random_below(random, (uint32_t)(height - box.height) + 1);
    box.left = (int)random_below(random, (uint32_t)(width - box.width) + 1);
    return box;
}

/* `count` random parts, each told to be of a known file or not, beside the whole picture. */
static void compare_parts(const DamageFile *file, const ImageRequest *how, int count, const char *what)
{
    Image whole, part;
    ImageBox box;
    ImageRequest request = *how;
    request.choose = given_box;
    request.context = &box;
    if (!image_decode_part(file->data, file->size, what, how, &whole))
        fail_msg("%s", error_text());
    size_t pixel = (size_t)whole.channels * image_depth_bytes(whole.depth);
    Random random = random_stream(13, RANDOM_TEST, 0, 0, file->size);
    for (int i = 0; i < count; i++) {
        box = draw_box(&random, whole.height, whole.width);
        request.known = i & 1;
        if (!image_decode_part(file->data, file->size, what, &request, &part))
            fail_msg("%s", error_text());
        assert_int_equal(part.height, box.height);
        assert_int_equal(part.width, box.width);
        assert_int_equal(part.channels, whole.channels);
        for (int y = 0; y < box.height; y++)
            if (memcmp(part.data + (size_t)(y * box.width) * pixel,
                       whole.data + (size_t)((box.top + y) * whole.width + box.left) * pixel, (size_t)box.width * pixel))
                fail_msg("%s of %d x %d: row %d of the part of %d x %d at %d, %d is another", what, whole.height, whole.width,
                         y, box.height, box.width, box.top, box.left);
        image_free(&part);
    }
    image_free(&whole);
}

static void parts_of_jpeg_files(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++)
        for (int s = 0; s < SIZES; s++) {
            DamageFile file = write_jpeg(&kinds[k], sizes[s].height, sizes[s].width);
            char what[32];
            snprintf(what, sizeof what, "JPEG of kind %d", k);
            for (int channels = 1; channels <= 3; channels += 2)
                compare_parts(&file, &(ImageRequest){.channels = channels}, 40, what);
            damage_file_free(&file);
        }
}

/* The file behind its first `scans` scans; 0 when it has no more. */
static size_t find_end(const DamageFile *file, int scans)
{
    bool within = false;
    for (size_t at = 2; at + 4 <= file->size;) {
        if (within && !(file->data[at] == 0xFF && file->data[at + 1] != 0)) {
            at++;
            continue;
        }
        if (within && --scans == 0)
            return file->data[at + 1] == 0xD9 ? 0 : at;
        within = file->data[at + 1] == 0xDA;
        at += 2 + ((size_t)file->data[at + 2] << 8 | file->data[at + 3]);
    }
    return 0;
}

/* What later scans would have brought is guessed from the blocks around, without a warning. */
static void parts_of_unfinished_jpeg_files(void **state)
{
    (void)state;
    static const int sides[][2] = {{97, 131}, {64, 256}};
    int files = 0;
    for (int k = 0; k < KINDS; k++)
        for (int s = 0; kinds[k].progressive && s < 2; s++) {
            DamageFile file = write_jpeg(&kinds[k], sides[s][0], sides[s][1]);
            char what[64];
            size_t end;
            for (int scans = 1; (end = find_end(&file, scans)); scans++, files++) {
                DamageFile cut = {malloc(end + 2), end + 2};
                assert_non_null(cut.data);
                memcpy(cut.data, file.data, end);
                memcpy(cut.data + end, "\xFF\xD9", 2);
                snprintf(what, sizeof what, "JPEG of kind %d with %d scans", k, scans);
                compare_parts(&cut, &(ImageRequest){.channels = 3}, 30, what);
                free(cut.data);
            }
            damage_file_free(&file);
        }
    assert_true(files >= 6 * 5);
}

static void parts_of_png_files(void **state)
{
    (void)state;
    static const struct {
        int type, depth, channels;
    } forms[] = {{PNG_COLOR_TYPE_RGB, 8, 3},        {PNG_COLOR_TYPE_RGBA, 8, 3},  {PNG_COLOR_TYPE_RGBA, 8, 4},
                 {PNG_COLOR_TYPE_GRAY, 1, 1},       {PNG_COLOR_TYPE_GRAY, 16, 1}, {PNG_COLOR_TYPE_RGB, 16, 3},
                 {PNG_COLOR_TYPE_GRAY_ALPHA, 16, 2}};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (int interlaced = 0; interlaced < 2; interlaced++) {
            DamageFile file = write_png(forms[f].type, forms[f].depth, interlaced, 37, 29);
            compare_parts(&file, &(ImageRequest){.channels = forms[f].channels, .deep = true}, 40, "PNG");
            compare_parts(&file, &(ImageRequest){.channels = forms[f].channels}, 10, "PNG");
            damage_file_free(&file);
        }
}

/* A file cut in the middle of its last quarter: its first rows are there, and yet it is refused. */
static void damage_behind_the_part_counts(void **state)
{
    (void)state;
    ImageBox box = {0, 0, 8, 8};
    ImageRequest request = {.channels = 3, .choose = given_box, .context = &box};
    Image image;
    for (int k = 0; k < KINDS + 1; k++) {
        DamageFile file = k < KINDS ? write_jpeg(&kinds[k], 97, 131) : write_png(PNG_COLOR_TYPE_RGB, 8, false, 97, 131);
        assert_false(image_decode_part(file.data, file.size * 7 / 8, "cut", &request, &image));
        assert_false(image_decode_part(file.data, file.size - 4, "cut", &request, &image));
        request.known = true;
        bool progressive = k < KINDS && kinds[k].progressive;
        if (!progressive && !image_decode_part(file.data, file.size * 7 / 8, "known", &request, &image))
            fail_msg("%s", error_text());
        image_free(&image);
        request.known = false;
        damage_file_free(&file);
    }
}

static void a_part_must_lie_in_the_picture(void **state)
{
    (void)state;
    static const ImageBox outside[] = {{-1, 0, 4, 4}, {0, -1, 4, 4}, {0, 0, 34, 4}, {0, 0, 4, 18}, {30, 0, 4, 4}, {0, 0, 0, 4}};
    DamageFile file = write_jpeg(&kinds[3], 33, 17);
    Image image;
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        ImageBox box = outside[i];
        ImageRequest request = {.channels = 3, .choose = given_box, .context = &box};
        assert_false(image_decode_part(file.data, file.size, "x", &request, &image));
        assert_non_null(strstr(error_text(), "does not lie in the picture of 33 x 17 pixels"));
    }
    damage_file_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_jpeg_files),
        cmocka_unit_test(parts_of_unfinished_jpeg_files),
        cmocka_unit_test(parts_of_png_files),
        cmocka_unit_test(damage_behind_the_part_counts),
        cmocka_unit_test(a_part_must_lie_in_the_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
