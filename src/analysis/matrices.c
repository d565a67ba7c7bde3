#include "analysis/matrices.h"

#include <math.h>
#include <string.h>

#include "analysis/spectrum.h"
#include "analysis/weights.h"
#include "base/memory.h"
#include "device/parallel.h"

enum { THREADS_MOST = 8 /* each has a workspace of the size of a matrix in double precision, and more */ };

/* Matrices of one shape. Each thread has a place of its own to work in. */
typedef struct {
    const ParamSet *set;
    const float *weights;
    const size_t *params; /* (count) numbers of parameters */
    Matrix *out;          /* (all); matrix i of the shape is out[places[i]] */
    const size_t *places;
    size_t count;
    Spectrum **spectra; /* (threads) */
} Shapes;

static void measure(const Call *call, Worker *worker)
{
    const Shapes *s = call->attr;
    Spectrum *spectrum = s->spectra[worker->thread];
    for (int64_t i, count = (int64_t)s->count; (i = worker_next(worker, count)) < count;) {
        const float *w = s->weights + s->set->params[s->params[i]].offset;
        Matrix *m = &s->out[s->places[i]];
        const double *values = spectrum_plain(spectrum, w);
        double squares = 0;
        for (int k = 0; k < m->full; k++)
            squares += values[k] * values[k];
        m->norm = sqrt(squares);
        m->effective_rank = spectrum_effective_rank(values, m->full);
        spectrum_shares(values, m->full, &m->share, 1);
    }
}

/* All matrices of the shape of the first one that has none yet. */
static bool measure_shape(const ParamSet *set, const float *weights, int threads, size_t *params, Matrix *out, size_t count,
                          bool *done)
{
    size_t first = 0, some = 0;
    size_t *of_shape = memory_new(count, sizeof *of_shape), *places = memory_new(count, sizeof *places);
    Spectrum **spectra = memory_new((size_t)threads, sizeof *spectra);
    bool ok = of_shape && places && spectra;
    while (ok && first < count && done[first])
        first++;
    for (size_t i = first; ok && i < count; i++)
        if (shape_equal(&set->params[params[i]].shape, &set->params[params[first]].shape)) {
            of_shape[some] = params[i];
            places[some++] = i;
            done[i] = true;
        }
    threads = some < (size_t)threads ? (int)some : threads;
    threads = threads < THREADS_MOST ? threads : THREADS_MOST;
    const Shape *shape = ok ? &set->params[params[first]].shape : NULL;
    for (int t = 0; ok && t < threads; t++)
        ok = (spectra[t] = spectrum_new((int)shape->d[0], (int)shape->d[1])) != NULL;
    if (ok) {
        Shapes shapes = {set, weights, of_shape, out, places, some, spectra};
        Call call = {.attr = &shapes};
        parallel_run(&(Step){.kernel = measure, .call = &call}, 1, threads, NULL);
    }
    for (int t = 0; spectra && t < threads; t++)
        spectrum_free(spectra[t]);
    memory_free(spectra);
    memory_free(of_shape);
    memory_free(places);
    return ok;
}

bool matrices_measure(const ParamSet *set, const float *weights, int threads, Matrix **out, size_t *count)
{
    size_t *params = memory_new(set->count, sizeof *params);
    bool *done = memory_new(set->count, sizeof *done), ok;
    *count = 0;
    ok = (*out = memory_new(set->count, sizeof **out)) && params && done;
    for (size_t i = 0; ok && i < set->count; i++) {
        const Param *p = &set->params[i];
        const char *kind = weights_kind(p->name);
        int block = weights_block(p->name);
        if (p->kind != PARAM_TRAINED || p->shape.n != 2 || !block || !strcmp(kind, "norm") || !strcmp(kind, "other"))
            continue;
        params[*count] = i;
        (*out)[(*count)++] = (Matrix){.name = p->name,
                                      .block = block,
                                      .kind = kind,
                                      .full = (int)(p->shape.d[0] < p->shape.d[1] ? p->shape.d[0] : p->shape.d[1])};
    }
    for (size_t left = *count; ok && left;) {
        ok = measure_shape(set, weights, threads, params, *out, *count, done);
        left = 0;
        for (size_t i = 0; i < *count; i++)
            left += !done[i];
    }
    memory_free(params);
    memory_free(done);
    return ok;
}
