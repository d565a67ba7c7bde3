#include "device/cuda/products.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

enum {
    WORK_ALIGN = 256,
    KNOWN_ALIGN = 64, /* of addresses: a program's plan promises no more */
    PROPOSALS = 8,
    TRIES = 3,   /* of each proposal, behind one that loads it */
    IN_A_ROW = 8 /* products of a try: what the host takes to launch the first is little beside them */
};

/* Proposals this little faster than the first may be so by chance. */
static const double gain_least = 1.02;

/* A kind that waits to be timed. */
typedef struct {
    CudaAlgorithm ways[PROPOSALS];
    int count;
    CudaProduct product;
} Waiting;

typedef struct {
    CudaProductKind kind;
    void *described; /* of the library; NULL: read, and not met yet */
    CudaAlgorithm way;
    Waiting *waiting;              /* NULL: chosen */
    bool timed;                    /* or read: to be written */
    double first_seconds, seconds; /* of the first proposal and of what was chosen; 0: not timed */
} Choice;

struct CudaProducts {
    CudaDevice *device;
    const CudaRuntime *runtime;
    void *library;
    Choice *choices;
    size_t count, capacity;
    bool autotune;
    bool watches; /* kinds that are met are to be timed */
};

CudaProducts *cuda_products_open(CudaDevice *d)
{
    CudaProducts *p = memory_new(1, sizeof *p);
    if (!p)
        return NULL;
    p->device = d;
    p->runtime = cuda_device_runtime(d);
    if (p->runtime->products_open(&p->library))
        return p;
    memory_free(p);
    return NULL;
}

void cuda_products_close(CudaProducts *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++) {
        if (p->choices[i].described)
            p->runtime->product_forget(p->library, p->choices[i].described);
        memory_free(p->choices[i].waiting);
    }
    p->runtime->products_close(p->library);
    memory_free(p->choices);
    memory_free(p);
}

void cuda_products_autotune(CudaProducts *p, bool autotune)
{
    p->autotune = autotune;
}

/* ---- kinds */

/* The largest power of two that divides an address, of those that every plan of the memory keeps: a product in another plan is
 * the same kind, and so is computed in the same way. */
static int32_t alignment(const void *at)
{
    uintptr_t bits = (uintptr_t)at | KNOWN_ALIGN;
    return (int32_t)(bits & (~bits + 1));
}

/* Moves the workspace to where the library wants it. As much is taken off wherever it began. */
static void align_work(CudaProduct *p)
{
    size_t skipped = (WORK_ALIGN - (uintptr_t)p->work % WORK_ALIGN) % WORK_ALIGN;
    bool has_work = p->work && p->work_bytes > WORK_ALIGN;
    p->work_bytes = has_work ? p->work_bytes - WORK_ALIGN : 0;
    p->work = has_work ? (char *)p->work + skipped : NULL;
}

static void kind_of(const CudaStream *stream, const CudaProduct *p, CudaProductKind *kind)
{
    const void *added = p->accumulate ? p->c : p->residual;
    memset(kind, 0, sizeof *kind);
    kind->rows = p->rows;
    kind->columns = p->columns;
    kind->inner = p->inner;
    kind->a_stride = p->a_stride;
    kind->b_stride = p->b_stride;
    kind->c_stride = p->c_stride;
    kind->work = (int64_t)p->work_bytes;
    kind->type = (int32_t)p->type;
    kind->c_type = (int32_t)p->c_type;
    kind->a_turned = p->a_turned;
    kind->b_turned = p->b_turned;
    kind->adds = added != NULL;
    kind->biased = p->bias != NULL;
    kind->tf32 = stream->features.tf32;
    kind->a_align = alignment(p->a);
    kind->b_align = alignment(p->b);
    kind->c_align = alignment(p->c);
    if (added && alignment(added) < kind->c_align)
        kind->c_align = alignment(added);
    kind->bias_align = p->bias ? alignment(p->bias) : 0;
}

static Choice *find(const CudaProducts *p, const CudaProductKind *kind)
{
    for (size_t i = 0; i < p->count; i++)
        if (!memcmp(&p->choices[i].kind, kind, sizeof *kind)) // NOLINT(bugprone-suspicious-memory-comparison): cleared before
            return &p->choices[i];
    return NULL;
}

static bool choose_first(CudaProducts *p, Choice *choice, const CudaProduct *product)
{
    CudaAlgorithm ways[PROPOSALS];
    int count;
    if (!p->runtime->product_propose(p->library, choice->described, product->bias, p->watches ? PROPOSALS : 1, ways, &count))
        return false;
    choice->way = ways[0];
    choice->timed = p->watches && count == 1;
    if (!p->watches || count == 1)
        return true;
    if (!(choice->waiting = memory_new(1, sizeof *choice->waiting)))
        return false;
    choice->waiting->count = count;
    choice->waiting->product = *product;
    memcpy(choice->waiting->ways, ways, sizeof ways);
    return true;
}

