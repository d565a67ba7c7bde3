#include "ops/cuda.cuh"
#include "ops/lars/attr.h"

/* Ranges travel as the kernel's argument, so a launch takes so many. */
enum { RANGES = 90 };

typedef struct {
    float *weights, *momentum;
    const float *gradient, *rate;
    double keep, trust;
    LarsRange range[RANGES];
} Lars;

/* A block a range: its norms, then its step. */
static __global__ void lars_kernel(const Lars a)
{
    const LarsRange &r = a.range[blockIdx.x];
    double weight = 0, slope = 0;
    for (int64_t i = r.offset + threadIdx.x; i < r.offset + r.count; i += BLOCK) {
        double w = a.weights[i], d = (double)a.gradient[i] + r.decay * w;
        weight += w * w;
        slope += d * d;
    }
    weight = block_sum(weight);
    slope = block_sum(slope);
    double factor = r.adaptive && weight > 0 && slope > 0 ? a.trust * sqrt(weight / slope) : 1, rate = r.rate * (double)*a.rate;
    for (int64_t i = r.offset + threadIdx.x; i < r.offset + r.count; i += BLOCK) {
        double w = a.weights[i];
        a.momentum[i] = (float)(a.keep * (double)a.momentum[i] + factor * ((double)a.gradient[i] + r.decay * w));
        a.weights[i] = (float)(w - rate * (double)a.momentum[i]);
    }
}

extern "C" bool CUDA(lars)(const Call *c, CudaStream *s)
{
    const LarsAttr *attr = (const LarsAttr *)c->attr;
    Lars a = {.weights = data_of(&c->out[0]),
              .momentum = data_of(&c->out[1]),
              .gradient = data_of(&c->in[0]),
              .rate = data_of(&c->in[1]),
              .keep = attr->keep,
              .trust = attr->trust,
              .range = {}};
    for (int first = 0; first < attr->range_count; first += RANGES) {
        int count = attr->range_count - first < RANGES ? attr->range_count - first : RANGES;
        memcpy(a.range, attr->ranges + first, (size_t)count * sizeof *a.range);
        cuda_launch(s, lars_kernel, dim3((unsigned)count), dim3(BLOCK), 0, a);
    }
    return cuda_launched(s, "lars");
}
