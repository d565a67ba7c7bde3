/* `lacuna pretrain --devices N` as a program, on processes of the processor: the same run as with one, up to rounding; going on
 * with as many, more or fewer; signals; killed processes. Where lacuna was built without MPI: that it says so. */
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "formats/safetensors.h"
#include "run_program.h"

#define HOME "devices_test.tmp"

/* eps: AdamW makes a gradient that is nothing but rounding (of keys' biases) as large as any other. */
static const char masked[] = "image: {size: 16, mean: auto, std: auto}\n"
                             "data: {train: world, world_images: 44, val_share: 0.2, workers: 2}\n"
                             "encoder: {patch: 4, width: 16, depth: 2, heads: 2, drop_path: 0.3}\n"
                             "decoders:\n"
                             "  - {tap: 1, width: 8, depth: 1, heads: 2}\n"
                             "  - {tap: last, width: 8, depth: 1, heads: 2, weight: 0.5}\n"
                             "target: {normalise: patch}\n"
                             "optimizer: {clip: 0.5, eps: 1e-4}\n"
                             "ema: {decay: 0.9}\n"
                             "schedule: {batch_size: 8, epochs: 3, warmup_epochs: 0.5, lr: 1e-3}\n"
                             "run: {threads: 1, save_steps: 5, seed: 5, precision: f32}\n";

static bool built, starts; /* with MPI; mpirun can start a process here, whatever it is */

static void need_mpi(void)
{
    if (!built || !starts)
        skip();
}

static void write_recipe(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, HOME "/%s.yaml", name);
    assert_true(file_write(path, text, strlen(text)));
}

static int begin(void **state)
{
    (void)state;
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    setenv("ASAN_OPTIONS", "detect_leaks=0", 0); /* Open MPI leaves memory behind in plug-ins that are gone by then */
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1) || !file_remove(HOME) || !file_make_folder(HOME))
        return 1;
    memory_free(cache);
    write_recipe("masked", masked);
    Ran ran = run_program("pretrain " HOME "/masked.yaml --out " HOME "/look --devices 2 --max-steps 1");
    built = !strstr(ran.err, "built without MPI");
    starts = ran.code == 0;
    if (built && !starts && mpirun_starts())
        fail_msg("exit %d: %s", ran.code, ran.err);
    if (built && !starts)
        fprintf(stderr, "devices_test: mpirun starts nothing on this machine, so nothing is tested: %s", ran.err);
    ran_free(&ran);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* ---- running and comparing */

static void expect(int code, const char *said, const char *arguments)
{
    Ran ran = run_program("%s", arguments);
    if (ran.code != code || (said && !strstr(ran.err, said)))
        fail_msg("lacuna %s: exit %d\n%s%s", arguments, ran.code, ran.out, ran.err);
    ran_free(&ran);
}

/* A run of a recipe in HOME, in the folder RECIPE-DEVICES. */
static void train(const char *recipe, int devices, const char *settings)
{
    char arguments[1024];
    snprintf(arguments, sizeof arguments, "pretrain " HOME "/%s.yaml --out " HOME "/%s-%d --devices %d %s", recipe, recipe,
             devices, devices, settings);
    expect(0, NULL, arguments);
}

static char *text_of(const char *run, const char *name, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, HOME "/%s/%s", run, name);
    char *text = file_read(path, 0, size);
    if (!text)
        fail_msg("%s", error_text());
    return text;
}

static void expect_near(const char *what, double a, double b, double relative)
{
    if (!(fabs(a - b) <= relative * (1e-3 + fabs(a) + fabs(b))))
        fail_msg("%s: %.9g and %.9g", what, a, b);
}

static json_t *next_line(const char **at)
{
    size_t length = strcspn(*at, "\n");
    json_t *line = json_loadb(*at, length, 0, NULL);
    assert_non_null(line);
    *at += length + 1;
    return line;
}

