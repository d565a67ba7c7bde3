#include "device/cuda/sums.h"

#include "base/error.h"
#include "base/memory.h"

struct CudaSums {
    const CudaRuntime *runtime;
    void *handle;
};

CudaSums *cuda_sums_open(CudaDevice *d)
{
    CudaSums *s = memory_new(1, sizeof *s);
    if (!s)
        return NULL;
    s->runtime = cuda_device_runtime(d);
    if (s->runtime->sums_open(&s->handle))
        return s;
    memory_free(s);
    return NULL;
}

void cuda_sums_close(CudaSums *s, bool together)
{
    if (!s)
        return;
    s->runtime->sums_close(s->handle, together);
    memory_free(s);
}

int cuda_sums_version(const CudaSums *s)
{
    return s->runtime->sums_version(s->handle);
}

bool cuda_sums_name(CudaSums *s, CudaSumsName *name)
{
    return s->runtime->sums_name(s->handle, name->bytes) || error_context("naming a group of GPUs");
}

bool cuda_sums_join(CudaSums *s, const CudaSumsName *name, int rank, int count)
{
    return s->runtime->sums_join(s->handle, name->bytes, rank, count) ||
           error_context("joining GPUs (with LACUNA_NCCL=0 their gradients go through the host)");
}

bool cuda_sums_put(CudaSums *s, float *data, size_t count, void *stream)
{
    return s->runtime->sum(s->handle, data, count, stream) || error_context("summing over GPUs");
}
