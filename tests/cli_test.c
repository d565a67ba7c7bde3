/* Transcripts of the command line: help, wrong words, exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "run_program.h"

/* Runs and compares exit code and both outputs; NULL: may be anything. A text that ends in "..." is the beginning. */
static void matches(const char *what, const char *text, const char *want)
{
    size_t length = want ? strlen(want) : 0;
    bool beginning = length >= 3 && !strcmp(want + length - 3, "...");
    if (want && (beginning ? strncmp(text, want, length - 3) : strcmp(text, want)) != 0)
        fail_msg("%s is:\n%s\nnot:\n%s", what, text, want);
}

static void transcript(const char *arguments, int code, const char *out, const char *err)
{
    Ran ran = run_program("%s", arguments);
    if (ran.code != code)
        fail_msg("lacuna %s: exit %d, not %d\n%s", arguments, ran.code, code, ran.err);
    matches("standard output", ran.out, out);
    matches("standard error", ran.err, err);
    ran_free(&ran);
}

#define OVERVIEW                                                                                                             \
    "lacuna pre-trains vision backbones on unlabelled pictures by masked image modelling.\n\nlacuna VERB ...\n\n  pretrain " \
    "..."

static void test_help(void **state)
{
    (void)state;
    transcript("", 0, OVERVIEW, "");
    transcript("help", 0, OVERVIEW, "");
    transcript("--help", 0, OVERVIEW, "");
    transcript("-h", 0, OVERVIEW, "");
    transcript("help help --help", 0, OVERVIEW, "");
    static const char *const verbs[] = {"pretrain", "reconstruct", "parity", "bench", "data", "recipes"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        Ran page = run_program("help %s", verbs[i]), flag = run_program("%s --whatever --help", verbs[i]),
            all = run_program("help");
        char head[64];
        snprintf(head, sizeof head, "lacuna %s", verbs[i]);
        assert_int_equal(page.code, 0);
        assert_int_equal(flag.code, 0);
        assert_int_equal(strncmp(page.out, head, strlen(head)), 0);
        assert_non_null(strstr(page.out, "Example"));
        assert_string_equal(page.out, flag.out);
        assert_string_equal(page.err, "");
        snprintf(head, sizeof head, "\n  %s ", verbs[i]);
        assert_non_null(strstr(all.out, head));
        ran_free(&page);
        ran_free(&flag);
        ran_free(&all);
    }
}

static void test_version(void **state)
{
    (void)state;
    transcript("--version", 0, "lacuna " LACUNA_VERSION "\n", "");
}

static void test_unknown_verbs(void **state)
{
    (void)state;
    transcript("pretran", 2, "", "lacuna: there is no verb 'pretran': did you mean pretrain?\nlacuna help lists the verbs.\n");
    transcript("help partiy", 2, "", "lacuna: there is no verb 'partiy': did you mean parity?\nlacuna help lists the verbs.\n");
    transcript("xyzzy", 2, "", "lacuna: there is no verb 'xyzzy'\nlacuna help lists the verbs.\n");
    transcript("--frobnicate", 2, "", "lacuna: there is no verb '--frobnicate'\nlacuna help lists the verbs.\n");
}

