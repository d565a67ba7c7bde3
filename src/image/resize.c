#include "image/resize.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "image/resize_parts.h"

enum {
    WEIGHT_BITS = 22,
    HALF = 1 << (WEIGHT_BITS - 1),
    LANES = 32 /* samples that one tap handles at once */
};

typedef int32_t Vector __attribute__((vector_size(LANES)));
typedef uint32_t Words __attribute__((vector_size(LANES)));

/* LANES running sums: s0 those of bytes 0, 4, 8, .., s1 of 1, 5, 9, .. and so on. */
typedef struct {
    Vector s0, s1, s2, s3;
} Sums;

/* The weights of one axis: output k is made from inputs first[k] .. first[k] + count[k] - 1 with weights at weight + k * taps.
 */
typedef struct {
    int taps;
    int *first, *count;
    int32_t *weight;
} Axis;

/* One picture's worth of samples: `rows` rows of `width` pixels, `stride` bytes from row to row. */
typedef struct {
    const uint8_t *data;
    size_t stride;
    int rows, width, channels;
} Samples;

typedef struct {
    /* Every row of `in` from axis inputs to `outputs` pixels; out without gaps. `strip`: LANES bytes for each pixel of a row.
     */
    void (*columns)(const Samples *in, const Axis *axis, int outputs, uint8_t *strip, uint8_t *out);
    /* Every column of `in` to `outputs` rows; out without gaps. */
    void (*rows)(const Samples *in, const Axis *axis, int outputs, uint8_t *out);
} Kernels;

/* Filters. */

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double sinc(double x)
{
    const double pi = 3.141592653589793238463;
    return x == 0 ? 1 : sin(x * pi) / (x * pi);
}

