#include "ops/cuda.cuh"
#include "ops/hog/attr.h"

typedef struct {
    int64_t rows, n;
    int channels, height, width;
    HogAttr attr;
    double window_sum;
} Hog;

/* Direction and length of the gradient at (y, x): pixels are subtracted before they are added up, so that the difference at a
 * mirrored edge is exactly zero. */
static __device__ inline double hog_gradient(const Hog &h, const float *plane, int y, int x, int *bin)
{
    double across = 0, down = 0;
    int64_t left = hog_mirror(x - 1, h.width), right = hog_mirror(x + 1, h.width), above = hog_mirror(y - 1, h.height),
            below = hog_mirror(y + 1, h.height);
    for (int k = -1; k <= 1; k++) {
        int64_t row = hog_mirror(y + k, h.height), column = hog_mirror(x + k, h.width);
        double factor = k ? 1 : 2;
        across += factor * ((double)plane[row * h.width + left] - (double)plane[row * h.width + right]);
        down += factor * ((double)plane[above * h.width + column] - (double)plane[below * h.width + column]);
    }
    int at = (int)floor(atan2(across, down) / 3.14159265358979323846 * h.attr.bins) % h.attr.bins;
    *bin = (at + h.attr.bins) % h.attr.bins;
    return sqrt(across * across + down * down);
}

/* A thread a cell of a channel, whose histogram it adds up in its place. */
static __global__ void hog_kernel(const float *image, const int32_t *index, float *to, Hog h)
{
    int p = h.attr.patch, side = h.attr.cell, cells = p / side, step = cells * cells, bins = h.attr.bins, across = h.width / p;
    int64_t places = (int64_t)(h.height / p) * across, number = thread_number(), of_row = (int64_t)h.channels * step;
    if (number >= h.rows * of_row)
        return;
    int64_t row = number / of_row, from = index ? index[row] : row, picture = from / places;
    int channel = (int)(number % of_row / step), cell = (int)(number % step), place = (int)(from % places);
    int top = place / across * p + cell / cells * side, left = place % across * p + cell % cells * side;
    const float *plane = image + (picture * h.channels + channel) * h.height * h.width;
    float *histogram = to + row * h.n + (int64_t)channel * bins * step + cell;
    for (int b = 0; b < bins; b++)
        histogram[b * step] = 0;
    for (int y = top; y < top + side; y++)
        for (int x = left; x < left + side; x++) {
            int bin;
            double length = hog_gradient(h, plane, y, x, &bin);
            double weight = h.attr.gaussian ? hog_window(h.attr.gaussian, y, x) / h.window_sum : 1;
            histogram[bin * step] += (float)(weight * length);
        }
    double square = 0;
    for (int b = 0; b < bins; b++)
        square += (double)histogram[b * step] * (double)histogram[b * step];
    double norm = sqrt(square) > 1e-12 ? sqrt(square) : 1e-12;
    for (int b = 0; b < bins; b++)
        histogram[b * step] = (float)((double)histogram[b * step] / norm);
}

extern "C" bool CUDA(hog)(const Call *c, CudaStream *s)
{
    const Shape *shape = &c->in[0].shape;
    Hog h = {.rows = c->out[0].rows,
             .n = c->out[0].columns,
             .channels = (int)shape->d[1],
             .height = (int)shape->d[2],
             .width = (int)shape->d[3],
             .attr = *(const HogAttr *)c->attr,
             .window_sum = 1};
    if (h.attr.gaussian)
        h.window_sum = hog_window_sum(h.attr.gaussian);
    int cells = h.attr.patch / h.attr.cell;
    cuda_launch(s, hog_kernel, blocks_of(h.rows * h.channels * cells * cells, BLOCK), dim3(BLOCK), 0, data_of(&c->in[0]),
                data_of<int32_t>(&c->in[1]), data_of(&c->out[0]), h);
    return cuda_launched(s, "hog");
}
