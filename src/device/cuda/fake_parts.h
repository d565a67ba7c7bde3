/* What the files of the fake runtime share. */
#ifndef LACUNA_DEVICE_CUDA_FAKE_PARTS_H
#define LACUNA_DEVICE_CUDA_FAKE_PARTS_H

#include "device/cuda/fake_graph.h"

/* ---- fake.c */

/* One more call: the error it is to fail with, or 0. */
int fake_call(void);
const char *fake_error_words(int error);

/* Handles, which are counted until they are given back. An error, or 0. */
int fake_thing_new(void **thing, size_t bytes);
int fake_thing_free(void *thing);

/* Puts work, which is owned from here on, into a stream. An error, or 0. */
int fake_put(void *stream, FakeWork work);

/* The fake's clock goes on. */
void fake_pass(double seconds);

/* The next work of the stream is a sum over GPUs. */
void fake_note_sum(void *stream);

/* ---- fake_libraries.c, of the table of runtime.h */

void fake_libraries_reset(void);
bool fake_products_open(void **products);
void fake_products_close(void *products);
uint64_t fake_products_version(void *products);
bool fake_product_describe(void *products, const CudaProductKind *kind, void **described);
void fake_product_forget(void *products, void *described);
bool fake_product_propose(void *products, void *described, const void *bias, int most, CudaAlgorithm *ways, int *count);
bool fake_product(void *products, void *described, const CudaAlgorithm *way, const CudaProduct *p, void *stream);
bool fake_sums_open(void **sums);
void fake_sums_close(void *sums, bool together);
int fake_sums_version(void *sums);
bool fake_sums_name(void *sums, unsigned char *name);
bool fake_sums_join(void *sums, const unsigned char *name, int rank, int count);
bool fake_sum(void *sums, float *data, size_t count, void *stream);

#endif
