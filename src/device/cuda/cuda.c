#include "device/cuda/cuda.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/cuda/products.h"

struct CudaDevice {
    const CudaRuntime *runtime;
    int index;
    CudaProperties properties;
    CudaStream stream;
    CudaProducts *products;
};

/* ---- errors */

bool cuda_check(const CudaDevice *d, int error, const char *what)
{
    if (!error)
        return true;
    const CudaRuntime *r = d->runtime;
    switch (r->fault(error)) {
    case CUDA_FAULT_MEMORY:
        return error_set("%s: the memory of GPU %d is full", what, d->index);
    case CUDA_FAULT_LOST:
        return error_set("%s: GPU %d does not answer any more (%s); what it held is lost. Go on from the last checkpoint with "
                         "--resume; if it happens again, look at the GPU with nvidia-smi and dmesg",
                         what, d->index, r->error_text(error));
    default:
        return error_set("%s on GPU %d: %s", what, d->index, r->error_text(error));
    }
}

bool cuda_launched(CudaStream *stream, const char *op)
{
    return cuda_check(stream->device, stream->device->runtime->last_error(), op);
}

bool cuda_product(CudaStream *stream, const CudaProduct *product)
{
    return cuda_products_run(stream->device->products, stream, product);
}

/* ---- opening */

/* What keeps a GPU from being used, if anything: false after error_set(). */
static bool find(int index, int *count)
{
    *count = 0;
    if (!cuda_runtime)
        return error_set(
            "this lacuna is built without CUDA; build it where the CUDA toolkit is installed (docs/gpu.md), or use "
            "device cpu");
    const CudaRuntime *r = cuda_runtime();
    int error = r->device_count(count);
    if (error && r->fault(error) == CUDA_FAULT_NO_DRIVER)
        return error_set("there is no NVIDIA driver that could be used (%s); install one, or use device cpu",
                         r->error_text(error));
    if (error && r->fault(error) != CUDA_FAULT_NO_DEVICE)
        return error_set("looking for GPUs: %s", r->error_text(error));
    if (error || *count < 1) {
        *count = 0;
        return error_set("there is no NVIDIA GPU here; use device cpu");
    }
    return index < *count || error_set("there is no GPU %d: this machine has %d, counted from 0", index, *count);
}

int cuda_count(void)
{
    int count = 0;
    if (!cuda_runtime || cuda_runtime()->device_count(&count))
        return 0;
    return count;
}

bool cuda_properties(int index, CudaProperties *properties)
{
    int count;
    if (!find(index, &count))
        return false;
    CudaDevice d = {.runtime = cuda_runtime(), .index = index};
    return cuda_check(&d, d.runtime->device_properties(index, properties), "looking at the GPU");
}

CudaDevice *cuda_open(int index, bool tf32)
{
    enum { CAPABILITY_LEAST = 80 };
    int count;
    if (!find(index, &count))
        return NULL;
    CudaDevice *d = memory_new(1, sizeof *d);
    if (!d)
        return NULL;
    const CudaRuntime *r = d->runtime = cuda_runtime();
    d->index = index;
    const CudaProperties *p = &d->properties;
    bool ok = cuda_check(d, r->device_properties(index, &d->properties), "looking at the GPU");
    if (ok && p->capability && p->capability < CAPABILITY_LEAST)
        ok = error_set("GPU %d (%s) has compute capability %d.%d; 8.0 or newer is needed (A100, RTX 30 and later)", index,
                       p->name, p->capability / 10, p->capability % 10);
    ok = ok && cuda_check(d, r->device_use(index), "opening the GPU") &&
         cuda_check(d, r->stream_new(&d->stream.handle, CUDA_TURN_MIDDLE), "opening a stream") &&
         (d->products = cuda_products_open(d)) != NULL;
    if (!ok) {
        cuda_close(d);
        return NULL;
    }
    d->stream.device = d;
    d->stream.features = (CudaFeatures){
        .capability = p->capability, .multiprocessors = p->multiprocessors, .shared_most = p->shared_most, .tf32 = tf32};
    return d;
}

void cuda_close(CudaDevice *d)
{
    if (!d)
        return;
    if (d->stream.handle) {
        d->runtime->stream_wait(d->stream.handle);
        d->runtime->stream_free(d->stream.handle);
    }
    cuda_products_close(d->products);
    memory_free(d);
}

const CudaProperties *cuda_device_properties(const CudaDevice *d)
{
    return &d->properties;
}

CudaProducts *cuda_products(CudaDevice *d)
{
    return d->products;
}

CudaStream *cuda_stream(CudaDevice *d)
{
    return &d->stream;
}

const CudaRuntime *cuda_device_runtime(const CudaDevice *d)
{
    return d->runtime;
}

/* ---- memory */

bool cuda_memory_left(CudaDevice *d, int64_t *bytes)
{
    return cuda_check(d, d->runtime->memory_left(bytes), "asking for the GPU's free memory");
}

void *cuda_memory_new(CudaDevice *d, size_t bytes)
{
    const CudaRuntime *r = d->runtime;
    void *at = NULL;
    int error = r->allocate(&at, bytes ? bytes : 1);
    if (error && r->fault(error) == CUDA_FAULT_MEMORY) {
        int64_t left = 0;
        r->memory_left(&left);
        error_set("%.2f GB are wanted of GPU %d, which has %.2f GB left of %.2f GB", (double)bytes / 1e9, d->index,
                  (double)left / 1e9, (double)d->properties.memory / 1e9);
        return NULL;
    }
    if (!cuda_check(d, error, "getting memory"))
        return NULL;
    if (cuda_check(d, r->clear(at, bytes, d->stream.handle), "clearing memory") && cuda_wait(d))
        return at;
    r->release(at);
    return NULL;
}

void cuda_memory_free(CudaDevice *d, void *at)
{
    if (at)
        d->runtime->release(at);
}

void *cuda_pinned_new(CudaDevice *d, size_t bytes)
{
    void *at = NULL;
    if (!cuda_check(d, d->runtime->allocate_pinned(&at, bytes ? bytes : 1), "getting memory of the host for copies"))
        return NULL;
    memset(at, 0, bytes);
    return at;
}

void cuda_pinned_free(CudaDevice *d, void *at)
{
    if (at)
        d->runtime->release_pinned(at);
}

/* ---- copies */

bool cuda_wait(CudaDevice *d)
{
    return cuda_check(d, d->runtime->stream_wait(d->stream.handle), "waiting for the GPU");
}

bool cuda_write(CudaDevice *d, void *to, const void *from, size_t bytes)
{
    return cuda_check(d, d->runtime->copy(to, from, bytes, d->stream.handle), "copying to the GPU") && cuda_wait(d);
}

bool cuda_read(CudaDevice *d, const void *from, void *to, size_t bytes)
{
    return cuda_check(d, d->runtime->copy(to, from, bytes, d->stream.handle), "copying from the GPU") && cuda_wait(d);
}
