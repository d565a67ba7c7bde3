/* What the kernels of the peak are told; attr of their calls. */
#ifndef LACUNA_OPS_PEAK_WORK_H
#define LACUNA_OPS_PEAK_WORK_H

#include "ops/kernels.h"

/* Sums at once: more than the latency of a multiply-add times what a processor begins in a cycle, and no more than its
 * registers hold beside two factors. */
enum { PEAK_SUMS = 12 };

typedef struct {
    int64_t tiles;
    int64_t rounds; /* of a tile: each adds once to every sum */
    float *sink;    /* one place a thread, 64 bytes apart: results that are used are not optimised away */
    /* memory: tile t is numbers t * block and on */
    const float *from;
    float *to;
    int64_t block;
} PeakWork;

enum { PEAK_SINK = 16 };

CPU_DECLARE(peak_fma);
CPU_DECLARE(peak_bf16);
CPU_DECLARE(peak_update);
CPU_DECLARE(peak_read);

#endif
