#include "controls/classifier.h"

#include <string.h>

#include "base/error.h"
#include "nn/layers.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/hits/hits.h"
#include "ops/pool/pool.h"

bool classifier_open(Classifier *c, const Recipe *r, int64_t batch, bool evaluate, bool keep, bool soft)
{
    *c = (Classifier){
        .recipe = r, .encoder = encoder_config(r), .batch = batch, .evaluate = evaluate, .keep = keep, .soft = soft};
    c->encoder.mask_token = false;
    for (int i = 0; i < r->optimizer.no_decay.count; i++)
        c->no_decay[i] = r->optimizer.no_decay.names[i];
    if (r->head.classes < 1)
        return error_set("head.classes is not known yet: it follows from labelled pictures, or give it");
    int64_t tokens = recipe_patches(r) + (int64_t)c->encoder.class_tokens;
    if (batch < 1 || batch > INT32_MAX / tokens)
        return error_set(
            "run.micro_batch: %lld pictures of %lld tokens are more than a program can number; use a smaller micro-batch",
            (long long)batch, (long long)tokens);
    return drop_path_add(&c->drop, r->encoder.drop_path, recipe_depth(r));
}

Ref classifier_forward(Tape *t, const Classifier *c, Ref *share)
{
    const Recipe *r = c->recipe;
    const BlockConfig *b = &c->encoder.block;
    int64_t first = c->encoder.class_tokens, places = recipe_patches(r), classes = r->head.classes;
    bool mean = r->head.pool == HEAD_MEAN;
    tape_decay_rule(t, c->no_decay, r->optimizer.no_decay.count, r->optimizer.decay_all);
    Ref image = tape_input(t, "image", DTYPE_REAL, shape_4(c->batch, c->encoder.channels, r->image.size[0], r->image.size[1]));
    Ref x = encoder_whole(t, &c->encoder, image, c->batch, c->evaluate ? NULL : &c->drop);
    x = mean ? pool(t, x, first, places) : pool(t, x, 0, 1);
    Norm norm = norm_params(t, mean ? "fc_norm" : "norm", b->width, b->norm_eps, init_constant(0));
    LinearArgs map = norm_before(layer_none(), norm);
    scope_push(t, "head");
    map.w = param(t, "weight", shape_2(classes, b->width), init_head_weight(r->head.init_std));
    map.b = param(t, "bias", shape_1(classes), init_constant(0));
    scope_pop(t);
    Ref logits = layer_apply(t, map, x), scale = tape_input(t, "scale", DTYPE_REAL, shape_0());
    Ref labels = c->soft ? REF_NONE : tape_input(t, "labels", DTYPE_I32, shape_1(c->batch));
    *share = c->soft ? REF_NONE : hits(t, logits, labels, scale);
    Ref loss = cross_entropy(
        t, (CrossEntropyArgs){.logits = logits,
                              .classes = classes,
                              .labels = labels,
                              .targets = c->soft ? tape_input(t, "soft", DTYPE_REAL, shape_2(c->batch, classes)) : REF_NONE,
                              .scale = scale,
                              .smoothing = r->loss.smoothing});
    if (c->keep)
        tape_keep(t, logits, "logits");
    return loss;
}

void classifier_feed(Program *p, const Classifier *c, const float *images, const int32_t *labels, const float *soft,
                     int64_t count, const uint8_t *kept, int64_t stride, int64_t total)
{
    const Recipe *r = c->recipe;
    size_t size = (size_t)c->encoder.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
    size_t real = device_element(program_device(p), DTYPE_REAL), classes = (size_t)r->head.classes;
    char *image = program_input(p, "image"), *dense = program_input(p, "soft");
    int32_t *to = program_input(p, "labels");
    const float one = 1 / (float)total;
    program_write_real(p, program_input(p, "scale"), &one, 1);
    for (int64_t i = 0; i < c->batch; i++) {
        size_t from = i < count ? (size_t)i : 0;
        program_write_real(p, image + (size_t)i * size * real, images + from * size, size);
        if (to)
            to[i] = i < count ? labels[i] : -1;
        if (dense && i < count)
            program_write_real(p, dense + (size_t)i * classes * real, soft + from * classes, classes);
        else if (dense)
            memset(dense + (size_t)i * classes * real, 0, classes * real); /* so that it adds nothing */
    }
    drop_path_feed(p, &c->drop, c->batch, count, kept, stride);
}

bool classifier_accepts(const Classifier *c, const int32_t *labels, int64_t count)
{
    for (int64_t i = 0; !c->soft && i < count; i++)
        if (!labels || labels[i] < 0 || labels[i] >= c->recipe->head.classes)
            return error_set("picture %lld of the batch has the label %d, which is none of the %d of head.classes",
                             (long long)i, labels ? (int)labels[i] : -1, c->recipe->head.classes);
    return true;
}
