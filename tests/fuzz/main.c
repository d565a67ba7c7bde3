/* The targets without libFuzzer: replays the corpus, then mutates it blindly with a fixed seed. What `./dev test` runs, under
 * sanitizers `./dev check`, and how an input that was found is looked at:
 *
 *     build/tests/fuzz [--runs N] [--seconds S] [--seed K] [TARGET | FILE ...]
 *
 * --runs: mutated inputs of each target (default 2000), --seconds: at most so long for each. A FILE is given to the target that
 * its folder is named after. When an input ends the program it is left in fuzz-input-TARGET. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "fuzz.h"

enum { LARGEST_INPUT = 1 << 14, SLOWEST = 60 /* seconds that one input may take, also under sanitizers on a busy machine */ };

typedef struct {
    char *bytes;
    size_t size;
} Seed;

typedef struct {
    Seed *seeds;
    size_t count, capacity;
} Corpus;

/* What the handlers below need. */
static struct {
    const char *target;
    const uint8_t *input;
    size_t size;
} at_work;

/* The input is copied to its exact size, so that a sanitizer sees reads beyond it. */
static void give(const FuzzTarget *target, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, bytes, size);
    at_work.target = target->name;
    at_work.size = size;
    at_work.input = copy;
    alarm(SLOWEST);
    target->read(copy, size);
    alarm(0);
    at_work.input = NULL;
    free(copy);
}

/* Only calls that a signal's handler may make. */
static void keep_input(void)
{
    char name[64] = "fuzz-input-";
    if (!at_work.input)
        return;
    size_t length = strlen(name), more = strlen(at_work.target);
    memcpy(name + length, at_work.target, more + 1);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    bool kept = fd >= 0 && write(fd, at_work.input, at_work.size) == (ssize_t)at_work.size;
    static const char words[] = "fuzz: this input is kept in ";
    if (!kept || write(2, words, sizeof words - 1) < 0 || write(2, name, length + more) < 0 || write(2, "\n", 1) < 0)
        return;
}

static void on_signal(int number)
{
    keep_input();
    signal(number, SIG_DFL);
    raise(number);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
    bool sanitized = __sanitizer_set_death_callback != NULL;
    if (sanitized)
        __sanitizer_set_death_callback(keep_input);
    for (size_t s = sanitized ? 4 : 0; s < sizeof signals / sizeof *signals; s++) /* the first four are the sanitizer's */
        signal(signals[s], on_signal);
}

/* ---- the corpus */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool read_seed(Corpus *corpus, const char *path)
{
    Seed seed = {.bytes = file_read(path, 0, &seed.size)};
    if (!seed.bytes || !memory_grow((void **)&corpus->seeds, corpus->count, &corpus->capacity, sizeof seed)) {
        memory_free(seed.bytes);
        return false;
    }
    corpus->seeds[corpus->count++] = seed;
    return true;
}

/* In the order of the files' names: what is mutated must not depend on the file system. */
static bool read_corpus(Corpus *corpus, const char *target)
{
    char *folder = file_join(LACUNA_SOURCE "/tests/fuzz/corpus", target), **names = NULL;
    DIR *entries = folder ? opendir(folder) : NULL;
    size_t count = 0, capacity = 0;
    bool ok = entries || error_set("cannot list the corpus %s", folder);
    for (struct dirent *entry; ok && (entry = readdir(entries));)
        if (entry->d_name[0] != '.')
            ok = memory_grow((void **)&names, count, &capacity, sizeof *names) &&
                 (names[count++] = file_join(folder, entry->d_name));
    if (count)
        qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        ok = ok && read_seed(corpus, names[i]);
        memory_free(names[i]);
    }
    if (ok && !count)
        ok = error_set("the corpus %s is empty", folder);
    if (entries)
        closedir(entries);
    memory_free(names);
    memory_free(folder);
    return ok;
}

static void free_corpus(Corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++)
        memory_free(corpus->seeds[i].bytes);
    memory_free(corpus->seeds);
}

/* ---- mutation */

/* Numbers at which readers go wrong. */
static const uint64_t edges[] = {0,
                                 1,
                                 127,
                                 128,
                                 255,
                                 256,
                                 32767,
                                 65535,
                                 65536,
                                 0x7FFFFFFF,
                                 0x80000000,
                                 0xFFFFFFFF,
                                 0x7FFFFFFFFFFFFFFF,
                                 0x8000000000000000,
                                 UINT64_MAX};

