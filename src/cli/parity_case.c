#include "cli/parity_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

enum { CASE_BYTES_MAX = 1 << 24 };

/* The path without its suffix .json, with another one. */
static char *sibling(const char *path, const char *suffix)
{
    Text t = {0};
    size_t length = strlen(path);
    if (length > 5 && !strcmp(path + length - 5, ".json"))
        length -= 5;
    text_add(&t, "%.*s%s", (int)length, path, suffix);
    if (t.failed)
        text_free(&t);
    return t.data;
}

bool parity_case_open(ParityCase *c, const char *path)
{
    *c = (ParityCase){.path = path};
    size_t size;
    json_error_t error;
    char *text = file_read(path, CASE_BYTES_MAX, &size), *tensors = NULL;
    if (!text)
        return false;
    c->root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    memory_free(text);
    if (!c->root)
        return error_set("%s line %d: %s", path, error.line, error.text);
    c->about = json_object_get(c->root, "case");
    if (!json_is_object(c->about))
        return error_set("%s has no mapping `case`: it is not a golden case", path);
    if (!(c->name = sibling(file_name(path), "")) || !(tensors = sibling(path, ".safetensors")))
        return false;
    c->stored = safetensors_open(tensors);
    memory_free(tensors);
    return c->stored != NULL;
}

void parity_case_close(ParityCase *c)
{
    for (size_t i = 0; i < c->count; i++) {
        memory_free(c->results[i].name);
        memory_free(c->results[i].values);
    }
    memory_free(c->results);
    memory_free(c->name);
    safetensors_close(c->stored);
    json_decref(c->root);
    *c = (ParityCase){0};
}

const char *parity_case_kind(const ParityCase *c)
{
    const char *kind = json_string_value(json_object_get(c->about, "kind"));
    return kind ? kind : "";
}

bool parity_int(const json_t *mapping, const char *where, const char *key, int least, int most, int *value)
{
    const json_t *number = json_object_get(mapping, key);
    if (!json_is_integer(number) || json_integer_value(number) < least || json_integer_value(number) > most)
        return error_set("%s.%s must be a whole number from %d to %d", where, key, least, most);
    *value = (int)json_integer_value(number);
    return true;
}

json_t *parity_list(const json_t *mapping, const char *where, const char *key)
{
    json_t *list = json_object_get(mapping, key);
    if (json_is_array(list))
        return list;
    error_set("%s.%s must be a list", where, key);
    return NULL;
}

static const ParityResult *result_find(const ParityCase *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->results[i].name, name))
            return &c->results[i];
    return NULL;
}

float *parity_result(ParityCase *c, const char *name, int ndim, const int64_t *shape)
{
    size_t count = 1;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0 || !size_multiply(count, (size_t)shape[i], &count)) {
            error_set("%s is too large", name);
            return NULL;
        }
    if (result_find(c, name)) {
        error_set("%s was computed twice", name);
        return NULL;
    }
    if (!memory_grow((void **)&c->results, c->count, &c->capacity, sizeof *c->results))
        return NULL;
    ParityResult *r = &c->results[c->count];
    *r = (ParityResult){.name = memory_string(name), .ndim = ndim, .values = memory_new(count, sizeof *r->values)};
    if (ndim)
        memcpy(r->shape, shape, sizeof *shape * (size_t)ndim);
    c->count++;
    return r->name ? r->values : NULL;
}

float *parity_input(const ParityCase *c, const char *name, int ndim, const int64_t *shape)
{
    const SafeTensor *t = safetensors_need(c->stored, name, ndim, shape);
    float *values = t ? memory_new(safetensor_count(t), sizeof *values) : NULL;
    if (values)
        safetensor_to_f32(t, values);
    return values;
}

/* ---- comparing */

static bool is_to_compare(const char *name)
{
    return !strncmp(name, "expect.", 7) || !strncmp(name, "grad.", 5) || !strncmp(name, "after.", 6);
}

/* What case.tolerance says of a tensor: by the word behind `expect.`, or the first word; numbered expectations of pictures
 * share `bytes` or `image`. -1: nothing. */
static double tolerance_of(const ParityCase *c, const char *name)
{
    const json_t *all = json_object_get(c->about, "tolerance"), *found;
    const char *word = !strncmp(name, "expect.", 7) ? name + 7 : name;
    char key[64];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(word, "."), word);
    found = json_object_get(all, key);
    if (!found && word != name && !(found = json_object_get(all, "bytes")))
        found = json_object_get(all, "image");
    if (!found && !strcmp(key, "table"))
        return 1e-4; /* as the golden case of position tables */
    return json_is_number(found) ? json_number_value(found) : -1;
}

