/* Products by cuBLASLt: it is loaded, kinds of products are described to it, and it proposes algorithms (products.c chooses).
 */
#include <assert.h>
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/cuda/nvidia.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

typedef struct {
    CudaProductKind kind;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t a, b, c; /* as cuBLASLt names them: a is our B */
} Described;

typedef struct {
    void *library;
    cublasLtHandle_t handle;

    __typeof__(cublasLtCreate) *create;
    __typeof__(cublasLtDestroy) *destroy;
    __typeof__(cublasLtGetVersion) *version;
    __typeof__(cublasLtMatmul) *matmul;
    __typeof__(cublasLtMatmulAlgoGetHeuristic) *propose;
    __typeof__(cublasLtMatmulDescCreate) *description_new;
    __typeof__(cublasLtMatmulDescDestroy) *description_free;
    __typeof__(cublasLtMatmulDescSetAttribute) *description_set;
    __typeof__(cublasLtMatrixLayoutCreate) *layout_new;
    __typeof__(cublasLtMatrixLayoutDestroy) *layout_free;
    __typeof__(cublasLtMatmulPreferenceCreate) *preference_new;
    __typeof__(cublasLtMatmulPreferenceDestroy) *preference_free;
    __typeof__(cublasLtMatmulPreferenceSetAttribute) *preference_set;
    __typeof__(cublasLtGetStatusString) *status_text;
} Products;

/* ---- loading */

static bool load_symbols(Products *p)
{
    const struct {
        const char *name;
        void **to;
    } symbols[] = {{"cublasLtCreate", (void **)&p->create},
                   {"cublasLtDestroy", (void **)&p->destroy},
                   {"cublasLtGetVersion", (void **)&p->version},
                   {"cublasLtMatmul", (void **)&p->matmul},
                   {"cublasLtMatmulAlgoGetHeuristic", (void **)&p->propose},
                   {"cublasLtMatmulDescCreate", (void **)&p->description_new},
                   {"cublasLtMatmulDescDestroy", (void **)&p->description_free},
                   {"cublasLtMatmulDescSetAttribute", (void **)&p->description_set},
                   {"cublasLtMatrixLayoutCreate", (void **)&p->layout_new},
                   {"cublasLtMatrixLayoutDestroy", (void **)&p->layout_free},
                   {"cublasLtMatmulPreferenceCreate", (void **)&p->preference_new},
                   {"cublasLtMatmulPreferenceDestroy", (void **)&p->preference_free},
                   {"cublasLtMatmulPreferenceSetAttribute", (void **)&p->preference_set},
                   {"cublasLtGetStatusString", (void **)&p->status_text}};
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (!(*symbols[i].to = dlsym(p->library, symbols[i].name)))
            return error_set("cuBLASLt has no %s; version %d of CUDA or newer is needed", symbols[i].name, CUBLAS_VER_MAJOR);
    return true;
}

/* Where the loader looks, then where the toolkit lay when lacuna was built. The library stays when it is closed: it leaves
 * code with the runtime, and perhaps threads, that outlive its handle, and a GPU may be opened again. */
