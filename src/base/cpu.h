/* What the processor can do, and which build of the kernels to use. */
#ifndef LACUNA_BASE_CPU_H
#define LACUNA_BASE_CPU_H

#include <stdbool.h>

/* Builds of the kernels, in rising order of what they need. CPU_REF: only the plain C reference kernels. CPU_WIDE: the code of
 * CPU_AVX512BF16 on AVX2, slow and never picked unless asked for: it lets every machine test that code. */
typedef enum { CPU_REF, CPU_WIDE, CPU_AVX2, CPU_AVX512, CPU_AVX512BF16, CPU_LEVELS } CpuLevel;

/* The best level this processor can run, or what LACUNA_CPU=ref|wide|avx2|avx512|avx512bf16 asks for. A level the processor
 * lacks or an unknown name is an error: returns false after error_set(). */
bool cpu_level(CpuLevel *level);

/* Whether the level in use multiplies bf16 numbers by itself, so that bf16 is the faster precision. */
bool cpu_has_bf16(void);

const char *cpu_level_name(CpuLevel level);

/* Processors this process may run on (its affinity mask, and the control group's quota where one is set), at least 1. */
int cpu_count(void);

#endif
