#include "device/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "device/cuda/products.h"

/* "cuda" or "cuda:N", in *index. */
static bool names_gpu(const char *name, int *index)
{
    char end;
    *index = 0;
    return !strcmp(name, "cuda") || (sscanf(name, "cuda:%4d%c", index, &end) == 1 && *index >= 0);
}

static bool open_gpu(int index, Device *device)
{
    const char *graph = getenv("LACUNA_CUDA_GRAPH"), *lanes = getenv("LACUNA_CUDA_LANES"), *nccl = getenv("LACUNA_NCCL");
    device->kind = DEVICE_CUDA;
    device->level = CPU_REF;
    device->lacks = DEVICE_LACKS_PROLOGUE | DEVICE_LACKS_ROUNDING;
    device->one_by_one = graph && !strcmp(graph, "0");
    device->host_sums = nccl && !strcmp(nccl, "0");
    device->second_lane = lanes && !strcmp(lanes, "2");
    return (device->cuda = cuda_open(index, false)) != NULL;
}

void device_close(Device *device)
{
    cuda_close(device->cuda);
    device->cuda = NULL;
}

void device_set_tf32(Device *device, bool tf32)
{
    if (device->cuda)
        cuda_stream(device->cuda)->features.tf32 = tf32;
}

void device_set_autotune(Device *device, bool autotune)
{
    if (device->cuda)
        cuda_products_autotune(cuda_products(device->cuda), autotune);
}

size_t device_timed(const Device *device)
{
    return device->cuda ? cuda_products_timed(cuda_products(device->cuda)) : 0;
}

void device_write_timed(const Device *device, Text *out)
{
    cuda_products_write(cuda_products(device->cuda), out);
}

bool device_read_timed(Device *device, const char *json, bool *fits)
{
    *fits = true;
    return !device->cuda || device->one_by_one || cuda_products_read(cuda_products(device->cuda), json, fits);
}

bool device_open(const char *name, int threads, Device *device)
{
    *device = (Device){.kind = DEVICE_CPU, .threads = threads > 0 ? threads : cpu_count()};
    if (!strcmp(name, "ref") || !strcmp(name, "ref64")) {
        device->kind = DEVICE_REF;
        device->f64 = !strcmp(name, "ref64");
        device->threads = 1;
        return true;
    }
    int index;
    if (names_gpu(name, &index))
        return open_gpu(index, device);
    if (strcmp(name, "cpu") != 0 && strcmp(name, "auto") != 0) {
        return error_set("device %s is not known; use cpu, cuda or ref", name);
    }
    if (!cpu_level(&device->level))
        return false;
    if (device->level == CPU_REF)
        device->kind = DEVICE_REF;
    return true;
}

const char *device_describe(const Device *device)
{
    static _Thread_local char text[192];
    if (device->kind == DEVICE_CUDA)
        snprintf(text, sizeof text, "cuda (%s)", cuda_device_properties(device->cuda)->name);
    else if (device->kind == DEVICE_REF)
        snprintf(text, sizeof text, "ref (plain C kernels, f%d)", device->f64 ? 64 : 32);
    else
        snprintf(text, sizeof text, "cpu (%s, %d thread%s)", cpu_level_name(device->level), device->threads,
                 device->threads == 1 ? "" : "s");
    return text;
}

size_t device_element(const Device *device, DType dtype)
{
    switch (dtype) {
    case DTYPE_BF16:
        return 2;
    case DTYPE_I32:
        return 4;
    default:
        return device->f64 ? 8 : 4;
    }
}
