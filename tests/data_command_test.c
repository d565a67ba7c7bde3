/* Transcripts of `lacuna data` on a folder with good pictures, a cut one, an empty file, text, a wrong suffix and copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <jpeglib.h>
#include <unistd.h>

#include "image/draw.h"
#include "run_program.h"

#define HOME "data_command_test.tmp"

/* A picture whose sample i is base + step * i, modulo 256. */
static Image make_picture(int height, int width, int channels, int base, int step)
{
    Image image;
    assert_true(image_new(&image, height, width, channels));
    for (size_t i = 0; i < image_size(&image); i++)
        image.data[i] = (uint8_t)(base + step * (int)(i % 256));
    return image;
}

static void write_png(const char *name, int height, int width, int channels, int base, int step)
{
    char path[256];
    snprintf(path, sizeof path, HOME "/%s", name);
    Image image = make_picture(height, width, channels, base, step);
    assert_true(image_write_png(path, &image));
    image_free(&image);
}

/* A grey JPEG, of which the last `cut` bytes are left away. */
static void write_jpeg(const char *name, int height, int width, size_t cut)
{
    char path[256];
    snprintf(path, sizeof path, HOME "/%s", name);
    Image image = make_picture(height, width, 1, 40, 3);
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &size);
    info.image_height = (JDIMENSION)height;
    info.image_width = (JDIMENSION)width;
    info.input_components = 1;
    info.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&info);
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = image.data + y * width;
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    assert_true(file_write(path, bytes, size - cut));
    free(bytes);
    image_free(&image);
}

static void write_text(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, HOME "/%s", name);
    assert_true(file_write(path, text, strlen(text)));
}

#define NOT_READ "2 files are not read: .bmp, .gif; those that are wanted have to be converted, to PNG for instance\n"

static int write_folders(void **state)
{
    (void)state;
    assert_true(file_remove(HOME) && file_make_folder(HOME "/good") && file_make_folder(HOME "/mixed/deep") &&
                file_make_folder(HOME "/bad"));
    write_png("good/a.png", 4, 6, 3, 0, 5);
    write_jpeg("good/b.jpg", 8, 8, 0);
    write_png("mixed/a.PNG", 4, 6, 3, 0, 5);
    write_jpeg("mixed/b.jpeg", 10, 20, 0);
    write_text("mixed/c-empty.jpg", "");
    write_text("mixed/d-text.jpg", "Not a picture at all.\n");
    write_jpeg("mixed/e-cut.jpg", 64, 64, 100);
    write_png("mixed/f-png.jpg", 30, 2, 3, 9, 7);
    write_png("mixed/flat.png", 5, 5, 3, 77, 0);
    write_png("mixed/deep/a copy.png", 4, 6, 3, 0, 5);
    write_png("mixed/deep/another.png", 4, 6, 3, 0, 5);
    write_text("mixed/notes.txt", "left out");
    write_text("mixed/moving.GIF", "GIF89a");
    write_text("mixed/deep/old.bmp", "BM");
    write_text("bad/only.png", "x");
    return 0;
}

static int remove_folders(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static void transcript(const char *arguments, int code, const char *out, const char *err)
{
    Ran ran = run_program("%s", arguments);
    assert_string_equal(ran.out, out);
    assert_string_equal(ran.err, err);
    assert_int_equal(ran.code, code);
    ran_free(&ran);
}

static void check_names_every_bad_file_in_order(void **state)
{
    (void)state;
    static const char out[] = "c-empty.jpg: the file is empty\n"
                              "d-text.jpg: this is neither a JPEG, PNG, WebP nor TIFF file\n"
                              "e-cut.jpg: the JPEG file is cut off after ";
    char whole[512];
    size_t size = 0;
    memory_free(file_read(HOME "/mixed/e-cut.jpg", 0, &size));
    snprintf(whole, sizeof whole, "%s%zu bytes\n", out, size);
    transcript("data check " HOME "/good", 0, "", "2 pictures, all good\n");
    for (int threads = 1; threads <= 4; threads++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, "data check " HOME "/mixed --threads %d", threads);
        transcript(arguments, 1, whole, "3 of 9 pictures cannot be read\n" NOT_READ);
    }
    snprintf(whole, sizeof whole,
             "{\"key\": \"c-empty.jpg\", \"why\": \"the file is empty\"}\n"
             "{\"key\": \"d-text.jpg\", \"why\": \"this is neither a JPEG, PNG, WebP nor TIFF file\"}\n"
             "{\"key\": \"e-cut.jpg\", \"why\": \"the JPEG file is cut off after %zu bytes\"}\n",
             size);
    transcript("data check --json " HOME "/mixed", 1, whole, "3 of 9 pictures cannot be read\n" NOT_READ);
}

