/* Memory of a device: of the host for ref and cpu, of the GPU for cuda. */
#ifndef LACUNA_DEVICE_BUFFER_H
#define LACUNA_DEVICE_BUFFER_H

#include "device/device.h"

/* Whether the host can read and write a buffer of the device where it lies. */
bool buffer_on_host(const Device *device);

/* Bytes of a GPU's memory that are taken, by anybody; 0 where buffers are the host's. */
int64_t buffer_bytes_taken(const Device *device);

/* Zeroed, aligned to 64 bytes or more, owned by the caller. NULL after error_set(). */
void *buffer_new(const Device *device, size_t count, size_t size);
/* Of the same, with these numbers of the host's memory. */
void *buffer_copy(const Device *device, const void *from, size_t count, size_t size);
void buffer_free(const Device *device, void *buffer);

/* Copy between a buffer and memory of the host, behind all that was put to run before; the copy is done on return. False after
 * error_set(): also when what ran before has failed. */
bool buffer_write(const Device *device, void *buffer, const void *from, size_t bytes);
bool buffer_read(const Device *device, const void *buffer, void *to, size_t bytes);

#endif
