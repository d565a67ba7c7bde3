/* A run's directory as it is told of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "train/run_folder.h"
#include "train/run_summary.h"
#include "train/tiny_recipe.h"

#define HOME "run_summary_test.tmp"

static RunSummary s;

static void read_run(void)
{
    if (!run_summary_read(HOME, &s))
        fail_msg("%s", error_text());
}

static void a_run_from_empty_to_finished(void **state)
{
    (void)state;
    static Recipe recipe;
    assert_true(file_remove(HOME) && tiny_recipe(&recipe));
    strcpy(recipe.name, "tiny");
    assert_false(run_summary_is_run(HOME));
    assert_false(run_summary_read(HOME, &s));
    RunFolder *folder = run_folder_open(HOME, NULL);
    assert_non_null(folder);
    assert_true(run_folder_write_recipe(folder, &recipe) && run_folder_open_log(folder, 0));
    assert_true(run_summary_is_run(HOME));
    read_run();
    assert_int_equal(s.state, RUN_ACTIVE);
    assert_int_equal(s.step, 0);
    run_folder_close(folder);
    read_run();
    assert_int_equal(s.state, RUN_EMPTY);
    assert_string_equal(s.recipe.name, "tiny");
    assert_int_equal(s.recipe.encoder.width, 16);

    folder = run_folder_open(HOME, NULL);
    assert_true(run_folder_open_log(folder, 0));
    assert_true(run_folder_log(folder, "{\"step\":1,\"epoch\":0.25,\"loss\":3,\"loss.0\":1,\"loss.1\":2,\"seconds\":0.5}"));
    assert_true(run_folder_log(folder, "{\"step\":4,\"epoch\":1,\"loss\":2.5,\"loss.0\":1.5,\"loss.1\":1,\"val_loss\":2.25,"
                                       "\"val_loss.0\":1.25,\"val_loss.1\":1,\"seconds\":0.5,\"images_per_second\":16}"));
    assert_true(run_folder_log(folder, "{\"step\":5,\"epoch\":1.25,\"loss\":2,\"loss.0\":1,\"loss.1\":1,\"seconds\":1}"));
    run_folder_close(folder);
    read_run();
    assert_int_equal(s.state, RUN_STOPPED);
    assert_int_equal(s.step, 5);
    assert_int_equal(s.steps, 8);
    assert_int_equal(s.val_step, 4);
    assert_true(s.loss == 2 && s.val_loss == 2.25 && s.val_losses[0] == 1.25 && s.losses[1] == 1 && s.seconds == 2);
    assert_true(s.changed > 0);

    folder = run_folder_open(HOME, NULL);
    assert_true(run_folder_open_log(folder, 5));
    assert_true(run_folder_log(folder, "{\"step\":8,\"epoch\":2,\"loss\":1,\"loss.0\":0.5,\"loss.1\":0.5,\"seconds\":1}"));
    run_folder_close(folder);
    read_run();
    assert_int_equal(s.state, RUN_FINISHED);
    assert_true(file_remove(HOME));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_from_empty_to_finished)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
