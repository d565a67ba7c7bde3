#include "image/augment.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <math.h>
#include <string.h>

enum { TRIES = 10, LEVELS = 256, STREAMED_FROM = 1 << 16 /* numbers */ };

const ImageStatistics IMAGE_STATISTICS_IMAGENET = {"imagenet", {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
const ImageStatistics IMAGE_STATISTICS_CLIP = {
    "clip", {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}};

const ImageStatistics *image_statistics_find(const char *name)
{
    const ImageStatistics *all[] = {&IMAGE_STATISTICS_IMAGENET, &IMAGE_STATISTICS_CLIP};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(name, all[i]->name))
            return all[i];
    return NULL;
}

static double uniform_between(Random *random, double low, double high)
{
    return low + (high - low) * random_uniform(random);
}

ImageBox crop_draw(Random *random, int height, int width, const double scale[2], const double ratio[2])
{
    double low = log(ratio[0]), high = log(ratio[1]);
    for (int i = 0; i < TRIES; i++) {
        double area = (double)width * height * uniform_between(random, scale[0], scale[1]);
        double aspect = exp(uniform_between(random, low, high));
        double w = nearbyint(sqrt(area * aspect)), h = nearbyint(sqrt(area / aspect));
        if (!(w > 0 && w <= width && h > 0 && h <= height))
            continue;
        ImageBox box = {.height = (int)h, .width = (int)w};
        box.top = (int)random_below(random, (uint32_t)(height - box.height) + 1);
        box.left = (int)random_below(random, (uint32_t)(width - box.width) + 1);
        return box;
    }
    double shape = (double)width / height;
    ImageBox box = {.height = height, .width = width};
    if (shape < ratio[0])
        box.height = (int)fmax(1, fmin(height, nearbyint(width / ratio[0])));
    else if (shape > ratio[1])
        box.width = (int)fmax(1, fmin(width, nearbyint(height * ratio[1])));
    box.top = (height - box.height) / 2;
    box.left = (width - box.width) / 2;
    return box;
}

ImageBox crop_centre(int height, int width, int rows, int columns)
{
    ImageBox box = {0, 0, height, width};
    int64_t h = height, w = width;
    if (w * rows > h * columns) {
        int64_t cut = (2 * h * columns + rows) / (2 * (int64_t)rows);
        box.width = (int)(cut < 1 ? 1 : cut > w ? w : cut);
    } else {
        int64_t cut = (2 * w * rows + columns) / (2 * (int64_t)columns);
        box.height = (int)(cut < 1 ? 1 : cut > h ? h : cut);
    }
    box.top = (height - box.height) / 2;
    box.left = (width - box.width) / 2;
    return box;
}

/* Values of a run of bytes, `step` apart, mirrored when `flip`. `streamed`: past the caches, out aligned to 16 bytes, columns a
 * multiple of 4. */
static inline __attribute__((always_inline)) void put_levels(const uint8_t *row, size_t step, size_t columns, bool flip,
                                                             bool streamed, const float *level, float *out)
{
    size_t last = (columns - 1) * step;
#ifdef __SSE2__
    if (streamed) {
#pragma GCC unroll 4
        for (size_t x = 0; x < columns; x += 4) {
            const uint8_t *at = flip ? row + last - x * step : row + x * step;
            ptrdiff_t next = flip ? -(ptrdiff_t)step : (ptrdiff_t)step;
            _mm_stream_ps(out + x, _mm_setr_ps(level[at[0]], level[at[next]], level[at[2 * next]], level[at[3 * next]]));
        }
        return;
    }
#endif
#pragma GCC unroll 8
    for (size_t x = 0; x < columns; x++)
        out[x] = level[flip ? row[last - x * step] : row[x * step]];
}

void image_to_tensor(const uint8_t *pixels, int height, int width, int channels, bool flip, const float *mean, const float *std,
                     float *out)
{
    size_t step = (size_t)channels, columns = (size_t)width;
    /* A large result is not looked at before other pictures have taken its place in the caches: it need not go there. */
    bool streamed = columns % 4 == 0 && (uintptr_t)out % 16 == 0 && (size_t)height * columns * step >= STREAMED_FROM;
    for (int c = 0; c < channels; c++) {
        float level[LEVELS];
        for (int i = 0; i < LEVELS; i++)
            level[i] = ((float)i / 255.0f - mean[c]) / std[c];
        for (int y = 0; y < height; y++, out += columns) {
            const uint8_t *row = pixels + (size_t)y * columns * step + c;
            if (channels == 3 && streamed) /* steps and ways that the compiler knows */
                flip ? put_levels(row, 3, columns, true, true, level, out)
                     : put_levels(row, 3, columns, false, true, level, out);
            else if (channels == 3)
                flip ? put_levels(row, 3, columns, true, false, level, out)
                     : put_levels(row, 3, columns, false, false, level, out);
            else
                put_levels(row, step, columns, flip, false, level, out);
        }
    }
#ifdef __SSE2__
    if (streamed)
        _mm_sfence();
#endif
}

void image_to_tensor_deep(const float *pixels, int height, int width, int channels, bool flip, const float *mean,
                          const float *std, float *out)
{
    size_t step = (size_t)channels, columns = (size_t)width;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < height; y++, out += columns) {
            const float *row = pixels + (size_t)y * columns * step + c;
            for (size_t x = 0; x < columns; x++)
                out[flip ? columns - 1 - x : x] = (row[x * step] - mean[c]) / std[c];
        }
}

