/* Reading a golden case (docs/spec/recipe.md) in the tests of this folder. Include behind cmocka.h. */
#ifndef LACUNA_IMAGE_GOLDEN_CASE_H
#define LACUNA_IMAGE_GOLDEN_CASE_H

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "formats/safetensors.h"
#include "image/image.h"
#include "image/resize.h"

typedef struct {
    json_t *root, *jobs;
    SafeTensors *tensors;
} GoldenCase;

static inline GoldenCase golden_open(const char *name)
{
    GoldenCase golden = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/%s.json", LACUNA_SOURCE, name);
    json_error_t error;
    golden.root = json_load_file(path, 0, &error);
    assert_non_null(golden.root);
    golden.jobs = json_object_get(json_object_get(golden.root, "case"), "jobs");
    assert_true(json_array_size(golden.jobs) > 0);
    snprintf(path, sizeof path, "%s/tests/golden/%s.safetensors", LACUNA_SOURCE, name);
    golden.tensors = safetensors_open(path);
    if (!golden.tensors)
        fail_msg("%s", error_text());
    return golden;
}

static inline void golden_close(GoldenCase *golden)
{
    safetensors_close(golden->tensors);
    json_decref(golden->root);
}

static inline const SafeTensor *golden_tensor(const GoldenCase *golden, const char *kind, size_t number)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%zu", kind, number);
    const SafeTensor *tensor = safetensors_find(golden->tensors, name);
    if (!tensor || tensor->ndim != 3)
        fail_msg("the case lacks %s", name);
    return tensor;
}

/* The picture of a job, borrowed from the case, its crop, size and filter. */
static inline void golden_job(const GoldenCase *golden, size_t number, Image *image, ImageBox *crop, int *height, int *width,
                              ResizeFilter *filter)
{
    json_t *job = json_array_get(golden->jobs, number), *box = json_object_get(job, "crop");
    const SafeTensor *tensor = golden_tensor(golden, "image", (size_t)json_integer_value(json_object_get(job, "image")));
    assert_int_equal(tensor->dtype, SAFETENSORS_U8);
    *image = (Image){.height = (int)tensor->shape[0],
                     .width = (int)tensor->shape[1],
                     .channels = (int)tensor->shape[2],
                     .data = (uint8_t *)(uintptr_t)tensor->data};
    *crop = (ImageBox){0, 0, image->height, image->width};
    if (json_is_array(box)) {
        int *fields[] = {&crop->top, &crop->left, &crop->height, &crop->width};
        for (size_t i = 0; i < 4; i++)
            *fields[i] = (int)json_integer_value(json_array_get(box, i));
    }
    json_t *size = json_object_get(job, "size");
    *height = (int)json_integer_value(json_array_get(size, 0));
    *width = (int)json_integer_value(json_array_get(size, 1));
    assert_true(resize_filter_find(json_string_value(json_object_get(job, "filter")), filter));
}

#endif
