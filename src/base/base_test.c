/* Random streams, text, memory, shared memory and files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/shared.h"
#include "base/system.h"
#include "base/text.h"

/* Known answers published with the Random123 library. */
static void philox_matches_published_vectors(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expect[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        random_philox(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].expect, sizeof out);
    }
}

static void streams_repeat_and_differ(void **state)
{
    (void)state;
    Random a = random_stream(7, RANDOM_MASK, 0, 3, 99), b = random_stream(7, RANDOM_MASK, 0, 3, 99);
    Random others[] = {random_stream(8, RANDOM_MASK, 0, 3, 99), random_stream(7, RANDOM_AUGMENT, 0, 3, 99),
                       random_stream(7, RANDOM_MASK, 1, 3, 99), random_stream(7, RANDOM_MASK, 0, 4, 99),
                       random_stream(7, RANDOM_MASK, 0, 3, 100)};
    uint32_t first = random_u32(&a);
    assert_int_equal(first, random_u32(&b));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_not_equal(first, random_u32(&others[i]));
}

static void draws_have_the_right_moments(void **state)
{
    (void)state;
    Random r = random_stream(1, RANDOM_TEST, 0, 0, 0);
    double sum = 0, square = 0, uniform = 0;
    int counts[5] = {0};
    enum { N = 100000 };
    for (int i = 0; i < N; i++) {
        double x = random_normal(&r), u = random_uniform(&r);
        assert_true(u >= 0 && u < 1);
        sum += x;
        square += x * x;
        uniform += u;
        counts[random_below(&r, 5)]++;
    }
    assert_true(sum / N > -0.02 && sum / N < 0.02);
    assert_true(square / N > 0.97 && square / N < 1.03);
    assert_true(uniform / N > 0.495 && uniform / N < 0.505);
    for (int i = 0; i < 5; i++)
        assert_true(counts[i] > N / 5 - 700 && counts[i] < N / 5 + 700);
}

static void errors_keep_their_cause(void **state)
{
    (void)state;
    error_set("the cause %d", 3);
    error_context("reading %s", "x");
    assert_string_equal(error_text(), "reading x: the cause 3");
    error_set("again: %s", error_text());
    assert_string_equal(error_text(), "again: reading x: the cause 3");
    assert_string_equal(error_without("again", error_text()), "reading x: the cause 3");
    assert_string_equal(error_without("again: reading x", error_text()), "the cause 3");
    static const char *const others[] = {"aga", "reading x", "again:", "again: reading x: the cause 3, and more"};
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(error_without(others[i], error_text()), error_text());
}

static void memory_refuses_overflow_and_planted_failures(void **state)
{
    (void)state;
    assert_null(memory_new(SIZE_MAX / 2, 3));
    memory_fail_at(2);
    void *first = memory_new(1, 1);
    assert_non_null(first);
    assert_null(memory_new(1, 1));
    void *third = memory_new(1, 1);
    assert_non_null(third);
    memory_fail_at(0);
    memory_free(first);
    memory_free(third);
}

static void text_escapes_json(void **state)
{
    (void)state;
    Text t = {0};
    text_add_json_string(&t, "a\"b\\c\n\x01");
    assert_string_equal(t.data, "\"a\\\"b\\\\c\\n\\u0001\"");
    text_free(&t);
    /* Cut off, too long for its number, half of a pair, beyond the last. */
    text_add_json_string(&t, "\xC3\xA9\xF0\x9F\x90\x88\xFF\xE2\x82|\xC0\xAF\xED\xA0\x80\xF4\x90\x80\x80");
    assert_string_equal(t.data, "\"\xC3\xA9\xF0\x9F\x90\x88\\ufffd\\ufffd\\ufffd|\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd"
                                "\\ufffd\\ufffd\\ufffd\\ufffd\"");
    text_free(&t);
    assert_int_equal(text_distance("encoder.depth", "encoder.detph"), 2);
    assert_int_equal(text_distance("", "abc"), 3);
}

static void a_failed_write_keeps_the_old_file(void **state)
{
    (void)state;
    char folder[] = "base-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = file_join(folder, "sub/one");
    char *sub = file_join(folder, "sub");
    assert_true(file_make_folder(sub));
    assert_true(file_write(path, "old", 3));
    file_fail_at(1);
    assert_false(file_write(path, "newer", 5));
    file_fail_at(0);
    assert_non_null(strstr(error_text(), "No space left"));
    size_t size;
    char *data = file_read(path, 0, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(data, "old", 3);
    memory_free(data);
    assert_null(file_read(path, 2, &size));
    assert_false(error_is_machine());
    assert_true(file_remove(folder));
    assert_false(file_exists(folder));
    memory_free(path);
    memory_free(sub);
}

static void the_peak_of_memory_grows_with_what_is_touched(void **state)
{
    (void)state;
    enum { BYTES = 64 << 20 };
    long long before = system_peak_resident();
    char *bytes = memory_new(BYTES, 1);
    assert_non_null(bytes);
    memset(bytes, 1, BYTES);
    assert_in_range(system_peak_resident() - before, BYTES / 2, 2LL * BYTES);
    memory_free(bytes);
}

/* A second process sees what the first writes, also when the first has given it back; nobody takes something else for it. */
static void memory_is_shared(void **state)
{
    (void)state;
    enum { BYTES = 100000 };
    SharedName name, other;
    char *own = shared_new(BYTES, &name);
    assert_non_null(own);
    for (int i = 0; i < BYTES; i++)
        assert_int_equal(own[i], 0);
    int go[2], says[2];
    assert_true(pipe(go) == 0 && pipe(says) == 0);
    own[0] = 'a';
    pid_t child = fork();
    if (child == 0) {
        const char *seen = shared_open(&name);
        char answer[2] = {seen && seen[0] == 'a', 0}, one;
        if (write(says[1], &answer[0], 1) != 1)
            _exit(1);
        if (read(go[0], &one, 1) != 1)
            _exit(1);
        answer[1] = seen && seen[BYTES - 1] == 'z';
        _exit(write(says[1], &answer[1], 1) != 1);
    }
    char answers[2] = {0, 0};
    assert_int_equal(read(says[0], &answers[0], 1), 1);
    assert_true(answers[0]);
    own[BYTES - 1] = 'z';
    shared_free(own, &name);
    assert_int_equal(write(go[1], "", 1), 1);
    assert_int_equal(read(says[0], &answers[1], 1), 1);
    assert_true(answers[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_null(shared_open(&name));
    assert_non_null(own = shared_new(BYTES, &name));
    other = name;
    other.mark++;
    assert_null(shared_open(&other));
    other = name;
    other.bytes++;
    assert_null(shared_open(&other));
    assert_non_null(strstr(error_text(), "it is something else"));
    shared_free(own, &name);
    for (int i = 0; i < 2; i++) {
        close(go[i]);
        close(says[i]);
    }
    assert_null(shared_new(SIZE_MAX / 2, &name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_matches_published_vectors),
        cmocka_unit_test(streams_repeat_and_differ),
        cmocka_unit_test(draws_have_the_right_moments),
        cmocka_unit_test(errors_keep_their_cause),
        cmocka_unit_test(memory_refuses_overflow_and_planted_failures),
        cmocka_unit_test(text_escapes_json),
        cmocka_unit_test(a_failed_write_keeps_the_old_file),
        cmocka_unit_test(the_peak_of_memory_grows_with_what_is_touched),
        cmocka_unit_test(memory_is_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
