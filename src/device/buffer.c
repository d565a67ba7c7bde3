#include "device/buffer.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/cuda/cuda.h"

bool buffer_on_host(const Device *device)
{
    return device->kind != DEVICE_CUDA;
}

int64_t buffer_bytes_taken(const Device *device)
{
    int64_t left;
    if (buffer_on_host(device) || !cuda_memory_left(device->cuda, &left))
        return 0;
    return cuda_device_properties(device->cuda)->memory - left;
}

void *buffer_new(const Device *device, size_t count, size_t size)
{
    size_t bytes;
    if (!size_multiply(count, size, &bytes)) {
        error_set("a buffer of %zu times %zu bytes is too large", count, size);
        return NULL;
    }
    if (!buffer_on_host(device))
        return cuda_memory_new(device->cuda, bytes);
    void *buffer = memory_new_aligned(count, size);
    if (buffer)
        memset(buffer, 0, bytes);
    return buffer;
}

void *buffer_copy(const Device *device, const void *from, size_t count, size_t size)
{
    void *buffer = buffer_new(device, count, size);
    if (buffer && !buffer_write(device, buffer, from, count * size)) {
        buffer_free(device, buffer);
        return NULL;
    }
    return buffer;
}

void buffer_free(const Device *device, void *buffer)
{
    if (buffer_on_host(device))
        memory_free(buffer);
    else
        cuda_memory_free(device->cuda, buffer);
}

bool buffer_write(const Device *device, void *buffer, const void *from, size_t bytes)
{
    if (!buffer_on_host(device))
        return cuda_write(device->cuda, buffer, from, bytes);
    memcpy(buffer, from, bytes);
    return true;
}

bool buffer_read(const Device *device, const void *buffer, void *to, size_t bytes)
{
    if (!buffer_on_host(device))
        return cuda_read(device->cuda, buffer, to, bytes);
    memcpy(to, buffer, bytes);
    return true;
}
