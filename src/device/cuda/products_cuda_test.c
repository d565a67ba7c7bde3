/* Choosing algorithms of products, on the fake runtime, whose algorithms take the time that they are told to take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "device/cuda/fake.h"
#include "device/cuda/products.h"

enum { SIDE = 2, NUMBERS = SIDE * SIDE };

static const double third_is_fastest[] = {3e-3, 2e-3, 1e-3, 4e-3};

typedef struct {
    Device device;
    CudaProducts *products;
    float *a, *b, *c;
    void *work;
    size_t work_bytes;
} Set;

static const float a[NUMBERS] = {1, 2, 3, 4}, b[NUMBERS] = {1, 0, 0, 2}, product_of_both[NUMBERS] = {1, 4, 3, 8};

static bool set_open(Set *set)
{
    memset(set, 0, sizeof *set);
    if (!device_open("cuda", 0, &set->device))
        return false;
    set->products = cuda_products(set->device.cuda);
    return (set->a = buffer_new(&set->device, NUMBERS, sizeof(float))) &&
           (set->b = buffer_new(&set->device, NUMBERS, sizeof(float))) &&
           (set->c = buffer_new(&set->device, NUMBERS, sizeof(float))) && buffer_write(&set->device, set->a, a, sizeof a) &&
           buffer_write(&set->device, set->b, b, sizeof b);
}

static void set_close(Set *set)
{
    char *why = memory_string(error_text());
    for (int i = 0; i < 3; i++) {
        float *buffer = (float *[]){set->a, set->b, set->c}[i];
        if (buffer)
            buffer_free(&set->device, buffer);
    }
    device_close(&set->device);
    if (why && *why)
        error_set("%s", why);
    memory_free(why);
}

static void open_watching(Set *set)
{
    assert_true(set_open(set));
    cuda_products_autotune(set->products, true);
    cuda_products_watch(set->products);
}

static bool multiply(const Set *set, bool accumulate)
{
    return cuda_products_run(set->products, cuda_stream(set->device.cuda),
                             &(CudaProduct){.rows = SIDE,
                                            .columns = SIDE,
                                            .inner = SIDE,
                                            .a = set->a,
                                            .b = set->b,
                                            .c = set->c,
                                            .a_stride = SIDE,
                                            .b_stride = SIDE,
                                            .c_stride = SIDE,
                                            .accumulate = accumulate,
                                            .type = DTYPE_REAL,
                                            .c_type = DTYPE_REAL,
                                            .work = set->work,
                                            .work_bytes = set->work_bytes});
}

static void holds(const Set *set, float times)
{
    float got[NUMBERS];
    assert_true(buffer_read(&set->device, set->c, got, sizeof got));
    for (int i = 0; i < NUMBERS; i++)
        assert_true(got[i] == times * product_of_both[i]);
}

/* What runs next is computed in that way. */
static void computes_by(const Set *set, bool accumulate, const char *way)
{
    fake_log_clear();
    assert_true(multiply(set, accumulate));
    assert_string_equal(fake_log(), way);
}

static void the_first_is_taken_unless_told(void **state)
{
    (void)state;
    Set set;
    bool changed = true;
    fake_reset();
    fake_set_algorithms(4, third_is_fastest);
    assert_true(set_open(&set));
    cuda_products_watch(set.products);
    computes_by(&set, false, "product\n");
    fake_log_clear();
    assert_true(cuda_products_settle(set.products, &changed));
    assert_string_equal(fake_log(), "");
    assert_false(changed);
    assert_int_equal(cuda_products_timed(set.products), 0);
    set_close(&set);
    assert_int_equal(fake_open_things(), 0);
}

static void the_fastest_is_taken_when_told(void **state)
{
    (void)state;
    Set set;
    bool changed;
    fake_reset();
    fake_set_algorithms(4, third_is_fastest);
    assert_true(set_open(&set));
    cuda_products_autotune(set.products, true);
    computes_by(&set, false, "product\n"); /* nobody watches: it stays */
    cuda_products_watch(set.products);
    computes_by(&set, true, "product\n");
    holds(&set, 2);
    assert_true(cuda_products_settle(set.products, &changed) && changed);
    holds(&set, 2); /* timing has not added to it */
    computes_by(&set, true, "product by 2\n");
    holds(&set, 3);
    computes_by(&set, false, "product\n");
    assert_int_equal(cuda_products_timed(set.products), 1);
    assert_true(cuda_products_settle(set.products, &changed) && !changed);
    set_close(&set);
    assert_int_equal(fake_open_things(), 0);
}