static bool is_timing(const char *key)
{
    return !strcmp(key, "images_per_second") || !strcmp(key, "seconds") || !strcmp(key, "cpu_seconds") ||
           !strcmp(key, "data_wait");
}

/* Step by step the same numbers but for rounding. */
static void expect_same_curve(const char *a, const char *b)
{
    size_t size;
    char *text_a = text_of(a, "log.jsonl", &size), *text_b = text_of(b, "log.jsonl", &size);
    const char *at_a = text_a, *at_b = text_b;
    int steps = 0;
    for (; *at_a && *at_b; steps++) {
        json_t *line_a = next_line(&at_a), *line_b = next_line(&at_b), *value;
        const char *key;
        assert_int_equal(json_object_size(line_a), json_object_size(line_b));
        json_object_foreach(line_a, key, value)
        {
            if (!is_timing(key))
                expect_near(key, json_number_value(value), json_number_value(json_object_get(line_b, key)), 1e-5);
        }
        json_decref(line_a);
        json_decref(line_b);
    }
    assert_true(steps > 0 && !*at_a && !*at_b);
    memory_free(text_a);
    memory_free(text_b);
}

static SafeTensors *weights_of(const char *run, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, HOME "/%s/checkpoints/latest/%s", run, name);
    SafeTensors *file = safetensors_open(path);
    if (!file)
        fail_msg("%s", error_text());
    return file;
}

static void expect_same_weights(const char *a, const char *b, const char *name)
{
    SafeTensors *file_a = weights_of(a, name), *file_b = weights_of(b, name);
    assert_int_equal(safetensors_count(file_a), safetensors_count(file_b));
    for (size_t i = 0; i < safetensors_count(file_a); i++) {
        const SafeTensor *x = safetensors_at(file_a, i), *y = safetensors_find(file_b, x->name);
        size_t count = safetensor_count(x);
        float *p = memory_new(2 * count, sizeof *p), *q = p + count;
        assert_non_null(p);
        assert_non_null(y);
        assert_true(safetensor_to_f32(x, p) && safetensor_to_f32(y, q));
        for (size_t k = 0; k < count; k++)
            expect_near(x->name, (double)p[k], (double)q[k], 2e-4);
        memory_free(p);
    }
    safetensors_close(file_a);
    safetensors_close(file_b);
}

static void expect_same_run(const char *a, const char *b)
{
    expect_same_curve(a, b);
    expect_same_weights(a, b, "model.safetensors");
}

static void expect_same_bytes(const char *a, const char *b)
{
    static const char *const names[] = {"model.safetensors", "state.safetensors", "meta.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        size_t size_a, size_b;
        snprintf(path, sizeof path, "checkpoints/latest/%s", names[i]);
        char *x = text_of(a, path, &size_a), *y = text_of(b, path, &size_b);
        if (size_a != size_b || memcmp(x, y, size_a))
            fail_msg("%s of %s and of %s differ", path, a, b);
        memory_free(x);
        memory_free(y);
    }
}

/* ---- the same run */

static void two_and_four_come_to_what_one_does(void **state)
{
    (void)state;
    need_mpi();
    train("masked", 1, "");
    train("masked", 2, "");
    train("masked", 4, "run.micro_batch=1"); /* shares of several parts */
    expect_same_run("masked-1", "masked-2");
    expect_same_run("masked-1", "masked-4");
}

