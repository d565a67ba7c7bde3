/* `lacuna pretrain` as a program: signals, exit codes, going on through the command line, what it prints. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "run_program.h"

#define HOME "pretrain_program_test.tmp"

/* 1200 steps of less than a millisecond; nothing is saved but at the end and when a signal asks for it. */
static const char tiny[] = "image: {size: 16, mean: auto, std: auto}\n"
                           "data: {train: world, world_images: 64, val_share: 0, workers: 1}\n"
                           "encoder: {patch: 4, width: 16, depth: 2, heads: 2}\n"
                           "decoders:\n"
                           "  - {tap: last, width: 8, depth: 1, heads: 2}\n"
                           "schedule: {batch_size: 8, epochs: 150, warmup_epochs: 1, lr: 1e-3}\n"
                           "run: {threads: 1, save_steps: 100000, seed: 5}\n";

static int begin(void **state)
{
    (void)state;
    if (!file_remove(HOME) || !file_make_folder(HOME) || !file_write(HOME "/tiny.yaml", tiny, strlen(tiny)) ||
        !file_write(HOME "/other.yaml", tiny, strlen(tiny)))
        return 1;
    Ran ran = run_program("pretrain " HOME "/tiny.yaml --out " HOME "/whole --json");
    size_t lines = 0;
    for (char *line = ran.out; *line; lines++) {
        char *last = strchr(line, '\n');
        assert_non_null(last);
        json_t *json = json_loadb(line, (size_t)(last - line), JSON_REJECT_DUPLICATES, NULL);
        assert_true(json_is_object(json));
        assert_int_equal(json_integer_value(json_object_get(json, "step")), lines + 1);
        json_decref(json);
        line = last + 1;
    }
    assert_int_equal(ran.code, 0);
    assert_int_equal(lines, 1200);
    assert_non_null(strstr(ran.err, "is saved"));
    ran_free(&ran);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* ---- started and not waited for */

static pid_t start(const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "exec '%s' %s >" HOME "/out 2>&1 </dev/null", LACUNA_BINARY, arguments);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    return child;
}

/* Until a log has so many bytes. */
static void wait_for(const char *log, long bytes)
{
    for (int i = 0; i < 30000; i++) {
        FILE *file = fopen(log, "re");
        long size = 0;
        if (file && fseek(file, 0, SEEK_END) == 0)
            size = ftell(file);
        if (file)
            fclose(file);
        if (size >= bytes)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("%s does not grow", log);
}

/* The exit status, or 1000 + the signal that ended it. */
static int end_of(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Starts, sends the signal when the log has some more lines than `before` bytes, and returns how it ended. */
static int interrupted(const char *arguments, const char *log, long before, int number)
{
    pid_t child = start(arguments);
    wait_for(log, before + 1000);
    kill(child, number);
    return end_of(child);
}

static void expect_code(int code, const char *arguments)
{
    Ran ran = run_program("%s", arguments);
    if (ran.code != code)
        fail_msg("lacuna %s: exit %d, not %d\n%s%s", arguments, ran.code, code, ran.out, ran.err);
    ran_free(&ran);
}

static void expect_same(const char *run)
{
    static const char *const names[] = {"model.safetensors", "state.safetensors", "meta.json"};
    for (size_t i = 0; i < 3; i++) {
        char path[256], whole[256];
        size_t size, size_whole;
        snprintf(path, sizeof path, "%s/checkpoints/step-00001200/%s", run, names[i]);
        snprintf(whole, sizeof whole, HOME "/whole/checkpoints/step-00001200/%s", names[i]);
        char *a = file_read(path, 0, &size), *b = file_read(whole, 0, &size_whole);
        if (!a || !b)
            fail_msg("%s", error_text());
        if (size != size_whole || memcmp(a, b, size))
            fail_msg("%s is not that of an unbroken run", path);
        memory_free(a);
        memory_free(b);
    }
}

static long size_of(const char *path)
{
    size_t size;
    char *text = file_read(path, 0, &size);
    assert_non_null(text);
    memory_free(text);
    return (long)size;
}

/* ---- tests */

static void signals_save_and_the_run_goes_on(void **state)
{
    (void)state;
    static const char log[] = HOME "/run/log.jsonl", again[] = "pretrain --out " HOME "/run --resume";
    assert_int_equal(interrupted("pretrain " HOME "/tiny.yaml --out " HOME "/run", log, 0, SIGINT), 130);
    assert_true(file_exists(HOME "/run/checkpoints/latest/state.safetensors"));
    assert_int_equal(interrupted(again, log, size_of(log), SIGTERM), 143);
    assert_int_equal(interrupted(again, log, size_of(log), SIGHUP), 143);
    assert_false(file_exists(HOME "/run/checkpoints/step-00001200"));
    /* Another recipe is refused, the run's own may be named. */
    Ran ran = run_program("pretrain " HOME "/other.yaml --out " HOME "/run --resume");
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "begun with the recipe tiny, not " HOME "/other.yaml"));
    ran_free(&ran);
    ran = run_program("pretrain " HOME "/tiny.yaml --data world --out " HOME "/run --resume");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "the run's own recipe"));
    ran_free(&ran);
    expect_same(HOME "/run");
}

