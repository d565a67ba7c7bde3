/* Lists of pictures: quoting, labels, what is refused, and lists that were damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/source.h"
#include "image/draw.h"

#define HOME "list_test.tmp"
#define LIST HOME "/list.csv"

static const SourceOptions uncached = {.no_cache = true};

static Source *open_list(const char *text, size_t size)
{
    assert_true(file_write(LIST, text, size));
    error_clear();
    return source_open(LIST, &uncached);
}

static Source *open_text(const char *text)
{
    Source *source = open_list(text, strlen(text));
    if (!source)
        fail_msg("%s", error_text());
    return source;
}

static void assert_refused(const char *text, size_t size, const char *part)
{
    Source *source = open_list(text, size);
    assert_null(source);
    if (!strstr(error_text(), part) || !strstr(error_text(), "list.csv"))
        fail_msg("\"%s\" is not in \"%s\"", part, error_text());
}

static void assert_key(const Source *source, size_t i, const char *expect)
{
    char key[SOURCE_KEY_SIZE];
    assert_string_equal(source_key(source, i, key, sizeof key), expect);
}

static void order_quotes_and_numbers(void **state)
{
    (void)state;
    Source *source =
        open_text("\xEF\xBB\xBFpath,label\r\n\r\nb.png,3\r\n\"a, \"\"b\"\".png\",0\n\n\"b.png\",\"12\"\nin/c d.png,03");
    assert_int_equal(source_count(source), 4);
    assert_key(source, 0, "b.png");
    assert_key(source, 1, "a, \"b\".png");
    assert_key(source, 2, "b.png");
    assert_key(source, 3, "in/c d.png");
    int labels[] = {3, 0, 12, 3};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(source_label(source, i), labels[i]);
    assert_int_equal(source_class_count(source), 13);
    assert_string_equal(source_class_name(source, 12), "12");
    assert_non_null(strstr(source_summary(source), "4 pictures in 13 classes (list "));
    source_close(source);
}

static void names_are_sorted(void **state)
{
    (void)state;
    Source *source = open_text("1.png,tree\n2.png,7\n3.png,Tree\n4.png,\"a,b\"\n5.png,tree\n");
    int labels[] = {3, 0, 1, 2, 3};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(source_label(source, i), labels[i]);
    assert_int_equal(source_class_count(source), 4);
    assert_string_equal(source_class_name(source, 2), "a,b");
    source_close(source);
    source = open_text("path,name\n1.png,x\n"); /* no header: a file named path */
    assert_int_equal(source_count(source), 2);
    source_close(source);
    source = open_text("Path,LABEL\n1.png,10\n2.png,2\n");
    assert_int_equal(source_count(source), 2);
    assert_int_equal(source_class_count(source), 11);
    source_close(source);
    source = open_text("path\n1.png\n2.png,\n");
    assert_int_equal(source_count(source), 2);
    assert_int_equal(source_class_count(source), 0);
    assert_int_equal(source_label(source, 1), -1);
    source_close(source);
}

/* Paths go from the list's folder on, not from the working directory. */
static void pictures_are_read(void **state)
{
    (void)state;
    Image image, back;
    char text[5000], cwd[4096];
    assert_true(file_make_folder(HOME "/in"));
    assert_true(image_new(&image, 3, 4, 3));
    for (size_t i = 0; i < image_size(&image); i++)
        image.data[i] = (uint8_t)(7 * i);
    assert_true(image_write_png(HOME "/in/x,y.png", &image));
    assert_non_null(realpath(HOME, cwd));
    snprintf(text, sizeof text, "\"in/x,y.png\"\nmissing.png\n\"%s/in/x,y.png\"\n", cwd);
    Source *source = open_text(text);
    for (size_t i = 0; i < 3; i += 2) {
        assert_true(source_picture(source, i, 3, &back));
        assert_int_equal(back.width, 4);
        assert_memory_equal(back.data, image.data, image_size(&image));
        image_free(&back);
    }
    assert_false(source_picture(source, 1, 3, &back));
    assert_non_null(strstr(error_text(), HOME "/missing.png"));
    float mean[3], std[3];
    assert_true(source_statistics(source, NULL, 0, 3, 1, mean, std));
    image_free(&image);
    source_close(source);
}

static void malformed_lines_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "no line"},
        {"path,label\n", "no line"},
        {"a.png\n\"b.png\nc.png\n", "line 2 has a quote that is not closed"},
        {"a.png\n\n\"b.png\"x,1\n", "line 3 goes on behind a closing quote"},
        {"a\"b\".png\n", "line 1 has a quote inside"},
        {"a.png,1\nb.png,1,2\n", "line 2 has more than the two fields"},
        {"a.png,1\n,1\n", "line 2 has no path"},
        {"a.png,1\n\r\nb.png\n", "line 3 has no label, unlike line 1"},
        {"a.png\nb.png,x\n", "line 2 has a label, unlike line 1"},
        {"file,class\na.png,1\nb.png,10\n", "line 1 has the label class, and all others are numbers; if it is a header, write"},
        {"a.png,1\nb.png,1048576\n", "line 2 has the label 1048576"},
        {"a.png,1\nb.png,99999999999999999999\n", "line 2 has the label 9999"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        assert_refused(cases[c][0], strlen(cases[c][0]), cases[c][1]);
    assert_refused("a.png\nb\0.png\n", 13, "line 2 holds a zero byte");
    char *text = memory_new(SOURCE_KEY_SIZE + 7, 1);
    assert_non_null(text);
    memset(text, 'x', SOURCE_KEY_SIZE + 6);
    assert_refused(text, SOURCE_KEY_SIZE, "line 1 has a path of 4096 bytes");
    Source *source = open_list(text, SOURCE_KEY_SIZE - 1);
    assert_non_null(source);
    source_close(source);
    memory_free(text);
}

/* Whatever stands in a list, opening it ends with samples that can be asked for, or with a reason. */
static void damaged_lists(void **state)
{
    (void)state;
    static const char whole[] = "\xEF\xBB\xBFpath,label\r\nb.png,3\r\n\"a, \"\"b\"\".png\",0\n\nc.png,\"cat\"\n\"d\",\"\"\"\"";
    static const char spice[] = "\"\",,\r\n\0"
                                "09\xEF";
    Random r = random_stream(5, RANDOM_TEST, 0, 0, 0);
    int opened = 0, refused = 0;
    for (int round = 0; round < 2000; round++) {
        char text[sizeof whole], key[SOURCE_KEY_SIZE];
        size_t size = round < (int)sizeof whole ? (size_t)round : sizeof whole - 1;
        memcpy(text, whole, sizeof whole);
        for (uint32_t n = round < (int)sizeof whole ? 0 : 1 + random_below(&r, 6); n; n--)
            text[random_below(&r, (uint32_t)size)] = spice[random_below(&r, sizeof spice - 1)];
        Source *source = open_list(text, size);
        assert_true(source || error_text()[0]);
        for (size_t i = 0; source && i < source_count(source); i++) {
            assert_true(source_key(source, i, key, sizeof key)[0]);
            assert_in_range(source_label(source, i) + 1, 0, source_class_count(source));
        }
        opened += source != NULL;
        refused += source == NULL;
        source_close(source);
    }
    assert_true(opened > 100 && refused > 100);
}

static int set_up(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(HOME) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_quotes_and_numbers),  cmocka_unit_test(names_are_sorted), cmocka_unit_test(pictures_are_read),
        cmocka_unit_test(malformed_lines_are_named), cmocka_unit_test(damaged_lists),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
