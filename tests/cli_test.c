/* The command line: transcripts in tests/cli, the pages of help, the man page, completion, and `lacuna bench`. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/text.h"
#include "cli/cli.h"
#include "run_program.h"

#define HOME "cli_test.tmp"

/* ---- transcripts */

/* Whether a text of whole lines is what the pattern says: "..." within a line is any text, a line of "..." any lines. */
static bool matches(const char *text, const char *pattern)
{
    while (*pattern) {
        if (!strncmp(pattern, "...\n", 4) && (pattern[-1] == '\n' || !pattern[-1])) {
            for (;; text++) {
                if (matches(text, pattern + 4))
                    return true;
                text += strcspn(text, "\n");
                if (!*text)
                    return false;
            }
        }
        if (!strncmp(pattern, "...", 3)) {
            for (pattern += 3;; text++) {
                if (matches(text, pattern))
                    return true;
                if (!*text || *text == '\n')
                    return false;
            }
        }
        if (*text++ != *pattern++)
            return false;
    }
    return !*text;
}

typedef struct {
    char command[1024];
    Text out, err; /* patterns, a zero in front of each: matches() looks back */
    int code;
} Expected;

static void check(Expected *e, const char *file)
{
    char command[4096];
    if (!e->command[0])
        return;
    snprintf(command, sizeof command, "cd " HOME " && (%s) >out 2>err </dev/null", e->command);
    int status = system(command);
    size_t size;
    char *out = file_read(HOME "/out", 0, &size), *err = file_read(HOME "/err", 0, &size);
    assert_non_null(out);
    assert_non_null(err);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code != e->code || !matches(out, e->out.data + 1) || !matches(err, e->err.data + 1))
        fail_msg("%s: %s\nexit code %d, standard output:\n%sstandard error:\n%s", file, e->command, code, out, err);
    memory_free(out);
    memory_free(err);
    text_free(&e->out);
    text_free(&e->err);
}

static void begin_command(Expected *e, const char *line, size_t length)
{
    *e = (Expected){0};
    snprintf(e->command, sizeof e->command, "%.*s", (int)length, line);
    text_add_bytes(&e->out, "", 1);
    text_add_bytes(&e->err, "", 1);
}

/* Runs every command of a transcript; returns how many there are. Empty lines in front of a command are none of the output. */
static int run_transcript(const char *file)
{
    char path[512];
    size_t size;
    int count = 0;
    snprintf(path, sizeof path, LACUNA_SOURCE "/tests/cli/%s", file);
    char *text = file_read(path, 0, &size);
    assert_non_null(text);
    Expected e = {0};
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        const char *next = line + length + (line[length] != 0);
        if (!strncmp(line, "$ ", 2)) {
            check(&e, file);
            begin_command(&e, line + 2, length - 2);
            count++;
        } else if (e.command[0] && !strncmp(line, "! ", 2)) {
            text_add(&e.err, "%.*s\n", (int)length - 2, line + 2);
        } else if (e.command[0] && !strncmp(line, "= ", 2)) {
            e.code = atoi(line + 2);
        } else if (e.command[0] && !(length == 0 && (!*next || !strncmp(next, "$ ", 2)))) {
            text_add(&e.out, "%.*s\n", (int)length, line);
        }
        line = next;
    }
    check(&e, file);
    memory_free(text);
    return count;
}

static int begin(void **state)
{
    char path[8192];
    (void)state;
    snprintf(path, sizeof path, "%s:%s", LACUNA_BINARY_FOLDER, getenv("PATH"));
    setenv("PATH", path, 1);
    /* Weights that PyTorch wrote. */
    return file_remove(HOME) && file_make_folder(HOME) && symlink(LACUNA_SOURCE "/tests/fuzz/corpus/torch", HOME "/torch") == 0
               ? 0
               : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static void test_transcripts(void **state)
{
    (void)state;
    DIR *folder = opendir(LACUNA_SOURCE "/tests/cli");
    int files = 0;
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        if (length > 4 && !strcmp(entry->d_name + length - 4, ".txt")) {
            assert_true(run_transcript(entry->d_name) > 0);
            files++;
        }
    }
    closedir(folder);
    assert_true(files >= 2);
    /* What a transcript says is held to. */
    assert_false(matches("a\nb\n", &"\0a\n"[1]));
    assert_false(matches("a\n", &"\0b\n"[1]));
    assert_true(matches("a\nb\nc\n", &"\0...\nc\n"[1]));
    assert_false(matches("a\nb\n", &"\0...c\n"[1]));
    assert_true(matches("abc\n", &"\0a...c\n"[1]));
}

/* ---- pages */

static void test_help(void **state)
{
    (void)state;
    Ran all = run_program("help"), man = run_program("help --man");
    assert_non_null(strstr(man.out, ".TH LACUNA 1"));
    for (const Verb *const *verb = verbs_all(); *verb; verb++) {
        Ran page = run_program("help %s", (*verb)->name), flag = run_program("%s --whatever --help", (*verb)->name);
        char head[64];
        snprintf(head, sizeof head, "lacuna %s", (*verb)->name);
        assert_int_equal(page.code, 0);
        assert_int_equal(flag.code, 0);
        assert_int_equal(strncmp(page.out, head, strlen(head)), 0);
        assert_non_null(strstr(page.out, "\nExamples:\n  lacuna "));
        assert_string_equal(page.out, flag.out);
        assert_string_equal(page.err, "");
        snprintf(head, sizeof head, "\n  %s ", (*verb)->name);
        assert_non_null(strstr(all.out, head));
        snprintf(head, sizeof head, "\n.SS lacuna %s", (*verb)->name);
        assert_non_null(strstr(man.out, head));
        for (const Option *o = (*verb)->options; o && o->name; o++) {
            snprintf(head, sizeof head, "\n  --%s ", o->name);
            assert_non_null(strstr(page.out, head));
        }
        ran_free(&page);
        ran_free(&flag);
    }
    ran_free(&all);
    ran_free(&man);
}