static const Choice *meet(CudaProducts *p, const CudaProductKind *kind, const CudaProduct *product)
{
    Choice *choice = find(p, kind);
    if (choice && choice->described)
        return choice;
    if (choice)
        return p->runtime->product_describe(p->library, kind, &choice->described) ? choice : NULL;
    if (!memory_grow((void **)&p->choices, p->count, &p->capacity, sizeof *p->choices))
        return NULL;
    choice = &p->choices[p->count];
    *choice = (Choice){.kind = *kind};
    if (!p->runtime->product_describe(p->library, kind, &choice->described))
        return NULL;
    if (choose_first(p, choice, product)) {
        p->count++;
        return choice;
    }
    p->runtime->product_forget(p->library, choice->described);
    return NULL;
}

bool cuda_products_run(CudaProducts *p, const CudaStream *stream, const CudaProduct *product)
{
    CudaProduct aligned = *product;
    CudaProductKind kind;
    align_work(&aligned);
    kind_of(stream, &aligned, &kind);
    const Choice *choice = meet(p, &kind, &aligned);
    return choice && p->runtime->product(p->library, choice->described, &choice->way, &aligned, stream->handle);
}

/* ---- timing */

void cuda_products_watch(CudaProducts *p)
{
    p->watches = p->autotune;
}

/* Several products, one behind the other. */
static bool run_way(const CudaProducts *p, const Choice *choice, const CudaAlgorithm *way, const CudaProduct *product)
{
    for (int i = 0; i < IN_A_ROW; i++)
        if (!p->runtime->product(p->library, choice->described, way, product, cuda_stream(p->device)->handle))
            return false;
    return true;
}

/* The seconds of one way, the fewest of several tries; *seconds 0 when the library does not carry it out after all. */
static bool time_way(const CudaProducts *p, const Choice *choice, const CudaAlgorithm *way, const CudaProduct *product,
                     void *const *marks, double *seconds)
{
    const CudaRuntime *r = p->runtime;
    void *stream = cuda_stream(p->device)->handle;
    *seconds = 0;
    for (int i = 0; i <= TRIES; i++) {
        double now;
        if (!cuda_check(p->device, r->event_record(marks[0], stream), "timing a product"))
            return false;
        if (!run_way(p, choice, way, product)) {
            error_clear();
            *seconds = 0;
            return cuda_wait(p->device);
        }
        if (!cuda_check(p->device, r->event_record(marks[1], stream), "timing a product") ||
            !cuda_check(p->device, r->event_wait(marks[1]), "timing a product") ||
            !cuda_check(p->device, r->event_seconds(marks[0], marks[1], &now), "timing a product"))
            return false;
        if (i == 1 || (i > 1 && now / IN_A_ROW < *seconds))
            *seconds = now / IN_A_ROW;
    }
    return true;
}

/* A gradient keeps what it has: products that add to it are timed beside it. */
static bool time_choice(const CudaProducts *p, Choice *choice, void *const *marks, bool *changed)
{
    const Waiting *w = choice->waiting;
    CudaProduct product = w->product;
    void *aside = NULL;
    if (product.accumulate) {
        size_t size = product.c_type == DTYPE_BF16 ? 2 : 4, at = (size_t)product.c % WORK_ALIGN;
        aside = cuda_memory_new(p->device, at + (size_t)(product.rows * product.c_stride) * size);
        if (!aside) { /* memory is nearly out: the first it is, also when the run goes on */
            error_clear();
            choice->timed = true;
            return true;
        }
        product.c = (char *)aside + at;
    }
    int best = 0;
    double best_seconds = 0;
    bool ok = true;
    for (int i = 0; ok && i < w->count; i++) {
        double seconds;
        ok = time_way(p, choice, &w->ways[i], &product, marks, &seconds);
        if (i == 0)
            best_seconds = choice->first_seconds = seconds;
        else if (seconds > 0 && (best_seconds <= 0 || seconds * gain_least < best_seconds)) {
            best = i;
            best_seconds = seconds;
        }
    }
    cuda_memory_free(p->device, aside);
    if (!ok)
        return false;
    choice->way = w->ways[best];
    choice->seconds = best_seconds;
    choice->timed = true;
    *changed = *changed || best > 0;
    return true;
}

bool cuda_products_settle(CudaProducts *p, bool *changed)
{
    void *marks[2] = {NULL};
    bool waits = false, ok = true;
    *changed = false;
    for (size_t i = 0; i < p->count; i++)
        waits = waits || p->choices[i].waiting;
    for (int i = 0; waits && ok && i < 2; i++)
        ok = cuda_check(p->device, p->runtime->event_new(&marks[i], true), "timing products");
    for (size_t i = 0; waits && ok && i < p->count; i++)
        ok = !p->choices[i].waiting || time_choice(p, &p->choices[i], marks, changed);
    for (int i = 0; i < 2; i++)
        if (marks[i])
            p->runtime->event_free(marks[i]);
    cuda_products_drop(p);
    return ok;
}

void cuda_products_drop(CudaProducts *p)
{
    p->watches = false;
    for (size_t i = 0; i < p->count; i++) {
        memory_free(p->choices[i].waiting);
        p->choices[i].waiting = NULL;
    }
}

