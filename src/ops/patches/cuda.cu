#include "ops/cuda.cuh"
#include "ops/patches/attr.h"

typedef struct {
    int64_t rows;
    int channels, height, width, patch;
    bool channel_first;
} Cut;

/* A thread a number of the result. */
static __global__ void patches_kernel(const float *image, const int32_t *index, float *to, Cut cut)
{
    int64_t i = thread_number();
    int p = cut.patch, n = cut.channels * p * p, across = cut.width / p, places = cut.height / p * across;
    if (i >= cut.rows * n)
        return;
    int64_t row = i / n;
    int at = (int)(i - row * n), channel, y, x;
    if (cut.channel_first) {
        channel = at / (p * p);
        y = at / p % p;
        x = at % p;
    } else {
        channel = at % cut.channels;
        y = at / cut.channels / p;
        x = at / cut.channels % p;
    }
    int64_t from = index ? index[row] : row, picture = from / places;
    int place = (int)(from - picture * places);
    to[i] =
        image[((picture * cut.channels + channel) * cut.height + place / across * p + y) * cut.width + place % across * p + x];
}

extern "C" bool CUDA(patches)(const Call *c, CudaStream *s)
{
    const PatchesAttr *attr = (const PatchesAttr *)c->attr;
    const Shape *shape = &c->in[0].shape;
    Cut cut = {.rows = c->out[0].rows,
               .channels = (int)shape->d[1],
               .height = (int)shape->d[2],
               .width = (int)shape->d[3],
               .patch = attr->patch,
               .channel_first = attr->order == PATCH_CHANNEL_FIRST};
    cuda_launch(s, patches_kernel, blocks_of(count_of(&c->out[0]), BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]),
                data_of<int32_t>(&c->in[1]), data_of(&c->out[0]), cut);
    return cuda_launched(s, "patches");
}
