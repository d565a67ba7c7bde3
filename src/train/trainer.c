#include "train/trainer.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "nn/init.h"
#include "ops/adamw/adamw.h"
#include "ops/add/add.h"
#include "ops/average/average.h"
#include "ops/fill/fill.h"
#include "ops/grad_norm/grad_norm.h"
#include "ops/weighted_sum/weighted_sum.h"
#include "train/trainer_parts.h"

/* ---- building */

/* Places among the metrics behind the terms of the loss. */
static int total_place(const Trainer *t)
{
    return t->terms;
}

static int status_place(const Trainer *t)
{
    return t->terms + 1;
}

static int hits_place(const Trainer *t)
{
    return t->terms + 1 + STATUS_COUNT;
}

int trainer_metrics(const Trainer *t)
{
    return hits_place(t) + 1;
}

/* One micro-batch: forward, losses into the metrics, and the gradient. */
static void build_micro_batch(Trainer *t, Built *b, Segment segment)
{
    const Recipe *r = &t->recipe;
    ModelResult result = {.hits = REF_NONE};
    bool adds = segment == SEGMENT_MORE || segment == SEGMENT_LAST;
    tape_segment(b->tape, segment);
    tape_set_activation(b->tape, r->run.precision == RUN_PRECISION_BF16 ? DTYPE_BF16 : DTYPE_REAL);
    tape_use_params(b->tape, &t->params, "params", segment != SEGMENT_EVALUATE);
    tape_storage(b->tape, "metrics", trainer_metrics(t));
    t->method->forward(b->tape, &b->model, &result);
    for (int k = 0; k < t->terms && !tape_failed(b->tape); k++)
        add_to(b->tape, tape_storage_part(b->tape, "metrics", k, shape_0()), result.losses[k], adds);
    if (ref_given(result.hits))
        add_to(b->tape, tape_storage_part(b->tape, "metrics", hits_place(t), shape_0()), result.hits, adds);
    t->has_hits = ref_given(result.hits);
    if (segment != SEGMENT_EVALUATE)
        tape_gradient(b->tape, result.losses, t->factors, t->terms, fill);
}

static Ref build_total(Trainer *t, Built *b)
{
    Ref total = tape_storage_part(b->tape, "metrics", total_place(t), shape_0());
    weighted_sum(b->tape, total, tape_storage_part(b->tape, "metrics", 0, shape_1(t->terms)), t->factors, t->terms);
    return tape_latest(b->tape, total);
}

/* What AdamW treats alike: neighbours of equal rate and decay are one range. NULL after error_set(). */
static AdamwRange *optimizer_ranges(const Trainer *t, int *count)
{
    const Recipe *r = &t->recipe;
    AdamwRange *ranges = memory_new(t->params.count + 1, sizeof *ranges);
    *count = 0;
    for (size_t i = 0; ranges && i < t->params.count; i++) {
        const Param *p = &t->params.params[i];
        if (p->kind != PARAM_TRAINED || encoder_freezes(r, p->name))
            continue;
        double rate = pow(r->optimizer.layer_decay, recipe_depth(r) + 1 - p->layer);
        double decay = p->decay ? r->optimizer.weight_decay : 0;
        int64_t end = p->offset + (p->count + PARAM_ALIGN - 1) / PARAM_ALIGN * PARAM_ALIGN;
        AdamwRange *last = *count ? &ranges[*count - 1] : NULL;
        if (last && last->rate == rate && last->decay == decay && last->offset + last->count == p->offset)
            last->count = end - last->offset;
        else
            ranges[(*count)++] = (AdamwRange){p->offset, end - p->offset, rate, decay};
    }
    return ranges;
}

/* Whether a set's trained parameters are the first ones of the trained set, in the same places. */
static bool is_beginning(const ParamSet *whole, const ParamSet *part)
{
    for (size_t i = 0; i < part->count; i++) {
        const Param *p = &part->params[i];
        int at = p->kind == PARAM_TRAINED ? param_find(whole, p->name) : -1;
        if (p->kind == PARAM_TRAINED && (at < 0 || whole->params[at].offset != p->offset))
            return false;
    }
    return true;
}