static void test_wrong_usage(void **state)
{
    (void)state;
    transcript("parity", 2, "", "lacuna: parity wants at least one CASE.json\nlacuna help parity lists what it takes.\n");
    transcript("parity --devise cpu a.json", 2, "",
               "lacuna: there is no flag --devise: did you mean --device?\nlacuna help parity lists what it takes.\n");
    transcript("parity --device", 2, "", "lacuna: --device wants a value\n...");
    transcript("parity --device cuda a.json", 2, "", "lacuna: device cuda is not known; use cpu or ref\n...");
    transcript("parity --precision f16 a.json", 2, "", "lacuna: precision f16 is not known; use f32 or bf16\n...");
    transcript("parity --plain=yes a.json", 2, "", "lacuna: --plain takes no value\n...");
    transcript("parity key=value a.json", 2, "", "lacuna: 'key=value' is not expected here\n...");
    transcript("bench", 2, "", "lacuna: bench wants to be told what to measure: train or ops\n...");
    transcript("bench train", 2, "", "lacuna: bench train wants --config NAME, for instance cifar_p4\n...");
    transcript("bench ops --profile", 2, "", "lacuna: bench ops profiles anyway: leave --profile out\n...");
    transcript("bench train --config vit_xl", 2, "", "lacuna: there is no configuration vit_xl; use cifar_p4, ...");
    transcript("bench train --config vit_s --steps 0", 2, "",
               "lacuna: --steps wants a whole number from 1 to 1000000, not '0'\n...");
    transcript("bench train --config vit_s --steps 3x", 2, "",
               "lacuna: --steps wants a whole number from 1 to 1000000, not '3x'\n...");
    transcript("reconstruct --out a.png", 2, "", "lacuna: reconstruct wants --from RUN, a run directory or a checkpoint\n...");
    transcript("reconstruct --from a", 2, "", "lacuna: reconstruct wants --out SHEET.png, the file to write\n...");
    transcript("reconstruct --from a --out b.png --data c --images d e", 2, "",
               "lacuna: --images and --data both name pictures: use one of them\n...");
    transcript("reconstruct --seed -1 --from a --out b.png", 2, "",
               "lacuna: --seed wants a whole number from 0 to 2^63 - 1, not '-1'\n...");
    transcript("data", 2, "", "lacuna: data wants to be told what to do: check or stats\n...");
    transcript("data chekc a", 2, "", "lacuna: data does not know 'chekc': check or stats\n...");
    transcript("data check", 2, "", "lacuna: data check wants the pictures: a folder, CIFAR's files or `world`\n...");
    transcript("data check a b", 2, "", "lacuna: 'b' is not expected here\n...");
    transcript("data stats a --thread 2", 2, "", "lacuna: there is no flag --thread: did you mean --threads?\n...");
    transcript("recipes now", 2, "", "lacuna: 'now' is not expected here\n...");
    transcript("recipes -x", 2, "", "lacuna: there is no flag -x\n...");
}

static void test_failures(void **state)
{
    (void)state;
    transcript("parity nowhere.json", 1, "0 of 1 cases agree\n", "lacuna: nowhere.json: ...");
    transcript("parity -- --odd.json", 1, "0 of 1 cases agree\n", "lacuna: --odd.json: ...");
    transcript("data check nowhere", 1, "", "lacuna: no pictures at nowhere: there is no such file or folder\n");
    transcript("reconstruct --from nowhere --out a.png", 1, "", "lacuna: there is no run or checkpoint at nowhere\n");
}

static void test_full_disk(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK) != 0)
        skip();
    char command[4096];
    snprintf(command, sizeof command, "'%s' help >/dev/full 2>/dev/null", LACUNA_BINARY);
    int status = system(command);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static void test_recipes(void **state)
{
    (void)state;
    Ran ran = run_program("recipes"), json = run_program("recipes --json");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "deepmim-cifar10 "));
    assert_non_null(strstr(ran.out, "mae-cifar10 "));
    assert_int_equal(json.code, 0);
    assert_int_equal(strncmp(json.out, "{\"name\": \"", 10), 0);
    ran_free(&ran);
    ran_free(&json);
}

static void test_bench(void **state)
{
    (void)state;
    static const char *const keys[] = {"config",
                                       "precision",
                                       "compiled",
                                       "device",
                                       "threads",
                                       "batch_size",
                                       "parameters",
                                       "steps",
                                       "step_seconds",
                                       "step_seconds_median",
                                       "peak_rss_bytes",
                                       "loss_first",
                                       "images_per_second",
                                       "loss_last",
                                       "peak_device_bytes",
                                       "planned_bytes",
                                       "floor_bytes",
                                       "gflops"};
    Ran ran = run_program("bench train --config cifar_p4 --batch-size=2 --steps 2 --warmup 1 --threads 1 --json");
    assert_int_equal(ran.code, 0);
    assert_string_equal(ran.err, "");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[64];
        snprintf(key, sizeof key, "\"%s\": ", keys[i]);
        assert_non_null(strstr(ran.out, key));
    }
    /* Fixed pictures and masks: the loss falls, and the model is that of bench/torch_mae.py. */
    assert_true(atof(strstr(ran.out, "loss_last\": ") + 12) < atof(strstr(ran.out, "loss_first\": ") + 13));
    assert_non_null(strstr(ran.out, "\"parameters\": 6284976,"));
    assert_int_equal(strchr(ran.out, '\n')[1], 0);
    ran_free(&ran);
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("no number %s", key);
    return json_number_value(value);
}