/* A program's plan places by 64 bytes: what it moves stays the same kind, what is aligned to less is another. */
static void places_make_no_kinds(void **state)
{
    (void)state;
    enum { ROOM = 4096 };
    static const double times[] = {2, 1};
    static const int offsets[] = {0, 64, 128, 192, 256, 32};
    Set set;
    bool changed;
    fake_reset();
    fake_set_algorithms(2, times);
    open_watching(&set);
    char *a_room = (char *)buffer_new(&set.device, ROOM, 1), *work = (char *)buffer_new(&set.device, ROOM, 1);
    assert_true(a_room && work);
    for (int i = 0; i < (int)(sizeof offsets / sizeof *offsets); i++) {
        Set moved = set;
        moved.a = (float *)(void *)(a_room + offsets[i]);
        moved.work = work + offsets[i] / 64 * 64;
        moved.work_bytes = ROOM / 2;
        assert_true(buffer_write(&set.device, moved.a, a, sizeof a));
        cuda_products_watch(set.products);
        assert_true(multiply(&moved, false) && cuda_products_settle(set.products, &changed));
        holds(&set, 1);
        assert_int_equal(cuda_products_timed(set.products), offsets[i] == 32 ? 2 : 1);
    }
    buffer_free(&set.device, a_room);
    buffer_free(&set.device, work);
    set_close(&set);
    assert_int_equal(fake_open_things(), 0);
}

/* Times are of the first, the second ..; less than 0: it cannot be launched. */
static void takes(const double *seconds, int count, const char *way, bool changes)
{
    Set set;
    bool changed;
    fake_reset();
    fake_set_algorithms(count, seconds);
    open_watching(&set);
    if (seconds[0] >= 0)
        assert_true(multiply(&set, false));
    else
        assert_false(multiply(&set, false));
    assert_true(cuda_products_settle(set.products, &changed));
    assert_int_equal(changed, changes);
    computes_by(&set, false, way);
    set_close(&set);
    assert_int_equal(fake_open_things(), 0);
}

static void little_gain_is_none_and_what_fails_is_left_out(void **state)
{
    (void)state;
    takes((double[]){1.010, 1.000}, 2, "product\n", false);
    takes((double[]){1.050, 1.000}, 2, "product by 1\n", true);
    takes((double[]){3, -1, 2}, 3, "product by 2\n", true);
    takes((double[]){-1, 2, 1}, 3, "product by 2\n", true);
    takes((double[]){1}, 1, "product\n", false);
}

/* Where memory is out, what would be added to is not timed. */
static void without_memory_the_first_stays(void **state)
{
    (void)state;
    Set set;
    bool changed;
    fake_reset();
    fake_set_algorithms(4, third_is_fastest);
    assert_true(set_open(&set));
    fake_set_memory(3 * 4096);
    cuda_products_autotune(set.products, true);
    cuda_products_watch(set.products);
    computes_by(&set, true, "product\n");
    assert_true(cuda_products_settle(set.products, &changed) && !changed);
    computes_by(&set, true, "product\n");
    assert_int_equal(cuda_products_timed(set.products), 1);
    set_close(&set);
    assert_int_equal(fake_open_things(), 0);
}

static Text written_by_one_that_timed(void)
{
    Set set;
    bool changed;
    Text text = {0};
    fake_reset();
    fake_set_algorithms(4, third_is_fastest);
    open_watching(&set);
    assert_true(multiply(&set, false) && multiply(&set, true) && cuda_products_settle(set.products, &changed));
    assert_int_equal(cuda_products_timed(set.products), 2);
    cuda_products_write(set.products, &text);
    assert_false(text.failed);
    set_close(&set);
    return text;
}

