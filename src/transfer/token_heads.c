#include "transfer/token_heads.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "graph/program.h"
#include "nn/init.h"
#include "nn/layers.h"
#include "ops/adamw/adamw.h"
#include "ops/attention/attention.h"
#include "ops/batch_norm/batch_norm.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/distance/distance.h"
#include "ops/fill/fill.h"
#include "ops/gather/gather.h"
#include "ops/grad_norm/grad_norm.h"
#include "ops/upsample/upsample.h"
#include "ops/weighted_sum/weighted_sum.h"

static const double NORM_EPS = 1e-6, NORM_MOMENTUM = 0.1, QUERY_STD = 0.02, INIT_STD = 0.01;
static const double BETA1 = 0.9, BETA2 = 0.999, ADAM_EPS = 1e-8;

enum { NAME_BYTES = 32, RANGES_MOST = 16 };

typedef struct {
    ParamSet params;
    float *weights, *gradient, *moment1, *moment2;
    char name[NAME_BYTES]; /* of its storages */
} Head;

struct TokenHeads {
    TokenHeadsOptions options;
    double lrs[TOKEN_HEADS_MOST];
    Head heads[TOKEN_HEADS_MOST];
    float *running; /* mean and variance of each feature */
    int64_t steps;
    Tape *train_tape, *eval_tape;
    Program *train, *eval;
};

int token_heads_attention(int64_t width)
{
    int heads = width / 64 > 1 ? (int)(width / 64) : 1;
    while (width % heads)
        heads--;
    return heads;
}

/* ---- heads on the tape */

/* The last map, which starts small. */
static Ref outputs_of(Tape *t, const TokenHeadsOptions *o, Ref x, const Norm *norm)
{
    LinearArgs map = layer_none();
    scope_push(t, "head");
    map.w = param(t, "weight", shape_2(o->outputs, o->width), (Init){.kind = INIT_NORMAL, .a = INIT_STD});
    map.b = param(t, "bias", shape_1(o->outputs), init_constant(0));
    scope_pop(t);
    return layer_apply(t, norm ? norm_before(map, *norm) : map, x);
}

/* B.6: a learned query looks at the normalised tokens; what it saw is projected, normalised and classified. */
static Ref attentive(Tape *t, const TokenHeadsOptions *o, Ref x)
{
    int64_t d = o->width;
    int32_t *first = memory_new((size_t)o->batch, sizeof *first);
    if (!first)
        return tape_fail(t, NULL);
    for (int64_t i = 0; i < o->batch; i++)
        first[i] = -1;
    Ref query = param(t, "query", shape_2(1, d), (Init){.kind = INIT_NORMAL, .a = QUERY_STD});
    Ref queries = gather(t, (GatherArgs){.x = REF_NONE,
                                         .index = tape_constant_i32(t, shape_1(o->batch), first),
                                         .inverse = REF_NONE,
                                         .tokens = query,
                                         .table = REF_NONE,
                                         .place = REF_NONE,
                                         .shape = shape_3(o->batch, 1, d)});
    memory_free(first);
    Norm norm = norm_params(t, "norm", d, NORM_EPS, init_constant(0));
    LinearArgs kv = norm_before(layer_map(t, "kv", 2 * d, d, true, FAMILY_XAVIER, -1), norm);
    Ref seen = attention(t, (AttentionArgs){.q = queries,
                                            .kv = layer_apply(t, kv, x),
                                            .v_column = d,
                                            .width = d,
                                            .heads = token_heads_attention(d),
                                            .index = REF_NONE,
                                            .bias = REF_NONE,
                                            .mask = REF_NONE});
    Ref projected = layer_apply(t, layer_map(t, "proj", d, d, true, FAMILY_XAVIER, -1), seen);
    Norm out = norm_params(t, "norm_out", d, NORM_EPS, init_constant(0));
    return outputs_of(t, o, projected, &out);
}

/* Tokens as the heads see them; all heads share the BatchNorm of dense ones. */
static Ref input_of(Tape *t, const TokenHeadsOptions *o, bool train)
{
    Ref x = tape_input(t, "features", DTYPE_REAL, shape_3(o->batch, o->tokens, o->width));
    if (o->kind == HEAD_CLASSES)
        return x;
    tape_storage(t, "running", 2 * o->width);
    Ref running = tape_storage_part(t, "running", 0, shape_2(2, o->width));
    return train ? batch_norm(t, x, running, NORM_MOMENTUM, NORM_EPS) : batch_norm_fixed(t, x, running, NORM_EPS);
}

static Ref head_of(Tape *t, const TokenHeadsOptions *o, Ref x)
{
    if (o->kind == HEAD_CLASSES)
        return attentive(t, o, x);
    return upsample(t, outputs_of(t, o, x, NULL), o->rows, o->columns, o->height, o->px_width);
}

static int64_t labelled(const TokenHeadsOptions *o)
{
    return o->kind == HEAD_CLASSES ? o->batch : o->batch * o->height * o->px_width;
}

