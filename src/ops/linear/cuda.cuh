/* What linear and its gradients share on a GPU. Their operands come in the type that is multiplied, without a prologue
 * (DEVICE_LACKS_PROLOGUE, DEVICE_LACKS_ROUNDING). */
#ifndef LACUNA_OPS_LINEAR_CUDA_CUH
#define LACUNA_OPS_LINEAR_CUDA_CUH

#include "ops/cuda.cuh"
#include "ops/linear/cuda_work.h"

static inline void *linear_part(const Call *c, const LinearPart &part)
{
    return part.needs ? static_cast<char *>(c->work) + part.at : NULL;
}

/* A product of operands without gaps; the caller sets what is beside that. */
static inline CudaProduct linear_product(const Call *c, const LinearRoom &room, int64_t rows, int64_t columns, int64_t inner,
                                         DType type)
{
    CudaProduct p = {};
    p.rows = rows;
    p.columns = columns;
    p.inner = inner;
    p.c_stride = columns;
    p.type = type;
    p.c_type = DTYPE_REAL;
    p.work = linear_part(c, room.product);
    p.work_bytes = CUDA_PRODUCT_WORK;
    return p;
}

#endif