/* Running averages of the new weights. */
static void build_averages(Trainer *t, Built *b, Ref status)
{
    const double take = 1 - t->recipe.ema.decay;
    Ref weights = tape_latest(b->tape, tape_params_whole(b->tape, "params", ""));
    if (t->recipe.ema.decay > 0)
        average(b->tape, (AverageArgs){.average = tape_params_whole(b->tape, "params", "average"),
                                       .weights = weights,
                                       .take = tape_constant(b->tape, shape_0(), &take),
                                       .status = status});
    if (!t->method->momentum)
        return;
    if (!is_beginning(&t->params, &t->teacher_params)) {
        tape_fail(b->tape, "the momentum encoder is not laid out as what it follows");
        return;
    }
    average(b->tape, (AverageArgs){.average = tape_params_whole(b->tape, "teacher", ""),
                                   .weights = weights,
                                   .take = tape_input(b->tape, "momentum", DTYPE_REAL, shape_0()),
                                   .status = status});
}

static void build_update(Trainer *t, Built *b)
{
    const Recipe *r = &t->recipe;
    tape_segment(b->tape, SEGMENT_UPDATE);
    Ref total = build_total(t, b);
    Ref status = tape_storage_part(b->tape, "metrics", status_place(t), shape_1(STATUS_COUNT));
    Ref gradient = tape_params_whole(b->tape, "params", "grad");
    grad_norm(b->tape, status, gradient, total, r->optimizer.clip);
    int count;
    AdamwRange *ranges = optimizer_ranges(t, &count);
    if (!ranges) {
        tape_fail(b->tape, NULL);
        return;
    }
    adamw(b->tape, (AdamwArgs){.weights = tape_params_whole(b->tape, "params", ""),
                               .gradient = gradient,
                               .moment1 = tape_params_whole(b->tape, "params", "moment1"),
                               .moment2 = tape_params_whole(b->tape, "params", "moment2"),
                               .inputs = tape_input(b->tape, "optimizer", DTYPE_REAL, shape_1(ADAMW_INPUTS)),
                               .status = tape_latest(b->tape, status),
                               .beta1 = r->optimizer.betas[0],
                               .beta2 = r->optimizer.betas[1],
                               .eps = r->optimizer.eps,
                               .ranges = ranges,
                               .range_count = count});
    memory_free(ranges);
    build_averages(t, b, tape_latest(b->tape, status));
}

/* The tape is complete: allocates what is missing and makes the program. */
static bool finish(Trainer *t, Built *b)
{
    if (tape_failed(b->tape))
        return false;
    if (t->options.plan_only)
        return (b->program = program_plan(b->tape, &t->options.device)) != NULL;
    bool shares = b == &t->train && t->options.ranks;
    if (!trainer_new_buffers(t) ||
        (shares && !t->metrics &&
         !(t->metrics = buffer_new(&t->options.device, (size_t)trainer_metrics(t), sizeof *t->metrics))))
        return false;
    Binding bindings[] = {{"params", t->buffers[WEIGHTS].data},         {"params.fixed", t->buffers[FIXED].data},
                          {"teacher", t->buffers[TEACHER].data},        {"teacher.fixed", t->buffers[TEACHER_FIXED].data},
                          {"params.grad", t->buffers[GRADIENT].data},   {"params.moment1", t->buffers[MOMENT1].data},
                          {"params.moment2", t->buffers[MOMENT2].data}, {"params.average", t->buffers[AVERAGE].data},
                          {"metrics", shares ? t->metrics : NULL}};
    return (b->program = program_make(b->tape, &t->options.device, bindings, sizeof bindings / sizeof *bindings)) != NULL;
}