static Ref loss_of(Tape *t, const TokenHeadsOptions *o, Ref y)
{
    Ref scale = tape_input(t, "scale", DTYPE_REAL, shape_0());
    if (o->kind == HEAD_DEPTH)
        return distance(t, (DistanceArgs){.pred = y,
                                          .target = tape_input(t, "targets", DTYPE_REAL, *ref_shape(t, y)),
                                          .weight = tape_input(t, "counts", DTYPE_REAL, shape_1(labelled(o))),
                                          .scale = scale,
                                          .kind = DISTANCE_L2});
    return cross_entropy(t, (CrossEntropyArgs){.logits = y,
                                               .classes = o->outputs,
                                               .labels = tape_input(t, "labels", DTYPE_I32, shape_1(labelled(o))),
                                               .targets = REF_NONE,
                                               .scale = scale});
}

static Ref status_of(Tape *t, int k)
{
    return tape_storage_part(t, "status", TOKEN_HEADS_MOST + (int64_t)k * STATUS_COUNT, shape_1(STATUS_COUNT));
}

static void update_of(TokenHeads *h, int k)
{
    Tape *t = h->train_tape;
    Head *head = &h->heads[k];
    AdamwRange ranges[RANGES_MOST];
    Ref status = status_of(t, k), loss = tape_storage_part(t, "status", k, shape_0());
    Ref gradient = tape_params_whole(t, head->name, "grad");
    int count = 0;
    for (size_t i = 0; i < head->params.count; i++) {
        const Param *p = &head->params.params[i];
        ranges[count++] =
            (AdamwRange){p->offset, p->count, h->lrs[k] * (double)h->options.batch / 256, p->decay ? h->options.decay : 0};
    }
    grad_norm(t, status, gradient, loss, 0);
    adamw(t, (AdamwArgs){.weights = tape_params_whole(t, head->name, ""),
                         .gradient = gradient,
                         .moment1 = tape_params_whole(t, head->name, "moment1"),
                         .moment2 = tape_params_whole(t, head->name, "moment2"),
                         .inputs = tape_input(t, "optimizer", DTYPE_REAL, shape_1(ADAMW_INPUTS)),
                         .status = tape_latest(t, status),
                         .beta1 = BETA1,
                         .beta2 = BETA2,
                         .eps = ADAM_EPS,
                         .ranges = ranges,
                         .range_count = count});
}

static bool build(TokenHeads *h)
{
    const TokenHeadsOptions *o = &h->options;
    Tape *t = h->train_tape = tape_new(), *e = h->eval_tape = tape_new();
    Ref losses[TOKEN_HEADS_MOST];
    double weights[TOKEN_HEADS_MOST];
    if (!t || !e)
        return false;
    tape_storage(t, "status", TOKEN_HEADS_MOST * (1 + STATUS_COUNT));
    tape_segment(t, SEGMENT_ONLY);
    Ref x = input_of(t, o, true);
    for (int k = 0; k < o->count; k++) {
        tape_use_params(t, &h->heads[k].params, h->heads[k].name, true);
        losses[k] = loss_of(t, o, head_of(t, o, x));
        weights[k] = 1;
        weighted_sum(t, tape_storage_part(t, "status", k, shape_0()), losses[k], &weights[k], 1);
    }
    if (tape_failed(t))
        return false;
    tape_gradient(t, losses, weights, o->count, fill);
    tape_segment(t, SEGMENT_UPDATE);
    for (int k = 0; k < o->count; k++)
        update_of(h, k);
    tape_segment(e, SEGMENT_EVALUATE);
    x = input_of(e, o, false);
    for (int k = 0; k < o->count; k++) {
        tape_use_params(e, &h->heads[k].params, h->heads[k].name, false);
        tape_keep(e, head_of(e, o, x), h->heads[k].name);
    }
    return !tape_failed(t) && !tape_failed(e);
}

/* ---- memory */

static bool head_open(Head *head, const Device *device, uint64_t seed)
{
    size_t count = (size_t)head->params.trained_count;
    float *first = memory_new(count, sizeof *first), fixed; /* there is none */
    if (!first)
        return false;
    init_params(&head->params, seed, 0, first, &fixed);
    head->weights = buffer_copy(device, first, count, sizeof *first);
    head->gradient = buffer_new(device, count, sizeof *head->gradient);
    head->moment1 = buffer_new(device, count, sizeof *head->moment1);
    head->moment2 = buffer_new(device, count, sizeof *head->moment2);
    memory_free(first);
    return head->weights && head->gradient && head->moment1 && head->moment2;
}

/* Means of 0 and variances of 1. */
static float *new_running(const Device *device, size_t width)
{
    float *first = memory_new(2 * width, sizeof *first);
    for (size_t i = 0; first && i < width; i++)
        first[width + i] = 1;
    float *running = first ? buffer_copy(device, first, 2 * width, sizeof *first) : NULL;
    memory_free(first);
    return running;
}

