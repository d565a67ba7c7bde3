#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "formats/json_bounds.h"

static bool within(const char *text, size_t signs, int depth, int objects)
{
    return json_within(text, strlen(text), &(JsonBounds){signs, 1000, depth, objects}, "a file");
}

/* {"a":[1,2],"b":{}} has two objects, a list, two colons and two commas. */
static void signs_and_depths_are_counted(void **state)
{
    (void)state;
    const char text[] = "{\"a\":[1,2],\"b\":{}}";
    assert_true(within(text, 7, 2, 2));
    assert_false(within(text, 6, 2, 2));
    assert_non_null(strstr(error_text(), "a file: its JSON holds more values than such a file does (byte 15)"));
    assert_false(within(text, 7, 1, 2));
    assert_non_null(strstr(error_text(), "nested deeper than such a file is, at byte 5"));
    assert_false(within(text, 7, 2, 1));
    assert_non_null(strstr(error_text(), "at byte 15"));
    assert_true(within("[[],[],[]]", 6, 2, 0));
}

/* What stands in strings is text, whatever stands before their ends; a text that ends in one is left to the reader. */
static void strings_count_nothing(void **state)
{
    (void)state;
    assert_true(within("{\"[[[,,:\\\"[[\":\"\\\\\"}", 2, 1, 1));
    assert_false(within("{\"a\\\\\":[[1]]}", 9, 2, 1));
    assert_true(within("{\"[[[[\\", 1, 1, 1));
    assert_true(within("\"", 0, 0, 0) && within("", 0, 0, 0));
}

/* Their ends are counted too; what is escaped is one byte. */
static void text_is_counted(void **state)
{
    (void)state;
    const char text[] = "{\"abc\":\"\\\"d\"}";
    assert_true(json_within(text, strlen(text), &(JsonBounds){9, 7, 1, 1}, "a file"));
    assert_false(json_within(text, strlen(text), &(JsonBounds){9, 6, 1, 1}, "a file"));
    assert_non_null(strstr(error_text(), "a file: its JSON holds more text than such a file does (byte 11)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(signs_and_depths_are_counted), cmocka_unit_test(strings_count_nothing),
                                       cmocka_unit_test(text_is_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
