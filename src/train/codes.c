#include "train/codes.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "mim/codebook.h"
#include "train/weights.h"

#define BOOK "codebook"

/* What image.mean and image.std may be. */
#define STATISTICS_MOST 1e3f
#define DEVIATION_LEAST 1e-6f

bool teacher_is_network(const char *name)
{
    return strncmp(name, BOOK ".", sizeof BOOK) != 0 && strncmp(name, "hybrid.", 7) != 0;
}

/* `mean` or `std` of a code book of patches. */
static bool read_statistics(const SafeTensors *file, const char *name, float least, RecipeStatistics *out)
{
    const SafeTensor *t = safetensors_find(file, name);
    float values[RECIPE_CHANNELS_MAX];
    if (!t || t->ndim != 1 || t->shape[0] < 1 || t->shape[0] > RECIPE_CHANNELS_MAX)
        return error_set("mean and std belong together, one number for each channel");
    if (!safetensor_to_f32(t, values))
        return false;
    for (int64_t i = 0; i < t->shape[0]; i++)
        if (!(values[i] >= least && values[i] <= STATISTICS_MOST))
            return error_set("its %s of channel %d is %g, which is none of pictures", name, (int)i, (double)values[i]);
    recipe_statistics_set(out, (int)t->shape[0], values);
    return true;
}

/* What is no network. */
static bool holds_nothing_else(const SafeTensors *tensors)
{
    for (size_t i = 0; i < safetensors_count(tensors); i++) {
        const char *name = safetensors_at(tensors, i)->name;
        if (strcmp(name, BOOK) != 0 && strcmp(name, "mean") != 0 && strcmp(name, "std") != 0)
            return false;
    }
    return true;
}

static bool look(const SafeTensors *tensors, CodeFile *file)
{
    const SafeTensor *book = safetensors_find(tensors, BOOK);
    file->of = holds_nothing_else(tensors) ? MIM_CODES_OF_PATCHES : MIM_CODES_OF_TOKENS;
    if (!book && file->of == MIM_CODES_OF_PATCHES)
        return error_set("it holds no tensor " BOOK " (codes, numbers)");
    if (book && (book->ndim != 2 || book->shape[0] < 2 || book->shape[0] > 1 << 20 || book->shape[1] < 1))
        return error_set("its " BOOK " is not (codes, numbers) of 2 to 2^20 codes");
    file->codes = book ? (int)book->shape[0] : 0;
    if (file->of == MIM_CODES_OF_PATCHES && (safetensors_find(tensors, "mean") || safetensors_find(tensors, "std"))) {
        file->has_statistics = true;
        return read_statistics(tensors, "mean", -STATISTICS_MOST, &file->mean) &&
               read_statistics(tensors, "std", DEVIATION_LEAST, &file->std);
    }
    return true;
}

bool code_file_look(const char *path, CodeFile *file)
{
    *file = (CodeFile){0};
    char *model = weights_file(path, NULL);
    SafeTensors *tensors = model ? safetensors_open(model) : NULL;
    bool ok = model != NULL;
    if (tensors && !look(tensors, file))
        ok = error_context("%s", model);
    if (model && !tensors) { /* a network in another container, if it is anything */
        error_clear();
        file->of = MIM_CODES_OF_TOKENS;
    }
    safetensors_close(tensors);
    memory_free(model);
    return ok;
}

static const Param *book_of(const Trainer *t, const char *name)
{
    const ParamSet *set = trainer_teacher_params(t);
    int at = param_find(set, name);
    return at < 0 ? NULL : &set->params[at];
}

int64_t codes_width(const Trainer *t)
{
    const Param *p = book_of(t, BOOK ".weight");
    return p ? p->shape.d[1] : 0;
}

void codes_put(Trainer *t, const float *book)
{
    const Param *weight = book_of(t, BOOK ".weight"), *bias = book_of(t, BOOK ".bias");
    float *to = trainer_teacher_weights(t);
    memcpy(to + weight->offset, book, (size_t)weight->count * sizeof *to);
    codebook_bias(book, (int)weight->shape.d[0], weight->shape.d[1], to + bias->offset);
}

bool code_file_load(const char *path, Trainer *t)
{
    char *model = weights_file(path, NULL);
    SafeTensors *tensors = model ? safetensors_open(model) : NULL;
    const SafeTensor *book = tensors ? safetensors_find(tensors, BOOK) : NULL;
    float *values = book ? memory_new(safetensor_count(book), sizeof *values) : NULL;
    bool ok = values && safetensor_to_f32(book, values);
    if (ok && book->shape[1] != codes_width(t))
        ok = error_set(
            "the codes of %s have %lld numbers, and what they are compared with has %lld (encoder.patch, image.channels, "
            "target.image_size, or the width of the network)",
            model, (long long)book->shape[1], (long long)codes_width(t));
    for (size_t i = 0; ok && i < safetensor_count(book); i++)
        if (!isfinite(values[i]))
            ok = error_set("the codes of %s hold %g, which is no number to compare with", model, (double)values[i]);
    if (ok)
        codes_put(t, values);
    memory_free(values);
    safetensors_close(tensors);
    memory_free(model);
    return ok;
}