static void close_built(Built *b)
{
    program_free(b->program);
    tape_free(b->tape);
}

/* The model and an empty tape. */
static bool begin(Trainer *t, Built *b, bool evaluate)
{
    const TrainerOptions *o = &t->options;
    b->model.method = t->method;
    return t->method->open(&b->model, &(ModelOptions){.recipe = &t->recipe,
                                                      .teacher = &t->teacher,
                                                      .teacher_params = &t->teacher_params,
                                                      .batch = o->micro_batch,
                                                      .plain = o->plain,
                                                      .evaluate = evaluate,
                                                      .keep = o->keep_predictions,
                                                      .soft_labels = o->soft_labels}) &&
           (b->tape = tape_new());
}

static bool build_train(Trainer *t)
{
    const TrainerOptions *o = &t->options;
    Built *b = &t->train;
    if (!begin(t, b, false))
        return false;
    int parts = t->share / o->micro_batch;
    build_micro_batch(t, b, parts == 1 ? SEGMENT_ONLY : SEGMENT_FIRST);
    if (parts > 2)
        build_micro_batch(t, b, SEGMENT_MORE);
    if (parts > 1)
        build_micro_batch(t, b, SEGMENT_LAST);
    build_update(t, b);
    return finish(t, b);
}

static bool build_evaluate(Trainer *t)
{
    Built *b = &t->evaluate;
    if (b->program)
        return true;
    if (!begin(t, b, true))
        return false;
    build_micro_batch(t, b, SEGMENT_EVALUATE);
    build_total(t, b);
    if (finish(t, b))
        return true;
    close_built(b);
    *b = (Built){0};
    return false;
}

Trainer *trainer_open(const Recipe *recipe, const TrainerOptions *options)
{
    Trainer *t = memory_new(1, sizeof *t);
    if (!t)
        return NULL;
    t->recipe = *recipe;
    t->options = *options;
    t->method = method_of(recipe);
    t->terms = method_terms(recipe, t->factors);
    t->teacher = options->teacher ? *options->teacher : mim_teacher_alike(recipe, recipe_depth(recipe));
    t->share = options->batch / ranks_count(options->ranks);
    bool ok = !options->device.f64 || error_set("training keeps its weights in f32: use device ref, not ref64");
    if (ok && options->ranks &&
        (options->micro_batch < 1 || options->batch % ranks_count(options->ranks) || t->share % options->micro_batch))
        ok = error_set("run.micro_batch %d does not divide each of the %d devices' share of a batch of %d pictures",
                       options->micro_batch, ranks_count(options->ranks), options->batch);
    if (ok && (options->micro_batch < 1 || options->batch % options->micro_batch))
        ok = error_set("run.micro_batch %d does not divide the batch of %d pictures", options->micro_batch, options->batch);
    ok = ok && (options->evaluate_only ? build_evaluate(t) : build_train(t));
    if (!ok) {
        error_context("making the training program");
        trainer_close(t);
        return NULL;
    }
    if (!options->plan_only) {
        init_params(&t->params, recipe->run.seed, (uint32_t)options->stage, trainer_buffer(t, WEIGHTS),
                    trainer_buffer(t, FIXED));
        init_params(&t->teacher_params, recipe->run.seed, INIT_TEACHER, trainer_buffer(t, TEACHER),
                    trainer_buffer(t, TEACHER_FIXED));
        trainer_begin_averages(t);
    }
    if (options->ranks && (!trainer_sums_plan(t) || !trainer_ranks_open(t))) {
        trainer_close(t);
        return NULL;
    }
    return t;
}

bool trainer_begin_averages(Trainer *t)
{
    const float *weights = trainer_buffer(t, WEIGHTS);
    if (t->recipe.ema.decay > 0 && t->buffers[AVERAGE].host)
        memcpy(trainer_buffer(t, AVERAGE), weights, (size_t)t->params.trained_count * sizeof *weights);
    if (t->method->momentum)
        memcpy(trainer_buffer(t, TEACHER), weights, (size_t)t->teacher_params.trained_count * sizeof *weights);
    return !t->failed || error_context("copying the weights to their averages");
}

