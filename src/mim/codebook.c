#include "mim/codebook.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "device/parallel.h"
#include "graph/program.h"
#include "nn/layers.h"
#include "ops/argmax/argmax.h"

enum { CHUNK = 1024 /* rows of a product */, PIECE = 256 /* rows that a thread takes at a time */, LANES = 16 };

/* |a - b|^2, in one order whatever the machine's vectors are. */
static float squared_distance(const float *a, const float *b, int64_t n)
{
    float parts[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            parts[k] += (a[i + k] - b[i + k]) * (a[i + k] - b[i + k]);
    for (; i < n; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    for (int k = 0; k < LANES; k++)
        sum += parts[k];
    return sum;
}

/* ---- the first codes */

typedef struct {
    const float *rows, *code;
    int64_t count, width;
    float *least; /* (count): squared distance to the nearest code so far */
} Seeding;

static void measure(const Call *call, Worker *w)
{
    const Seeding *s = call->attr;
    int64_t pieces = (s->count + PIECE - 1) / PIECE;
    for (int64_t piece; (piece = worker_next(w, pieces)) < pieces;)
        for (int64_t i = piece * PIECE; i < s->count && i < (piece + 1) * PIECE; i++)
            s->least[i] = fminf(s->least[i], squared_distance(s->rows + i * s->width, s->code, s->width));
}

/* A row, drawn in proportion to its squared distance; any when all are codes already. */
static int64_t draw_far(Random *random, const float *least, int64_t count)
{
    double sum = 0, past = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)least[i];
    double at = random_uniform(random) * sum;
    if (!(sum > 0))
        return random_below(random, (uint32_t)count);
    int64_t last = 0;
    for (int64_t i = 0; i < count; i++) {
        if (least[i] <= 0)
            continue;
        past += (double)least[i];
        last = i;
        if (past > at)
            break;
    }
    return last;
}

static bool is_stopped(const CodebookArgs *a)
{
    return a->stop && a->stop(a->context);
}

static void tell(const CodebookArgs *a, const char *what, int64_t done, int64_t all)
{
    if (a->tell)
        a->tell(a->listener, what, done, all);
}

static bool choose_first(const CodebookArgs *a, int threads, float *book, bool *stopped)
{
    Random random = random_stream(a->seed, RANDOM_CODES, 0, 0, 0);
    float *least = memory_new((size_t)a->count, sizeof *least);
    if (!least)
        return false;
    for (int64_t i = 0; i < a->count; i++)
        least[i] = INFINITY;
    int64_t row = random_below(&random, (uint32_t)a->count);
    for (int k = 0; k < a->codes; k++) {
        Seeding seeding = {a->rows, book + k * a->width, a->count, a->width, least};
        Call call = {.attr = &seeding};
        memcpy(book + k * a->width, a->rows + row * a->width, (size_t)a->width * sizeof *book);
        if (k + 1 == a->codes || (*stopped = is_stopped(a)))
            break;
        parallel_run(&(Step){.kernel = measure, .call = &call}, 1, threads, NULL);
        tell(a, "first codes", k + 1, a->codes);
        row = draw_far(&random, least, a->count);
    }
    memory_free(least);
    return true;
}

/* ---- rounds */

typedef struct {
    Tape *tape;
    Program *program;
} Search;

static bool search_open(Search *s, const Device *device, int64_t width, int codes, bool plan_only)
{
    *s = (Search){.tape = tape_new()};
    if (!s->tape)
        return false;
    tape_segment(s->tape, SEGMENT_EVALUATE);
    LinearArgs map = layer_none();
    map.w = tape_input(s->tape, "book", DTYPE_REAL, shape_2(codes, width));
    map.b = tape_input(s->tape, "bias", DTYPE_REAL, shape_1(codes));
    Ref near = layer_apply(s->tape, map, tape_input(s->tape, "rows", DTYPE_REAL, shape_2(CHUNK, width)));
    tape_keep(s->tape, argmax(s->tape, (ArgmaxArgs){.x = near, .weight = REF_NONE}), "code");
    s->program = plan_only ? program_plan(s->tape, device) : program_make(s->tape, device, NULL, 0);
    return s->program != NULL;
}

static void search_close(Search *s)
{
    program_free(s->program);
    tape_free(s->tape);
}

/* The nearest code of each row; *changed: whether any is another than before. */
static bool search_run(Search *s, const CodebookArgs *a, const float *book, float *bias, int32_t *code, bool *changed,
                       bool *stopped)
{
    Program *p = s->program;
    codebook_bias(book, a->codes, a->width, bias);
    program_write_real(p, program_input(p, "book"), book, (size_t)a->codes * (size_t)a->width);
    program_write_real(p, program_input(p, "bias"), bias, (size_t)a->codes);
    *changed = false;
    for (int64_t first = 0; first < a->count && !(*stopped = is_stopped(a)); first += CHUNK) {
        int64_t some = a->count - first < CHUNK ? a->count - first : CHUNK;
        program_write_real(p, program_input(p, "rows"), a->rows + first * a->width, (size_t)some * (size_t)a->width);
        if (!program_run(p, SEGMENT_EVALUATE))
            return false;
        const int32_t *found = program_kept(p, SEGMENT_EVALUATE, "code");
        if (!found)
            return false;
        *changed = *changed || memcmp(code + first, found, (size_t)some * sizeof *code) != 0;
        memcpy(code + first, found, (size_t)some * sizeof *code);
    }
    return true;
}

/* Codes become the means of their rows; one without rows stays. */
static void take_means(const float *rows, int64_t count, int64_t width, const int32_t *code, int codes, double *sums,
                       int64_t *members, float *book)
{
    memset(sums, 0, (size_t)codes * (size_t)width * sizeof *sums);
    memset(members, 0, (size_t)codes * sizeof *members);
    for (int64_t i = 0; i < count; i++) {
        members[code[i]]++;
        for (int64_t k = 0; k < width; k++)
            sums[code[i] * width + k] += (double)rows[i * width + k];
    }
    for (int64_t c = 0; c < codes; c++)
        for (int64_t k = 0; members[c] && k < width; k++)
            book[c * width + k] = (float)(sums[c * width + k] / (double)members[c]);
}

/* Variance of the rows around their codes over that around their mean. */
static double unexplained(const float *rows, int64_t count, int64_t width, const int32_t *code, const float *book)
{
    double left = 0, whole = 0;
    for (int64_t k = 0; k < width; k++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < count; i++) {
            double x = (double)rows[i * width + k], wrong = x - (double)book[code[i] * width + k];
            sum += x;
            squares += x * x;
            left += wrong * wrong;
        }
        whole += squares - sum * sum / (double)count;
    }
    return whole > 0 ? left / whole : 0;
}