/* What bash offers behind the words of a line. */
static bool offers(const char *words, const char *candidate)
{
    char command[1024], found[64] = "";
    snprintf(command, sizeof command,
             "bash -c '. " HOME "/complete; COMP_WORDS=(lacuna %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }; "
             "_lacuna; printf \"%%s\\n\" \"${COMPREPLY[@]}\"' | grep -Fx -- '%s'",
             words, candidate);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    bool any = fgets(found, sizeof found, pipe) != NULL;
    pclose(pipe);
    return any;
}

static void test_completion(void **state)
{
    (void)state;
    Ran bash = run_program("help --completion bash"), zsh = run_program("help --completion zsh"),
        fish = run_program("help --completion fish");
    assert_true(file_write(HOME "/complete", bash.out, strlen(bash.out)));
    assert_true(offers("pre", "pretrain"));
    assert_true(offers("data ch", "check"));
    assert_true(offers("help reco", "reconstruct"));
    assert_true(offers("data check --th", "--threads"));
    assert_true(offers("pretrain --max", "--max-steps"));
    assert_true(offers("pretrain mae-c", "mae-cifar10"));
    assert_true(offers("pretrain mae-cifar10 encoder.de", "encoder.depth="));
    assert_true(offers("pretrain --precision b", "bf16"));
    assert_false(offers("data check --th", "--max-steps"));
    assert_false(offers("reconstruct mae-c", "mae-cifar10"));
    assert_non_null(strstr(zsh.out, "#compdef lacuna\n"));
    assert_non_null(strstr(zsh.out, "'--max-steps[Stop after"));
    assert_non_null(strstr(fish.out, " -l max-steps -x -d 'Stop after"));
    ran_free(&bash);
    ran_free(&zsh);
    ran_free(&fish);
}

static void test_version(void **state)
{
    (void)state;
    Ran ran = run_program("--version");
    assert_string_equal(ran.out, "lacuna " LACUNA_VERSION "\n");
    ran_free(&ran);
}

/* docs/recipe.md is what the program prints. */
static void test_reference(void **state)
{
    (void)state;
    size_t size;
    Ran ran = run_program("help --keys");
    char *page = file_read(LACUNA_SOURCE "/docs/recipe.md", 0, &size);
    assert_non_null(page);
    if (strcmp(page, ran.out) != 0)
        fail_msg("docs/recipe.md is not what the program prints: build/lacuna help --keys >docs/recipe.md");
    memory_free(page);
    ran_free(&ran);
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

/* ---- bench */

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
    /* Products of bf16 numbers are held against that peak, where there is one. With so many rows arithmetic is their limit by
     * far, so that a busy machine does not turn it. */
    ran = run_program("bench ops --batch-size 16 --steps 1 --warmup 0 --threads 1 --precision bf16 --json");
    report = json_loads(ran.out, 0, NULL);
    assert_non_null(report);
    double bf16 = number_of(json_object_get(report, "peak"), "bf16_gflops_per_second");
    size_t i;
    json_t *line;
    int hits = 0;
    assert_int_equal(ran.code, 0);
    json_array_foreach(json_object_get(report, "shapes"), i, line)
    {
        if (bf16 > 0 && !strcmp(json_string_value(json_object_get(line, "sizes")), "272 x 576 x 192") &&
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
    /* By count, for a machine whose memory has no bounds and for one whose arithmetic has none: the other is the limit. */
    static const struct {
        const char *peaks;
        bool computes; /* some op is bound by arithmetic, and the step reaches the peak */
    } floors[] = {{"0.001,0.001,1e12", true}, {"0.001,1000,1e12", true}, {"1e12,1e12,1", false}};
    for (i = 0; i < sizeof floors / sizeof *floors; i++) {
        ran = run_program("bench ops --floors %s", floors[i].peaks);
        assert_int_equal(ran.code, 0);
        assert_non_null(strstr(ran.out, "nothing was run"));
        assert_int_equal(strstr(ran.out, " compute\n") != NULL, floors[i].computes);
        assert_int_equal(strstr(ran.out, " 100 % of the f32 peak") != NULL, floors[i].computes);
        ran_free(&ran);
    }
    ran = run_program("bench ops --floors 67,989");
    assert_int_equal(ran.code, 2);
    assert_non_null(strstr(ran.err, "such as 67,989,4800; not 67,989"));
    ran_free(&ran);
    ran = run_program("bench train --config cifar_p4 --batch-size 2 --steps 1 --warmup 0 --profile");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "\nlinear_dw "));
    ran_free(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_transcripts), cmocka_unit_test(test_help),
                                       cmocka_unit_test(test_completion),  cmocka_unit_test(test_version),
                                       cmocka_unit_test(test_reference),   cmocka_unit_test(test_recipes),
                                       cmocka_unit_test(test_bench),       cmocka_unit_test(test_bench_ops)};
    return cmocka_run_group_tests(tests, begin, end);
}