/* The lines of ops, and those of their sizes, each add up to the step. */
static void test_bench_ops(void **state)
{
    (void)state;
    static const char *const lists[] = {"ops", "shapes"};
    Ran ran = run_program("bench ops --batch-size 2 --steps 2 --warmup 1 --threads 1 --json");
    Ran train = run_program("bench train --config cifar_p4 --batch-size 2 --steps 1 --warmup 0 --threads 1 --json");
    assert_int_equal(ran.code, 0);
    assert_string_equal(ran.err, "");
    json_t *report = json_loads(ran.out, 0, NULL), *step = json_loads(train.out, 0, NULL);
    assert_non_null(report);
    assert_non_null(step);
    const json_t *peak = json_object_get(report, "peak");
    assert_true(number_of(peak, "f32_gflops_per_second") > 0 && number_of(peak, "memory_gbytes_per_second") > 0);
    assert_int_equal(json_array_size(json_object_get(peak, "before")), 3);
    for (int k = 0; k < 2; k++) {
        double seconds = 0, share = 0, flops = 0, floor = 0, calls = 0;
        bool product = false;
        size_t i;
        json_t *line;
        json_array_foreach(json_object_get(report, lists[k]), i, line)
        {
            seconds += number_of(line, "seconds");
            share += number_of(line, "share");
            flops += number_of(line, "flops");
            floor += number_of(line, "floor_seconds");
            calls += number_of(line, "calls");
            /* 12 blocks of 2 pictures, of which 16 patches and the class token are seen. */
            product |= !strcmp(json_string_value(json_object_get(line, "op")), "linear_dw") &&
                       !strcmp(json_string_value(json_object_get(line, "sizes")), "34 x 576 x 192") &&
                       number_of(line, "calls") == 12;
        }
        assert_true(k == 0 || product);
        assert_true(calls > 100);
        assert_float_equal(seconds, number_of(report, "op_seconds"), 1e-6 * seconds);
        assert_float_equal(floor, number_of(report, "floor_seconds"), 1e-6 * floor);
        assert_true(floor > 0 && share > 0 && share <= 1);
        assert_float_equal(flops / 1e9, number_of(step, "gflops"), 1e-6 * flops / 1e9);
    }
    json_decref(report);
    json_decref(step);
    ran_free(&ran);
    ran_free(&train);
    /* Products of bf16 numbers are held against that peak, where there is one. */
    ran = run_program("bench ops --batch-size 2 --steps 1 --warmup 0 --threads 1 --precision bf16 --json");
    report = json_loads(ran.out, 0, NULL);
    assert_non_null(report);
    double bf16 = number_of(json_object_get(report, "peak"), "bf16_gflops_per_second");
    size_t i;
    json_t *line;
    int hits = 0;
    assert_int_equal(ran.code, 0);
    json_array_foreach(json_object_get(report, "shapes"), i, line)
    {
        if (bf16 > 0 && !strcmp(json_string_value(json_object_get(line, "sizes")), "34 x 576 x 192") &&
            !strcmp(json_string_value(json_object_get(line, "limit")), "compute")) {
            hits++;
            assert_float_equal(number_of(line, "flops") / number_of(line, "floor_seconds"), 1e9 * bf16, 1e6 * bf16);
        }
    }
    assert_true(bf16 == 0 || hits > 0);
    json_decref(report);
    ran_free(&ran);
    ran = run_program("bench ops --batch-size 2 --steps 1 --warmup 0");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "\nthe step "));
    ran_free(&ran);
    ran = run_program("bench train --config cifar_p4 --batch-size 2 --steps 1 --warmup 0 --profile");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "\nlinear_dw "));
    ran_free(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),        cmocka_unit_test(test_version),  cmocka_unit_test(test_unknown_verbs),
        cmocka_unit_test(test_wrong_usage), cmocka_unit_test(test_failures), cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_recipes),     cmocka_unit_test(test_bench),    cmocka_unit_test(test_bench_ops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