/* ---- written and read */

size_t cuda_products_timed(const CudaProducts *p)
{
    size_t count = 0;
    for (size_t i = 0; i < p->count; i++)
        count += p->choices[i].timed;
    return count;
}

/* What a file says of a kind: its numbers by name. */
#define WIDE(name)                                   \
    {                                                \
#name, offsetof(CudaProductKind, name), true \
    }
#define NARROW(name)                                  \
    {                                                 \
#name, offsetof(CudaProductKind, name), false \
    }
static const struct {
    const char *name;
    size_t at;
    bool wide; /* int64_t, else int32_t */
} numbers[] = {WIDE(rows),     WIDE(columns), WIDE(inner),     WIDE(a_stride),   WIDE(b_stride),   WIDE(c_stride),
               WIDE(work),     NARROW(type),  NARROW(c_type),  NARROW(a_turned), NARROW(b_turned), NARROW(adds),
               NARROW(biased), NARROW(tf32),  NARROW(a_align), NARROW(b_align),  NARROW(c_align),  NARROW(bias_align)};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static void write_choice(const Choice *c, Text *out)
{
    for (int i = 0; i < NUMBERS; i++) {
        const char *at = (const char *)&c->kind + numbers[i].at;
        int64_t value = numbers[i].wide ? *(const int64_t *)(const void *)at : *(const int32_t *)(const void *)at;
        text_add(out, "%s\"%s\": %" PRId64, i ? ", " : "    {", numbers[i].name, value);
    }
    text_add(out, ", \"first_us\": %.2f, \"us\": %.2f, \"algorithm\": \"", c->first_seconds * 1e6, c->seconds * 1e6);
    for (int i = 0; i < CUDA_ALGORITHM_WORDS; i++)
        text_add(out, "%016" PRIx64, c->way.words[i]);
    text_add(out, "\"}");
}

void cuda_products_write(const CudaProducts *p, Text *out)
{
    bool first = true;
    text_add(out, "{\n  \"gpu\": ");
    text_add_json_string(out, cuda_device_properties(p->device)->name);
    text_add(out, ",\n  \"library\": %" PRIu64 ",\n  \"products\": [", p->runtime->products_version(p->library));
    for (size_t i = 0; i < p->count; i++)
        if (p->choices[i].timed) {
            text_add(out, first ? "\n" : ",\n");
            write_choice(&p->choices[i], out);
            first = false;
        }
    text_add(out, "\n  ]\n}\n");
}

static bool read_choice(const json_t *from, Choice *c)
{
    const char *algorithm = json_string_value(json_object_get(from, "algorithm"));
    *c = (Choice){.timed = true,
                  .first_seconds = json_number_value(json_object_get(from, "first_us")) / 1e6,
                  .seconds = json_number_value(json_object_get(from, "us")) / 1e6};
    for (int i = 0; i < NUMBERS; i++) {
        const json_t *value = json_object_get(from, numbers[i].name);
        char *at = (char *)&c->kind + numbers[i].at;
        int64_t number = json_integer_value(value);
        if (!json_is_integer(value) || (!numbers[i].wide && (number < 0 || number > INT32_MAX)))
            return false;
        if (numbers[i].wide)
            *(int64_t *)(void *)at = number;
        else
            *(int32_t *)(void *)at = (int32_t)number;
    }
    if (!algorithm || strlen(algorithm) != (size_t)CUDA_ALGORITHM_WORDS * 16 ||
        strspn(algorithm, "0123456789abcdef") != strlen(algorithm))
        return false;
    for (int i = 0; i < CUDA_ALGORITHM_WORDS; i++)
        if (sscanf(algorithm + (ptrdiff_t)16 * i, "%16" SCNx64, &c->way.words[i]) != 1)
            return false;
    return true;
}

static bool read_all(CudaProducts *p, const json_t *products)
{
    const json_t *item;
    size_t i;
    json_array_foreach(products, i, item)
    {
        if (!memory_grow((void **)&p->choices, p->count, &p->capacity, sizeof *p->choices))
            return false;
        if (!read_choice(item, &p->choices[p->count]))
            return error_set("product %zu is not complete", i);
        if (find(p, &p->choices[p->count].kind))
            return error_set("product %zu is there twice", i);
        p->count++;
    }
    return true;
}

bool cuda_products_read(CudaProducts *p, const char *json, bool *fits)
{
    json_error_t error;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    const char *gpu = json_string_value(json_object_get(root, "gpu"));
    const json_t *library = json_object_get(root, "library"), *products = json_object_get(root, "products");
    bool ok = gpu && json_is_integer(library) && json_is_array(products);
    *fits = false;
    if (!ok)
        error_set("these are no algorithms of products%s%s", root ? "" : ": ", root ? "" : error.text);
    else if ((*fits = !strcmp(gpu, cuda_device_properties(p->device)->name) &&
                      (uint64_t)json_integer_value(library) == p->runtime->products_version(p->library)))
        ok = read_all(p, products);
    if (!ok)
        p->count = 0;
    json_decref(root);
    return ok;
}
