/* What a GPU can do at most, measured on products and copies that are large enough. */
#include "base/memory.h"
#include "device/cuda/cuda.h"

enum { TRIES = 5, PATTERN_BYTES = 1 << 20 };

typedef struct {
    CudaDevice *device;
    const CudaRuntime *runtime;
    void *from, *to, *marks[2];
    CudaProduct product;
    size_t copied; /* bytes; 0: the product is measured */
} Measure;

static bool work_once(const Measure *m)
{
    CudaStream *stream = cuda_stream(m->device);
    if (!m->copied)
        return cuda_product(stream, &m->product);
    return cuda_check(m->device, m->runtime->copy(m->to, m->from, m->copied, stream->handle), "measuring copies");
}

/* Factors of either sign between 1/2 and 1, read as f32 or as bf16: multiplying zeros takes less power, and so runs at a higher
 * clock, than anything that is trained. */
static bool fill(CudaDevice *d, char *at, size_t bytes)
{
    uint32_t *pattern = memory_new(PATTERN_BYTES, 1);
    bool ok = pattern != NULL;
    uint32_t x = 1;
    for (size_t i = 0; ok && i < PATTERN_BYTES / sizeof *pattern; i++) {
        x = x * 1664525u + 1013904223u;
        pattern[i] = ((x ^ x >> 16) & 0x807f807fu) | 0x3f003f00u;
    }
    for (size_t done = 0; ok && done < bytes; done += PATTERN_BYTES)
        ok = cuda_write(d, at + done, pattern, bytes - done < PATTERN_BYTES ? bytes - done : PATTERN_BYTES);
    memory_free(pattern);
    return ok;
}

/* `amount` a second, the best of the tries; the first is for clocks and loading. */
static bool best_rate(const Measure *m, double amount, double *rate)
{
    const CudaRuntime *r = m->runtime;
    void *stream = cuda_stream(m->device)->handle;
    *rate = 0;
    for (int i = 0; i < TRIES; i++) {
        double seconds = 0;
        if (!cuda_check(m->device, r->event_record(m->marks[0], stream), "measuring") || !work_once(m) ||
            !cuda_check(m->device, r->event_record(m->marks[1], stream), "measuring") ||
            !cuda_check(m->device, r->event_wait(m->marks[1]), "measuring") ||
            !cuda_check(m->device, r->event_seconds(m->marks[0], m->marks[1], &seconds), "measuring"))
            return false;
        if (i > 0 && seconds > 0 && amount / seconds > *rate)
            *rate = amount / seconds;
    }
    return true;
}

bool cuda_peak(CudaDevice *d, double *flops, double *bf16_flops, double *bytes)
{
    int64_t side = cuda_device_properties(d)->capability ? 8192 : 64; /* the lock-step build has no time for more */
    size_t matrix = (size_t)(side * side) * sizeof(float);
    const CudaRuntime *r = cuda_device_runtime(d);
    Measure m = {.device = d, .runtime = r};
    double operations = 2.0 * (double)side * (double)side * (double)side;
    bool ok =
        (m.from = cuda_memory_new(d, 2 * matrix)) && (m.to = cuda_memory_new(d, 2 * matrix)) && fill(d, m.from, 2 * matrix);
    for (int i = 0; ok && i < 2; i++)
        ok = cuda_check(d, r->event_new(&m.marks[i], true), "measuring");
    if (ok)
        m.product = (CudaProduct){.rows = side,
                                  .columns = side,
                                  .inner = side,
                                  .a = m.from,
                                  .b = (char *)m.from + matrix,
                                  .c = m.to,
                                  .a_stride = side,
                                  .b_stride = side,
                                  .c_stride = side,
                                  .b_turned = true,
                                  .type = DTYPE_REAL,
                                  .c_type = DTYPE_REAL,
                                  .work = (char *)m.to + matrix,
                                  .work_bytes = matrix < CUDA_PRODUCT_WORK ? matrix : CUDA_PRODUCT_WORK};
    ok = ok && best_rate(&m, operations, flops);
    m.product.type = DTYPE_BF16;
    ok = ok && best_rate(&m, operations, bf16_flops);
    m.copied = 2 * matrix;
    ok = ok && best_rate(&m, 2.0 * (double)m.copied, bytes);
    for (int i = 0; i < 2; i++)
        if (m.marks[i])
            r->event_free(m.marks[i]);
    cuda_memory_free(d, m.from);
    cuda_memory_free(d, m.to);
    return ok;
}