static void killed_before_the_first_checkpoint_it_goes_on(void **state)
{
    (void)state;
    assert_int_equal(interrupted("pretrain " HOME "/tiny.yaml --out " HOME "/killed", HOME "/killed/log.jsonl", 0, SIGKILL),
                     1000 + SIGKILL);
    assert_false(file_exists(HOME "/killed/checkpoints"));
    expect_code(0, "pretrain --out " HOME "/killed --resume --quiet");
    expect_same(HOME "/killed");
}

static void a_reader_that_goes_does_not_end_the_run(void **state)
{
    (void)state;
    int ends[2], code;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGPIPE, SIG_DFL);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(LACUNA_BINARY, "lacuna", "pretrain", HOME "/tiny.yaml", "--out", HOME "/piped", "--max-steps", "5", "--json",
              "--quiet", (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    close(ends[1]);
    code = end_of(child);
    assert_int_equal(code, 1); /* the output did not arrive */
    assert_true(file_exists(HOME "/piped/checkpoints/step-00000005/meta.json"));
}

static void nohup_is_kept(void **state)
{
    (void)state;
    signal(SIGHUP, SIG_IGN);
    pid_t child = start("pretrain " HOME "/tiny.yaml --out " HOME "/nohup");
    signal(SIGHUP, SIG_DFL);
    wait_for(HOME "/nohup/log.jsonl", 500);
    kill(child, SIGHUP);
    assert_int_equal(end_of(child), 0);
    expect_same(HOME "/nohup");
}

static void a_sheet_is_drawn(void **state)
{
    (void)state;
    size_t size;
    expect_code(0, "reconstruct --from " HOME "/whole --out " HOME "/x.png --count 2");
    char *png = file_read(HOME "/x.png", 0, &size);
    assert_non_null(png);
    assert_true(size > 100);
    assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
    memory_free(png);
}

/* A run looks at its backbone behind each epoch, and what it says of probes holds for `lacuna probe` too. */
static void probes_are_as_the_run_has_them(void **state)
{
    (void)state;
    size_t size;
    expect_code(0, "pretrain " HOME "/tiny.yaml --out " HOME
                   "/probed schedule.epochs=3 probe.every=1 probe.images=16 probe.k=3 probe.features=mean 'probe.lrs=[2, 5]'");
    char *log = file_read(HOME "/probed/log.jsonl", 0, &size);
    assert_non_null(log);
    assert_non_null(strstr(log, "\"probe\":{\"knn\":{\"1\":"));
    assert_non_null(strstr(log, "\"attention_distance\":{\"1\":"));
    memory_free(log);
    Ran ran = run_program("probe knn --from " HOME "/probed --train world --val world --json");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "\"features\": \"mean\""));
    assert_non_null(strstr(ran.out, "\"scores\": [{\"k\": 3,"));
    ran_free(&ran);
    ran = run_program("probe linear --from " HOME "/probed --train world --val world --json --epochs 1 --features concat");
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "\"features\": \"concat\""));
    assert_non_null(strstr(ran.out, "\"scores_of_choice\": [{\"lr\": 2,"));
    assert_non_null(strstr(ran.out, "{\"lr\": 5,"));
    assert_non_null(strstr(ran.out, "\"chosen_on\": \"split\""));
    ran_free(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(signals_save_and_the_run_goes_on),
                                       cmocka_unit_test(killed_before_the_first_checkpoint_it_goes_on),
                                       cmocka_unit_test(a_reader_that_goes_does_not_end_the_run),
                                       cmocka_unit_test(nohup_is_kept),
                                       cmocka_unit_test(a_sheet_is_drawn),
                                       cmocka_unit_test(probes_are_as_the_run_has_them)};
    return cmocka_run_group_tests(tests, begin, end);
}