static double lanczos(double x)
{
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

static const struct {
    const char *name;
    double support;
    double (*weight)(double);
} filters[RESIZE_FILTERS] = {{"bicubic", 2, bicubic}, {"bilinear", 1, bilinear}, {"lanczos", 3, lanczos}};

double resize_filter_support(ResizeFilter filter)
{
    return filters[filter].support;
}

double resize_filter_weight(ResizeFilter filter, double x)
{
    return filters[filter].weight(x);
}

const char *resize_filter_name(ResizeFilter filter)
{
    return filters[filter].name;
}

bool resize_filter_find(const char *name, ResizeFilter *filter)
{
    for (int i = 0; i < RESIZE_FILTERS; i++) {
        if (!strcmp(name, filters[i].name)) {
            *filter = (ResizeFilter)i;
            return true;
        }
    }
    return false;
}

/* The most inputs that one output can have. */
static int axis_taps(ResizeFilter filter, int inputs, int outputs)
{
    double taps = 2 * ceil(filters[filter].support * fmax((double)inputs / outputs, 1)) + 1;
    return taps < inputs ? (int)taps : inputs;
}

/* The order of operations decides the last bit of a weight, and so, rarely, a byte. */
static void axis_fill(Axis *axis, ResizeFilter filter, int inputs, int outputs, double *exact)
{
    double scale = (double)inputs / outputs, wide = fmax(scale, 1), narrow = 1 / wide;
    double support = filters[filter].support * wide;
    for (int k = 0; k < outputs; k++) {
        double centre = (k + 0.5) * scale, sum = 0;
        int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > inputs ? inputs : end;
        int count = end - first < axis->taps ? end - first : axis->taps;
        for (int j = 0; j < count; j++) {
            exact[j] = filters[filter].weight((j + first - centre + 0.5) * narrow);
            sum += exact[j];
        }
        int32_t *weight = axis->weight + (size_t)k * (size_t)axis->taps;
        for (int j = 0; j < count; j++) {
            double w = (sum != 0 ? exact[j] / sum : exact[j]) * (1 << WEIGHT_BITS);
            weight[j] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
        }
        axis->first[k] = first;
        axis->count[k] = count;
    }
}

/* Kernels: written once on the compiler's vectors, built for each instruction set below. Vectors are kept inside the functions,
 * so that no calling convention is involved. */

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE void start_sums(Sums *sums)
{
    sums->s0 = sums->s1 = sums->s2 = sums->s3 = (Vector){0} + HALF;
}

/* sums += weight * bytes for LANES bytes. Shifts and masks within words instead of widening: no sample changes its lane. */
ALWAYS_INLINE void add_tap(const uint8_t *bytes, int32_t weight, Sums *sums)
{
    Words words;
    memcpy(&words, bytes, sizeof words);
    sums->s0 += (Vector)(words & 255) * weight;
    sums->s1 += (Vector)(words >> 8 & 255) * weight;
    sums->s2 += (Vector)(words >> 16 & 255) * weight;
    sums->s3 += (Vector)(words >> 24) * weight;
}

/* The order of bytes in add_tap() is that of little-endian words. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "this file is written for little-endian machines");

/* *sums becomes a byte in each word: shifted, clamped. */
ALWAYS_INLINE void clamp_sums(Vector *sums)
{
    Vector s = *sums >> WEIGHT_BITS;
    s &= s > 0;
    Vector high = s > 255;
    *sums = (s & ~high) | (high & 255);
}

ALWAYS_INLINE void store_sums(Sums *sums, uint8_t *out)
{
    clamp_sums(&sums->s0);
    clamp_sums(&sums->s1);
    clamp_sums(&sums->s2);
    clamp_sums(&sums->s3);
    Words words = (Words)(sums->s0 | sums->s1 << 8 | sums->s2 << 16 | sums->s3 << 24);
    memcpy(out, &words, sizeof words);
}

ALWAYS_INLINE uint8_t clamp_sum(int32_t sum)
{
    sum >>= WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* Output x of LANES samples from those in the strip. */
ALWAYS_INLINE void strip_output(const uint8_t *strip, const Axis *axis, int x, uint8_t done[LANES])
{
    Sums sums;
    start_sums(&sums);
    const int32_t *weight = axis->weight + (size_t)x * (size_t)axis->taps;
    const uint8_t *bytes = strip + (size_t)axis->first[x] * LANES;
    for (int k = 0; k < axis->count[x]; k++)
        add_tap(bytes + (size_t)k * LANES, weight[k], &sums);
    store_sums(&sums, done);
}

/* Rows go through in strips: LANES (row, channel) pairs side by side, so that a tap is one weight times neighbouring bytes. */
ALWAYS_INLINE void columns_body(const Samples *in, const Axis *axis, int outputs, uint8_t *strip, uint8_t *out)
{
    size_t channels = (size_t)in->channels, total = (size_t)in->rows * channels, out_stride = (size_t)outputs * channels;
    size_t row = 0, channel = 0;
    for (size_t start = 0; start < total; start += LANES) {
        const uint8_t *from[LANES];
        uint8_t *to[LANES];
        int used = total - start < LANES ? (int)(total - start) : LANES;
        for (int i = 0; i < LANES; i++) {
            from[i] = in->data + row * in->stride + channel;
            to[i] = out + row * out_stride + channel;
            /* Spare lanes repeat the last. */
            if (i + 1 < used && ++channel == channels) {
                channel = 0;
                row++;
            }
        }
        if (++channel == channels) {
            channel = 0;
            row++;
        }
        for (int x = 0; x < in->width; x++)
#pragma GCC unroll 8
            for (int i = 0; i < LANES; i++)
                strip[(size_t)x * LANES + (size_t)i] = from[i][(size_t)x * channels];
        for (int x = 0; x < outputs; x++) {
            uint8_t done[LANES];
            strip_output(strip, axis, x, done);
#pragma GCC unroll 8
            for (int i = 0; i < LANES; i++)
                to[i][(size_t)x * channels] = done[i];
        }
    }
}

/* The same for three channels, a row in each 4 bytes: one move a pixel in place of three. The fourth byte is the next pixel's
 * first one, which does no harm but at the end of a row. */
ALWAYS_INLINE void columns_rgb_body(const Samples *in, const Axis *axis, int outputs, uint8_t *strip, uint8_t *out)
{
    enum { ROWS = LANES / 4 };
    size_t out_stride = (size_t)outputs * 3, last = (size_t)in->width - 1, out_last = (size_t)outputs - 1;
    for (int start = 0; start < in->rows; start += ROWS) {
        const uint8_t *from[ROWS];
        uint8_t *to[ROWS];
        for (int i = 0; i < ROWS; i++) { /* spare lanes repeat the last row */
            size_t row = (size_t)(start + i < in->rows ? start + i : in->rows - 1);
            from[i] = in->data + row * in->stride;
            to[i] = out + row * out_stride;
        }
        for (size_t x = 0; x < last; x++)
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++)
                memcpy(strip + x * LANES + i * 4, from[i] + x * 3, 4);
        for (int i = 0; i < ROWS; i++)
            memcpy(strip + last * LANES + i * 4, from[i] + last * 3, 3);
        uint8_t done[LANES];
        for (size_t x = 0; x < out_last; x++) {
            strip_output(strip, axis, (int)x, done);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++)
                memcpy(to[i] + x * 3, done + i * 4, 4);
        }
        strip_output(strip, axis, (int)out_last, done);
        for (int i = 0; i < ROWS; i++)
            memcpy(to[i] + out_last * 3, done + i * 4, 3);
    }
}

