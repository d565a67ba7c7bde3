#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "formats/npy.h"

/* numpy.save(f, numpy.zeros((2, 3), '<f4')) and of shape (5,), written by numpy 2. */
static const char TWO_THREE[] = "\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
                                "                                                          \n";
static const char FIVE[] = "\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"
                           "                                                            \n";

static void headers_are_numpys(void **state)
{
    (void)state;
    Text out = {0};
    assert_true(npy_header((int64_t[]){2, 3}, 2, &out));
    assert_int_equal(out.length, 128);
    assert_memory_equal(out.data, TWO_THREE, 128);
    text_free(&out);
    out = (Text){0};
    assert_true(npy_header((int64_t[]){5}, 1, &out));
    assert_memory_equal(out.data, FIVE, 128);
    text_free(&out);
}

static void write_npy(const char *path, const char *dict, const void *data, size_t size)
{
    Text out = {0};
    text_add_bytes(&out, "\x93NUMPY\x01\x00", 8);
    text_add_bytes(&out, (unsigned char[]){(unsigned char)strlen(dict), 0}, 2);
    text_add(&out, "%s", dict);
    text_add_bytes(&out, data, size);
    assert_true(file_write(path, out.data, out.length));
    text_free(&out);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    const float values[] = {1, -2.5f, 3, 4, 0, 6};
    const int64_t whole[] = {7, -8};
    NpyArray a;
    Text out = {0};
    assert_true(npy_header((int64_t[]){2, 3}, 2, &out));
    text_add_bytes(&out, values, sizeof values);
    assert_true(file_write("written.npy", out.data, out.length));
    text_free(&out);
    assert_true(npy_read("written.npy", &a));
    assert_int_equal(a.ndim, 2);
    assert_int_equal(a.shape[1], 3);
    assert_memory_equal(a.data, values, sizeof values);
    npy_free(&a);
    write_npy("written.npy", "{'shape': (2,), 'descr': '<i8', 'fortran_order': False}\n", whole, sizeof whole);
    assert_true(npy_read("written.npy", &a));
    assert_true(a.ndim == 1 && a.data[0] == 7 && a.data[1] == -8);
    npy_free(&a);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *dict, *why;
    } cases[] = {{"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "type '|O'"},
                 {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", "Fortran"},
                 {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "its size is not"},
                 {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "no sense"},
                 {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2), }", "no sense"},
                 {"{'descr': '<f4', 'fortran_order': False, 'shape': (2", "no sense"},
                 {"{'descr': '<f4', 'fortran_order': False}", "no shape"},
                 {"{}", "no type"}};
    const float two[] = {1, 2};
    NpyArray a;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_npy("refused.npy", cases[i].dict, two, sizeof two);
        assert_false(npy_read("refused.npy", &a));
        assert_non_null(strstr(error_text(), cases[i].why));
        assert_null(a.data);
    }
    assert_true(file_write("refused.npy", "\x93NUMPY\x01\x00\xff\xff{'d", 14));
    assert_false(npy_read("refused.npy", &a));
    assert_non_null(strstr(error_text(), "cut off"));
    assert_true(file_write("refused.npy", "plain text, thirty bytes long.", 30));
    assert_false(npy_read("refused.npy", &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_numpys),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
