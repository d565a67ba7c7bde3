/* The lock-step runs what is right, and finds what is wrong: forgotten and divergent barriers, memory that is not the block's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include <cmocka.h>

#include "base/error.h"
}

#define LACUNA_LOCKSTEP 1
#include "device/cuda/launch.cuh"

enum { N = 96 };

template <class... P, class... A> static bool run(void (*kernel)(P...), int order, size_t shared, A... arguments)
{
    CudaStream stream = {};
    lockstep_set_order((LockstepOrder)order);
    cuda_launch(&stream, kernel, dim3(2), dim3(N), shared, arguments...);
    return lockstep_ok();
}

/* The sum of a block by halving in shared memory. */
static __global__ void sum_kernel(const float *x, float *sums, bool with_barrier)
{
    SHARED_DYNAMIC(float, part);
    unsigned t = threadIdx.x;
    part[t] = x[blockIdx.x * N + t];
    __syncthreads();
    if (t < N / 2)
        part[t] += part[t + N / 2];
    if (with_barrier)
        __syncthreads();
    if (t < N / 4)
        part[t] += part[t + N / 4];
    __syncthreads();
    if (t == 0)
        for (int i = 1; i < N / 4; i++)
            part[0] += part[i];
    if (t == 0)
        sums[blockIdx.x] = part[0];
}

static void barriers_order_threads(void **)
{
    float x[2 * N], expect[2] = {0, 0};
    for (int i = 0; i < 2 * N; i++)
        expect[i / N] += x[i] = (float)(i % 13);
    for (int order = 0; order < LOCKSTEP_ORDERS; order++) {
        float sums[2] = {0, 0};
        assert_true(run(sum_kernel, order, N * sizeof(float), (const float *)x, sums, true));
        assert_true(sums[0] == expect[0] && sums[1] == expect[1]);
    }
}

static void a_forgotten_barrier_shows(void **)
{
    float x[2 * N], sums[LOCKSTEP_ORDERS][2];
    for (int i = 0; i < 2 * N; i++)
        x[i] = (float)(i % 13);
    for (int order = 0; order < LOCKSTEP_ORDERS; order++)
        assert_true(run(sum_kernel, order, N * sizeof(float), (const float *)x, sums[order], false));
    assert_memory_not_equal(sums[LOCKSTEP_FORWARD], sums[LOCKSTEP_REVERSE], sizeof sums[0]);
}

