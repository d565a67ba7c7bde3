#include "controls/contrast.h"

#include "base/error.h"
#include "nn/layers.h"
#include "ops/add/add.h"
#include "ops/affine/affine.h"
#include "ops/batch_norm/batch_norm.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/hits/hits.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/pool/pool.h"
#include "ops/unit_rows/unit_rows.h"

static const double BATCH_NORM_EPS = 1e-5;

bool contrast_open(Contrast *c, const Recipe *r, ParamSet *averaged, int64_t batch)
{
    *c = (Contrast){.recipe = r, .encoder = encoder_config(r), .averaged = averaged, .batch = batch};
    c->encoder.mask_token = false;
    for (int i = 0; i < r->optimizer.no_decay.count; i++)
        c->no_decay[i] = r->optimizer.no_decay.names[i];
    int64_t tokens = recipe_patches(r) + (int64_t)c->encoder.class_tokens;
    if (batch > INT32_MAX / tokens)
        return error_set("contrast.group: %lld pictures of %lld tokens are more than a program can number; use a smaller group",
                         (long long)batch, (long long)tokens);
    return batch >= 2 || error_set("contrast.group: a picture is compared with others, so at least 2 are needed at once");
}

/* Linear maps without bias, each but the last followed by a batch norm and a ReLU, the last by a batch norm alone. Statistics
 * are those of the batch, in training and always: nothing evaluates these heads. */
static Ref head(Tape *t, const char *name, Ref x, const int64_t *widths, int maps)
{
    scope_push(t, "%s", name);
    for (int i = 0; i < maps; i++) {
        LinearArgs map = layer_none();
        int64_t in = ref_columns(t, x);
        scope_push(t, "%d", i);
        map.w = param(t, "weight", shape_2(widths[i], in), init_contrast_weight(in));
        x = batch_norm(t, layer_apply(t, map, x), REF_NONE, 0, BATCH_NORM_EPS);
        if (i < maps - 1) {
            Norm norm = norm_params(t, "norm", widths[i], 0, init_constant(0));
            x = affine_relu(t, x, norm.gamma, norm.beta);
        }
        scope_pop(t);
    }
    scope_pop(t);
    return x;
}

/* Projections (batch, dim) of pictures. */
static Ref project(Tape *t, const Contrast *c, Ref image)
{
    const Recipe *r = c->recipe;
    const BlockConfig *b = &c->encoder.block;
    Ref x = pool(t, encoder_whole(t, &c->encoder, image, c->batch, NULL), 0, 1);
    Norm norm = norm_params(t, "norm", b->width, b->norm_eps, init_constant(0));
    x = layer_norm(t, x, norm.gamma, norm.beta, norm.eps);
    return head(t, "projector", x, (int64_t[]){r->contrast.hidden, r->contrast.hidden, r->contrast.dim}, 3);
}

static Ref query(Tape *t, const Contrast *c, Ref image)
{
    const Recipe *r = c->recipe;
    Ref x = head(t, "predictor", project(t, c, image), (int64_t[]){r->contrast.hidden, r->contrast.dim}, 2);
    return unit_rows(t, x, 1 / r->contrast.temperature);
}

/* Each query's similarities with all keys; its own picture's is the right one. */
static Ref compare(Tape *t, const Contrast *c, Ref queries, Ref keys, Ref labels, Ref *share)
{
    LinearArgs map = layer_none();
    map.w = keys;
    Ref logits = layer_apply(t, map, queries);
    *share = hits(t, logits, labels, tape_input(t, "share", DTYPE_REAL, shape_0()));
    return cross_entropy(t, (CrossEntropyArgs){.logits = logits,
                                               .classes = c->batch,
                                               .labels = labels,
                                               .targets = REF_NONE,
                                               .scale = tape_input(t, "scale", DTYPE_REAL, shape_0())});
}

Ref contrast_forward(Tape *t, const Contrast *c, Ref *share)
{
    const Recipe *r = c->recipe;
    static const char *const names[] = {"image", "image.second"};
    Ref image[2], queries[2], keys[2], shares[2];
    tape_decay_rule(t, c->no_decay, r->optimizer.no_decay.count, r->optimizer.decay_all);
    for (int v = 0; v < 2; v++) {
        image[v] =
            tape_input(t, names[v], DTYPE_REAL, shape_4(c->batch, c->encoder.channels, r->image.size[0], r->image.size[1]));
        queries[v] = query(t, c, image[v]);
    }
    ParamsInUse student = tape_params_in_use(t);
    tape_use_params(t, c->averaged, "teacher", false);
    for (int v = 0; v < 2; v++)
        keys[v] = unit_rows(t, project(t, c, image[v]), 1);
    tape_params_use_again(t, student);
    Ref labels = tape_input(t, "labels", DTYPE_I32, shape_1(c->batch));
    Ref there = compare(t, c, queries[0], keys[1], labels, &shares[0]),
        back = compare(t, c, queries[1], keys[0], labels, &shares[1]);
    *share = add(t, shares[0], shares[1]);
    return add(t, there, back);
}

void contrast_feed(Program *p, const Contrast *c, const float *first, const float *second, int64_t total)
{
    const Recipe *r = c->recipe;
    size_t size = (size_t)c->batch * (size_t)c->encoder.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
    /* Both directions count, each times twice the temperature. */
    float scale = (float)(2 * r->contrast.temperature / (double)total), share = (float)(0.5 / (double)total);
    int32_t *labels = program_input(p, "labels");
    for (int64_t i = 0; i < c->batch; i++)
        labels[i] = (int32_t)i;
    program_write_real(p, program_input(p, "image"), first, size);
    program_write_real(p, program_input(p, "image.second"), second, size);
    program_write_real(p, program_input(p, "scale"), &scale, 1);
    program_write_real(p, program_input(p, "share"), &share, 1);
}
