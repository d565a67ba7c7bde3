/* The runtime of runtime.h from the CUDA runtime, which is linked statically and looks for the driver when it is first called.
 */
#define LACUNA_CUDA_RUNTIME_HERE
#include <cuda_runtime_api.h>
#include <stdio.h>

#include "base/error.h"
#include "device/cuda/nvidia.h"

static const char *error_words(int error)
{
    return cudaGetErrorString((cudaError_t)error);
}

static CudaFault fault(int error)
{
    switch ((cudaError_t)error) {
    case cudaErrorMemoryAllocation:
        return CUDA_FAULT_MEMORY;
    case cudaErrorInsufficientDriver:
    case cudaErrorStubLibrary:
    case cudaErrorInitializationError:
        return CUDA_FAULT_NO_DRIVER;
    case cudaErrorNoDevice:
        return CUDA_FAULT_NO_DEVICE;
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorSystemNotReady:
    case cudaErrorUnknown: /* which is what a GPU that fell off the bus gives */
        return CUDA_FAULT_LOST;
    default:
        return CUDA_FAULT_OTHER;
    }
}

/* ---- devices */

static int device_count(int *count)
{
    int error = (int)cudaGetDeviceCount(count);
    if (error)
        cudaGetLastError(); /* it would be found by the next launch */
    return error;
}

static int device_properties(int index, CudaProperties *properties)
{
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, index);
    if (error)
        return (int)error;
    *properties = (CudaProperties){.capability = p.major * 10 + p.minor,
                                   .multiprocessors = p.multiProcessorCount,
                                   .shared_most = (int64_t)p.sharedMemPerBlockOptin,
                                   .memory = (int64_t)p.totalGlobalMem};
    snprintf(properties->name, sizeof properties->name, "%.*s", (int)sizeof properties->name - 1, p.name);
    return 0;
}

static int device_use(int index)
{
    return (int)cudaSetDevice(index);
}

static int memory_left(int64_t *bytes)
{
    size_t left = 0, all;
    int error = (int)cudaMemGetInfo(&left, &all);
    *bytes = (int64_t)left;
    return error;
}

static int versions(int *driver, int *runtime)
{
    *driver = *runtime = 0;
    int error = (int)cudaDriverGetVersion(driver);
    return error ? error : (int)cudaRuntimeGetVersion(runtime);
}

/* ---- memory: an error of these is not kept for the next launch */

static int forgotten(cudaError_t error)
{
    if (error)
        cudaGetLastError();
    return (int)error;
}

static int allocate(void **at, size_t bytes)
{
    return forgotten(cudaMalloc(at, bytes));
}

static int release(void *at)
{
    return forgotten(cudaFree(at));
}

static int allocate_pinned(void **at, size_t bytes)
{
    return forgotten(cudaHostAlloc(at, bytes, cudaHostAllocDefault));
}

static int release_pinned(void *at)
{
    return forgotten(cudaFreeHost(at));
}

/* ---- streams and events */

static int stream_new(void **stream, CudaTurn turn)
{
    int least = 0, greatest = 0;
    int error = forgotten(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    if (error)
        return error;
    int priority = turn == CUDA_TURN_FIRST ? greatest : turn == CUDA_TURN_LAST ? least : (least + greatest - 1) / 2;
    return forgotten(cudaStreamCreateWithPriority((cudaStream_t *)stream, cudaStreamNonBlocking, priority));
}

static int stream_free(void *stream)
{
    return forgotten(cudaStreamDestroy(stream));
}

static int stream_wait(void *stream)
{
    return forgotten(cudaStreamSynchronize(stream));
}

static int stream_follow(void *stream, void *event)
{
    return forgotten(cudaStreamWaitEvent(stream, event, 0));
}

static int event_new(void **event, bool timed)
{
    return forgotten(cudaEventCreateWithFlags((cudaEvent_t *)event, timed ? cudaEventDefault : cudaEventDisableTiming));
}

static int event_free(void *event)
{
    return forgotten(cudaEventDestroy(event));
}

static int event_record(void *event, void *stream)
{
    return forgotten(cudaEventRecord(event, stream));
}

static int event_wait(void *event)
{
    return forgotten(cudaEventSynchronize(event));
}

static int event_seconds(void *from, void *to, double *seconds)
{
    float milliseconds = 0;
    int error = forgotten(cudaEventElapsedTime(&milliseconds, from, to));
    *seconds = (double)milliseconds / 1e3;
    return error;
}

/* ---- work */

static int copy(void *to, const void *from, size_t bytes, void *stream)
{
    return forgotten(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream));
}

static int clear(void *at, size_t bytes, void *stream)
{
    return forgotten(cudaMemsetAsync(at, 0, bytes, stream));
}

/* Relaxed, since kernels and cuBLASLt's code are loaded when they are first launched, which is in a capture, and loading makes
 * calls that the stricter modes take for mistakes. Nothing of ours in a capture allocates or waits (stream.h). */
static int capture_begin(void *stream)
{
    return forgotten(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
}

static int capture_end(void *stream, void **graph)
{
    cudaGraph_t captured = NULL;
    *graph = NULL;
    int error = forgotten(cudaStreamEndCapture(stream, &captured));
    if (!error)
        error = forgotten(
            cudaGraphInstantiateWithFlags((cudaGraphExec_t *)graph, captured, cudaGraphInstantiateFlagUseNodePriority));
    if (captured)
        cudaGraphDestroy(captured);
    return error;
}

static int graph_launch(void *graph, void *stream)
{
    return forgotten(cudaGraphLaunch(graph, stream));
}

static int graph_free(void *graph)
{
    return forgotten(cudaGraphExecDestroy(graph));
}

static int last_error(void)
{
    return (int)cudaGetLastError();
}

const CudaRuntime *cuda_runtime(void)
{
    static const CudaRuntime runtime = {.error_text = error_words,
                                        .fault = fault,
                                        .device_count = device_count,
                                        .device_properties = device_properties,
                                        .device_use = device_use,
                                        .memory_left = memory_left,
                                        .versions = versions,
                                        .allocate = allocate,
                                        .release = release,
                                        .allocate_pinned = allocate_pinned,
                                        .release_pinned = release_pinned,
                                        .stream_new = stream_new,
                                        .stream_free = stream_free,
                                        .stream_wait = stream_wait,
                                        .stream_follow = stream_follow,
                                        .event_new = event_new,
                                        .event_free = event_free,
                                        .event_record = event_record,
                                        .event_wait = event_wait,
                                        .event_seconds = event_seconds,
                                        .copy = copy,
                                        .clear = clear,
                                        .capture_begin = capture_begin,
                                        .capture_end = capture_end,
                                        .graph_launch = graph_launch,
                                        .graph_free = graph_free,
                                        .last_error = last_error,
                                        .products_open = nvidia_products_open,
                                        .products_close = nvidia_products_close,
                                        .products_version = nvidia_products_version,
                                        .product_describe = nvidia_product_describe,
                                        .product_forget = nvidia_product_forget,
                                        .product_propose = nvidia_product_propose,
                                        .product = nvidia_product,
                                        .sums_open = nvidia_sums_open,
                                        .sums_close = nvidia_sums_close,
                                        .sums_version = nvidia_sums_version,
                                        .sums_name = nvidia_sums_name,
                                        .sums_join = nvidia_sums_join,
                                        .sum = nvidia_sum};
    return &runtime;
}
