/* What stands for cuBLASLt and NCCL in the fake runtime. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "device/cuda/fake_group.h"
#include "device/cuda/fake_parts.h"

enum { ALGORITHMS = 8 };

static struct {
    int algorithms;
    double seconds[ALGORITHMS];
    uint64_t version;
    FakeSums sums;
} libraries = {.algorithms = 1, .version = 1};

void fake_libraries_reset(void)
{
    memset(&libraries, 0, sizeof libraries);
    libraries.algorithms = 1;
    libraries.version = 1;
}

void fake_set_algorithms(int count, const double *seconds)
{
    libraries.algorithms = count;
    memcpy(libraries.seconds, seconds, (size_t)count * sizeof *seconds);
}

void fake_set_library(uint64_t version)
{
    libraries.version = version;
}

void fake_set_sums(FakeSums sums)
{
    libraries.sums = sums;
}

/* ---- products */

static double number(const void *from, DType type, int64_t i)
{
    if (type == DTYPE_REAL)
        return (double)((const float *)from)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static void set_number(void *to, DType type, int64_t i, double value)
{
    float x = (float)value;
    if (type == DTYPE_REAL) {
        ((float *)to)[i] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    ((uint16_t *)to)[i] = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

typedef struct {
    CudaProduct product;
    int algorithm;
} Job;

static void run_product(void *data)
{
    const Job *job = data;
    const CudaProduct *p = &job->product;
    fake_pass(libraries.seconds[job->algorithm]);
    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t j = 0; j < p->columns; j++) {
            double sum = p->bias ? number(p->bias, p->c_type, j) : 0;
            for (int64_t k = 0; k < p->inner; k++)
                sum += number(p->a, p->type, p->a_turned ? k * p->a_stride + i : i * p->a_stride + k) *
                       number(p->b, p->type, p->b_turned ? j * p->b_stride + k : k * p->b_stride + j);
            int64_t at = i * p->c_stride + j;
            if (p->accumulate || p->residual)
                sum += number(p->accumulate ? p->c : p->residual, p->c_type, at);
            set_number(p->c, p->c_type, at, sum);
        }
}

bool fake_products_open(void **products)
{
    return !fake_thing_new(products, 1) || error_set("the fake library of products does not open");
}

void fake_products_close(void *products)
{
    fake_thing_free(products);
}

uint64_t fake_products_version(void *products)
{
    (void)products;
    return libraries.version;
}

bool fake_product_describe(void *products, const CudaProductKind *kind, void **described)
{
    (void)products;
    (void)kind;
    return !fake_thing_new(described, 1) || error_set("the fake library does not know such a product");
}

void fake_product_forget(void *products, void *described)
{
    (void)products;
    fake_thing_free(described);
}

bool fake_product_propose(void *products, void *described, const void *bias, int most, CudaAlgorithm *ways, int *count)
{
    (void)products;
    (void)described;
    (void)bias;
    *count = most < libraries.algorithms ? most : libraries.algorithms;
    memset(ways, 0, (size_t)*count * sizeof *ways);
    for (int i = 0; i < *count; i++)
        ways[i].words[0] = (uint64_t)i;
    return !fake_call() || error_set("the fake library does not propose anything");
}

bool fake_product(void *products, void *described, const CudaAlgorithm *way, const CudaProduct *p, void *stream)
{
    static const char *const names[ALGORITHMS] = {"product",      "product by 1", "product by 2", "product by 3",
                                                  "product by 4", "product by 5", "product by 6", "product by 7"};
    int algorithm = (int)way->words[0];
    (void)products;
    (void)described;
    if (libraries.seconds[algorithm] < 0)
        return error_set("the fake library does not carry that out");
    Job *job = malloc(sizeof *job);
    if (!job)
        return error_set("memory is out");
    *job = (Job){*p, algorithm};
    int error = fake_put(stream, (FakeWork){.name = names[algorithm], .run = run_product, .release = free, .data = job});
    return !error || error_set("the fake product failed: %s", fake_error_words(error));
}

/* ---- sums over GPUs */

/* For a whole program on the fake, LACUNA_FAKE_NCCL. */
static FakeSums sums_way(void)
{
    return getenv("LACUNA_FAKE_NCCL") ? FAKE_SUMS_TOGETHER : libraries.sums;
}

bool fake_sums_open(void **sums)
{
    if (sums_way() == FAKE_SUMS_MISSING)
        return error_set("the fake library of sums is missing");
    return !fake_thing_new(sums, sizeof(FakeGroup)) || error_set("the fake library of sums does not open");
}

void fake_sums_close(void *sums, bool together)
{
    fake_group_close(sums, together);
    fake_thing_free(sums);
}

int fake_sums_version(void *sums)
{
    (void)sums;
    return 20102;
}

bool fake_sums_name(void *sums, unsigned char *name)
{
    (void)sums;
    if (fake_call())
        return error_set("the fake group has no name");
    return sums_way() == FAKE_SUMS_ALONE || fake_group_name((char *)name, CUDA_SUMS_NAME);
}

bool fake_sums_join(void *sums, const unsigned char *name, int rank, int count)
{
    if (fake_call())
        return error_set("the fake group cannot be joined");
    return sums_way() == FAKE_SUMS_ALONE || fake_group_join(sums, (const char *)name, rank, count);
}

typedef struct {
    FakeGroup *group;
    float *data;
    size_t count;
} FakeSum;

static void run_sum(void *data)
{
    const FakeSum *s = data;
    fake_group_sum(s->group, s->data, s->count);
}

bool fake_sum(void *sums, float *data, size_t count, void *stream)
{
    FakeSum *s = malloc(sizeof *s);
    if (!s)
        return error_set("memory is out");
    *s = (FakeSum){sums, data, count};
    fake_note_sum(stream);
    int error =
        fake_put(stream, (FakeWork){.name = "sum", .bytes = count * sizeof *data, .run = run_sum, .release = free, .data = s});
    return !error || error_set("the fake sum failed: %s", fake_error_words(error));
}
