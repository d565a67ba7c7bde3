/* Folders that appear when all of them is written. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
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
        assert_true(new_folder_end(folder, true));
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
    assert_false(new_folder_end(folder, false));
    assert_string_equal(error_text(), "the reason");
    assert_false(file_exists(HOME "/c") || file_exists(HOME "/c.tmp"));
    /* That it cannot be removed is told as well: here what lies above has become a file. */
    folder = new_folder_begin(HOME "/above/d");
    assert_true(folder && file_remove(HOME "/above") && file_write(HOME "/above", "a", 1));
    error_set("the reason");
    assert_false(new_folder_end(folder, false));
    assert_non_null(strstr(error_text(), "the reason; what was written is not removed: cannot remove " HOME "/above/d.tmp"));
    assert_true(file_exists(HOME "/above") && file_exists(HOME "/neighbour"));
}

static void what_is_written_and_cannot_be_renamed_stays(void **state)
{
    (void)state;
    char *folder = new_folder_begin(HOME "/e/");
    assert_true(folder && file_write(HOME "/e.tmp/x", "x", 1));
    assert_true(file_make_folder(HOME "/e") && file_write(HOME "/e/theirs", "t", 1));
    assert_false(new_folder_end(folder, true));
    assert_non_null(
        strstr(error_text(), "all of it is written and lies in " HOME "/e.tmp, which cannot be renamed to " HOME "/e:"));
    assert_true(file_exists(HOME "/e/theirs") && file_exists(HOME "/e.tmp/x"));
}

static void two_do_not_share_one(void **state)
{
    (void)state;
    char *folder = new_folder_begin(HOME "/one");
    assert_true(folder && file_write(HOME "/one.tmp/x", "x", 1));
    refused(HOME "/one", "is in the way: left from an earlier try");
    refused(HOME "/one/", "another is under way");
    assert_true(file_exists(HOME "/one.tmp/x"));
    assert_true(new_folder_end(folder, true));
    assert_true(file_exists(HOME "/one/x"));
}

static void what_is_there_stays(void **state)
{
    (void)state;
    assert_true(file_make_folder(HOME "/full") && file_write(HOME "/full/x", "x", 1));
    assert_true(file_make_folder(HOME "/empty") && file_make_folder(HOME "/left.tmp") && file_make_folder(HOME "/left"));
    assert_int_equal(symlink("empty", HOME "/link"), 0);
    assert_int_equal(symlink("not-there", HOME "/nowhere"), 0);
    refused(HOME "/full", "not empty");
    refused(HOME "/full/x", "is there already");
    refused(HOME "/full/x/", "is there already");
    refused(HOME "/full/x/y", "Not a directory");
    refused(HOME "/link", "is there already");
    refused(HOME "/link/", "is there already");
    refused(HOME "/nowhere/", "is there already");
    refused(HOME "/left", "is in the way");
    static const char *const nameless[] = {"", "/", "//", ".", "./", "..", HOME "/new/.", HOME "/new/../"};
    for (size_t i = 0; i < sizeof nameless / sizeof *nameless; i++)
        refused(nameless[i], "a name of its own");
    assert_true(file_exists(HOME "/full/x") && file_exists(HOME "/link") && file_exists(HOME "/left"));
    assert_false(file_exists(".tmp") || file_exists("..tmp") || file_exists(HOME "/full.tmp") || file_exists(HOME "/new"));
    char *folder = new_folder_begin(HOME "/empty");
    assert_true(folder && file_is_folder(HOME "/empty") && file_write(HOME "/empty.tmp/x", "x", 1));
    assert_true(new_folder_end(folder, true));
    assert_true(file_exists(HOME "/empty/x"));
}

/* It is empty and cannot be another's place, which is told before the work. */
static void a_mounted_folder_is_refused(void **state)
{
    (void)state;
    enum { REFUSED, NOT_REFUSED, CANNOT_MOUNT };
    int status;
    assert_true(file_make_folder(HOME "/mounted"));
    pid_t child = fork();
    if (!child) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || mount("none", HOME "/mounted", "tmpfs", 0, NULL) < 0)
            _exit(CANNOT_MOUNT);
        bool made = new_folder_begin(HOME "/mounted") != NULL;
        _exit(!made && strstr(error_text(), "has to be replaced and cannot be: ") ? REFUSED : NOT_REFUSED);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_MOUNT)
        skip();
    assert_int_equal(WEXITSTATUS(status), REFUSED);
    assert_false(file_exists(HOME "/mounted.tmp"));
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
        cmocka_unit_test(what_is_written_and_cannot_be_renamed_stays),
        cmocka_unit_test(two_do_not_share_one),
        cmocka_unit_test(what_is_there_stays),
        cmocka_unit_test(a_mounted_folder_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
