/* Opening a GPU and using its memory, on the fake runtime: what a person is told when something is missing, and that nothing is
 * lost whichever call fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "device/buffer.h"
#include "device/cuda/cuda.h"
#include "device/cuda/fake.h"

static void says(const char *words)
{
    if (!strstr(error_text(), words))
        fail_msg("\"%s\" does not say \"%s\"", error_text(), words);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    Device device;
    fake_reset();
    fake_set_devices(0, FAKE_NO_DRIVER);
    assert_false(device_open("cuda", 0, &device));
    says("driver");
    device_close(&device);
    assert_true(device_open("auto", 0, &device));
    assert_int_not_equal(device.kind, DEVICE_CUDA);
    fake_set_devices(0, FAKE_NO_DEVICE);
    assert_false(device_open("cuda", 0, &device));
    says("no NVIDIA GPU");
    assert_int_equal(cuda_count(), 0);
    fake_set_devices(2, 0);
    assert_int_equal(cuda_count(), 2);
    assert_false(device_open("cuda:2", 0, &device));
    says("no GPU 2: this machine has 2");
    assert_false(device_open("cuda:x", 0, &device));
    says("device cuda:x is not known");
    assert_true(device_open("cuda:1", 0, &device));
    assert_string_equal(device_describe(&device), "cuda (lock-step 1)");
    assert_false(device.one_by_one || device.second_lane);
    device_close(&device);
    fake_reset();
    setenv("LACUNA_CUDA_GRAPH", "0", 1);
    setenv("LACUNA_CUDA_LANES", "2", 1);
    assert_true(device_open("auto", 0, &device)); /* not before ./dev test-gpu has passed somewhere */
    assert_int_not_equal(device.kind, DEVICE_CUDA);
    assert_true(device_open("cuda", 0, &device));
    assert_int_equal(device.kind, DEVICE_CUDA);
    assert_true(device.one_by_one && device.second_lane);
    unsetenv("LACUNA_CUDA_GRAPH");
    unsetenv("LACUNA_CUDA_LANES");
    device_set_tf32(&device, true);
    assert_true(cuda_stream(device.cuda)->features.tf32);
    device_close(&device);
    assert_int_equal(fake_open_things(), 0);
}

static void buffers_are_copied(void **state)
{
    (void)state;
    Device device;
    char there[1000], back[1000];
    fake_reset();
    for (size_t i = 0; i < sizeof there; i++)
        there[i] = (char)(i * 7);
    assert_true(device_open("cuda", 0, &device));
    assert_false(buffer_on_host(&device));
    char *buffer = buffer_new(&device, sizeof there, 1);
    assert_non_null(buffer);
    assert_true(buffer_read(&device, buffer, back, sizeof back));
    for (size_t i = 0; i < sizeof back; i++)
        assert_int_equal(back[i], 0);
    assert_true(buffer_write(&device, buffer, there, sizeof there) && buffer_read(&device, buffer, back, sizeof back));
    assert_memory_equal(there, back, sizeof back);
    buffer_free(&device, buffer);
    device_close(&device);
    assert_int_equal(fake_open_things(), 0);
}

static void full_memory_and_a_lost_gpu_are_told_of(void **state)
{
    (void)state;
    Device device;
    char byte = 1;
    fake_reset();
    fake_set_memory(3000000);
    assert_true(device_open("cuda", 0, &device));
    void *some = buffer_new(&device, 1000000, 1);
    assert_non_null(some);
    assert_null(buffer_new(&device, 1 << 30, 4));
    says("4.29 GB are wanted of GPU 0, which has 0.00 GB left");
    assert_null(buffer_new(&device, SIZE_MAX / 2, 4));
    fake_fail_at(1, FAKE_LOST);
    assert_false(buffer_write(&device, some, &byte, 1));
    says("--resume");
    buffer_free(&device, some);
    device_close(&device);
    assert_int_equal(fake_open_things(), 0);
}

/* Zeros would be multiplied faster than anything that is trained. */
static void the_peak_is_measured_on_numbers(void **state)
{
    (void)state;
    Device device;
    double flops, bf16_flops, bytes;
    fake_reset();
    assert_true(device_open("cuda", 0, &device));
    assert_true(cuda_peak(device.cuda, &flops, &bf16_flops, &bytes));
    assert_true(flops > 0 && bf16_flops > 0 && bytes > 0);
    const char *copy = strstr(fake_log(), "copy 32768\n"), *product = strstr(fake_log(), "product");
    assert_true(copy && product && copy < product);
    device_close(&device);
    assert_int_equal(fake_open_things(), 0);
}

static bool use_gpu(void)
{
    Device device;
    float x[4] = {1, 2, 3, 4}, w[4] = {1, 0, 0, 2}, y[4];
    void *buffers[3] = {NULL};
    bool ok = device_open("cuda", 0, &device);
    for (int i = 0; ok && i < 3; i++)
        ok = (buffers[i] = buffer_new(&device, 4, sizeof(float))) != NULL;
    ok = ok && buffer_write(&device, buffers[0], x, sizeof x) && buffer_write(&device, buffers[1], w, sizeof w) &&
         cuda_product(cuda_stream(device.cuda), &(CudaProduct){.rows = 2,
                                                               .columns = 2,
                                                               .inner = 2,
                                                               .a = buffers[0],
                                                               .b = buffers[1],
                                                               .c = buffers[2],
                                                               .a_stride = 2,
                                                               .b_stride = 2,
                                                               .c_stride = 2,
                                                               .type = DTYPE_REAL,
                                                               .c_type = DTYPE_REAL}) &&
         buffer_read(&device, buffers[2], y, sizeof y);
    for (int i = 0; i < 3; i++)
        if (buffers[i])
            buffer_free(&device, buffers[i]);
    if (ok)
        assert_true(y[0] == 1 && y[1] == 4 && y[2] == 3 && y[3] == 8);
    char *why = ok ? NULL : strdup(error_text());
    device_close(&device);
    if (why)
        error_set("%s", why);
    free(why);
    return ok;
}

static void each_call_may_fail(void **state)
{
    (void)state;
    fake_reset();
    assert_true(use_gpu());
    int calls = fake_calls();
    assert_true(calls > 15);
    int failed = 0;
    for (int error = FAKE_ERROR; error <= FAKE_LOST; error++)
        for (int n = 1; n <= calls; n++) {
            fake_reset();
            fake_fail_at(n, error);
            error_clear();
            if (!use_gpu()) {
                failed++;
                assert_true(*error_text());
            }
            assert_int_equal(fake_open_things(), 0);
        }
    /* Only the wait of the closing, where nothing is lost any more, may fail in silence. */
    assert_true(failed >= 3 * (calls - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(buffers_are_copied),
        cmocka_unit_test(full_memory_and_a_lost_gpu_are_told_of),
        cmocka_unit_test(the_peak_is_measured_on_numbers),
        cmocka_unit_test(each_call_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