static void other_methods_too(void **state)
{
    (void)state;
    need_mpi();
    static const struct {
        const char *name, *settings;
    } methods[] = {
        {"classes", "'decoders=[]' 'loss={kind: cross_entropy, smoothing: 0.1}' head.init_std=0.02"},
        {"contrast", "'decoders=[]' 'encoder={drop_path: 0, init: moco}' data.val_every=0 optimizer.decay_all=true "
                     "'contrast={kind: mocov3, dim: 8, hidden: 16, group: 4, temperature: 1}' schedule.lr=1e-6 ema.decay=0"},
        /* The teacher of the second stage is what the first has trained. */
        {"stages", "target.kind=features target.normalise=token ema.decay=0 "
                   "'stages=[{epochs: 1}, {epochs: 2}]'"},
        {"codes", "target.kind=tokens target.teacher=random target.codes=16 target.normalise=none loss.kind=cross_entropy"},
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char one[64], two[64];
        write_recipe(methods[i].name, masked);
        train(methods[i].name, 1, methods[i].settings);
        train(methods[i].name, 2, methods[i].settings);
        snprintf(one, sizeof one, "%s-1", methods[i].name);
        snprintf(two, sizeof two, "%s-2", methods[i].name);
        expect_same_run(one, two);
    }
}

static void it_goes_on_with_as_many_more_or_fewer(void **state)
{
    (void)state;
    need_mpi();
    static const char *const runs[] = {"same", "more", "fewer"};
    static const char *const devices[] = {"", "--devices 4", "--devices 1"};
    expect(0, NULL, "pretrain " HOME "/masked.yaml --out " HOME "/same --devices 2 --max-steps 7");
    assert_int_equal(system("cp -r " HOME "/same " HOME "/more && cp -r " HOME "/same " HOME "/fewer"), 0);
    for (int i = 0; i < 3; i++) {
        char arguments[256], said[64];
        snprintf(arguments, sizeof arguments, "pretrain --out " HOME "/%s --resume %s", runs[i], devices[i]);
        expect(0, NULL, arguments);
        snprintf(said, sizeof said, i == 2 ? "devices: 1" : i ? "devices: 4" : "devices: 2");
        size_t size;
        char *recipe = text_of(runs[i], "recipe.yaml", &size);
        assert_non_null(strstr(recipe, said));
        memory_free(recipe);
        expect_same_run("masked-1", runs[i]);
    }
    expect_same_bytes("masked-2", "same");
}

/* ---- what only rank 0 sees */

/* The part of a sentence that rounding does not change: "step 3". */
static void step_of(const Ran *ran, char step[16])
{
    const char *at = strstr(ran->err, "lacuna: step ");
    if (!at)
        fail_msg("exit %d: %s", ran->code, ran->err);
    snprintf(step, 16, "%.*s", (int)strcspn(at + 8, ":"), at + 8);
}

static void the_guard_decides_for_all(void **state)
{
    (void)state;
    need_mpi();
    char steps[2][16];
    for (int i = 0; i < 2; i++) {
        Ran ran = run_program("pretrain " HOME "/masked.yaml --out " HOME "/wild-%d --devices %d schedule.lr=1e6 "
                              "guard.nonfinite=skip guard.limit=3",
                              i, i + 1);
        assert_int_equal(ran.code, 1);
        assert_non_null(strstr(ran.err, "skipped before it: 2 steps"));
        assert_non_null(strstr(ran.err, "first in "));
        step_of(&ran, steps[i]);
        ran_free(&ran);
    }
    assert_string_equal(steps[0], steps[1]);
    /* It goes back twice or more, and all processes with it. */
    for (int i = 1; i <= 2; i++) {
        char folder[32], arguments[512];
        snprintf(folder, sizeof folder, "leaps-%d", i);
        snprintf(arguments, sizeof arguments,
                 "pretrain " HOME "/masked.yaml --out " HOME "/%s --devices %d guard.spike=1 guard.limit=100 "
                 "schedule.epochs=12 schedule.lr=1e-5",
                 folder, i);
        Ran ran = run_program("%s", arguments);
        if (ran.code != 0 || !strstr(ran.out, "with other draws"))
            fail_msg("exit %d: %s%s", ran.code, ran.out, ran.err);
        ran_free(&ran);
    }
    expect_same_run("leaps-1", "leaps-2");
}