static __global__ void warp_kernel(int *out, unsigned *counter)
{
    int t = (int)threadIdx.x, sum = t;
    for (int step = 16; step; step /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    int next = __shfl_down_sync(0xffffffffu, t, 1), first = __shfl_sync(0xffffffffu, t, 3);
    unsigned even = __ballot_sync(0xffffffffu, t % 2 == 0);
    bool any = __any_sync(0xffffffffu, t == 5), all = __all_sync(0xffffffffu, t >= 0);
    if (t % 32 < 16)
        sum += __shfl_xor_sync(0xffffu, sum, 1) * 0;
    __syncwarp();
    atomicAdd(counter, 1u);
    int *mine = out + 6 * (blockIdx.x * N + threadIdx.x);
    mine[0] = sum;
    mine[1] = next;
    mine[2] = first;
    mine[3] = (int)even;
    mine[4] = any;
    mine[5] = all;
}

static void warps_exchange(void **)
{
    for (int order = 0; order < LOCKSTEP_ORDERS; order++) {
        static int out[2 * N][6];
        unsigned counter = 0;
        assert_true(run(warp_kernel, order, 0, &out[0][0], &counter));
        assert_int_equal(counter, 2 * N);
        for (int i = 0; i < 2 * N; i++) {
            int t = i % N, warp = t / 32 * 32;
            assert_int_equal(out[i][0], 32 * warp + 31 * 16);
            assert_int_equal(out[i][1], t % 32 == 31 ? t : t + 1);
            assert_int_equal(out[i][2], warp + 3);
            assert_int_equal(out[i][3], 0x55555555);
            assert_int_equal(out[i][4], warp == 0);
            assert_int_equal(out[i][5], 1);
        }
    }
}

static void bugs_can_be_planted(void **)
{
    float x[2 * N], sums[2], good[2];
    for (int i = 0; i < 2 * N; i++)
        x[i] = (float)(i % 13 + 1);
    lockstep_plant(PLANT_NONE, 0);
    assert_true(run(sum_kernel, LOCKSTEP_FORWARD, N * sizeof(float), (const float *)x, good, true));
    assert_int_equal(lockstep_launches(), 1);
    assert_int_equal(lockstep_barriers(), 3);
    for (int n = 0; n < 4; n++) {
        lockstep_plant(n < 3 ? PLANT_NO_BARRIER : PLANT_NO_LAST_BLOCK, n % 3);
        sums[0] = sums[1] = 0;
        assert_true(run(sum_kernel, LOCKSTEP_FORWARD, N * sizeof(float), (const float *)x, sums, true));
        assert_memory_not_equal(sums, good, sizeof good);
        assert_true((n < 3) == (sums[0] != good[0]));
    }
    lockstep_plant(PLANT_NO_LAST_WARP, 0);
    assert_false(run(sum_kernel, LOCKSTEP_FORWARD, N * sizeof(float), (const float *)x, sums, true));
    assert_non_null(strstr(error_text(), "has ended"));
    lockstep_plant(PLANT_NONE, 0);
}

enum Fault { ENDS_EARLY, WAITS_ELSEWHERE, LEAVES_THE_WARP, WRITES_BESIDE, FAULTS };

static __global__ void faulty_kernel(int fault, float *out)
{
    SHARED_DYNAMIC(float, part);
    unsigned t = threadIdx.x;
    if (fault == ENDS_EARLY && t == 70)
        return;
    if (fault == WAITS_ELSEWHERE && t == 70)
        __syncthreads();
    else
        __syncthreads();
    if (fault == LEAVES_THE_WARP && t == 70)
        return;
    float sum = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
    part[fault == WRITES_BESIDE ? t + 1 : t] = sum;
    __syncthreads();
    out[blockIdx.x * N + t] = part[t];
}

static void faults_are_reported(void **)
{
    static const char *const says[FAULTS] = {"thread 70 has ended", "but thread 70 at line", "thread 70 has ended",
                                             "beside the shared memory"};
    float out[2 * N];
    for (int order = 0; order < LOCKSTEP_ORDERS; order++)
        for (int fault = 0; fault < FAULTS; fault++) {
            assert_false(run(faulty_kernel, order, N * sizeof(float), fault, out));
            if (!strstr(error_text(), says[fault]))
                fail_msg("fault %d: %s", fault, error_text());
        }
    CudaStream stream = {};
    lockstep_set_order(LOCKSTEP_FORWARD);
    cuda_launch(&stream, faulty_kernel, dim3(1), dim3(2048), 0, 0, out);
    assert_false(lockstep_ok());
}

static __global__ void unwritten_kernel(float *out)
{
    SHARED_DYNAMIC(float, part);
    SHARED(float, fixed, N);
    out[blockIdx.x * N + threadIdx.x] = threadIdx.x % 2 ? part[threadIdx.x] : fixed[threadIdx.x];
    fixed[threadIdx.x] = 1;
}

static void unwritten_shared_memory_is_nan(void **)
{
    float out[2 * N];
    assert_true(run(unwritten_kernel, LOCKSTEP_FORWARD, N * sizeof(float), out));
    for (int i = 0; i < 2 * N; i++)
        assert_true(out[i] != out[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barriers_order_threads),
        cmocka_unit_test(a_forgotten_barrier_shows),
        cmocka_unit_test(warps_exchange),
        cmocka_unit_test(faults_are_reported),
        cmocka_unit_test(unwritten_shared_memory_is_nan),
        cmocka_unit_test(bugs_can_be_planted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