static void what_was_written_is_taken_over(void **state)
{
    (void)state;
    Set set;
    bool fits, changed;
    Text text = written_by_one_that_timed(), again = {0};
    assert_true(set_open(&set));
    assert_true(cuda_products_read(set.products, text.data, &fits) && fits);
    cuda_products_autotune(set.products, true);
    cuda_products_watch(set.products);
    computes_by(&set, false, "product by 2\n");
    computes_by(&set, true, "product by 2\n");
    fake_log_clear();
    assert_true(cuda_products_settle(set.products, &changed) && !changed);
    assert_string_equal(fake_log(), "");
    cuda_products_write(set.products, &again);
    assert_string_equal(again.data, text.data);
    set_close(&set);
    text_free(&again);
    text_free(&text);
    assert_int_equal(fake_open_things(), 0);
}

static void another_library_takes_nothing_over(void **state)
{
    (void)state;
    Set set;
    bool fits = true;
    Text text = written_by_one_that_timed();
    fake_set_library(2);
    assert_true(set_open(&set));
    assert_true(cuda_products_read(set.products, text.data, &fits) && !fits);
    assert_int_equal(cuda_products_timed(set.products), 0);
    computes_by(&set, false, "product\n");
    set_close(&set);
    text_free(&text);
}

static void what_is_damaged_is_refused(void **state)
{
    (void)state;
    Set set;
    bool fits;
    Text text = written_by_one_that_timed();
    char *copy = malloc(text.length + 1);
    assert_non_null(copy);
    assert_true(set_open(&set));
    /* Cut off anywhere it is no JSON; what is there must be complete. */
    for (size_t i = 0; i + 3 < text.length; i++) {
        memcpy(copy, text.data, i);
        copy[i] = 0;
        assert_false(cuda_products_read(set.products, copy, &fits));
    }
    static const char *const spoilt[] = {"\"rows\"", "\"inner\"", "\"bias_align\"", "\"algorithm\"", "\"gpu\"", "\"library\""};
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        memcpy(copy, text.data, text.length + 1);
        strstr(copy, spoilt[i])[1] = 'X';
        assert_false(cuda_products_read(set.products, copy, &fits));
        assert_int_equal(cuda_products_timed(set.products), 0);
    }
    memcpy(copy, text.data, text.length + 1);
    strstr(copy, "\"algorithm\": \"")[14] = 'g';
    assert_false(cuda_products_read(set.products, copy, &fits));
    assert_true(cuda_products_read(set.products, text.data, &fits) && fits);
    set_close(&set);
    free(copy);
    text_free(&text);
}

static bool whole_life(void)
{
    Set set;
    bool changed;
    bool ok = set_open(&set);
    if (ok) {
        cuda_products_autotune(set.products, true);
        cuda_products_watch(set.products);
        ok = multiply(&set, true) && cuda_products_settle(set.products, &changed) && multiply(&set, true);
    }
    set_close(&set);
    return ok;
}

static void each_call_may_fail(void **state)
{
    (void)state;
    fake_reset();
    fake_set_algorithms(4, third_is_fastest);
    assert_true(whole_life());
    int calls = fake_calls(), failed = 0;
    for (int error = FAKE_ERROR; error <= FAKE_LOST; error++)
        for (int n = 1; n <= calls; n++) {
            fake_reset();
            fake_set_algorithms(4, third_is_fastest);
            fake_fail_at(n, error);
            error_clear();
            if (!whole_life()) {
                failed++;
                assert_true(*error_text());
            }
            assert_int_equal(fake_open_things(), 0);
        }
    /* A launch that fails leaves its proposal out, memory that is out the timing; the wait of the closing is silent. */
    assert_true(failed > calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_taken_unless_told),
        cmocka_unit_test(the_fastest_is_taken_when_told),
        cmocka_unit_test(places_make_no_kinds),
        cmocka_unit_test(little_gain_is_none_and_what_fails_is_left_out),
        cmocka_unit_test(without_memory_the_first_stays),
        cmocka_unit_test(what_was_written_is_taken_over),
        cmocka_unit_test(another_library_takes_nothing_over),
        cmocka_unit_test(what_is_damaged_is_refused),
        cmocka_unit_test(each_call_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