void codebook_bias(const float *book, int codes, int64_t width, float *bias)
{
    for (int64_t c = 0; c < codes; c++) {
        double sum = 0;
        for (int64_t k = 0; k < width; k++)
            sum += (double)book[c * width + k] * (double)book[c * width + k];
        bias[c] = (float)(-sum / 2);
    }
}

bool codebook_make(const Device *device, const CodebookArgs *a, float *book, double *left, bool *stopped)
{
    Search search = {0};
    size_t numbers = (size_t)a->codes * (size_t)a->width;
    double *sums = memory_new(numbers, sizeof *sums);
    int64_t *members = memory_new((size_t)a->codes, sizeof *members);
    float *bias = memory_new((size_t)a->codes, sizeof *bias);
    int32_t *code = memory_new((size_t)a->count, sizeof *code);
    int threads = device->kind == DEVICE_CUDA ? cpu_count() : device->threads;
    bool changed = true, ok = sums && members && bias && code;
    *stopped = false;
    if (ok && (a->count < a->codes || a->count > INT32_MAX))
        ok = error_set("%lld rows are not enough, or too many, for a code book of %d", (long long)a->count, a->codes);
    ok = ok && choose_first(a, threads, book, stopped) && search_open(&search, device, a->width, a->codes, false);
    for (int round = 0; ok && changed && !*stopped && round < CODEBOOK_ROUNDS; round++) {
        tell(a, "rounds at most", round, CODEBOOK_ROUNDS);
        ok = search_run(&search, a, book, bias, code, &changed, stopped);
        if (ok && !*stopped && (changed || round == 0))
            take_means(a->rows, a->count, a->width, code, a->codes, sums, members, book);
    }
    if (ok && !*stopped)
        *left = unexplained(a->rows, a->count, a->width, code, book);
    search_close(&search);
    memory_free(sums);
    memory_free(members);
    memory_free(bias);
    memory_free(code);
    return ok;
}

bool codebook_bytes(const Device *device, int64_t count, int64_t width, int codes, int64_t *host, int64_t *products)
{
    Search search;
    bool ok = search_open(&search, device, width, codes, true);
    *products = ok ? program_bytes(search.program) : 0;
    *host = (int64_t)codes * (width * (int64_t)sizeof(double) + (int64_t)(sizeof(int64_t) + sizeof(float))) +
            count * (int64_t)(sizeof(int32_t) + sizeof(float));
    search_close(&search);
    return ok;
}
