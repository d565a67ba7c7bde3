/* The run's directory: lock, default names, torn logs, the list of bad files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/run_folder.h"

#define HOME "run_folder_test.tmp"
#define RUN  HOME "/run"

static int begin(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(HOME) ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static RunFolder *open_run(void)
{
    RunFolder *f = run_folder_open(RUN, NULL);
    if (!f)
        fail_msg("%s", error_text());
    return f;
}

static void expect_file(const char *name, const char *content)
{
    size_t size;
    char *path = file_join(RUN, name), *text = file_read(path, 0, &size);
    assert_non_null(text);
    assert_string_equal(text, content);
    memory_free(text);
    memory_free(path);
}

static void a_second_user_is_told(void **state)
{
    (void)state;
    RunFolder *f = open_run();
    assert_null(run_folder_open(RUN, NULL));
    assert_non_null(strstr(error_text(), "in use"));
    pid_t child = fork();
    if (child == 0)
        _exit(run_folder_open(RUN, NULL) ? 1 : 0);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    run_folder_close(f);
    /* Nothing was written: the folder is gone, and can be had again. */
    assert_false(file_exists(RUN));
    f = open_run();
    run_folder_close(f);
}

static void default_names_count_up(void **state)
{
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(HOME), 0);
    Recipe *r = memory_new(1, sizeof *r);
    recipe_defaults(r);
    RunFolder *a = run_folder_open(NULL, "tiny"), *b = run_folder_open(NULL, "tiny");
    assert_non_null(a);
    assert_non_null(b);
    assert_string_equal(run_folder_path(a), "runs/tiny-1");
    assert_string_equal(run_folder_path(b), "runs/tiny-2");
    assert_true(run_folder_write_recipe(a, r));
    run_folder_close(a);
    run_folder_close(b);
    RunFolder *c = run_folder_open(NULL, "tiny");
    assert_non_null(c);
    assert_string_equal(run_folder_path(c), "runs/tiny-2");
    run_folder_close(c);
    assert_int_equal(chdir(before), 0);
    memory_free(r);
}

static void the_log_is_cut_behind_a_step(void **state)
{
    (void)state;
    RunFolder *f = open_run();
    assert_true(run_folder_open_log(f, 0));
    assert_true(run_folder_log(f, "{\"step\":1,\"loss\":2}"));
    assert_true(run_folder_log(f, "{\"step\":2,\"loss\":1.5}"));
    assert_true(run_folder_log(f, "{\"step\":3,\"loss\":1}"));
    assert_true(run_folder_sync_log(f));
    run_folder_close(f);
    f = open_run();
    assert_true(run_folder_holds_run(f));
    assert_true(run_folder_open_log(f, 2));
    expect_file("log.jsonl", "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1.5}\n");
    assert_true(run_folder_log(f, "{\"step\":3,\"loss\":7}"));
    run_folder_close(f);
    expect_file("log.jsonl", "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1.5}\n{\"step\":3,\"loss\":7}\n");
}

static void torn_lines_are_cut_off(void **state)
{
    (void)state;
    static const char whole[] = "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1.5}\n";
    static const char *const torn[] = {"{\"step\":3,\"lo",        "{\"st", "{\"step\":3,\"loss\":\n", "\n",
                                       "rubbish\n{\"step\":3}\n", ""};
    for (size_t i = 0; i < sizeof torn / sizeof *torn; i++) {
        Text text = {0};
        text_add(&text, "%s%s", whole, torn[i]);
        assert_true(file_make_folder(RUN));
        assert_true(file_write(RUN "/log.jsonl", text.data, text.length));
        text_free(&text);
        RunFolder *f = open_run();
        assert_true(run_folder_open_log(f, 100));
        run_folder_close(f);
        expect_file("log.jsonl", whole);
    }
}

static void bad_files_are_named_once(void **state)
{
    (void)state;
    static const char expected[] =
        "file,reason\na.jpg,cut off\n\"b \"\"x\"\", y.jpg\",\"not a picture, nor text\"\n\"line\nbreak.png\",empty\n";
    for (int session = 0; session < 3; session++) {
        RunFolder *f = open_run();
        assert_true(run_folder_open_log(f, 0)); /* so that the folder stays */
        assert_true(run_folder_bad(f, "a.jpg", "cut off"));
        assert_true(run_folder_bad(f, "b \"x\", y.jpg", "not a picture, nor text"));
        assert_true(run_folder_bad(f, "a.jpg", "cut off"));
        assert_true(run_folder_bad(f, "line\nbreak.png", "empty"));
        run_folder_close(f);
        expect_file("bad_files.csv", expected);
    }
    /* A record torn in the middle of a quoted field is written again. */
    assert_true(file_write(RUN "/bad_files.csv", expected, sizeof expected - 1 - 10));
    RunFolder *f = open_run();
    assert_true(run_folder_bad(f, "line\nbreak.png", "empty"));
    run_folder_close(f);
    expect_file("bad_files.csv", expected);
}

static void numbers_read_back(void **state)
{
    (void)state;
    const double values[] = {0, -0.0, 1, 0.1, 1.0 / 3, 6.584951400756836, 1e-300, 123456789.0, 2.5e-5, 0x1.fffffffffffffp+1023};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        Text text = {0};
        log_number(&text, values[i]);
        double back = strtod(text.data, NULL);
        assert_memory_equal(&back, &values[i], sizeof back);
        text_free(&text);
    }
    Text text = {0};
    log_number(&text, NAN);
    log_number(&text, 0.1);
    assert_string_equal(text.data, "null0.1");
    text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_second_user_is_told, begin, end),
        cmocka_unit_test_setup_teardown(default_names_count_up, begin, end),
        cmocka_unit_test_setup_teardown(the_log_is_cut_behind_a_step, begin, end),
        cmocka_unit_test_setup_teardown(torn_lines_are_cut_off, begin, end),
        cmocka_unit_test_setup_teardown(bad_files_are_named_once, begin, end),
        cmocka_unit_test(numbers_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
