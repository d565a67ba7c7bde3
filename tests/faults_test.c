/* Every call that changes the disk, and every allocation, is made to fail once while a tiny run trains: the run ends with a
 * sentence or gets by, nothing that was saved is lost, and gone on with it comes to the same as if nothing had happened. The
 * linker puts __wrap_write() in the place of write() and so on (CMakeLists.txt). Some of the faults, in `./dev check --long`
 * all of them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/pretrain.h"
#include "train/tiny_recipe.h"

#define HOME "faults_test.tmp"

enum { SAVED = 3, STEPS = 8, CRASHED = 1000, SOME = 24 /* faults of a kind that are tried without LACUNA_LONG */ };

static Recipe recipe;

/* ---- calls that fail */

static atomic_long calls, fail_at; /* fail_at 0: never */
static int fail_with;

static bool fails(void)
{
    if (atomic_fetch_add(&calls, 1) + 1 != atomic_load(&fail_at))
        return false;
    errno = fail_with;
    return true;
}

#define WRAP(type, name, parameters, arguments)        \
    type __real_##name parameters;                     \
    type __wrap_##name parameters;                     \
    type __wrap_##name parameters                      \
    {                                                  \
        return fails() ? -1 : __real_##name arguments; \
    }

WRAP(int, fsync, (int descriptor), (descriptor))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, ftruncate, (int descriptor, off_t length), (descriptor, length))
WRAP(int, symlink, (const char *target, const char *path), (target, path))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, rmdir, (const char *path), (path))

ssize_t __real_write(int descriptor, const void *bytes, size_t size);
ssize_t __wrap_write(int descriptor, const void *bytes, size_t size);
int __real_close(int descriptor);
int __wrap_close(int descriptor);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

/* A full disk takes a part. */
ssize_t __wrap_write(int descriptor, const void *bytes, size_t size)
{
    if (!fails())
        return __real_write(descriptor, bytes, size);
    ssize_t part = __real_write(descriptor, bytes, size / 2);
    errno = fail_with;
    return part < 0 ? part : -1;
}

/* Closed in any case, as on Linux. */
int __wrap_close(int descriptor)
{
    int result = __real_close(descriptor);
    return fails() ? -1 : result;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    if ((flags & O_CREAT) && fails())
        return -1;
    return __real_open(path, flags, mode);
}

/* ---- runs */

typedef struct {
    long call;   /* the call that fails; 0: none */
    int with;    /* errno */
    long memory; /* the allocation that fails; 0: none */
} Fault;

static void hear(void *context, const char *sentence)
{
    fprintf(context, "%s\n", sentence);
}

/* In a process of its own; its outcome, CRASHED and more when it ended otherwise. *seen receives how many calls and allocations
 * there were. Its end is an ordinary one, so that a sanitizer looks for leaks. */
static int run(const char *out, bool resume, int64_t last, Fault fault, long seen[2])
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        FILE *said = fopen(HOME "/said", "w");
        Recipe *r = malloc(sizeof *r);
        *r = recipe;
        r->run.max_steps = last;
        PretrainOptions options = {.recipe = r, .out = out, .resume = resume, .say = hear, .context = said};
        atomic_store(&calls, 0);
        atomic_store(&fail_at, fault.call);
        fail_with = fault.with;
        uint64_t before = memory_count();
        memory_fail_at((uint64_t)fault.memory);
        error_clear();
        PretrainOutcome outcome = pretrain_run(&options);
        memory_fail_at(0);
        atomic_store(&fail_at, 0);
        long counts[2] = {atomic_load(&calls), (long)(memory_count() - before)};
        free(r);
        fprintf(said, "%s", outcome == PRETRAIN_FAILED ? error_text() : "");
        fclose(said);
        bool silent = outcome == PRETRAIN_FAILED && !error_text()[0];
        exit(write(ends[1], counts, sizeof counts) != sizeof counts || silent ? 99 : (int)outcome);
    }
    close(ends[1]);
    long counts[2] = {0, 0};
    ssize_t got = read(ends[0], counts, sizeof counts);
    close(ends[0]);
    if (seen && got == sizeof counts)
        memcpy(seen, counts, sizeof counts);
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? CRASHED + WTERMSIG(status) : WEXITSTATUS(status);
}

