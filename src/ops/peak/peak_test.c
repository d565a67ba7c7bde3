/* The yardstick: every build of the kernels measures something, and wider ones are not slower by much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "ops/peak/peak.h"

static void every_level_has_a_peak(void **state)
{
    (void)state;
    CpuLevel best;
    Peak plain = {0};
    unsetenv("LACUNA_CPU");
    assert_true(cpu_level(&best));
    for (int level = CPU_REF; level <= (int)best; level++) {
        Device device = {.kind = level == CPU_REF ? DEVICE_REF : DEVICE_CPU, .level = (CpuLevel)level, .threads = 1};
        Peak peak;
        assert_true(peak_measure(&device, &peak));
        /* A tenth of what any processor with these instructions does at 1 GHz, and ten times the fastest there is. */
        double least = level <= CPU_WIDE ? 5e7 : level == CPU_AVX2 ? 1.6e9 : 3.2e9;
        if (peak.flops < least || peak.flops > 5e12 || peak.bytes < 1e8 || peak.bytes > 1e13)
            fail_msg("%s: %g FLOP/s, %g bytes/s", cpu_level_name((CpuLevel)level), peak.flops, peak.bytes);
        if (level == CPU_REF)
            plain = peak;
        else if (level != CPU_WIDE) /* whose vectors are split */
            assert_true(peak.flops > plain.flops);
        if (level == CPU_AVX512BF16)
            assert_true(peak.bf16_flops > 0.7 * peak.flops); /* twice, but something else may run here */
        else
            assert_true(peak.bf16_flops == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_level_has_a_peak)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
