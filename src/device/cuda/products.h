/* Which of the library's algorithms computes each kind of product. The one that the library proposes first is taken; or, with
 * timing, the fastest of its proposals by the clock. What was timed can be written down and read again, so that a run that goes
 * on computes the same bits.
 *
 * Nothing can be timed while a stream is captured. So a kind that is met for the first time begins with the first proposal; if
 * it is met between cuda_products_watch() and cuda_products_settle() it is timed there, on the memory it was met with. */
#ifndef LACUNA_DEVICE_CUDA_PRODUCTS_H
#define LACUNA_DEVICE_CUDA_PRODUCTS_H

#include "base/text.h"
#include "device/cuda/cuda.h"

/* NULL after error_set(). The device outlives them; nothing of theirs runs any more when they are closed. NULL can be closed.
 */
CudaProducts *cuda_products_open(CudaDevice *d);
void cuda_products_close(CudaProducts *p);

/* Puts a product into the stream: cuda_product(). */
bool cuda_products_run(CudaProducts *p, const CudaStream *stream, const CudaProduct *product);

/* Whether cuda_products_watch() is to do anything. */
void cuda_products_autotune(CudaProducts *p, bool autotune);

/* From now on kinds that are met for the first time are to be timed. */
void cuda_products_watch(CudaProducts *p);

/* Times the kinds that were met, and ends the watch. What they write is overwritten, except C of a product that adds to C. The
 * stream must not be captured. *changed: a product is not computed as when it was met, and what was captured with it is to be
 * captured anew. False after error_set(). */
bool cuda_products_settle(CudaProducts *p, bool *changed);

/* Ends the watch without timing: the kinds that were met keep the first proposal. */
void cuda_products_drop(CudaProducts *p);

/* Kinds whose algorithm was timed here or read. */
size_t cuda_products_timed(const CudaProducts *p);

/* These as JSON, with the GPU and the version of the library that they are good for. Memory that runs out is the text's. */
void cuda_products_write(const CudaProducts *p, Text *out);

/* Takes over what was written; *fits false: by another GPU or version, and nothing is taken. Before the first product. False
 * after error_set(): this is not what was written. */
bool cuda_products_read(CudaProducts *p, const char *json, bool *fits);

#endif