ALWAYS_INLINE void rows_body(const Samples *in, const Axis *axis, int outputs, uint8_t *out)
{
    size_t size = (size_t)in->width * (size_t)in->channels;
    for (int y = 0; y < outputs; y++, out += size) {
        const uint8_t *from = in->data + (size_t)axis->first[y] * in->stride;
        const int32_t *weight = axis->weight + (size_t)y * (size_t)axis->taps;
        int count = axis->count[y];
        for (size_t start = 0; start < size && size >= LANES; start += LANES) {
            size_t x = start + LANES <= size ? start : size - LANES; /* the last block overlaps the one before */
            Sums sums;
            start_sums(&sums);
            for (int k = 0; k < count; k++)
                add_tap(from + (size_t)k * in->stride + x, weight[k], &sums);
            store_sums(&sums, out + x);
        }
        for (size_t x = 0; x < size && size < LANES; x++) {
            int32_t sum = HALF;
            for (int k = 0; k < count; k++)
                sum += weight[k] * from[(size_t)k * in->stride + x];
            out[x] = clamp_sum(sum);
        }
    }
}

// NOLINTBEGIN(bugprone-macro-parentheses): `target` is an attribute
#define DEFINE_KERNELS(name, target)                                                                                  \
    target static void columns_##name(const Samples *in, const Axis *axis, int outputs, uint8_t *strip, uint8_t *out) \
    {                                                                                                                 \
        if (in->channels == 3)                                                                                        \
            columns_rgb_body(in, axis, outputs, strip, out);                                                          \
        else                                                                                                          \
            columns_body(in, axis, outputs, strip, out);                                                              \
    }                                                                                                                 \
    target static void rows_##name(const Samples *in, const Axis *axis, int outputs, uint8_t *out)                    \
    {                                                                                                                 \
        rows_body(in, axis, outputs, out);                                                                            \
    }                                                                                                                 \
    static const Kernels kernels_##name = {columns_##name, rows_##name};
// NOLINTEND(bugprone-macro-parentheses)

DEFINE_KERNELS(plain, )
#if defined(__x86_64__)
DEFINE_KERNELS(avx2, __attribute__((target("avx2"))))
#endif

enum { KERNELS_UNKNOWN, KERNELS_PLAIN, KERNELS_AVX2 };

static const Kernels *pick_kernels(ResizeScratch *scratch)
{
    if (scratch->kernels == KERNELS_UNKNOWN) {
        CpuLevel level;
        if (!cpu_level(&level))
            return NULL;
        scratch->kernels = level >= CPU_AVX2 ? KERNELS_AVX2 : KERNELS_PLAIN;
    }
#if defined(__x86_64__)
    if (scratch->kernels == KERNELS_AVX2)
        return &kernels_avx2;
#endif
    return &kernels_plain;
}

/* Working memory. */

void resize_scratch_free(ResizeScratch *scratch)
{
    memory_free(scratch->data);
    *scratch = (ResizeScratch){0};
}

/* Parts of the scratch are laid out twice: once to learn the size, with base NULL, once to hand out. */
typedef struct {
    uint8_t *base;
    size_t used;
    bool overflow;
} Layout;

