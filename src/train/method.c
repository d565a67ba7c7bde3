#include "train/method.h"

#include <string.h>

#include "base/error.h"

static size_t picture_floats(const Recipe *r)
{
    return (size_t)r->image.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
}

/* ---- masked image modelling */

static bool masked_open(Model *m, const ModelOptions *o)
{
    return mim_open(&m->mim, o->recipe, o->teacher, o->teacher_params, o->batch, o->plain, o->evaluate, o->keep);
}

static void masked_forward(Tape *t, const Model *m, ModelResult *result)
{
    mim_forward(t, &m->mim, result->losses);
    result->hits = REF_NONE;
}

static bool masked_accepts(const Model *m, const TrainerBatch *batch, int64_t count, int64_t *counts)
{
    if (mim_teacher_resizes(&m->mim) && !batch->teacher_images)
        return error_set("the teacher sees pictures of another size, and none came with the batch");
    return mim_accepts(&m->mim, batch->hidden, count, counts);
}

static void masked_feed(Program *p, const Model *m, const ModelPart *part)
{
    const TrainerBatch *b = part->batch;
    MimPictures all = {
        .images = b->images, .teacher_images = b->teacher_images, .hidden = b->hidden, .codes = b->codes, .epoch = b->epoch};
    MimPictures pictures = mim_pictures_from(&m->mim, &all, part->first);
    mim_feed(p, &m->mim, &pictures, part->count, b->kept ? b->kept + part->first : NULL, part->kept_stride, part->total,
             part->counts);
}

static double masked_counted(const Model *m, int decoder, const TrainerBatch *batch, int64_t count)
{
    bool all = m->mim.recipe->decoders[decoder].loss.on == LOSS_ON_ALL;
    double places = (double)count * (mim_target_places(&m->mim, decoder) - m->mim.places); /* class tokens */
    for (int64_t i = 0; i < count * m->mim.places; i++)
        places += all || batch->hidden[i];
    return places;
}

static const DropPath *masked_drop(const Model *m)
{
    return &m->mim.drop;
}

static int masked_outputs(const Model *m, int decoder)
{
    return mim_outputs(&m->mim, decoder);
}

static int masked_target_numbers(const Model *m, int decoder)
{
    return mim_target_numbers(&m->mim, decoder);
}

static int masked_places(const Model *m, int decoder)
{
    return mim_target_places(&m->mim, decoder);
}

static void masked_read(Program *p, Segment segment, const Model *m, int decoder, bool target, float *out)
{
    mim_read_places(p, segment, &m->mim, decoder, target, out);
}

static const Method masked = {.open = masked_open,
                              .forward = masked_forward,
                              .accepts = masked_accepts,
                              .feed = masked_feed,
                              .counted = masked_counted,
                              .drop = masked_drop,
                              .outputs = masked_outputs,
                              .target_numbers = masked_target_numbers,
                              .places = masked_places,
                              .read = masked_read};

/* ---- a classifier */

static bool classify_open(Model *m, const ModelOptions *o)
{
    return classifier_open(&m->classifier, o->recipe, o->batch, o->evaluate, o->keep, o->soft_labels);
}

static void classify_forward(Tape *t, const Model *m, ModelResult *result)
{
    result->losses[0] = classifier_forward(t, &m->classifier, &result->hits);
}

static bool classify_accepts(const Model *m, const TrainerBatch *batch, int64_t count, int64_t *counts)
{
    *counts = count;
    if (m->classifier.soft && !batch->soft)
        return error_set("the batch has no probabilities of classes");
    return classifier_accepts(&m->classifier, batch->labels, count);
}

static void classify_feed(Program *p, const Model *m, const ModelPart *part)
{
    const TrainerBatch *b = part->batch;
    const Recipe *r = m->classifier.recipe;
    size_t first = (size_t)part->first;
    classifier_feed(p, &m->classifier, b->images + first * picture_floats(r), b->labels ? b->labels + first : NULL,
                    b->soft ? b->soft + first * (size_t)r->head.classes : NULL, part->count, b->kept ? b->kept + first : NULL,
                    part->kept_stride, part->total);
}

static double pictures_counted(const Model *m, int term, const TrainerBatch *batch, int64_t count)
{
    (void)m, (void)term, (void)batch;
    return (double)count;
}

static const DropPath *classify_drop(const Model *m)
{
    return &m->classifier.drop;
}

static int classify_outputs(const Model *m, int term)
{
    (void)term;
    return m->classifier.recipe->head.classes;
}

static int classify_places(const Model *m, int term)
{
    (void)m, (void)term;
    return 1;
}

/* Logits; there is no target to read. */
static void classify_read(Program *p, Segment segment, const Model *m, int term, bool target, float *out)
{
    size_t count = (size_t)m->classifier.batch * (size_t)classify_outputs(m, term);
    memset(out, 0, count * sizeof *out);
    if (!target)
        program_read_real(p, program_kept(p, segment, "logits"), out, count);
}

static const Method classify = {.open = classify_open,
                                .forward = classify_forward,
                                .accepts = classify_accepts,
                                .feed = classify_feed,
                                .counted = pictures_counted,
                                .drop = classify_drop,
                                .outputs = classify_outputs,
                                .target_numbers = classify_outputs,
                                .places = classify_places,
                                .read = classify_read};

/* ---- MoCo v3 */

static bool contrast_open_model(Model *m, const ModelOptions *o)
{
    return contrast_open(&m->contrast, o->recipe, o->teacher_params, o->batch);
}

static void contrast_forward_model(Tape *t, const Model *m, ModelResult *result)
{
    result->losses[0] = contrast_forward(t, &m->contrast, &result->hits);
}

static bool contrast_accepts(const Model *m, const TrainerBatch *batch, int64_t count, int64_t *counts)
{
    *counts = count;
    if (!batch->second)
        return error_set("contrast.kind mocov3 needs a second view of each picture");
    return count % m->contrast.batch == 0 || error_set("%lld pictures are no whole groups of %lld (contrast.group)",
                                                       (long long)count, (long long)m->contrast.batch);
}

static void contrast_feed_part(Program *p, const Model *m, const ModelPart *part)
{
    size_t from = (size_t)part->first * picture_floats(m->contrast.recipe);
    contrast_feed(p, &m->contrast, part->batch->images + from, part->batch->second + from, part->total);
}

static const DropPath *no_drop(const Model *m)
{
    (void)m;
    return NULL;
}

static const Method contrast = {.momentum = true,
                                .couples = true,
                                .open = contrast_open_model,
                                .forward = contrast_forward_model,
                                .accepts = contrast_accepts,
                                .feed = contrast_feed_part,
                                .counted = pictures_counted,
                                .drop = no_drop};

/* ---- the table */

const Method *method_of(const Recipe *r)
{
    static const Method *const methods[] = {
        [METHOD_MASKED] = &masked, [METHOD_CLASSIFY] = &classify, [METHOD_CONTRAST] = &contrast};
    return methods[recipe_method(r)];
}

int method_terms(const Recipe *r, double weights[RECIPE_DECODERS_MAX])
{
    weights[0] = 1;
    for (int k = 0; k < r->decoder_count; k++)
        weights[k] = r->decoders[k].weight;
    return r->decoder_count ? r->decoder_count : 1;
}
