/* Folders that appear when all of them is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "data/new_folder.h"

#define HOME "new_folder_test.tmp"

static void refused(const char *out, const char *words)
{
    assert_null(new_folder_begin(out));
    if (!strstr(error_text(), words))
        fail_msg("'%s' does not say '%s'", error_text(), words);
}

static void it_appears_when_it_is_written(void **state)
{
    (void)state;
    static const char *const names[] = {HOME "/deep/a", HOME "/deep/b/"};
    for (int i = 0; i < 2; i++) {
        char *folder = new_folder_begin(names[i]);
        assert_non_null(folder);
        assert_string_equal(folder, i ? HOME "/deep/b.tmp" : HOME "/deep/a.tmp");
        assert_true(file_is_folder(folder) && !file_exists(names[i]));
        assert_true(file_write(i ? HOME "/deep/b.tmp/x" : HOME "/deep/a.tmp/x", "x", 1));
        assert_true(new_folder_end(folder, names[i], true));
        assert_true(file_exists(i ? HOME "/deep/b/x" : HOME "/deep/a/x"));
        assert_false(file_exists(i ? HOME "/deep/b.tmp" : HOME "/deep/a.tmp"));
    }
}

static void what_is_not_written_is_removed(void **state)
{
    (void)state;
    assert_true(file_write(HOME "/neighbour", "n", 1));
    char *folder = new_folder_begin(HOME "/c");
    assert_non_null(folder);
    assert_true(file_write(HOME "/c.tmp/x", "x", 1));
    error_set("the reason");
    assert_false(new_folder_end(folder, HOME "/c", false));
    assert_string_equal(error_text(), "the reason");
    assert_false(file_exists(HOME "/c") || file_exists(HOME "/c.tmp"));
    /* Someone else was faster. */
    folder = new_folder_begin(HOME "/c");
    assert_true(file_make_folder(HOME "/c") && file_write(HOME "/c/theirs", "t", 1));
    assert_false(new_folder_end(folder, HOME "/c", true));
    assert_non_null(strstr(error_text(), "cannot rename"));
    assert_true(file_exists(HOME "/c/theirs") && file_exists(HOME "/neighbour") && !file_exists(HOME "/c.tmp"));
}

static void what_is_there_stays(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME "/full") && file_write(HOME "/full/x", "x", 1));
    assert_true(file_make_folder(HOME "/empty") && file_make_folder(HOME "/left.tmp") && file_make_folder(HOME "/left"));
    assert_int_equal(symlink("empty", HOME "/link"), 0);
    refused(HOME "/full", "not empty");
    refused(HOME "/full/x", "is there already");
    refused(HOME "/link", "is there already");
    refused(HOME "/left", "remove it first");
    refused("", "it is empty");
    refused(".", "cannot be made anew");
    assert_true(file_exists(HOME "/full/x") && file_exists(HOME "/link") && file_exists(HOME "/left"));
    assert_false(file_exists(".tmp") || file_exists("..tmp") || file_exists(HOME "/full.tmp"));
    char *folder = new_folder_begin(HOME "/empty");
    assert_true(folder && new_folder_end(folder, HOME "/empty", true));
    assert_true(file_is_folder(HOME "/empty"));
}

static int set_up(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(HOME) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_appears_when_it_is_written),
        cmocka_unit_test(what_is_not_written_is_removed),
        cmocka_unit_test(what_is_there_stays),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