/* max |a - b| / max(|b|, 1e-3 rms(b)); infinite for other shapes, not-a-number stays so. */
static double relative_error(const ParityResult *a, const SafeTensor *b, const float *want)
{
    if (a->ndim != b->ndim || (a->ndim && memcmp(a->shape, b->shape, sizeof *a->shape * (size_t)a->ndim) != 0))
        return INFINITY;
    size_t count = safetensor_count(b);
    double squares = 0, worst = 0;
    for (size_t i = 0; i < count; i++)
        squares += (double)want[i] * (double)want[i];
    double floor = count ? 1e-3 * sqrt(squares / (double)count) : 0;
    for (size_t i = 0; i < count; i++) {
        double away = fabs((double)a->values[i] - (double)want[i]);
        double error = away == 0 ? 0 : away / fmax(fabs((double)want[i]), floor);
        if (!(error <= worst))
            worst = error;
        if (isnan(worst))
            break;
    }
    return worst;
}

static bool judge(const ParityCase *c, const char *name, const SafeTensor *want, const ParityResult *got)
{
    double tolerance = tolerance_of(c, name);
    if (!got || tolerance < 0) {
        printf("FAIL %-44s %s\n", name, got ? "case.tolerance does not name it" : "not computed by this program");
        return false;
    }
    float *values = memory_new(safetensor_count(want), sizeof *values);
    double error = NAN;
    if (values && safetensor_to_f32(want, values))
        error = relative_error(got, want, values);
    memory_free(values);
    bool loss = !strncmp(name, "expect.loss", 11), judged = c->loss_tolerance == 0 || loss;
    if ((loss || !strncmp(name, "expect.grad_norm", 16)) && tolerance < c->loss_least)
        tolerance = c->loss_least;
    tolerance = c->loss_tolerance > 0 ? c->loss_tolerance : tolerance;
    bool held = error <= tolerance || (!judged && isfinite(error));
    printf("%-4s %-44s %.2e %.0e%s\n",
           !held    ? "FAIL"
           : judged ? "ok"
                    : "-",
           name, error, tolerance, isinf(error) ? " (another shape)" : "");
    return held;
}

size_t parity_case_judge(const ParityCase *c, size_t *lines)
{
    size_t failed = 0;
    *lines = 0;
    for (size_t i = 0; i < safetensors_count(c->stored); i++) {
        const SafeTensor *want = safetensors_at(c->stored, i);
        if (!is_to_compare(want->name))
            continue;
        failed += !judge(c, want->name, want, result_find(c, want->name));
        ++*lines;
    }
    for (size_t i = 0; i < c->count; i++) {
        if (strncmp(c->results[i].name, "table.", 6) != 0)
            continue;
        char name[256];
        snprintf(name, sizeof name, "weight.%s", c->results[i].name + 6);
        const SafeTensor *want = safetensors_find(c->stored, name);
        if (want)
            failed += !judge(c, c->results[i].name, want, &c->results[i]);
        *lines += want != NULL;
    }
    return failed;
}

/* ---- writing */

/* As bytes where the case has bytes, else as they are. NULL after error_set(). */
static void *in_type_of(const SafeTensor *like, const ParityResult *r, size_t count)
{
    size_t size = like->dtype == SAFETENSORS_U8 ? 1 : sizeof(float);
    void *data = memory_new(count, size);
    if (!data || size > 1) {
        if (data)
            memcpy(data, r->values, count * size);
        return data;
    }
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)data)[i] = (uint8_t)r->values[i];
    return data;
}

bool parity_case_write(const ParityCase *c, const char *folder)
{
    SafeTensor *tensors = memory_new(c->count, sizeof *tensors);
    char name[512], *path = NULL;
    size_t count = 0;
    bool ok = false;
    if (!tensors || !file_make_folder(folder))
        goto done;
    for (size_t i = 0; i < c->count; i++) {
        const ParityResult *r = &c->results[i];
        const SafeTensor *like = safetensors_find(c->stored, r->name);
        if (!like || !is_to_compare(r->name))
            continue;
        size_t numbers = 1;
        for (int d = 0; d < r->ndim; d++)
            numbers *= (size_t)r->shape[d];
        SafeTensor *t = &tensors[count++];
        *t = (SafeTensor){.name = r->name, .dtype = like->dtype == SAFETENSORS_U8 ? SAFETENSORS_U8 : SAFETENSORS_F32};
        t->ndim = r->ndim;
        memcpy(t->shape, r->shape, sizeof t->shape);
        if (!(t->data = in_type_of(like, r, numbers)))
            goto done;
    }
    snprintf(name, sizeof name, "%s.safetensors", c->name);
    path = file_join(folder, name);
    ok = path && safetensors_write(path, tensors, count, NULL, 0);
done:
    for (size_t i = 0; i < count; i++)
        memory_free((void *)(uintptr_t)tensors[i].data);
    memory_free(tensors);
    memory_free(path);
    return ok;
}
