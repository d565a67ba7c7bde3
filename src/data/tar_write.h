/* Private to src/data: writing a tar archive. */
#ifndef LACUNA_DATA_TAR_WRITE_H
#define LACUNA_DATA_TAR_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that tar_write_member() puts into the archive. */
uint64_t tar_member_size(const char *name, size_t size);

/* Appends a file to the archive behind a descriptor: ustar, with a pax header where the name does not fit. No time, owner or
 * number of the machine gets into it. `path` names the archive in errors. False after error_set(). */
bool tar_write_member(int descriptor, const char *path, const char *name, const void *bytes, size_t size);

/* Marks the archive's end. */
bool tar_write_end(int descriptor, const char *path);

#endif
