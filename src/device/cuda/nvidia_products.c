/* Products by cuBLASLt. For each kind of product its first proposal is taken and kept, without trying others against the clock:
 * the same shapes give the same algorithm, and so the same bits, in every run on the same GPU and libraries. */
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/cuda/nvidia.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

enum { WORK_ALIGN = 256 };

/* What decides the algorithm. Compared as bytes, so it is cleared before it is filled. */
typedef struct {
    int64_t rows, columns, inner, a_stride, b_stride, c_stride;
    int32_t type, c_type, a_turned, b_turned, adds, biased, tf32, a_align, b_align, c_align, bias_align;
    uint64_t work;
} Kind;

typedef struct {
    Kind kind;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t a, b, c; /* as cuBLASLt names them: a is our B */
    cublasLtMatmulAlgo_t algorithm;
} Known;

typedef struct {
    void *library;
    cublasLtHandle_t handle;
    Known *known;
    size_t count, capacity;

    __typeof__(cublasLtCreate) *create;
    __typeof__(cublasLtDestroy) *destroy;
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

static void known_free(Products *p, Known *k)
{
    if (k->a)
        p->layout_free(k->a);
    if (k->b)
        p->layout_free(k->b);
    if (k->c)
        p->layout_free(k->c);
    if (k->description)
        p->description_free(k->description);
}

void nvidia_products_close(void *products)
{
    Products *p = products;
    for (size_t i = 0; i < p->count; i++)
        known_free(p, &p->known[i]);
    if (p->handle)
        p->destroy(p->handle);
    if (p->library)
        dlclose(p->library);
    memory_free(p->known);
    memory_free(p);
}

/* ---- the algorithm for a kind of product */

static cudaDataType_t data_type(int32_t type)
{
    return type == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* Row-major C = A B is column-major C' = B' A', and a row-major matrix is its column-major transpose as it lies there. */
static bool describe(Products *p, Known *known)
{
    const Kind *k = &known->kind;
    cublasComputeType_t compute = k->type == DTYPE_REAL && k->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t a = k->b_turned ? CUBLAS_OP_T : CUBLAS_OP_N, b = k->a_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint64_t m = (uint64_t)k->columns, n = (uint64_t)k->rows, inner = (uint64_t)k->inner;
    cublasStatus_t s = p->description_new(&known->description, compute, CUDA_R_32F);
    if (!s)
        s = p->description_set(known->description, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof a);
    if (!s)
        s = p->description_set(known->description, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof b);
    if (!s && k->biased) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        int32_t type = (int32_t)data_type(k->c_type);
        s = p->description_set(known->description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        if (!s)
            s = p->description_set(known->description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
    }
    if (!s)
        s = k->b_turned ? p->layout_new(&known->a, data_type(k->type), inner, m, k->b_stride)
                        : p->layout_new(&known->a, data_type(k->type), m, inner, k->b_stride);
    if (!s)
        s = k->a_turned ? p->layout_new(&known->b, data_type(k->type), n, inner, k->a_stride)
                        : p->layout_new(&known->b, data_type(k->type), inner, n, k->a_stride);
    if (!s)
        s = p->layout_new(&known->c, data_type(k->c_type), m, n, k->c_stride);
    return succeeded(p, s, "describing a product");
}

static bool choose(Products *p, Known *known, const void *bias)
{
    const Kind *k = &known->kind;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    const struct {
        cublasLtMatmulPreferenceAttributes_t what;
        int32_t align;
    } aligns[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, k->b_align},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, k->a_align},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, k->c_align},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, k->c_align}};
    cublasStatus_t s = p->preference_new(&preference);
    if (!s)
        s = p->preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &k->work, sizeof k->work);
    for (size_t i = 0; !s && i < sizeof aligns / sizeof *aligns; i++) {
        uint32_t align = (uint32_t)aligns[i].align;
        s = p->preference_set(preference, aligns[i].what, &align, sizeof align);
    }
    /* What several blocks add up stays f32 on its way: without this it may be rounded to bf16 in between. */
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    if (!s && k->c_type == DTYPE_BF16)
        s = p->preference_set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme, sizeof scheme);
    if (!s && k->biased)
        s = p->description_set(known->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (!s)
        s = p->propose(p->handle, known->description, known->a, known->b, known->c, known->c, preference, 1, &result, &found);
    if (preference)
        p->preference_free(preference);
    if (!s && (found < 1 || result.state))
        s = CUBLAS_STATUS_NOT_SUPPORTED;
    known->algorithm = result.algo;
    char what[160];
    snprintf(what, sizeof what, "a product of %lld x %lld x %lld (%s)", (long long)k->rows, (long long)k->columns,
             (long long)k->inner, k->type == DTYPE_BF16 ? "bf16" : "f32");
    return succeeded(p, s, what);
}

/* The largest power of two, up to 256, that divides an address. */
static int32_t alignment(const void *at)
{
    uintptr_t bits = (uintptr_t)at | 256;
    return (int32_t)(bits & (~bits + 1));
}

static const Known *find(Products *p, const Kind *kind, const void *bias)
{
    for (size_t i = 0; i < p->count; i++)
        if (!memcmp(&p->known[i].kind, kind, sizeof *kind)) // NOLINT(bugprone-suspicious-memory-comparison): cleared before
            return &p->known[i];
    if (!memory_grow((void **)&p->known, p->count, &p->capacity, sizeof *p->known))
        return NULL;
    Known *known = &p->known[p->count];
    memset(known, 0, sizeof *known);
    known->kind = *kind;
    if (describe(p, known) && choose(p, known, bias)) {
        p->count++;
        return known;
    }
    known_free(p, known);
    return NULL;
}

bool nvidia_product(void *products, const CudaStream *stream, const CudaProduct *product)
{
    static const float one = 1, zero = 0;
    Products *p = products;
    size_t skipped = (WORK_ALIGN - (uintptr_t)product->work % WORK_ALIGN) % WORK_ALIGN;
    bool has_work = product->work && product->work_bytes > skipped;
    const void *added = product->accumulate ? product->c : product->residual;
    Kind kind;
    memset(&kind, 0, sizeof kind);
    kind.rows = product->rows;
    kind.columns = product->columns;
    kind.inner = product->inner;
    kind.a_stride = product->a_stride;
    kind.b_stride = product->b_stride;
    kind.c_stride = product->c_stride;
    kind.type = (int32_t)product->type;
    kind.c_type = (int32_t)product->c_type;
    kind.a_turned = product->a_turned;
    kind.b_turned = product->b_turned;
    kind.adds = added != NULL;
    kind.biased = product->bias != NULL;
    kind.tf32 = stream->features.tf32;
    kind.a_align = alignment(product->a);
    kind.b_align = alignment(product->b);
    kind.c_align = alignment(product->c);
    if (added && alignment(added) < kind.c_align)
        kind.c_align = alignment(added);
    kind.bias_align = product->bias ? alignment(product->bias) : 0;
    kind.work = has_work ? product->work_bytes - skipped : 0;
    const Known *k = find(p, &kind, product->bias);
    if (!k)
        return false;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    if (product->bias)
        s = p->description_set(k->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product->bias, sizeof product->bias);
    if (!s)
        s = p->matmul(p->handle, k->description, &one, product->b, k->a, product->a, k->b, added ? &one : &zero,
                      added ? added : product->c, k->c, product->c, k->c, &k->algorithm,
                      has_work ? (char *)product->work + skipped : NULL, (size_t)kind.work, stream->handle);
    return succeeded(p, s, "multiplying");
}
