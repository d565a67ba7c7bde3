/* Resizing of 16-bit and float samples. Plain loops: such pictures are few, and their decoding costs more. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/resize_parts.h"

/* One axis: output k is made from `taps` inputs or fewer from first[k] on. */
typedef struct {
    int outputs, taps;
    int *first, *count;
    double *weight; /* (outputs, taps) */
} Axis;

typedef struct {
    float *crop, *between;
    double *sums; /* of a row */
    Axis across, down;
} Work;

/* Parts of one block, laid out twice: with base NULL to learn its size, then to hand out. */
typedef struct {
    uint8_t *base;
    size_t used;
    bool overflow;
} Layout;

static void *part(Layout *layout, size_t a, size_t b, size_t size)
{
    size_t bytes, at = layout->used;
    if (!size_multiply(a, b, &bytes) || !size_multiply(bytes, size, &bytes) || bytes > SIZE_MAX / 16) {
        layout->overflow = true;
        return NULL;
    }
    layout->used += (bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    layout->overflow |= layout->used < at;
    return layout->base ? layout->base + at : NULL;
}

static void axis_parts(Layout *layout, Axis *axis, int inputs, int outputs, ResizeFilter filter)
{
    double taps = 2 * ceil(resize_filter_support(filter) * fmax((double)inputs / outputs, 1)) + 1;
    axis->outputs = outputs;
    axis->taps = taps < inputs ? (int)taps : inputs;
    axis->first = part(layout, (size_t)outputs, 1, sizeof *axis->first);
    axis->count = part(layout, (size_t)outputs, 1, sizeof *axis->count);
    axis->weight = part(layout, (size_t)outputs, (size_t)axis->taps, sizeof *axis->weight);
}

static void work_parts(Layout *layout, Work *work, const Image *in, ImageBox crop, int height, int width, ResizeFilter filter)
{
    size_t channels = (size_t)in->channels;
    bool rows_first = resize_rows_first(crop, height, width);
    int rows = rows_first ? height : crop.height, columns = rows_first ? crop.width : width;
    work->crop = part(layout, (size_t)crop.height * channels, (size_t)crop.width, sizeof(float));
    work->between = part(layout, (size_t)rows * channels, (size_t)columns, sizeof(float));
    work->sums = part(layout, (size_t)columns, channels, sizeof(double));
    axis_parts(layout, &work->across, crop.width, width, filter);
    axis_parts(layout, &work->down, crop.height, height, filter);
}

/* docs/spec/pretraining.md section 1.3, without the rounding of weights. */
static void axis_fill(Axis *axis, ResizeFilter filter, int inputs)
{
    double scale = (double)inputs / axis->outputs, wide = fmax(scale, 1), support = resize_filter_support(filter) * wide;
    for (int k = 0; k < axis->outputs; k++) {
        double centre = (k + 0.5) * scale, sum = 0, *weight = axis->weight + (size_t)k * (size_t)axis->taps;
        int first = (int)fmax(0, trunc(centre - support + 0.5)), end = (int)fmin(inputs, trunc(centre + support + 0.5));
        int count = end - first < axis->taps ? end - first : axis->taps;
        for (int j = 0; j < count; j++)
            sum += weight[j] = resize_filter_weight(filter, (j + first - centre + 0.5) / wide);
        for (int j = 0; sum != 0 && j < count; j++)
            weight[j] /= sum;
        axis->first[k] = first;
        axis->count[k] = count;
    }
}

static void load_row(const Image *in, size_t at, size_t count, float *out)
{
    const uint16_t *wide = (const uint16_t *)(const void *)in->data + at;
    if (in->depth == IMAGE_F32)
        memcpy(out, in->data + at * sizeof *out, count * sizeof *out);
    else if (in->depth == IMAGE_U16)
        for (size_t i = 0; i < count; i++)
            out[i] = (float)wide[i] / 65535.0f;
    else
        for (size_t i = 0; i < count; i++)
            out[i] = (float)in->data[at + i] / 255.0f;
}

static void columns(const Axis *axis, const float *in, int rows, int width, int channels, float *out)
{
    for (int y = 0; y < rows; y++, in += (size_t)width * (size_t)channels)
        for (int k = 0; k < axis->outputs; k++) {
            const float *from = in + (size_t)axis->first[k] * (size_t)channels;
            const double *weight = axis->weight + (size_t)k * (size_t)axis->taps;
            for (int c = 0; c < channels; c++) {
                double sum = 0;
                for (int j = 0; j < axis->count[k]; j++)
                    sum += weight[j] * (double)from[j * channels + c];
                *out++ = (float)sum;
            }
        }
}

static void rows(const Axis *axis, const float *in, size_t size, double *sums, float *out)
{
    for (int k = 0; k < axis->outputs; k++, out += size) {
        const double *weight = axis->weight + (size_t)k * (size_t)axis->taps;
        memset(sums, 0, size * sizeof *sums);
        for (int j = 0; j < axis->count[k]; j++) {
            const float *from = in + (size_t)(axis->first[k] + j) * size;
            for (size_t i = 0; i < size; i++)
                sums[i] += weight[j] * (double)from[i];
        }
        for (size_t i = 0; i < size; i++)
            out[i] = (float)sums[i];
    }
}

bool image_resize_deep(const Image *in, ImageBox crop, int height, int width, ResizeFilter filter, ResizeScratch *scratch,
                       float *out)
{
    if (!resize_check(in, crop, height, width))
        return false;
    Work work;
    Layout size = {0};
    work_parts(&size, &work, in, crop, height, width, filter);
    if (size.overflow)
        return error_set("resizing %d x %d pixels to %d x %d needs more memory than can be addressed", crop.height, crop.width,
                         height, width);
    Layout layout = {.base = resize_room(scratch, size.used)};
    if (!layout.base)
        return false;
    work_parts(&layout, &work, in, crop, height, width, filter);
    size_t row = (size_t)crop.width * (size_t)in->channels;
    bool across = crop.width != width, down = crop.height != height, rows_first = resize_rows_first(crop, height, width);
    float *whole = across || down ? work.crop : out;
    for (int y = 0; y < crop.height; y++)
        load_row(in, ((size_t)(crop.top + y) * (size_t)in->width + (size_t)crop.left) * (size_t)in->channels, row,
                 whole + (size_t)y * row);
    if (across)
        axis_fill(&work.across, filter, crop.width);
    if (down)
        axis_fill(&work.down, filter, crop.height);
    const float *from = whole;
    int from_rows = crop.height, from_width = crop.width;
    for (int pass = 0; pass < 2; pass++) {
        bool vertical = (pass == 0) == rows_first;
        if (vertical ? !down : !across)
            continue;
        float *to = pass == 0 && across && down ? work.between : out;
        if (vertical)
            rows(&work.down, from, (size_t)from_width * (size_t)in->channels, work.sums, to);
        else
            columns(&work.across, from, from_rows, from_width, in->channels, to);
        from = to;
        from_rows = vertical ? height : from_rows;
        from_width = vertical ? from_width : width;
    }
    return true;
}