/* As one line each, and the others are looked at. */
static void check_names_every_damaged_shard(void **state)
{
    (void)state;
    Ran ran = run_program("data pack " HOME "/mixed " HOME "/shards --shard-count 2");
    assert_int_equal(ran.code, 1); /* three of the pictures cannot be read */
    assert_non_null(strstr(ran.err, NOT_READ));
    ran_free(&ran);
    static const char *const cut[] = {HOME "/shards/shards-000000.tar", HOME "/shards/shards-000002.tar"};
    for (int i = 0; i < 2; i++)
        assert_int_equal(truncate(cut[i], 700), 0);
    ran = run_program("data check " HOME "/shards");
    assert_int_equal(ran.code, 1);
    const char *first = strstr(ran.out, "shards-000000.tar: "), *second = strstr(ran.out, "shards-000002.tar: ");
    assert_true(first && second && first < second);
    assert_string_equal(ran.err, "2 pictures, all good\n2 damaged shards are left out\n");
    ran_free(&ran);
    ran = run_program("data check --json " HOME "/shards");
    assert_int_equal(strncmp(ran.out, "{\"key\": \"/", 10), 0);
    assert_non_null(strstr(ran.out, "shards-000002.tar\", \"why\": \""));
    ran_free(&ran);
}

static void a_control_character_in_a_name_stays_off_the_terminal(void **state)
{
    (void)state;
    write_text("bad/new\nline\033[2J.jpg", "x");
    transcript("data check " HOME "/bad", 1,
               "new?line?[2J.jpg: this is neither a JPEG, PNG, WebP nor TIFF file\n"
               "only.png: this is neither a JPEG, PNG, WebP nor TIFF file\n",
               "2 of 2 pictures cannot be read\n");
    /* In errors, too, also as the one character that UTF-8 has for ESC [. */
    Ran ran = run_program("data check '" HOME "/no\033[2J\302\2332Jthere\303\244'");
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "/no?[2J?2Jthere\303\244"));
    ran_free(&ran);
}

static void stats_tell_what_is_there(void **state)
{
    (void)state;
    static const char begin[] = "pictures      6\n"
                                "bad           3, left out here: `lacuna data check` names them\n"
                                "not read      " NOT_READ "height        4 smallest, 4 median, 30 largest\n"
                                "width         2 smallest, 6 median, 20 largest\n"
                                "channels      1 grey, 5 colour\n"
                                "depth         6 of 8 bits, 0 of 16, 0 float\n"
                                "formats       5 PNG, 1 JPEG\n"
                                "duplicates    2\n"
                                "              deep/a copy.png = a.PNG\n"
                                "              deep/another.png = a.PNG\n"
                                "near-empty    1\n"
                                "              flat.png\n"
                                "wrong suffix  1\n"
                                "              f-png.jpg\n"
                                "mean          0.";
    Ran one = run_program("data stats " HOME "/mixed --threads 1"), four = run_program("data stats " HOME "/mixed --threads 4");
    assert_int_equal(one.code, 0);
    assert_string_equal(one.err, "");
    assert_string_equal(one.out, four.out);
    one.out[sizeof begin - 1] = 0;
    assert_string_equal(one.out, begin);
    ran_free(&one);
    ran_free(&four);
    transcript("data stats " HOME "/bad", 1, "",
               "lacuna: not one of the 2 pictures at " HOME "/bad can be read: `lacuna data check` says why\n");
}