/* All that computes. When a rank has failed, sums of GPUs may wait for others that never come. */
static void stop(Trainer *t)
{
    if (t->options.ranks && ranks_are_broken(t->options.ranks))
        trainer_ranks_leave(t);
    close_built(&t->train);
    close_built(&t->evaluate);
    t->train = t->evaluate = (Built){0};
    t->last = NULL;
    if (t->options.ranks)
        trainer_ranks_leave(t);
}

void trainer_close(Trainer *t)
{
    if (!t)
        return;
    stop(t);
    trainer_free_buffers(t);
    memory_free(t->runs);
    param_set_free(&t->params);
    param_set_free(&t->teacher_params);
    memory_free(t);
}

bool trainer_retire(Trainer *t)
{
    TrainerState state;
    if (!trainer_fetch(t, &state))
        return false;
    stop(t);
    trainer_free_device_buffers(t);
    return true;
}

/* ---- running */

size_t trainer_picture_floats(const Trainer *t)
{
    return (size_t)t->recipe.image.channels * (size_t)t->recipe.image.size[0] * (size_t)t->recipe.image.size[1];
}

TrainerBatch trainer_picture(const Trainer *t, const TrainerBatch *batch, int i)
{
    const Recipe *r = &t->recipe;
    size_t at = (size_t)i, size = trainer_picture_floats(t), places = (size_t)recipe_patches(r),
           classes = (size_t)r->head.classes,
           teacher = (size_t)r->image.channels * (size_t)r->target.image_size[0] * (size_t)r->target.image_size[1];
    return (TrainerBatch){.images = batch->images + at * size,
                          .teacher_images = batch->teacher_images ? batch->teacher_images + at * teacher : NULL,
                          .hidden = batch->hidden ? batch->hidden + at * places : NULL,
                          .codes = batch->codes ? batch->codes + at * places : NULL,
                          .labels = batch->labels ? batch->labels + at : NULL,
                          .soft = batch->soft ? batch->soft + at * classes : NULL,
                          .epoch = batch->epoch};
}

/* Parts behind the share's last one, of which there are some when a fault is looked for, add to it. */
static Segment segment_of(const Trainer *t, int part)
{
    int parts = t->share / t->options.micro_batch;
    return parts == 1 ? SEGMENT_ONLY : part == 0 ? SEGMENT_FIRST : part + 1 >= parts ? SEGMENT_LAST : SEGMENT_MORE;
}

Segment trainer_feed(Trainer *t, const TrainerBatch *batch, int part, int64_t counts)
{
    Built *b = &t->train;
    int micro = t->options.micro_batch, stride = ranks_rank(t->options.ranks) ? t->share : t->options.batch;
    t->method->feed(b->program, &b->model, &(ModelPart){batch, (int64_t)part * micro, micro, stride, t->options.batch, counts});
    t->ahead = false;
    return segment_of(t, part);
}

bool trainer_feed_ahead(Trainer *t, const TrainerBatch *batch, int64_t counts)
{
    trainer_feed(t, batch, 0, counts);
    t->ahead = program_upload(t->train.program);
    return t->ahead;
}

bool trainer_ahead(Trainer *t, const TrainerBatch *batch)
{
    int64_t counts;
    t->ahead = false;
    if (!batch)
        return true;
    if (!t->method->accepts(&t->train.model, batch, t->options.batch, &counts))
        return false;
    if (t->options.ranks)
        trainer_ranks_ahead(t, batch, counts);
    return trainer_feed_ahead(t, batch, counts);
}

