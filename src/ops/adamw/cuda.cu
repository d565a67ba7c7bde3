#include "ops/adamw/attr.h"
#include "ops/cuda.cuh"
#include "ops/grad_norm/grad_norm.h"

/* Ranges travel as the kernel's argument, so a launch takes so many; a tile of numbers is a block's work. */
enum { RANGES = 96, TILE = 4096 };

typedef struct {
    int64_t offset, count, first_tile;
    double rate, decay;
} Range;

typedef struct {
    float *weights, *moment1, *moment2;
    const float *gradient, *inputs, *status;
    float keep1, keep2, take1, take2, eps;
    int ranges;
    Range range[RANGES];
} Update;

template <int N>
static __device__ inline void update_pack(const Update &u, int64_t i, float factor, float decay, float step, float scale)
{
    Floats<N> g = pack_load<N>(u.gradient + i), w = pack_load<N>(u.weights + i), m = pack_load<N>(u.moment1 + i),
              v = pack_load<N>(u.moment2 + i);
    for (int k = 0; k < N; k++) {
        float gradient = g.at[k] * factor;
        m.at[k] = u.keep1 * m.at[k] + u.take1 * gradient;
        v.at[k] = u.keep2 * v.at[k] + u.take2 * gradient * gradient;
        /* w - (change) and not w (1 - decay): 1 - 1e-6 has lost most of its digits in f32. */
        w.at[k] -= decay * w.at[k] + step * m.at[k] / (sqrtf(v.at[k] * scale) + u.eps);
    }
    pack_store<N>(u.moment1 + i, m);
    pack_store<N>(u.moment2 + i, v);
    pack_store<N>(u.weights + i, w);
}

template <bool PACKS> static __global__ void adamw_kernel(const Update u)
{
    if (u.status[STATUS_FINITE] == 0)
        return;
    int low = 0;
    for (int high = u.ranges; high - low > 1;) { /* the last range that begins at or before this tile */
        int middle = (low + high) / 2;
        if (u.range[middle].first_tile <= (int64_t)blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    const Range &r = u.range[low];
    int64_t first = ((int64_t)blockIdx.x - r.first_tile) * TILE, end = first + TILE < r.count ? first + TILE : r.count;
    double rate = r.rate * (double)u.inputs[ADAMW_RATE];
    float factor = u.status[STATUS_FACTOR], decay = (float)(rate * r.decay),
          step = (float)(rate / (double)u.inputs[ADAMW_CORRECTION1]), scale = (float)(1 / (double)u.inputs[ADAMW_CORRECTION2]);
    if (PACKS && r.offset % PACK == 0)
        for (int64_t i = first + threadIdx.x * PACK; i < end; i += BLOCK * PACK)
            if (i + PACK <= end)
                update_pack<PACK>(u, r.offset + i, factor, decay, step, scale);
            else
                for (; i < end; i++)
                    update_pack<1>(u, r.offset + i, factor, decay, step, scale);
    else
        for (int64_t i = first + threadIdx.x; i < end; i += BLOCK)
            update_pack<1>(u, r.offset + i, factor, decay, step, scale);
}

extern "C" bool CUDA(adamw)(const Call *c, CudaStream *s)
{
    const AdamwAttr *attr = (const AdamwAttr *)c->attr;
    Update u = {.weights = data_of(&c->out[0]),
                .moment1 = data_of(&c->out[1]),
                .moment2 = data_of(&c->out[2]),
                .gradient = data_of(&c->in[0]),
                .inputs = data_of(&c->in[1]),
                .status = data_of(&c->in[2]),
                .keep1 = (float)attr->beta1,
                .keep2 = (float)attr->beta2,
                .take1 = (float)(1 - attr->beta1),
                .take2 = (float)(1 - attr->beta2),
                .eps = (float)attr->eps,
                .ranges = 0,
                .range = {}};
    bool packs = packs_fit(PACK, u.weights, u.moment1, u.moment2, u.gradient);
    for (int k = 0; k < attr->range_count;) {
        int64_t tiles = 0;
        for (u.ranges = 0; k < attr->range_count && u.ranges < RANGES; k++) {
            const AdamwRange *r = &attr->ranges[k];
            if (r->count > 0)
                u.range[u.ranges++] = Range{r->offset, r->count, tiles, r->rate, r->decay};
            tiles += pieces(r->count, TILE);
        }
        if (tiles)
            cuda_launch(s, packs ? adamw_kernel<true> : adamw_kernel<false>, dim3((unsigned)tiles), dim3(BLOCK), 0, u);
    }
    return cuda_launched(s, "adamw");
}