static void stats_in_json_hold_the_pixels_mean(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME "/two"));
    write_png("two/black.png", 3, 4, 3, 0, 0);
    write_png("two/white.png", 3, 12, 3, 255, 0); /* three quarters of all pixels */
    write_text("two/a.heic", "x");
    Ran ran = run_program("data stats --json " HOME "/two");
    json_t *stats = json_loads(ran.out, 0, NULL);
    assert_int_equal(ran.code, 0);
    assert_non_null(stats);
    assert_int_equal(json_integer_value(json_object_get(stats, "pictures")), 2);
    assert_int_equal(json_integer_value(json_object_get(stats, "not_read")), 1);
    assert_int_equal(json_integer_value(json_object_get(stats, "near_empty")), 2);
    assert_int_equal(json_integer_value(json_object_get(stats, "duplicates")), 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(stats, "width"), "largest")), 12);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(stats, "formats"), "PNG")), 2);
    for (size_t c = 0; c < 3; c++) {
        assert_float_equal(json_number_value(json_array_get(json_object_get(stats, "mean"), c)), 0.75, 1e-8);
        assert_float_equal(json_number_value(json_array_get(json_object_get(stats, "deviation"), c)), 0.4330127, 1e-6);
    }
    json_decref(stats);
    ran_free(&ran);
}

/* The keys of bench/torch_data.py, with numbers that fit each other. */
static void bench_data_tells_its_rate(void **state)
{
    (void)state;
    Ran ran = run_program("bench data --data world --size 32 --seconds 1 --json");
    json_t *said = json_loads(ran.out, 0, NULL);
    assert_int_equal(ran.code, 0);
    assert_non_null(said);
    double pictures = json_number_value(json_object_get(said, "pictures"));
    double seconds = json_number_value(json_object_get(said, "seconds"));
    assert_true(pictures > 0 && seconds >= 1);
    assert_float_equal(json_number_value(json_object_get(said, "pictures_per_second")) * seconds / pictures, 1, 1e-6);
    assert_int_equal(json_integer_value(json_object_get(said, "size")), 32);
    assert_true(json_integer_value(json_object_get(said, "files")) > 0);
    json_decref(said);
    ran_free(&ran);
    ran = run_program("bench data --data " HOME "/two --size 32 --seconds 1 --first-pass --json");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "\"first_pass\": true"));
    ran_free(&ran);
    transcript("bench data --size 32", 2, "",
               "lacuna: bench data wants --data DIR, the pictures to load\n"
               "lacuna help bench data lists what it takes.\n");
}

/* Samples that are no files of their own have neither a format nor a suffix. */
static void cifars_files_are_looked_at_too(void **state)
{
    (void)state;
    enum { RECORD = 3073, COUNT = 3 };
    char *bytes = memory_new(COUNT, RECORD); /* the first and the last are all black, whatever their labels are */
    assert_non_null(bytes);
    bytes[2 * RECORD] = 7;
    for (int i = 0; i < 3072; i++)
        bytes[RECORD + 1 + i] = (char)(i % 100);
    assert_true(file_write(HOME "/test_batch.bin", bytes, COUNT * RECORD));
    memory_free(bytes);
    transcript("data check " HOME "/test_batch.bin", 0, "", "3 pictures, all good\n");
    static const char begin[] = "pictures      3\n"
                                "height        32 smallest, 32 median, 32 largest\n"
                                "width         32 smallest, 32 median, 32 largest\n"
                                "channels      0 grey, 3 colour\n"
                                "depth         3 of 8 bits, 0 of 16, 0 float\n"
                                "duplicates    1\n"
                                "              test_batch.bin#2 = test_batch.bin#0\n"
                                "near-empty    2\n"
                                "              test_batch.bin#0\n"
                                "              test_batch.bin#2\n"
                                "wrong suffix  0\n"
                                "mean          0.";
    Ran ran = run_program("data stats " HOME "/test_batch.bin");
    assert_int_equal(ran.code, 0);
    ran.out[sizeof begin - 1] = 0;
    assert_string_equal(ran.out, begin);
    ran_free(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(check_names_every_bad_file_in_order),
                                       cmocka_unit_test(check_names_every_damaged_shard),
                                       cmocka_unit_test(a_control_character_in_a_name_stays_off_the_terminal),
                                       cmocka_unit_test(stats_tell_what_is_there),
                                       cmocka_unit_test(stats_in_json_hold_the_pixels_mean),
                                       cmocka_unit_test(bench_data_tells_its_rate),
                                       cmocka_unit_test(cifars_files_are_looked_at_too)};
    return cmocka_run_group_tests(tests, write_folders, remove_folders);
}