int image_evaluate_side(int size)
{
    return size <= 224 ? size * 8 / 7 : size;
}

/* Half of n, to the nearest even number where it ends in a half. */
static int half_to_even(int n)
{
    int half = n / 2;
    return n % 2 ? half + half % 2 : half;
}

/* Into bytes or, with `deep`, floats. */
static bool evaluate(const Image *in, bool deep, int side, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                     uint8_t *out)
{
    enum { LONGEST = 16 };
    ImageBox box = {0, 0, in->height, in->width};
    if (in->width > (int64_t)LONGEST * in->height) {
        box.width = LONGEST * in->height;
        box.left = (in->width - box.width) / 2;
    } else if (in->height > (int64_t)LONGEST * in->width) {
        box.height = LONGEST * in->width;
        box.top = (in->height - box.height) / 2;
    }
    bool wide = box.width >= box.height;
    int64_t longer = (int64_t)side * (wide ? box.width : box.height) / (wide ? box.height : box.width);
    Image whole;
    if (!image_new_deep(&whole, wide ? side : (int)longer, wide ? (int)longer : side, in->channels,
                        deep ? IMAGE_F32 : IMAGE_U8))
        return false;
    bool ok = deep ? image_resize_deep(in, box, whole.height, whole.width, filter, scratch, (float *)(void *)whole.data)
                   : image_resize(in, box, whole.height, whole.width, filter, scratch, whole.data);
    int top = half_to_even(whole.height - height), left = half_to_even(whole.width - width);
    if (whole.height < height)
        top = -((height - whole.height) / 2);
    if (whole.width < width)
        left = -((width - whole.width) / 2);
    size_t pixel = (size_t)in->channels * image_depth_bytes(whole.depth), row_bytes = (size_t)width * pixel;
    for (int y = 0; ok && y < height; y++) {
        int from = top + y;
        uint8_t *row = out + (size_t)y * row_bytes;
        if (whole.width < width || from < 0 || from >= whole.height)
            memset(row, 0, row_bytes);
        if (from < 0 || from >= whole.height)
            continue;
        int first = left < 0 ? -left : 0, count = width < whole.width ? width : whole.width;
        memcpy(row + (size_t)first * pixel,
               whole.data + ((size_t)from * (size_t)whole.width + (size_t)(left > 0 ? left : 0)) * pixel,
               (size_t)count * pixel);
    }
    image_free(&whole);
    return ok;
}

bool image_evaluate(const Image *in, int side, int height, int width, ResizeFilter filter, ResizeScratch *scratch, uint8_t *out)
{
    return evaluate(in, false, side, height, width, filter, scratch, out);
}

bool image_evaluate_deep(const Image *in, int side, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                         float *out)
{
    return evaluate(in, true, side, height, width, filter, scratch, (uint8_t *)out);
}