/* Changes `input` once; returns its new size. */
static size_t mutate(Random *r, const Corpus *corpus, uint8_t *input, size_t size)
{
    size_t at = size ? random_below(r, (uint32_t)size) : 0, left = size - at, n;
    const Seed *other;
    switch (random_below(r, 8)) {
    case 0: /* a bit */
        if (size)
            input[at] ^= (uint8_t)(1u << random_below(r, 8));
        return size;
    case 1: /* a byte */
        if (size)
            input[at] = (uint8_t)random_below(r, 256);
        return size;
    case 2: { /* a number, in either order of its bytes */
        uint64_t number = edges[random_below(r, sizeof edges / sizeof *edges)];
        n = 1u << random_below(r, 4);
        bool big = random_below(r, 2);
        for (size_t i = 0; i < n && i < left; i++)
            input[at + i] = (uint8_t)(number >> 8 * (big ? n - 1 - i : i));
        return size;
    }
    case 3: /* bytes taken out */
        n = left ? 1 + random_below(r, (uint32_t)(left < 64 ? left : 64)) : 0;
        memmove(input + at, input + at + n, left - n);
        return size - n;
    case 4: /* cut */
        return at;
    case 5: /* bytes doubled */
        n = left < 64 ? left : 64;
        n = n ? 1 + random_below(r, (uint32_t)n) : 0;
        if (size + n > LARGEST_INPUT)
            return size;
        memmove(input + at + n, input + at, left);
        return size + n;
    case 6: /* a digit or a sign of text */
        if (size)
            input[at] = (uint8_t) "0123456789-+.,:;\"'{}[]=#&*\n\r\t\\ "[random_below(r, 32)];
        return size;
    default: /* a part of another seed */
        other = &corpus->seeds[random_below(r, (uint32_t)corpus->count)];
        if (!other->size)
            return size;
        size_t from = random_below(r, (uint32_t)other->size);
        n = 1 + random_below(r, (uint32_t)(other->size - from));
        n = n < LARGEST_INPUT - at ? n : LARGEST_INPUT - at;
        memcpy(input + at, other->bytes + from, n);
        return at + n > size ? at + n : size;
    }
}

/* Replays the corpus and gives `runs` mutated inputs. */
static bool fuzz(const FuzzTarget *target, uint64_t runs, double seconds, uint64_t seed)
{
    Corpus corpus = {0};
    uint8_t *input = memory_new(LARGEST_INPUT, 1);
    bool ok = input && read_corpus(&corpus, target->name);
    double begin = clock_seconds();
    uint64_t done = 0;
    for (size_t i = 0; ok && i < corpus.count; i++)
        give(target, (const uint8_t *)corpus.seeds[i].bytes, corpus.seeds[i].size);
    for (; ok && done < runs && (seconds <= 0 || clock_seconds() - begin < seconds); done++) {
        Random random = random_stream(seed, RANDOM_TEST, 0, 0, done);
        const Seed *from = &corpus.seeds[random_below(&random, (uint32_t)corpus.count)];
        size_t size = from->size < LARGEST_INPUT ? from->size : LARGEST_INPUT;
        memcpy(input, from->bytes, size);
        for (uint32_t m = 1 + random_below(&random, 4); m; m--)
            size = mutate(&random, &corpus, input, size);
        give(target, input, size);
    }
    if (ok)
        printf("%-12s %zu inputs of the corpus, %llu mutated ones, %.1f s\n", target->name, corpus.count,
               (unsigned long long)done, clock_seconds() - begin);
    free_corpus(&corpus);
    memory_free(input);
    return ok;
}

/* ---- the program */

static bool give_file(const char *path)
{
    char *folder = memory_string(path);
    size_t size;
    *strrchr(folder, '/') = 0;
    const FuzzTarget *target = fuzz_target(file_name(folder));
    char *bytes = target ? file_read(path, 0, &size) : NULL;
    if (!target)
        error_set("%s does not lie in a folder that is named after a target", path);
    if (bytes)
        give(target, (const uint8_t *)bytes, size);
    memory_free(bytes);
    memory_free(folder);
    return bytes != NULL;
}

int main(int argc, char **argv)
{
    double numbers[] = {2000, 0, 1}; /* runs, seconds, seed */
    static const char *const names[] = {"--runs", "--seconds", "--seed"};
    bool ok = true, all = true;
    watch();
    for (int i = 1; ok && i < argc; i++) {
        size_t n = 0;
        while (n < 3 && strcmp(argv[i], names[n]) != 0)
            n++;
        if (n < 3 && i + 1 < argc) {
            numbers[n] = atof(argv[++i]);
            continue;
        }
        all = false;
        const FuzzTarget *target = fuzz_target(argv[i]);
        if (target)
            ok = fuzz(target, (uint64_t)numbers[0], numbers[1], (uint64_t)numbers[2]);
        else if (strchr(argv[i], '/'))
            ok = give_file(argv[i]);
        else
            ok = error_set("there is no target %s", argv[i]);
    }
    for (const FuzzTarget *t = FUZZ_TARGETS; ok && all && t->name; t++)
        ok = fuzz(t, (uint64_t)numbers[0], numbers[1], (uint64_t)numbers[2]);
    if (!ok)
        fprintf(stderr, "fuzz: %s\n", error_text());
    return ok ? 0 : 1;
}