static void what_does_not_fit_is_said(void **state)
{
    (void)state;
    if (!built) {
        expect(1, "libopenmpi-dev", "pretrain " HOME "/masked.yaml --out " HOME "/refused --devices 2");
        return;
    }
    need_mpi();
    static const char *const words[][2] = {
        {"--devices 3", "run.devices 3 does not divide schedule.batch_size 8"},
        {"--devices two", "a whole number"},
        {"--devices 5000", "a whole number"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char arguments[256];
        snprintf(arguments, sizeof arguments, "pretrain " HOME "/masked.yaml --out " HOME "/refused %s", words[i][0]);
        expect(2, words[i][1], arguments);
    }
    char *path = memory_string(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    expect(1, "openmpi-bin", "pretrain " HOME "/masked.yaml --out " HOME "/refused --devices 2");
    setenv("PATH", path, 1);
    memory_free(path);
    assert_false(file_exists(HOME "/refused/checkpoints"));
}

/* ---- signals and kills */

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

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static int end_of(pid_t child)
{
    int status;
    for (int i = 0; i < 12000; i++, nap())
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    kill(child, SIGKILL);
    fail_msg("the run hangs");
    return -1;
}

/* Until the log has some lines more than that many bytes. */
static void wait_for_steps(const char *run, long before)
{
    char path[256];
    snprintf(path, sizeof path, HOME "/%s/log.jsonl", run);
    for (int i = 0; i < 12000; i++, nap()) {
        FILE *file = fopen(path, "re");
        long size = 0;
        if (file && fseek(file, 0, SEEK_END) == 0)
            size = ftell(file);
        if (file)
            fclose(file);
        if (size > before + 3000)
            return;
    }
    fail_msg("%s does not grow", path);
}

/* The process that is that rank of the run: its environment and its command line tell. 0: there is none. */
static pid_t find_rank(const char *run, int rank)
{
    char wanted[64];
    pid_t found = 0;
    DIR *all = opendir("/proc");
    assert_non_null(all);
    snprintf(wanted, sizeof wanted, "OMPI_COMM_WORLD_RANK=%d", rank);
    for (struct dirent *entry; !found && (entry = readdir(all));) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        static const char *const files[] = {"cmdline", "environ"};
        const char *what[] = {run, wanted};
        int hits = 0;
        for (int i = 0; i < 2; i++) {
            char path[300], *text = NULL;
            size_t room = 0;
            snprintf(path, sizeof path, "/proc/%s/%s", entry->d_name, files[i]);
            FILE *file = fopen(path, "re");
            ssize_t size = file ? getdelim(&text, &room, EOF, file) : -1;
            if (file)
                fclose(file);
            hits += size > 0 && memmem(text, (size_t)size, what[i], strlen(what[i]) + 1);
            free(text);
        }
        if (hits == 2)
            found = (pid_t)atol(entry->d_name);
    }
    closedir(all);
    return found;
}

static void signals_save(void **state)
{
    (void)state;
    need_mpi();
    pid_t child =
        start("pretrain " HOME "/masked.yaml --devices 2 schedule.epochs=20000 run.save_steps=100000 --out " HOME "/signals");
    wait_for_steps("signals", 0);
    kill(child, SIGINT);
    assert_int_equal(end_of(child), 130);
    size_t before, after;
    memory_free(text_of("signals", "log.jsonl", &before));
    memory_free(text_of("signals", "checkpoints/latest/meta.json", &after));
    child = start("pretrain --resume --out " HOME "/signals");
    wait_for_steps("signals", (long)before);
    kill(child, SIGTERM);
    assert_int_equal(end_of(child), 143);
    memory_free(text_of("signals", "log.jsonl", &after));
    assert_true(after > before);
    assert_int_equal(find_rank(HOME "/signals", 0), 0);
    assert_int_equal(find_rank(HOME "/signals", 1), 0);
}

/* As a machine that shuts down does it: rank 0 saves all the same, and a rank alone takes no such signal. */
static void signals_to_every_process_save(void **state)
{
    (void)state;
    need_mpi();
    pid_t child =
        start("pretrain " HOME "/masked.yaml --devices 2 schedule.epochs=20000 run.save_steps=100000 --out " HOME "/shut");
    wait_for_steps("shut", 0);
    pid_t second = find_rank(HOME "/shut", 1);
    assert_true(second > 0);
    kill(second, SIGTERM);
    size_t size;
    memory_free(text_of("shut", "log.jsonl", &size));
    wait_for_steps("shut", (long)size);
    kill(child, SIGTERM);
    for (int rank = 0; rank < 2; rank++) {
        pid_t process = find_rank(HOME "/shut", rank);
        if (process > 0)
            kill(process, SIGTERM);
    }
    assert_int_equal(end_of(child), 143);
    memory_free(text_of("shut", "checkpoints/latest/meta.json", &size));
}

/* Whoever reads the progress may go; the training stays, and the end tells. */
static void a_reader_may_go(void **state)
{
    (void)state;
    need_mpi();
    char command[1024];
    snprintf(command, sizeof command,
             "'%s' pretrain " HOME "/masked.yaml --devices 2 --json --out " HOME "/unread 2>" HOME "/err | head -n 1 >" HOME
             "/out",
             LACUNA_BINARY);
    assert_int_equal(system(command), 0);
    json_t *meta = json_load_file(HOME "/unread/checkpoints/latest/meta.json", 0, NULL);
    assert_non_null(meta);
    assert_int_equal(json_integer_value(json_object_get(meta, "step")), 12);
    json_decref(meta);
    size_t size;
    char *err = file_read(HOME "/err", 0, &size);
    assert_non_null(err);
    assert_non_null(strstr(err, "standard output cannot be written"));
    memory_free(err);
}

static void a_killed_process_ends_the_run(void **state)
{
    (void)state;
    need_mpi();
    for (int rank = 0; rank < 2; rank++) {
        char run[32], path[64], arguments[512];
        snprintf(run, sizeof run, "killed-%d", rank);
        snprintf(path, sizeof path, HOME "/%s", run);
        snprintf(arguments, sizeof arguments,
                 "pretrain " HOME "/masked.yaml --devices 2 schedule.epochs=20000 run.save_steps=5 --out %s", path);
        pid_t child = start(arguments);
        wait_for_steps(run, 0);
        pid_t victim = find_rank(path, rank);
        assert_true(victim > 0);
        kill(victim, SIGKILL);
        assert_int_equal(end_of(child), 1);
        for (int other = 0; other < 2; other++)
            assert_int_equal(find_rank(path, other), 0);
        size_t size;
        char *out = file_read(HOME "/out", 0, &size);
        assert_non_null(out);
        assert_non_null(strstr(out, "was ended by signal 9"));
        assert_non_null(strstr(out, "--resume"));
        memory_free(out);
        /* The newest checkpoint goes on. */
        json_t *meta = json_load_file(
            rank ? HOME "/killed-1/checkpoints/latest/meta.json" : HOME "/killed-0/checkpoints/latest/meta.json", 0, NULL);
        assert_non_null(meta);
        json_int_t step = json_integer_value(json_object_get(meta, "step"));
        assert_true(step >= 5);
        json_decref(meta);
        snprintf(arguments, sizeof arguments, "pretrain --out %s --resume --devices 1 --max-steps %lld", path,
                 (long long)step + 3);
        expect(0, NULL, arguments);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_and_four_come_to_what_one_does),
        cmocka_unit_test(other_methods_too),
        cmocka_unit_test(it_goes_on_with_as_many_more_or_fewer),
        cmocka_unit_test(the_guard_decides_for_all),
        cmocka_unit_test(what_does_not_fit_is_said),
        cmocka_unit_test(signals_save),
        cmocka_unit_test(signals_to_every_process_save),
        cmocka_unit_test(a_reader_may_go),
        cmocka_unit_test(a_killed_process_ends_the_run),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
