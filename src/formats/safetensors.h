/* The safetensors file format: eight bytes of length (little endian), a JSON header of that length, then the tensors' data.
 *
 * Files come from strangers: the reader checks every size before use and refuses, with file, tensor and reason, whatever is not
 * exactly sound: unknown types, shapes that overflow or do not fit their range, ranges that overlap, leave gaps or reach
 * outside the data, duplicate names, headers above SAFETENSORS_HEADER_MAX or with more than SAFETENSORS_MOST tensors would
 * need. Numbers are little endian, as on every machine this
 * program runs on.
 */
#ifndef LACUNA_FORMATS_SAFETENSORS_H
#define LACUNA_FORMATS_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum { SAFETENSORS_DIMS_MAX = 8, SAFETENSORS_HEADER_MAX = 16 << 20, SAFETENSORS_MOST = 10000 };

/* The most that the sizes of a shape may multiply to, also when those that are 0 are left out: products of a few of them and of
 * small numbers then fit. */
#define SAFETENSORS_COUNT_MOST ((int64_t)1 << 48)

typedef enum {
    SAFETENSORS_F64,
    SAFETENSORS_F32,
    SAFETENSORS_F16,
    SAFETENSORS_BF16,
    SAFETENSORS_I64,
    SAFETENSORS_I32,
    SAFETENSORS_I16,
    SAFETENSORS_I8,
    SAFETENSORS_U64,
    SAFETENSORS_U32,
    SAFETENSORS_U16,
    SAFETENSORS_U8,
    SAFETENSORS_BOOL,
    SAFETENSORS_DTYPES
} SafeDtype;

/* A tensor of a file, or one to be written. Row-major; ndim 0 is a single number. */
typedef struct {
    const char *name;
    SafeDtype dtype;
    int ndim;
    int64_t shape[SAFETENSORS_DIMS_MAX];
    const void *data; /* of a read file: inside the mapping, perhaps not aligned: use memcpy or safetensor_to_f32() */
    size_t bytes;     /* count x size of an element; the writer computes it, and checks it when it is not 0 */
} SafeTensor;

/* A pair of the file's metadata. */
typedef struct {
    const char *key, *value;
} SafeMetadata;

typedef struct SafeTensors SafeTensors;

/* Opens and checks a file. It stays mapped until safetensors_close(); whoever shortens it meanwhile breaks the reader, so files
 * are replaced by renaming only (safetensors_write() does). NULL after error_set(). */
SafeTensors *safetensors_open(const char *path);

/* As safetensors_open() of bytes in memory, which must outlive the result; `origin` names them in errors. */
SafeTensors *safetensors_open_memory(const void *data, size_t size, const char *origin);

void safetensors_close(SafeTensors *file);

/* The number of tensors, and the i-th in the order of their data. Owned by the file. */
size_t safetensors_count(const SafeTensors *file);
const SafeTensor *safetensors_at(const SafeTensors *file, size_t i);

/* The tensor of that name, NULL without an error when there is none. Owned by the file. */
const SafeTensor *safetensors_find(const SafeTensors *file, const char *name);

/* As safetensors_find(), but a missing tensor, or one whose shape is not the ndim sizes given, is an error. */
const SafeTensor *safetensors_need(const SafeTensors *file, const char *name, int ndim, const int64_t *shape);

/* The metadata's value for a key, NULL when there is none; and the pairs by number, in the order of the file. */
const char *safetensors_metadata(const SafeTensors *file, const char *key);
size_t safetensors_metadata_count(const SafeTensors *file);
SafeMetadata safetensors_metadata_at(const SafeTensors *file, size_t i);

/* Elements of a tensor (1 when ndim is 0). */
size_t safetensor_count(const SafeTensor *t);

/* All elements as f32 into out[safetensor_count()]; integers and F64 are rounded to nearest. Always true for the known types.
 */
bool safetensor_to_f32(const SafeTensor *t, float *out);

/* The number of that type at `at`, which need not be aligned, as f32. */
float safetensors_number(SafeDtype dtype, const void *at);

/* Bytes of an element, and the name in the header ("F32"). */
size_t safetensors_dtype_bytes(SafeDtype dtype);
const char *safetensors_dtype_name(SafeDtype dtype);

/* Writes PATH.tmp, flushes it and renames it to PATH. Tensors lie in the order given, metadata (may be NULL) too, the header is
 * padded with spaces to 8 bytes: the same input gives the same bytes. Names must differ. False after error_set(); an old PATH
 * then stays as it was. */
bool safetensors_write(const char *path, const SafeTensor *tensors, size_t count, const SafeMetadata *metadata,
                       size_t metadata_count);

/* What stands before the tensors' data in such a file, for files that are written piece by piece: the tensors' `data` is not
 * looked at. Appended to *out. False after error_set(). */
bool safetensors_header(const char *path, const SafeTensor *tensors, size_t count, const SafeMetadata *metadata,
                        size_t metadata_count, Text *out);

#endif
