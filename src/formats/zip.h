/* The directory of a zip archive as torch.save and TorchScript write it: what holds numbers is stored as it is, so a record is
 * a piece of the file (docs/spec/transfer.md D.8).
 *
 * Everything is taken from the central directory and checked before use: records lie inside the file and do not overlap, names
 * do not occur twice. What is compressed (TorchScript's code) or encrypted is never unpacked, so that no small file can become
 * a large one.
 */
#ifndef LACUNA_FORMATS_ZIP_H
#define LACUNA_FORMATS_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ZIP_RECORDS_MAX = 30000 };

typedef struct {
    const char *name; /* in the archive, not zero-terminated */
    uint32_t name_bytes;
    const void *data; /* in the archive, as it is stored there */
    uint64_t bytes;
    bool packed; /* compressed or encrypted: the data are not what was meant */
} ZipRecord;

typedef struct Zip Zip;

/* Reads the directory of an archive in memory, which must outlive the result; `origin` names it in errors. NULL after
 * error_set(). */
Zip *zip_open(const void *data, size_t size, const char *origin);
void zip_close(Zip *zip);

/* Records in the order of their names. */
size_t zip_count(const Zip *zip);
const ZipRecord *zip_at(const Zip *zip, size_t i);

/* The record of that name, NULL without an error when there is none. */
const ZipRecord *zip_find(const Zip *zip, const char *name);

#endif