static bool make_programs(TokenHeads *h)
{
    enum { STORAGES = 4 };
    const TokenHeadsOptions *o = &h->options;
    Binding train[STORAGES * TOKEN_HEADS_MOST + 1], eval[TOKEN_HEADS_MOST + 1];
    char names[TOKEN_HEADS_MOST][STORAGES][NAME_BYTES + 16];
    static const char *const parts[STORAGES] = {"", ".grad", ".moment1", ".moment2"};
    int trains = 0, evals = 0;
    for (int k = 0; k < o->count; k++) {
        Head *head = &h->heads[k];
        float *data[STORAGES] = {head->weights, head->gradient, head->moment1, head->moment2};
        for (int i = 0; i < STORAGES; i++) {
            snprintf(names[k][i], sizeof names[k][i], "%s%s", head->name, parts[i]);
            train[trains++] = (Binding){names[k][i], data[i]};
        }
        eval[evals++] = (Binding){head->name, head->weights};
    }
    if (h->running) {
        train[trains++] = (Binding){"running", h->running};
        eval[evals++] = (Binding){"running", h->running};
    }
    return (h->train = program_make(h->train_tape, &o->device, train, trains)) &&
           (h->eval = program_make(h->eval_tape, &o->device, eval, evals));
}

TokenHeads *token_heads_open(const TokenHeadsOptions *o)
{
    if (o->count < 1 || o->count > TOKEN_HEADS_MOST) {
        error_set("a probe of tokens tries 1 to %d learning rates at once", TOKEN_HEADS_MOST);
        return NULL;
    }
    TokenHeads *h = memory_new(1, sizeof *h);
    if (!h)
        return NULL;
    *h = (TokenHeads){.options = *o};
    for (int k = 0; k < o->count; k++) {
        h->lrs[k] = o->lrs[k];
        snprintf(h->heads[k].name, sizeof h->heads[k].name, "head.%d", k);
    }
    bool ok = build(h);
    for (int k = 0; ok && k < o->count; k++)
        ok = head_open(&h->heads[k], &o->device, o->seed);
    if (ok && o->kind != HEAD_CLASSES)
        ok = (h->running = new_running(&o->device, (size_t)o->width)) != NULL;
    if (!ok || !make_programs(h)) {
        token_heads_close(h);
        return NULL;
    }
    return h;
}

void token_heads_close(TokenHeads *h)
{
    if (!h)
        return;
    const Device *device = &h->options.device;
    program_free(h->train);
    program_free(h->eval);
    tape_free(h->train_tape);
    tape_free(h->eval_tape);
    for (int k = 0; k < h->options.count; k++) {
        buffer_free(device, h->heads[k].weights);
        buffer_free(device, h->heads[k].gradient);
        buffer_free(device, h->heads[k].moment1);
        buffer_free(device, h->heads[k].moment2);
        param_set_free(&h->heads[k].params);
    }
    buffer_free(device, h->running);
    memory_free(h);
}

/* ---- running */

float *token_heads_features(TokenHeads *h)
{
    return program_input(h->train, "features");
}

int32_t *token_heads_labels(TokenHeads *h)
{
    return program_input(h->train, "labels");
}

float *token_heads_targets(TokenHeads *h)
{
    return program_input(h->train, "targets");
}

float *token_heads_counts(TokenHeads *h)
{
    return program_input(h->train, "counts");
}

bool token_heads_step(TokenHeads *h, double rate, double counted)
{
    float *inputs = program_input(h->train, "optimizer");
    h->steps++;
    inputs[ADAMW_RATE] = (float)rate;
    inputs[ADAMW_CORRECTION1] = (float)(1 - pow(BETA1, (double)h->steps));
    inputs[ADAMW_CORRECTION2] = (float)(1 - pow(BETA2, (double)h->steps));
    *(float *)program_input(h->train, "scale") = counted > 0 ? (float)(1 / counted) : 0;
    return program_run(h->train, SEGMENT_ONLY) && program_run(h->train, SEGMENT_UPDATE);
}

double token_heads_loss(TokenHeads *h, int k)
{
    const float *status = program_storage(h->train, "status");
    return status ? (double)status[k] : NAN;
}

float *token_heads_evaluate_features(TokenHeads *h)
{
    return program_input(h->eval, "features");
}

bool token_heads_evaluate(TokenHeads *h)
{
    return program_run(h->eval, SEGMENT_EVALUATE);
}

const float *token_heads_outputs(TokenHeads *h, int k)
{
    return program_kept(h->eval, SEGMENT_EVALUATE, h->heads[k].name);
}

const ParamSet *token_heads_params(const TokenHeads *h, int k)
{
    return &h->heads[k].params;
}

float *token_heads_weights(TokenHeads *h, int k)
{
    return h->heads[k].weights;
}
