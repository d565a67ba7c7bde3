#include "ops/cuda.cuh"
#include "ops/window/attr.h"

extern "C" {
#include "base/error.h"
}

/* Block (columns of a plane, row): sums down the window for its columns and half a window on either side, then across. In
 * double, since squares and the square of the mean are subtracted. */
static __global__ void window_kernel(const float *image, float *to, int height, int width, int half)
{
    int across = (width + BLOCK - 1) / BLOCK, column = (int)(blockIdx.x % (unsigned)across) * BLOCK;
    int64_t at_plane = (int64_t)(blockIdx.x / (unsigned)across) * height * width;
    SHARED_DYNAMIC(double, sums);
    int wide = BLOCK + 2 * half, left = column - half, y = (int)blockIdx.y;
    int top = y > half ? y - half : 0, bottom = y + half < height ? y + half + 1 : height;
    double *squares = sums + wide;
    const float *plane = image + at_plane;
    for (int i = (int)threadIdx.x; i < wide; i += BLOCK) {
        double sum = 0, square = 0;
        for (int v = top; v < bottom && left + i >= 0 && left + i < width; v++) {
            double x = plane[(int64_t)v * width + left + i];
            sum += x;
            square += x * x;
        }
        sums[i] = sum;
        squares[i] = square;
    }
    __syncthreads();
    int x = column + (int)threadIdx.x;
    if (x >= width)
        return;
    int first = x > half ? x - half : 0, end = x + half < width ? x + half + 1 : width;
    double sum = 0, square = 0, count = (double)(bottom - top) * (end - first);
    for (int u = first; u < end; u++) {
        sum += sums[u - left];
        square += squares[u - left];
    }
    double mean = sum / count, spread = square - sum * mean;
    int64_t at = at_plane + (int64_t)y * width + x;
    to[at] = (float)(((double)image[at] - mean) / sqrt((spread > 0 ? spread : 0) / (count - 1) + 1e-6));
}

extern "C" bool CUDA(window_standardise)(const Call *c, CudaStream *s)
{
    const Shape *shape = &c->in[0].shape;
    int height = (int)shape->d[2], width = (int)shape->d[3], half = ((const WindowAttr *)c->attr)->side / 2;
    int most = height > width ? height : width;
    half = half < most ? half : most; /* there is nothing outside the picture */
    size_t shared = 2 * (size_t)(BLOCK + 2 * half) * sizeof(double);
    if ((int64_t)shared > s->features.shared_most)
        return error_set(
            "a window of %d (target.window) does not fit into this GPU's shared memory, which has room for one of %d",
            ((const WindowAttr *)c->attr)->side, ((int)(s->features.shared_most / (2 * (int64_t)sizeof(double))) - BLOCK) | 1);
    dim3 grid((unsigned)(pieces(width, BLOCK) * shape->d[0] * shape->d[1]), (unsigned)height);
    cuda_launch(s, window_kernel, grid, dim3(BLOCK), shared, data_of(&c->in[0]), data_of(&c->out[0]), height, width, half);
    return cuda_launched(s, "window_standardise");
}
