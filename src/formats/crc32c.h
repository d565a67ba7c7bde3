/* CRC-32C (Castagnoli), as TensorBoard's files have it (RFC 3720, appendix B.4). */
#ifndef LACUNA_FORMATS_CRC32C_H
#define LACUNA_FORMATS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *data, size_t size);

#endif
