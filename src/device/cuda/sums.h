/* Sums over the GPUs of several processes, by a library that need not be there (NCCL). Each process has one GPU.
 *
 * One of them opens, names a group and tells the others the name; then all join it. What they put into their streams, each the
 * same sums in the same order, waits on the GPUs for each other, and the host for nothing. */
#ifndef LACUNA_DEVICE_CUDA_SUMS_H
#define LACUNA_DEVICE_CUDA_SUMS_H

#include "device/cuda/cuda.h"

typedef struct CudaSums CudaSums;

/* Owned by the caller; the device outlives it. NULL after error_set(): the library is not there. */
CudaSums *cuda_sums_open(CudaDevice *d);

/* All of the group together, when what they put has been done; or, since one of them has failed, this one by itself, and what
 * it put is given up. NULL is allowed. */
void cuda_sums_close(CudaSums *sums, bool together);

/* Of the library: 22703 is 2.27.3 (from 2.9 on); 0 when it does not tell. */
int cuda_sums_version(const CudaSums *sums);

typedef struct {
    unsigned char bytes[CUDA_SUMS_NAME];
} CudaSumsName;

/* False after error_set(). */
bool cuda_sums_name(CudaSums *sums, CudaSumsName *name);

/* Waits for all `count` of the group. False after error_set(); the others may then wait for ever. */
bool cuda_sums_join(CudaSums *sums, const CudaSumsName *name, int rank, int count);

/* Puts the sum of each of `count` numbers over the group into the stream, in place: the same bits for all of the group, and,
 * without NVLS (docs/decisions.md), again with the same GPUs and libraries. False after error_set(). */
bool cuda_sums_put(CudaSums *sums, float *data, size_t count, void *stream);

#endif
