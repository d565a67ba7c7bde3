#include "transfer/linear_probe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "graph/program.h"
#include "nn/init.h"
#include "nn/layers.h"
#include "ops/batch_norm/batch_norm.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/fill/fill.h"
#include "ops/lars/lars.h"
#include "transfer/probe_steps.h"

static const double NORM_EPS = 1e-6, NORM_MOMENTUM = 0.1, INIT_STD = 0.01, MOMENTUM = 0.9, TRUST = 0.001;

typedef struct {
    const LinearProbe *probe;
    ParamSet params;
    float *weights, *gradient, *momentum, *running;
    Tape *train_tape, *eval_tape;
    Program *train, *eval;
    uint32_t *order; /* of an epoch */
} Heads;

/* Logits (batch, heads x classes) of normalised features. */
static Ref heads_of(Tape *t, const LinearProbe *p, Ref x)
{
    int64_t outputs = (int64_t)p->lr_count * p->classes, width = (int64_t)p->width;
    LinearArgs map = layer_none();
    scope_push(t, "head");
    map.w = param(t, "weight", shape_2(outputs, width), (Init){.kind = INIT_NORMAL, .a = INIT_STD});
    map.b = param(t, "bias", shape_1(outputs), init_constant(0));
    scope_pop(t);
    return layer_apply(t, map, x);
}

static Ref input_of(Tape *t, const LinearProbe *p)
{
    return tape_input(t, "features", DTYPE_REAL, shape_2(p->batch, (int64_t)p->width));
}

static Ref running_of(Tape *t, const LinearProbe *p)
{
    int64_t width = (int64_t)p->width;
    tape_storage(t, "running", 2 * width);
    return tape_storage_part(t, "running", 0, shape_2(2, width));
}

/* Every head's part of the weights is a tensor of its own to LARS. */
static void build_update(Heads *h)
{
    const LinearProbe *p = h->probe;
    Tape *t = h->train_tape;
    tape_segment(t, SEGMENT_UPDATE);
    LarsRange ranges[2 * PROBE_LRS_MAX];
    const Param *weight = &h->params.params[0], *bias = &h->params.params[1];
    int64_t numbers = (int64_t)p->classes * (int64_t)p->width;
    for (int i = 0; i < p->lr_count; i++) {
        double rate = p->lrs[i] * p->batch / 256;
        ranges[2 * i] = (LarsRange){weight->offset + i * numbers, numbers, rate, 0, true};
        ranges[2 * i + 1] = (LarsRange){bias->offset + (int64_t)i * p->classes, p->classes, rate, 0, false};
    }
    lars(t, (LarsArgs){.weights = tape_params_whole(t, "head", ""),
                       .gradient = tape_params_whole(t, "head", "grad"),
                       .momentum = tape_params_whole(t, "head", "momentum"),
                       .rate = tape_input(t, "rate", DTYPE_REAL, shape_0()),
                       .keep = MOMENTUM,
                       .trust = TRUST,
                       .ranges = ranges,
                       .range_count = 2 * p->lr_count});
}

static bool build(Heads *h)
{
    const LinearProbe *p = h->probe;
    Tape *t = h->train_tape = tape_new(), *e = h->eval_tape = tape_new();
    if (!t || !e)
        return false;
    tape_segment(t, SEGMENT_ONLY);
    tape_use_params(t, &h->params, "head", true);
    Ref logits = heads_of(t, p, batch_norm(t, input_of(t, p), running_of(t, p), NORM_MOMENTUM, NORM_EPS));
    Ref loss = cross_entropy(t, (CrossEntropyArgs){.logits = logits,
                                                   .classes = p->classes,
                                                   .labels = tape_input(t, "labels", DTYPE_I32, shape_1(p->batch)),
                                                   .targets = REF_NONE,
                                                   .scale = tape_input(t, "scale", DTYPE_REAL, shape_0())});
    if (tape_failed(t))
        return false;
    tape_gradient(t, &loss, (double[]){1}, 1, fill);
    build_update(h);
    tape_segment(e, SEGMENT_EVALUATE);
    tape_use_params(e, &h->params, "head", false);
    tape_keep(e, heads_of(e, p, batch_norm_fixed(e, input_of(e, p), running_of(e, p), NORM_EPS)), "logits");
    return !tape_failed(t) && !tape_failed(e);
}