static void *part(Layout *layout, size_t count, size_t size)
{
    size_t bytes, at = layout->used;
    if (!size_multiply(count, size, &bytes) || bytes > SIZE_MAX / 16) {
        layout->overflow = true;
        return NULL;
    }
    layout->used += (bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    layout->overflow |= layout->used < at;
    return layout->base ? layout->base + at : NULL;
}

typedef struct {
    Axis across, down;
    double *exact;
    uint8_t *strip, *between;
} Work;

static void axis_parts(Layout *layout, Axis *axis, int inputs, int outputs, ResizeFilter filter)
{
    axis->taps = axis_taps(filter, inputs, outputs);
    axis->first = part(layout, (size_t)outputs, sizeof *axis->first);
    axis->count = part(layout, (size_t)outputs, sizeof *axis->count);
    size_t weights;
    layout->overflow |= !size_multiply((size_t)outputs, (size_t)axis->taps, &weights);
    axis->weight = part(layout, weights, sizeof *axis->weight);
}

static void work_parts(Layout *layout, Work *work, const Image *in, ImageBox crop, int height, int width, ResizeFilter filter,
                       bool rows_first)
{
    axis_parts(layout, &work->across, crop.width, width, filter);
    axis_parts(layout, &work->down, crop.height, height, filter);
    int taps = work->across.taps > work->down.taps ? work->across.taps : work->down.taps;
    work->exact = part(layout, (size_t)taps, sizeof *work->exact);
    work->strip = part(layout, (size_t)crop.width, LANES);
    size_t pixels;
    layout->overflow |=
        !size_multiply((size_t)(rows_first ? height : crop.height), (size_t)(rows_first ? crop.width : width), &pixels);
    work->between = part(layout, pixels, (size_t)in->channels);
}

static bool prepare(Work *work, ResizeScratch *scratch, const Image *in, ImageBox crop, int height, int width,
                    ResizeFilter filter, bool rows_first)
{
    Layout size = {0};
    work_parts(&size, work, in, crop, height, width, filter, rows_first);
    if (size.overflow)
        return error_set("resizing %d x %d pixels to %d x %d needs more memory than can be addressed", crop.height, crop.width,
                         height, width);
    uint8_t *room = resize_room(scratch, size.used);
    if (!room)
        return false;
    Layout layout = {.base = room};
    work_parts(&layout, work, in, crop, height, width, filter, rows_first);
    return true;
}

bool resize_check(const Image *in, ImageBox crop, int height, int width)
{
    if (height < 1 || width < 1)
        return error_set("a picture cannot be resized to %d x %d pixels", height, width);
    if (crop.top < 0 || crop.left < 0 || crop.height < 1 || crop.width < 1 || crop.height > in->height - crop.top ||
        crop.width > in->width - crop.left)
        return error_set("the crop of %d x %d pixels at row %d, column %d does not lie in the picture of %d x %d pixels",
                         crop.height, crop.width, crop.top, crop.left, in->height, in->width);
    return true;
}

bool resize_rows_first(ImageBox crop, int height, int width)
{
    return crop.height > height && (int64_t)crop.height - height > 2 * ((int64_t)crop.width - width);
}

void *resize_room(ResizeScratch *scratch, size_t bytes)
{
    if (bytes > scratch->capacity) {
        uint8_t *data = memory_new_aligned(bytes, 1);
        if (!data)
            return NULL;
        memory_free(scratch->data);
        scratch->data = data;
        scratch->capacity = bytes;
    }
    return scratch->data;
}

bool image_resize(const Image *in, ImageBox crop, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                  uint8_t *out)
{
    if (!resize_check(in, crop, height, width))
        return false;
    const Kernels *kernels = pick_kernels(scratch);
    if (!kernels)
        return false;
    size_t channels = (size_t)in->channels, stride = (size_t)in->width * channels;
    Samples from = {.data = in->data + (size_t)crop.top * stride + (size_t)crop.left * channels,
                    .stride = stride,
                    .rows = crop.height,
                    .width = crop.width,
                    .channels = in->channels};
    bool across = crop.width != width, down = crop.height != height;
    if (!across && !down) {
        size_t row = (size_t)width * channels;
        for (int y = 0; y < height; y++)
            memcpy(out + (size_t)y * row, from.data + (size_t)y * stride, row);
        return true;
    }
    bool rows_first = resize_rows_first(crop, height, width);
    Work work;
    if (!prepare(&work, scratch, in, crop, height, width, filter, rows_first))
        return false;
    if (across)
        axis_fill(&work.across, filter, crop.width, width, work.exact);
    if (down)
        axis_fill(&work.down, filter, crop.height, height, work.exact);
    for (int pass = 0; pass < 2; pass++) {
        bool vertical = (pass == 0) == rows_first;
        if (vertical ? !down : !across)
            continue;
        uint8_t *to = pass == 0 && across && down ? work.between : out;
        if (vertical)
            kernels->rows(&from, &work.down, height, to);
        else
            kernels->columns(&from, &work.across, width, work.strip, to);
        from.data = to;
        from.rows = vertical ? height : from.rows;
        from.width = vertical ? from.width : width;
        from.stride = (size_t)from.width * channels;
    }
    return true;
}