static void expect_done(const char *what, Fault fault, int got)
{
    size_t size;
    if (got == PRETRAIN_DONE)
        return;
    char *text = file_read(HOME "/said", 0, &size);
    fail_msg("%s, after call %ld with error %d, allocation %ld failed: outcome %d: %s", what, fault.call, fault.with,
             fault.memory, got, text ? text : "");
}

static void expect_same(const char *name, Fault fault)
{
    char path[2][128];
    size_t size[2] = {0, 0};
    char *bytes[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], HOME "/%s/%s", i ? "run" : "whole", name);
        if (!(bytes[i] = file_read(path[i], 0, &size[i])))
            fail_msg("%s", error_text());
    }
    if (size[0] != size[1] || memcmp(bytes[0], bytes[1], size[0]))
        fail_msg("%s is not that of a run without a fault, after call %ld with error %d, allocation %ld failed", path[1],
                 fault.call, fault.with, fault.memory);
    memory_free(bytes[0]);
    memory_free(bytes[1]);
}

static void copy_run(const char *from)
{
    char command[256];
    assert_true(file_remove(HOME "/run"));
    snprintf(command, sizeof command, "cp -a " HOME "/%s " HOME "/run", from);
    assert_int_equal(system(command), 0);
}

/* One fault in a new run, or in one that goes on from its checkpoint. */
static void try_fault(Fault fault, bool fresh)
{
    char *newest = NULL;
    if (fresh)
        assert_true(file_remove(HOME "/run"));
    else
        copy_run("part");
    int outcome = run(HOME "/run", !fresh, STEPS, fault, NULL);
    if (outcome != PRETRAIN_DONE && outcome != PRETRAIN_FAILED)
        expect_done("the run", fault, outcome);
    if (!fresh) {
        CheckpointMeta meta;
        if (!checkpoint_newest(HOME "/run", &newest, NULL) || !newest || !checkpoint_meta(newest, &meta))
            fail_msg("call %ld, allocation %ld: what was saved is lost: %s", fault.call, fault.memory, error_text());
        assert_true(meta.step >= SAVED);
        memory_free(newest);
    }
    expect_done("going on", fault, run(HOME "/run", true, STEPS, (Fault){0}, NULL));
    expect_same("checkpoints/latest/model.safetensors", fault);
    expect_same("checkpoints/latest/state.safetensors", fault);
    expect_same("checkpoints/latest/meta.json", fault);
}

/* ---- tests */

static long counts[2][2]; /* calls and allocations of a new run, and of one that goes on */

static int begin(void **state)
{
    (void)state;
    char here[4096], *cache = getcwd(here, sizeof here) ? file_join(here, HOME "/cache") : NULL;
    if (!cache || setenv("XDG_CACHE_HOME", cache, 1) || !file_remove(HOME) || !file_make_folder(HOME) || !tiny_recipe(&recipe))
        return 1;
    memory_free(cache);
    expect_done("the whole run", (Fault){0}, run(HOME "/whole", false, STEPS, (Fault){0}, counts[0]));
    expect_done("the first part", (Fault){0}, run(HOME "/part", false, SAVED, (Fault){0}, NULL));
    copy_run("part");
    expect_done("the second part", (Fault){0}, run(HOME "/run", true, STEPS, (Fault){0}, counts[1]));
    expect_same("checkpoints/latest/meta.json", (Fault){0});
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* Every so many-th of `count`, others for new runs than for those that go on. */
static void try_all(bool memory)
{
    static const int errors[] = {ENOSPC, EIO};
    const bool all = getenv("LACUNA_LONG") != NULL;
    for (int going_on = 0; going_on < 2; going_on++) {
        long count = counts[going_on][memory], stride = all || count < SOME ? 1 : count / SOME;
        assert_true(count > 100);
        for (long n = 1 + going_on * stride / 2; n <= count; n += stride)
            for (int e = 0; e < (all && !memory ? 2 : 1); e++) {
                Fault fault = {.call = memory ? 0 : n, .with = errors[(n + e) % 2], .memory = memory ? n : 0};
                try_fault(fault, !going_on);
            }
    }
}

static void calls_that_fail(void **state)
{
    (void)state;
    try_all(false);
}

static void allocations_that_fail(void **state)
{
    (void)state;
    try_all(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(calls_that_fail), cmocka_unit_test(allocations_that_fail)};
    return cmocka_run_group_tests(tests, begin, end);
}