/* The heads' first weights, and of the running statistics a variance of 1. */
static bool make_buffers(Heads *h)
{
    const LinearProbe *p = h->probe;
    const Device *device = &p->device;
    size_t count = (size_t)h->params.trained_count, width = p->width;
    float *weights = memory_new(count, sizeof *weights), *running = memory_new(2 * width, sizeof *running),
          fixed; /* there is none */
    if (weights && running) {
        init_params(&h->params, p->seed, 0, weights, &fixed);
        for (size_t i = 0; i < width; i++)
            running[width + i] = 1;
        h->weights = buffer_copy(device, weights, count, sizeof *weights);
        h->gradient = buffer_new(device, count, sizeof *h->gradient);
        h->momentum = buffer_new(device, count, sizeof *h->momentum);
        h->running = buffer_copy(device, running, 2 * width, sizeof *running);
        h->order = memory_new(p->train.count, sizeof *h->order);
    }
    memory_free(weights);
    memory_free(running);
    return h->weights && h->gradient && h->momentum && h->running && h->order;
}

static bool heads_open(Heads *h, const LinearProbe *p)
{
    *h = (Heads){.probe = p};
    if (!build(h) || !make_buffers(h))
        return false;
    Binding bindings[] = {
        {"head", h->weights}, {"running", h->running}, {"head.grad", h->gradient}, {"head.momentum", h->momentum}};
    h->train = program_make(h->train_tape, &p->device, bindings, 4);
    h->eval = h->train ? program_make(h->eval_tape, &p->device, bindings, 2) : NULL;
    return h->eval != NULL;
}

static void heads_close(Heads *h)
{
    program_free(h->train);
    program_free(h->eval);
    tape_free(h->train_tape);
    tape_free(h->eval_tape);
    const Device *device = &h->probe->device;
    buffer_free(device, h->weights);
    buffer_free(device, h->gradient);
    buffer_free(device, h->momentum);
    buffer_free(device, h->running);
    memory_free(h->order);
    param_set_free(&h->params);
}

static bool train_heads(Heads *h)
{
    const LinearProbe *p = h->probe;
    size_t batch = (size_t)p->batch, steps = p->train.count / batch;
    *(float *)program_input(h->train, "scale") = 1 / (float)p->batch;
    for (uint32_t epoch = 0; epoch < p->epochs; epoch++) {
        probe_shuffle(p->seed, epoch, h->order, p->train.count);
        for (size_t step = 0; step < steps && epoch + (double)step / (double)steps < p->epochs; step++) {
            float *features = program_input(h->train, "features");
            int32_t *labels = program_input(h->train, "labels");
            for (size_t i = 0; i < batch; i++) {
                size_t from = probe_row(p->train.rows, h->order[step * batch + i]);
                memcpy(features + i * p->width, p->train.features + from * p->width, p->width * sizeof *features);
                labels[i] = p->train.labels[from];
            }
            *(float *)program_input(h->train, "rate") =
                (float)probe_rate(epoch + (double)step / (double)steps, p->warmup_epochs, p->epochs);
            if (!program_run(h->train, SEGMENT_ONLY) || !program_run(h->train, SEGMENT_UPDATE))
                return false;
        }
    }
    return true;
}

static bool evaluate_heads(const Heads *h, int32_t *ranks)
{
    const LinearProbe *p = h->probe;
    size_t batch = (size_t)p->batch, outputs = (size_t)p->lr_count * (size_t)p->classes;
    for (size_t first = 0; first < p->val.count; first += batch) {
        size_t some = p->val.count - first < batch ? p->val.count - first : batch;
        float *features = program_input(h->eval, "features");
        for (size_t i = 0; i < some; i++)
            memcpy(features + i * p->width, p->val.features + probe_row(p->val.rows, first + i) * p->width,
                   p->width * sizeof *features);
        const float *logits = program_run(h->eval, SEGMENT_EVALUATE) ? program_kept(h->eval, SEGMENT_EVALUATE, "logits") : NULL;
        if (!logits)
            return false;
        for (size_t i = 0; i < some; i++)
            for (int k = 0; k < p->lr_count; k++)
                ranks[(size_t)k * p->val.count + first + i] =
                    probe_rank(logits + i * outputs + (size_t)k * (size_t)p->classes, p->classes,
                               p->val.labels[probe_row(p->val.rows, first + i)]);
    }
    return true;
}

bool linear_probe(const LinearProbe *probe, int32_t *ranks)
{
    Heads h;
    if (probe->lr_count < 1 || probe->lr_count > PROBE_LRS_MAX)
        return error_set("a linear probe tries 1 to %d learning rates at once", PROBE_LRS_MAX);
    if (probe->batch < 2 || (size_t)probe->batch > probe->train.count)
        return error_set("a linear probe wants at least 2 training pictures and a batch of no more than there are");
    bool ok = heads_open(&h, probe) && train_heads(&h) && evaluate_heads(&h, ranks);
    heads_close(&h);
    return ok;
}