static bool run_parts(Trainer *t, const TrainerBatch *batch, int64_t counts)
{
    int parts = t->share / t->options.micro_batch;
    for (int part = 0; part < parts; part++) {
        if (part > 0 || !t->ahead)
            trainer_feed(t, batch, part, counts);
        t->ahead = false;
        bool sums = t->options.ranks && part == parts - 1;
        if (sums ? !trainer_sums_run(t, segment_of(t, part)) : !program_run(t->train.program, segment_of(t, part)))
            return false;
    }
    return true;
}

bool trainer_compute(Trainer *t, const TrainerBatch *batch, int64_t counts)
{
    Built *b = &t->train;
    const Recipe *r = &t->recipe;
    if (!trainer_push_buffers(t) || !run_parts(t, batch, counts))
        return false;
    float *inputs = program_input(b->program, "optimizer");
    double step = (double)(t->steps + 1);
    inputs[ADAMW_RATE] = (float)batch->lr;
    inputs[ADAMW_CORRECTION1] = (float)(1 - pow(r->optimizer.betas[0], step));
    inputs[ADAMW_CORRECTION2] = (float)(1 - pow(r->optimizer.betas[1], step));
    if (t->method->momentum)
        *(float *)program_input(b->program, "momentum") = (float)(1 - batch->momentum);
    if (!program_run(b->program, SEGMENT_UPDATE) || !program_fetch(b->program, "metrics", (int)(t->begun % PROGRAM_FETCHES)))
        return false;
    for (int i = 0; i < BUFFERS; i++)
        t->buffers[i].stale = (i == WEIGHTS || i >= GRADIENT || (i == TEACHER && t->method->momentum)) &&
                              t->buffers[i].host != t->buffers[i].data;
    t->steps++;
    t->begun++;
    t->last = b;
    t->last_segment = t->share == t->options.micro_batch ? SEGMENT_ONLY : SEGMENT_LAST;
    return true;
}

bool trainer_begin(Trainer *t, const TrainerBatch *batch)
{
    int64_t counts;
    if (!t->method->accepts(&t->train.model, batch, t->options.batch, &counts))
        return false;
    if (t->options.ranks)
        trainer_ranks_begin(t, batch, counts);
    if (trainer_compute(t, batch, counts))
        return true;
    if (t->options.ranks)
        ranks_break(t->options.ranks);
    return false;
}

bool trainer_end(Trainer *t, TrainerMetrics *metrics)
{
    RankGroup *ranks = t->options.ranks;
    if (ranks)
        trainer_ranks_finish(t);
    const float *m = program_fetched(t->train.program, (int)(t->done++ % PROGRAM_FETCHES));
    if (!m && ranks)
        ranks_break(ranks);
    if (!m)
        return false;
    const float *status = m + status_place(t);
    *metrics = (TrainerMetrics){.loss = m[total_place(t)],
                                .accuracy = t->has_hits ? (double)m[hits_place(t)] : (double)NAN,
                                .grad_norm = status[STATUS_NORM],
                                .finite = status[STATUS_FINITE] != 0};
    for (int k = 0; k < t->terms; k++)
        metrics->losses[k] = m[k];
    if (!metrics->finite)
        t->steps--;
    return true;
}

bool trainer_step(Trainer *t, const TrainerBatch *batch, TrainerMetrics *metrics)
{
    return trainer_begin(t, batch) && trainer_end(t, metrics);
}