static bool load_library(Products *p)
{
    static const char *const names[] = {"libcublasLt.so." TEXT(CUBLAS_VER_MAJOR),
                                        LACUNA_CUDA_LIBRARIES "/libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)};
    for (size_t i = 0; !p->library && i < sizeof names / sizeof *names; i++)
        p->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    return p->library || error_set("cuBLASLt, %s, cannot be loaded; install the libraries of CUDA %d and add their folder to "
                                   "LD_LIBRARY_PATH, or use device cpu",
                                   names[0], CUBLAS_VER_MAJOR);
}

static bool succeeded(const Products *p, cublasStatus_t status, const char *what)
{
    return status == CUBLAS_STATUS_SUCCESS || error_set("cuBLASLt: %s: %s", what, p->status_text(status));
}

bool nvidia_products_open(void **products)
{
    Products *p = memory_new(1, sizeof *p);
    if (!p)
        return false;
    if (load_library(p) && load_symbols(p) && succeeded(p, p->create(&p->handle), "opening it")) {
        *products = p;
        return true;
    }
    nvidia_products_close(p);
    return false;
}

void nvidia_products_close(void *products)
{
    Products *p = products;
    if (p->handle)
        p->destroy(p->handle);
    if (p->library)
        dlclose(p->library);
    memory_free(p);
}

uint64_t nvidia_products_version(void *products)
{
    return ((const Products *)products)->version();
}

/* ---- a kind of product */

static cudaDataType_t data_type(int32_t type)
{
    return type == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

void nvidia_product_forget(void *products, void *described)
{
    Products *p = products;
    Described *d = described;
    if (d->a)
        p->layout_free(d->a);
    if (d->b)
        p->layout_free(d->b);
    if (d->c)
        p->layout_free(d->c);
    if (d->description)
        p->description_free(d->description);
    memory_free(d);
}

/* Row-major C = A B is column-major C' = B' A', and a row-major matrix is its column-major transpose as it lies there. */
static bool describe(Products *p, Described *d)
{
    const CudaProductKind *k = &d->kind;
    cublasComputeType_t compute = k->type == DTYPE_REAL && k->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t a = k->b_turned ? CUBLAS_OP_T : CUBLAS_OP_N, b = k->a_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint64_t m = (uint64_t)k->columns, n = (uint64_t)k->rows, inner = (uint64_t)k->inner;
    cublasStatus_t s = p->description_new(&d->description, compute, CUDA_R_32F);
    if (!s)
        s = p->description_set(d->description, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof a);
    if (!s)
        s = p->description_set(d->description, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof b);
    if (!s && k->biased) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        int32_t type = (int32_t)data_type(k->c_type);
        s = p->description_set(d->description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        if (!s)
            s = p->description_set(d->description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
    }
    if (!s)
        s = k->b_turned ? p->layout_new(&d->a, data_type(k->type), inner, m, k->b_stride)
                        : p->layout_new(&d->a, data_type(k->type), m, inner, k->b_stride);
    if (!s)
        s = k->a_turned ? p->layout_new(&d->b, data_type(k->type), n, inner, k->a_stride)
                        : p->layout_new(&d->b, data_type(k->type), inner, n, k->a_stride);
    if (!s)
        s = p->layout_new(&d->c, data_type(k->c_type), m, n, k->c_stride);
    return succeeded(p, s, "describing a product");
}

bool nvidia_product_describe(void *products, const CudaProductKind *kind, void **described)
{
    Described *d = memory_new(1, sizeof *d);
    if (!d)
        return false;
    d->kind = *kind;
    if (describe(products, d)) {
        *described = d;
        return true;
    }
    nvidia_product_forget(products, d);
    return false;
}

/* ---- algorithms */

enum { PROPOSALS = 16 };

static_assert(sizeof(CudaAlgorithm) == sizeof(cublasLtMatmulAlgo_t), "an algorithm is kept as it is");

bool nvidia_product_propose(void *products, void *described, const void *bias, int most, CudaAlgorithm *ways, int *count)
{
    Products *p = products;
    const Described *d = described;
    const CudaProductKind *k = &d->kind;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t results[PROPOSALS];
    uint64_t work = (uint64_t)k->work;
    int found = 0;
    *count = 0;
    const struct {
        cublasLtMatmulPreferenceAttributes_t what;
        int32_t align;
    } aligns[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, k->b_align},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, k->a_align},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, k->c_align},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, k->c_align}};
    cublasStatus_t s = p->preference_new(&preference);
    if (!s)
        s = p->preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &work, sizeof work);
    for (size_t i = 0; !s && i < sizeof aligns / sizeof *aligns; i++) {
        uint32_t align = (uint32_t)aligns[i].align;
        s = p->preference_set(preference, aligns[i].what, &align, sizeof align);
    }
    /* What several blocks add up stays f32 on its way: without this it may be rounded to bf16 in between. */
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    if (!s && k->c_type == DTYPE_BF16)
        s = p->preference_set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme, sizeof scheme);
    if (!s && k->biased)
        s = p->description_set(d->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (!s)
        s = p->propose(p->handle, d->description, d->a, d->b, d->c, d->c, preference, most < PROPOSALS ? most : PROPOSALS,
                       results, &found);
    if (preference)
        p->preference_free(preference);
    for (int i = 0; !s && i < found; i++)
        if (!results[i].state)
            memcpy(&ways[(*count)++], &results[i].algo, sizeof *ways);
    if (!s && !*count)
        s = CUBLAS_STATUS_NOT_SUPPORTED;
    char what[160];
    snprintf(what, sizeof what, "a product of %lld x %lld x %lld (%s)", (long long)k->rows, (long long)k->columns,
             (long long)k->inner, k->type == DTYPE_BF16 ? "bf16" : "f32");
    return succeeded(p, s, what);
}

bool nvidia_product(void *products, void *described, const CudaAlgorithm *way, const CudaProduct *product, void *stream)
{
    static const float one = 1, zero = 0;
    Products *p = products;
    const Described *d = described;
    const void *added = product->accumulate ? product->c : product->residual;
    cublasLtMatmulAlgo_t algorithm;
    memcpy(&algorithm, way, sizeof algorithm);
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    if (product->bias)
        s = p->description_set(d->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product->bias, sizeof product->bias);
    if (!s)
        s = p->matmul(p->handle, d->description, &one, product->b, d->a, product->a, d->b, added ? &one : &zero,
                      added ? added : product->c, d->c, product->c, d->c, &algorithm, product->work, product->work_bytes,
                      stream);
    return succeeded(p, s, "multiplying");
}
