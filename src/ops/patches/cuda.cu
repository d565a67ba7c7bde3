#include "ops/patches/attr.h"
#include "ops/row.cuh"

/* Quotients by one divisor as a product and a shift: exact for numbers below 2^24, and a patch has no more (recipe.c). */
typedef struct {
    uint32_t factor; /* 2^shift / divisor, rounded up: at most 2^25 */
    int shift;       /* 24 + the divisor's logarithm, rounded up */
} Divisor;

static Divisor divisor(int by)
{
    int shift = 24;
    while ((int64_t)1 << (shift - 24) < by)
        shift++;
    return Divisor{(uint32_t)((((uint64_t)1 << shift) + (uint64_t)by - 1) / (uint64_t)by), shift};
}

static __device__ inline int divided(int x, const Divisor &by)
{
    return (int)((uint64_t)x * by.factor >> by.shift);
}

typedef struct {
    int64_t rows;
    int channels, height, width, patch, places, across;
    Divisor by_channels, by_area, by_patch; /* area: a patch's numbers in one channel */
    bool channel_first;
    const float *image;
    const int32_t *index; /* NULL: all places in order */
    float *to;
} Cut;

static Cut cut_of(const Call *c)
{
    const PatchesAttr *attr = (const PatchesAttr *)c->attr;
    const Shape *shape = &c->in[0].shape;
    int p = attr->patch, across = (int)shape->d[3] / p;
    return Cut{.rows = c->out[0].rows,
               .channels = (int)shape->d[1],
               .height = (int)shape->d[2],
               .width = (int)shape->d[3],
               .patch = p,
               .places = (int)shape->d[2] / p * across,
               .across = across,
               .by_channels = divisor((int)shape->d[1]),
               .by_area = divisor(p * p),
               .by_patch = divisor(p),
               .channel_first = attr->order == PATCH_CHANNEL_FIRST,
               .image = data_of(&c->in[0]),
               .index = data_of<int32_t>(&c->in[1]),
               .to = data_of(&c->out[0])};
}

/* The warp copies one patch: with AS_READ in the order in which it lies in the picture, for a result near by, else in that of
 * the result. */
template <bool AS_READ> static __device__ inline void cut_row(const Cut &cut, int64_t row, float *to)
{
    int64_t from = cut.index ? cut.index[row] : row, picture = from / cut.places;
    int place = (int)(from - picture * cut.places), p = cut.patch, area = p * p;
    const float *corner = cut.image + picture * cut.channels * cut.height * cut.width +
                          (int64_t)(place / cut.across * p) * cut.width + place % cut.across * p;
    for (int i = lane_number(); i < cut.channels * area; i += WARP) {
        bool channels_apart = AS_READ || cut.channel_first;
        int quotient = divided(i, channels_apart ? cut.by_area : cut.by_channels);
        int channel = channels_apart ? quotient : i - quotient * cut.channels;
        int in_channel = channels_apart ? i - quotient * area : quotient, y = divided(in_channel, cut.by_patch);
        to[cut.channel_first ? channel * area + in_channel : in_channel * cut.channels + channel] =
            corner[((int64_t)channel * cut.height + y) * cut.width + in_channel - y * p];
    }
}

static __global__ void patches_kernel(Cut cut)
{
    int64_t row = warp_number();
    if (row < cut.rows)
        cut_row<false>(cut, row, cut.to + row * cut.channels * cut.patch * cut.patch);
}

extern "C" bool CUDA(patches)(const Call *c, CudaStream *s)
{
    Cut cut = cut_of(c);
    cuda_launch(s, patches_kernel, blocks_of(cut.rows, WARPS), dim3(BLOCK), 0, cut);
    return cuda_launched(s, "patches");
}

/* A patch waits in shared memory until its mean and variance are known. */
template <int N> static __global__ void patches_standardised_kernel(Cut cut)
{
    SHARED_DYNAMIC(float, room);
    int n = cut.channels * cut.patch * cut.patch;
    int64_t row = warp_number();
    if (row >= cut.rows)
        return;
    float *x = room + (int)threadIdx.x / WARP * n;
    cut_row<true>(cut, row, x);
    __syncwarp();
    row_standardise<N>(x, cut.to + row * n, n);
}

extern "C" bool CUDA(patches_standardised)(const Call *c, CudaStream *s)
{
    Cut cut = cut_of(c);
    int64_t n = c->out[0].columns, fit = PATCHES_STANDARDISED_MOST / n;
    int warps = fit < 1 ? 1 : fit < WARPS ? (int)fit : WARPS;
    with_pack(packs_fit(n, cut.to), [&](auto p) {
        cuda_launch(s, patches_standardised_kernel<p.value>, blocks_of(cut.rows, warps), dim3((unsigned)(warps * WARP)),
                    (size_t)(warps * n) * sizeof(float), cut);
    });
    return cuda_launched(s, "patches_standardised");
}