bool trainer_evaluate(Trainer *t, const TrainerBatch *batch, int count, TrainerMetrics *metrics)
{
    Built *b = &t->evaluate;
    *metrics = (TrainerMetrics){.finite = true};
    if (!build_evaluate(t))
        return error_context("making the evaluation program");
    metrics->accuracy = t->has_hits ? 0 : (double)NAN;
    int64_t counts;
    if (!t->method->accepts(&b->model, batch, count, &counts) || !trainer_push_buffers(t))
        return false;
    for (int first = 0; first < count; first += t->options.micro_batch) {
        int some = count - first < t->options.micro_batch ? count - first : t->options.micro_batch;
        t->method->feed(b->program, &b->model, &(ModelPart){batch, first, some, count, count, counts});
        const float *m = NULL;
        if (!program_run(b->program, SEGMENT_EVALUATE) || !program_fetch(b->program, "metrics", 0) ||
            !(m = program_fetched(b->program, 0)))
            return false;
        metrics->loss += (double)m[total_place(t)];
        for (int k = 0; k < t->terms; k++)
            metrics->losses[k] += (double)m[k];
        if (t->has_hits)
            metrics->accuracy += (double)m[hits_place(t)];
    }
    metrics->finite = isfinite(metrics->loss);
    t->last = b;
    t->last_segment = SEGMENT_EVALUATE;
    return true;
}

int trainer_terms(const Trainer *t)
{
    return t->terms;
}

static const Model *model_of(const Trainer *t)
{
    return t->train.program ? &t->train.model : &t->evaluate.model;
}

double trainer_counts(const Trainer *t, int term, const TrainerBatch *batch, int count)
{
    return t->method->counted(model_of(t), term, batch, count);
}

int trainer_outputs(const Trainer *t, int term)
{
    return t->method->outputs(model_of(t), term);
}

int trainer_target_numbers(const Trainer *t, int term)
{
    return t->method->target_numbers(model_of(t), term);
}

int trainer_places(const Trainer *t, int term)
{
    return t->method->places(model_of(t), term);
}

void trainer_prediction(const Trainer *t, int term, float *out)
{
    t->method->read(t->last->program, t->last_segment, &t->last->model, term, false, out);
}

void trainer_target(const Trainer *t, int term, float *out)
{
    t->method->read(t->last->program, t->last_segment, &t->last->model, term, true, out);
}

/* ---- looking in */

const ParamSet *trainer_params(const Trainer *t)
{
    return &t->params;
}

float *trainer_weights(Trainer *t)
{
    return trainer_buffer(t, WEIGHTS);
}

float *trainer_fixed(Trainer *t)
{
    return trainer_buffer(t, FIXED);
}

float *trainer_gradient(Trainer *t)
{
    return trainer_buffer(t, GRADIENT);
}

float *trainer_moment1(Trainer *t)
{
    return trainer_buffer(t, MOMENT1);
}

float *trainer_moment2(Trainer *t)
{
    return trainer_buffer(t, MOMENT2);
}

float *trainer_average(Trainer *t)
{
    return t->recipe.ema.decay > 0 ? trainer_buffer(t, AVERAGE) : NULL;
}

const ParamSet *trainer_teacher_params(const Trainer *t)
{
    return &t->teacher_params;
}

float *trainer_teacher_weights(Trainer *t)
{
    return trainer_buffer(t, TEACHER);
}

float *trainer_teacher_fixed(Trainer *t)
{
    return trainer_buffer(t, TEACHER_FIXED);
}

int64_t trainer_steps(const Trainer *t)
{
    return t->steps;
}

void trainer_set_steps(Trainer *t, int64_t steps)
{
    t->steps = steps;
}

int trainer_branches(const Trainer *t)
{
    const DropPath *drop = t->method->drop(model_of(t));
    for (int b = 0; drop && b < drop->count; b++)
        if (drop->rates[b] > 0)
            return drop->count;
    return 0;
}

double trainer_branch_rate(const Trainer *t, int branch)
{
    return t->method->drop(model_of(t))->rates[branch];
}

int64_t trainer_bytes(const Trainer *t)
{
    bool evaluates = t->options.evaluate_only;
    int64_t numbers = 0;
    for (int i = 0; i < (evaluates ? GRADIENT : BUFFERS); i++)
        numbers += trainer_buffer_count(t, i);
    return numbers * (int64_t)sizeof(float) + program_bytes(evaluates ? t->evaluate.program : t->train.program);
}

Program *trainer_program(Trainer *t)
{
    return t->train.program ? t->train.program : t->evaluate.program;
}
