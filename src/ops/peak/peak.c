#include "ops/peak/peak.h"

#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "device/cuda/cuda.h"
#include "device/parallel.h"
#include "ops/peak/work.h"

enum {
    TRIES = 5,
    TILES_A_THREAD = 128,  /* so that a thread that is held up leaves its share to the others */
    TILE_ROUNDS = 8192,    /* of sums: 10 to 30 us a tile */
    BLOCK_NUMBERS = 65536, /* of memory: a tile of 256 KB */
    PLAIN_LANES = 16
};

#define MEMORY_LEAST (64u << 20) /* bytes of a buffer, of which there are two */
#define MEMORY_MOST  (512u << 20)

/* ---- without an instruction set: what the compiler makes of plain C, as in the reference kernels */

static void plain_fma(const Call *c, Worker *w)
{
    const PeakWork *p = c->attr;
    float sum[PLAIN_LANES];
    for (int i = 0; i < PLAIN_LANES; i++)
        sum[i] = (float)i;
    while (worker_next(w, p->tiles) < p->tiles)
        for (int64_t round = 0; round < p->rounds; round++)
            for (int i = 0; i < PLAIN_LANES; i++)
                sum[i] = sum[i] * 0.75f + 0.5f;
    for (int i = 0; i < PLAIN_LANES; i++)
        p->sink[w->thread * PEAK_SINK] += sum[i];
}

static void plain_update(const Call *c, Worker *w)
{
    const PeakWork *p = c->attr;
    for (int64_t tile; (tile = worker_next(w, p->tiles)) < p->tiles;)
        for (int64_t i = tile * p->block; i < (tile + 1) * p->block; i++)
            p->to[i] = 0.5f * p->to[i] + p->from[i];
}

/* ---- measuring */

typedef struct {
    Kernel kernel[CPU_LEVELS];
} Kernels;

static const Kernels fma_kernels = {CPU_KERNELS(peak_fma)}, bf16_kernels = {CPU_KERNELS(peak_bf16)},
                     update_kernels = {CPU_KERNELS(peak_update)}, read_kernels = {CPU_KERNELS(peak_read)};

static CpuLevel level_of(const Device *device)
{
    return device->kind == DEVICE_CPU ? device->level : CPU_REF;
}

/* `amount` a second, the best of the tries; the first is for the caches and the clock. */
static double best_rate(const Device *device, Kernel kernel, const PeakWork *work, double amount)
{
    Call call = {.attr = work};
    Step step = {.kernel = kernel, .call = &call};
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        double seconds = 0;
        parallel_run(&step, 1, device->threads, &seconds);
        if (i > 0 && seconds > 0 && amount / seconds > best)
            best = amount / seconds;
    }
    return best;
}

/* Both buffers together are four times the last cache, so that hardly anything of the last pass is left in it. */
static size_t memory_bytes(void)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = cache > 0 ? (size_t)cache * 2 : 0;
    return bytes < MEMORY_LEAST ? MEMORY_LEAST : bytes > MEMORY_MOST ? MEMORY_MOST : bytes;
}

/* An update in place and a bare reading: which one moves more depends on the machine. */
static bool measure_memory(const Device *device, Peak *peak)
{
    int64_t tiles = (int64_t)(memory_bytes() / (BLOCK_NUMBERS * sizeof(float)));
    size_t numbers = (size_t)(tiles * BLOCK_NUMBERS);
    float *buffer = memory_new_aligned(2 * numbers, sizeof *buffer);
    float *sink = memory_new((size_t)device->threads * PEAK_SINK, sizeof *sink);
    if (buffer && sink) {
        memset(buffer, 0, 2 * numbers * sizeof *buffer);
        PeakWork update = {.tiles = tiles, .from = buffer, .to = buffer + numbers, .sink = sink, .block = BLOCK_NUMBERS};
        PeakWork read = {.tiles = 2 * tiles, .from = buffer, .sink = sink, .block = BLOCK_NUMBERS};
        CpuLevel level = level_of(device);
        double bytes = (double)(numbers * sizeof *buffer);
        peak->bytes = best_rate(device, level == CPU_REF ? plain_update : update_kernels.kernel[level], &update, 3 * bytes);
        double reading = level == CPU_REF ? 0 : best_rate(device, read_kernels.kernel[level], &read, 2 * bytes);
        peak->bytes = reading > peak->bytes ? reading : peak->bytes;
    }
    bool ok = buffer && sink;
    memory_free(sink);
    memory_free(buffer);
    return ok;
}

bool peak_measure(const Device *device, Peak *peak)
{
    *peak = (Peak){0};
    if (device->kind == DEVICE_CUDA)
        return cuda_peak(device->cuda, &peak->flops, &peak->bf16_flops, &peak->bytes);
    CpuLevel level = level_of(device);
    float *sink = memory_new((size_t)device->threads * PEAK_SINK, sizeof *sink);
    if (!sink)
        return false;
    PeakWork work = {.tiles = (int64_t)TILES_A_THREAD * device->threads, .rounds = TILE_ROUNDS, .sink = sink};
    double rounds = (double)work.tiles * TILE_ROUNDS;
    int lanes = level == CPU_AVX2 ? 8 : 16;
    if (level == CPU_REF)
        peak->flops = best_rate(device, plain_fma, &work, 2 * PLAIN_LANES * rounds);
    else
        peak->flops = best_rate(device, fma_kernels.kernel[level], &work, 2.0 * lanes * PEAK_SUMS * rounds);
    if (level == CPU_AVX512BF16)
        peak->bf16_flops = best_rate(device, bf16_kernels.kernel[level], &work, 4.0 * lanes * PEAK_SUMS * rounds);
    memory_free(sink);
    return measure_memory(device, peak);
}
