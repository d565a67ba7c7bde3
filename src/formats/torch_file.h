/* Files of torch.save, in its zip format and in the older one of pickles in a row, and TorchScript archives, of which no code
 * is read (docs/spec/transfer.md D.8 to D.10). */
#ifndef LACUNA_FORMATS_TORCH_FILE_H
#define LACUNA_FORMATS_TORCH_FILE_H

#include "base/text.h"
#include "formats/pickle.h"
#include "formats/safetensors.h"

enum { TORCH_DIMS_MAX = 16 };

/* A view of numbers in a file: element (i, j, ..) lies i stride[0] + j stride[1] + .. elements behind the first. */
typedef struct {
    const char *name; /* zero-terminated */
    SafeDtype dtype;
    int ndim;
    int64_t shape[TORCH_DIMS_MAX], stride[TORCH_DIMS_MAX];
    const void *data; /* the first element, perhaps not aligned */
} StridedTensor;

/* Elements; and all of them, row by row, into out[strided_count()], integers and f64 rounded to nearest. */
int64_t strided_count(const StridedTensor *t);
void strided_to_f32(const StridedTensor *t, float *out);

typedef struct TorchFile TorchFile;

/* Whether the bytes begin as such a file does. */
bool torch_is_file(const void *data, size_t size);

/* Reads a file in memory, which must outlive the result, and finds its tensors by name: of a mapping of tensors all of them; of
 * a mapping that holds mappings those under `key`, or with NULL under the first of the names that programs use (`model`,
 * `state_dict` ..); of a TorchScript archive all parameters and buffers. Every view is checked to lie in its storage. `origin`
 * names the file in errors. NULL after error_set(). */
TorchFile *torch_open(const void *data, size_t size, const char *origin, const char *key);
void torch_close(TorchFile *file);

/* Tensors in the order of their names, which differ. Owned by the file. */
size_t torch_count(const TorchFile *file);
const StridedTensor *torch_at(const TorchFile *file, size_t i);

/* The container in words ("PyTorch zip archive, tensors under 'model'"); and what stands beside the tensors, under the same
 * mapping, without being one, as a list of names, or "". */
const char *torch_words(const TorchFile *file);
const char *torch_others(const TorchFile *file);

/* The whole object of the file. */
const PickleValue *torch_root(const TorchFile *file);

#endif
