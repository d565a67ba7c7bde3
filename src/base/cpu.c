#include "base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const char *const names[CPU_LEVELS] = {"ref", "wide", "avx2", "avx512", "avx512bf16"};

static CpuLevel best_level(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return CPU_REF;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq"))
        return CPU_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? CPU_AVX512BF16 : CPU_AVX512;
#else
    return CPU_REF;
#endif
}

bool cpu_level(CpuLevel *level)
{
    const char *wanted = getenv("LACUNA_CPU");
    *level = best_level();
    if (!wanted || !wanted[0])
        return true;
    for (int i = 0; i < CPU_LEVELS; i++) {
        if (strcmp(wanted, names[i]))
            continue;
        if (i > (int)*level)
            return error_set("LACUNA_CPU=%s: this processor has no more than %s", wanted, names[*level]);
        *level = (CpuLevel)i;
        return true;
    }
    return error_set("LACUNA_CPU=%s is not known; use ref, wide, avx2, avx512 or avx512bf16", wanted);
}

bool cpu_has_bf16(void)
{
    CpuLevel level;
    return cpu_level(&level) && level == CPU_AVX512BF16;
}

const char *cpu_level_name(CpuLevel level)
{
    return names[level];
}

/* Whole processors that the control group grants, rounded up; 0 when there is no limit to be read. */
static int group_quota(void)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!file)
        return 0;
    long long quota, period;
    int found = fscanf(file, "%lld %lld", &quota, &period);
    fclose(file);
    return found == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int cpu_count(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = group_quota();
    if (quota && quota < count)
        count = quota;
    return count < 1 ? 1 : count;
}
