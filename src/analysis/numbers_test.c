/* Tables as CSV and JSON, names from outside in them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "analysis/numbers.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define HOME "numbers_test.tmp"

static void rows_are_written_twice(void **state)
{
    (void)state;
    NumbersTable table = {.name = "things", .columns = "model,layer,a,b"};
    numbers_row(&table, (const char *[]){"a,\"b\"", "3", NULL}, (const double[]){0.1, NAN}, 2);
    numbers_row(&table, (const char *[]){"plain", "4", NULL}, (const double[]){-INFINITY, 1e-20}, 2);
    assert_true(file_remove(HOME) && file_make_folder(HOME) && numbers_write_csv(&table, HOME));
    size_t size;
    char *csv = file_read(HOME "/things.csv", 0, &size);
    assert_string_equal(csv, "model,layer,a,b\n\"a,\"\"b\"\"\",3,0.1,\nplain,4,,1e-20\n");
    memory_free(csv);
    Text out = {0};
    text_add(&out, "{");
    numbers_add_json(&table, &out);
    text_add(&out, "}");
    json_t *root = json_loads(out.data, 0, NULL), *rows = json_object_get(root, "things");
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "model")), "a,\"b\"");
    assert_true(json_number_value(json_object_get(json_array_get(rows, 0), "a")) == 0.1);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 0), "b")));
    assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "a")));
    json_decref(root);
    text_free(&out);
    numbers_free(&table);
    assert_true(file_remove(HOME));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_are_written_twice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
