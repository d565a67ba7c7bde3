#include "transfer/export.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "mim/model.h"
#include "train/weights.h"
#include "transfer/backbone.h"
#include "transfer/features.h"

enum { EXAMPLES = 2, NAME_BYTES = 128 };

/* What timm's ViT adds to every layer norm's variance. */
#define TIMM_NORM_EPS 1e-6

/* ---- tensors to be written */

typedef struct {
    SafeTensor *tensors;
    size_t count, capacity;
    void **owned; /* names and numbers made here */
    size_t owned_count, owned_capacity;
} Tensors;

static void tensors_free(Tensors *t)
{
    for (size_t i = 0; i < t->owned_count; i++)
        memory_free(t->owned[i]);
    memory_free(t->owned);
    memory_free(t->tensors);
    *t = (Tensors){0};
}

/* Keeps a block until tensors_free(); the block itself is freed when that fails. NULL stays NULL. */
static void *own(Tensors *t, void *block)
{
    if (block && !memory_grow((void **)&t->owned, t->owned_count, &t->owned_capacity, sizeof *t->owned)) {
        memory_free(block);
        block = NULL;
    }
    if (block)
        t->owned[t->owned_count++] = block;
    return block;
}

static bool add(Tensors *t, SafeTensor tensor)
{
    if (!memory_grow((void **)&t->tensors, t->count, &t->capacity, sizeof *t->tensors))
        return false;
    t->tensors[t->count++] = tensor;
    return true;
}

static bool add_param(Tensors *t, const Backbone *b, const Param *p)
{
    SafeTensor tensor = {.name = p->name,
                         .dtype = SAFETENSORS_F32,
                         .ndim = p->shape.n,
                         .data = (p->kind == PARAM_TRAINED ? b->weights : b->fixed) + p->offset};
    for (int i = 0; i < p->shape.n; i++)
        tensor.shape[i] = p->shape.d[i];
    return add(t, tensor);
}

/* A vector of numbers, zeros at first. NULL after error_set(). */
static float *add_vector(Tensors *t, const char *name, int64_t count)
{
    char *copy = own(t, memory_string(name));
    float *numbers = copy ? own(t, memory_new((size_t)count, sizeof *numbers)) : NULL;
    SafeTensor tensor = {.name = copy, .dtype = SAFETENSORS_F32, .ndim = 1, .shape = {count}, .data = numbers};
    return numbers && add(t, tensor) ? numbers : NULL;
}

static const float *weights_of(const Backbone *b, const char *name)
{
    int at = param_find(&b->params, name);
    return at < 0 ? NULL : b->weights + b->params.params[at].offset;
}

/* The token for hidden patches is no part of what an encoder makes of a picture. */
static bool is_of_pretraining(const char *name)
{
    return !strcmp(name, "mask_token") || !strncmp(name, "decoders.", 9);
}

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

/* blocks.I.attn.q_bias and v_bias as timm's one vector: keys have a bias of zero. */
static bool join_biases(Tensors *t, const Backbone *b, const Param *q)
{
    char name[NAME_BYTES];
    size_t width = (size_t)q->count, stem = strlen(q->name) - strlen("q_bias");
    snprintf(name, sizeof name, "%.*sv_bias", (int)stem, q->name);
    const float *v = weights_of(b, name);
    snprintf(name, sizeof name, "%.*sqkv.bias", (int)stem, q->name);
    float *bias = v ? add_vector(t, name, 3 * q->count) : NULL;
    if (!bias)
        return v || error_set("%s stands without its v_bias", q->name);
    memcpy(bias, b->weights + q->offset, width * sizeof *bias);
    memcpy(bias + 2 * width, v, width * sizeof *bias);
    return true;
}

/* The encoder's tensors, under the names that timm shares with us; with `timm`, also in its forms. */
static bool list_encoder(Tensors *t, const Backbone *b, bool timm)
{
    const Recipe *r = &b->recipe;
    bool ok = true;
    for (size_t i = 0; ok && i < b->params.count; i++) {
        const Param *p = &b->params.params[i];
        if (is_of_pretraining(p->name) || (timm && ends_in(p->name, ".v_bias")))
            continue;
        ok = timm && ends_in(p->name, ".q_bias") ? join_biases(t, b, p) : add_param(t, b, p);
    }
    if (ok && timm && !r->encoder.patch_bias && !r->encoder.norm_pre) /* timm has one here */
        ok = add_vector(t, "patch_embed.proj.bias", r->encoder.width) != NULL;
    return ok;
}

/* ---- what timm can carry */

static bool timm_has(const Recipe *r)
{
    if (r->encoder.kind != ENCODER_VIT)
        return error_set("encoder.kind %s: only a vit can be exported so far",
                         recipe_word("encoder.kind", (int)r->encoder.kind));
    if (r->encoder.position == ENCODER_POSITION_RELATIVE || r->encoder.position == ENCODER_POSITION_RELATIVE_PER_BLOCK)
        return error_set("encoder.position %s: timm's ViT has no biases of the attention; use --format safetensors",
                         recipe_word("encoder.position", (int)r->encoder.position));
    if (r->encoder.class_token > 1)
        return error_set("encoder.class_token %d: timm's ViT has one class token; use --format safetensors",
                         r->encoder.class_token);
    if (r->encoder.norm_eps != TIMM_NORM_EPS)
        return error_set("encoder.norm_eps %g: timm's ViT has %g and no setting for it", r->encoder.norm_eps, TIMM_NORM_EPS);
    if (r->encoder.norm_pre && r->encoder.patch_bias)
        return error_set("encoder.norm_pre with encoder.patch_bias: timm's ViT has either of them, not both");
    if (floor(r->encoder.width * r->encoder.mlp_ratio) != (double)llround(r->encoder.width * r->encoder.mlp_ratio))
        return error_set("encoder.mlp_ratio %g: timm rounds the MLP's width down, here it is %lld", r->encoder.mlp_ratio,
                         llround(r->encoder.width * r->encoder.mlp_ratio));
    return true;
}

static void add_floats(Text *out, const char *key, const RecipeStatistics *statistics, bool deviation, int channels)
{
    float values[RECIPE_CHANNELS_MAX] = {0};
    recipe_statistics(statistics, deviation, channels, values);
    text_add(out, "    \"%s\": [", key);
    for (int i = 0; i < channels; i++)
        text_add(out, "%s%.9g", i ? ", " : "", (double)values[i]);
    text_add(out, "],\n");
}

/* config.json: any of timm's ViTs serves as the architecture, since every size is an argument. */
static void add_config(Text *out, const Recipe *r)
{
    const char *pool = r->encoder.class_token ? "token" : "avg";
    int height = r->image.size[0], width = r->image.size[1];
    text_add(out, "{\n  \"architecture\": \"vit_base_patch16_224\",\n  \"num_classes\": 0,\n  \"num_features\": %d,\n",
             r->encoder.width);
    text_add(out, "  \"global_pool\": \"%s\",\n  \"model_args\": {\n", pool);
    text_add(out, "    \"img_size\": [%d, %d],\n    \"patch_size\": %d,\n    \"in_chans\": %d,\n", height, width,
             r->encoder.patch, r->image.channels);
    text_add(out, "    \"embed_dim\": %d,\n    \"depth\": %d,\n    \"num_heads\": %d,\n    \"mlp_ratio\": %.17g,\n",
             r->encoder.width, recipe_depth(r), r->encoder.heads, r->encoder.mlp_ratio);
    text_add(out, "    \"qkv_bias\": %s,\n", r->encoder.qkv_bias == QKV_BIAS_FALSE ? "false" : "true");
    if (r->encoder.layer_scale > 0)
        text_add(out, "    \"init_values\": %.17g,\n", r->encoder.layer_scale);
    if (r->encoder.activation == ENCODER_ACTIVATION_QUICK_GELU)
        text_add(out, "    \"act_layer\": \"quick_gelu\",\n");
    if (r->encoder.position == ENCODER_POSITION_NONE)
        text_add(out, "    \"pos_embed\": \"none\",\n");
    if (r->encoder.norm_pre)
        text_add(out, "    \"pre_norm\": true,\n");
    /* The norm of pre-training goes over every token, before they are pooled. */
    text_add(out,
             "    \"class_token\": %s,\n    \"global_pool\": \"%s\",\n    \"final_norm\": %s,\n    \"fc_norm\": false\n  },\n",
             r->encoder.class_token ? "true" : "false", pool, mim_has_norm(r) ? "true" : "false");
    text_add(out, "  \"pretrained_cfg\": {\n    \"num_classes\": 0,\n    \"input_size\": [%d, %d, %d],\n", r->image.channels,
             height, width);
    text_add(out, "    \"fixed_input_size\": true,\n    \"interpolation\": \"bicubic\",\n    \"crop_pct\": 0.875,\n");
    add_floats(out, "mean", &r->image.mean, false, r->image.channels);
    add_floats(out, "std", &r->image.std, true, r->image.channels);
    text_add(out, "    \"first_conv\": \"patch_embed.proj\",\n    \"classifier\": \"head\"\n  }\n}\n");
}

/* ---- files */

static bool write_tensors(const char *folder, const char *name, const Tensors *t, const SafeMetadata *metadata, size_t count)
{
    char *path = file_join(folder, name);
    bool ok = path && safetensors_write(path, t->tensors, t->count, metadata, count);
    memory_free(path);
    return ok;
}

static bool write_config(const char *folder, const Recipe *r)
{
    Text config = {0};
    char *path = file_join(folder, "config.json");
    add_config(&config, r);
    bool ok = path && !config.failed && file_write(path, config.data, config.length);
    memory_free(path);
    text_free(&config);
    return ok;
}

/* All of the checkpoint that the encoder is not. */
static bool write_decoders(const char *folder, const Weights *file, const Recipe *recipe)
{
    Tensors t = {0};
    Text yaml = {0};
    recipe_write(recipe, &yaml);
    SafeMetadata metadata[] = {{"format", "lacuna"}, {"version", LACUNA_VERSION}, {"recipe", yaml.data}};
    bool ok = !yaml.failed;
    for (size_t i = 0; ok && i < weights_count(file); i++) {
        const Weight *w = weights_at(file, i);
        if (!is_of_pretraining(w->name))
            continue;
        float *numbers = own(&t, memory_new((size_t)weight_count(w), sizeof *numbers));
        SafeTensor tensor = {.name = w->name, .dtype = SAFETENSORS_F32, .ndim = w->ndim, .data = numbers};
        memcpy(tensor.shape, w->shape, sizeof *w->shape * (size_t)w->ndim);
        ok = numbers != NULL;
        if (ok)
            weight_to_f32(w, numbers);
        ok = ok && add(&t, tensor);
    }
    ok =
        ok && (t.count == 0 || write_tensors(folder, "decoders.safetensors", &t, metadata, sizeof metadata / sizeof *metadata));
    tensors_free(&t);
    text_free(&yaml);
    return ok;
}

/* Pictures that draw on every weight, and what becomes of them. */
static bool write_example(const char *folder, Backbone *b, const Device *device)
{
    const Recipe *r = &b->recipe;
    FeatureWant want = {
        .block = recipe_depth(r), .norm = mim_has_norm(r), .pool = r->encoder.class_token ? FEATURE_TOKENS : FEATURE_PATCHES};
    Features *features = features_open(b, &(FeaturesOptions){.device = *device, .batch = EXAMPLES, .wants = &want, .count = 1});
    if (!features)
        return false;
    int64_t rows = features_rows(features, 0), width = features_width(features, 0);
    size_t numbers = (size_t)EXAMPLES * (size_t)r->image.channels * (size_t)r->image.size[0] * (size_t)r->image.size[1];
    float *images = memory_new(numbers, sizeof *images);
    float *tokens = memory_new((size_t)(EXAMPLES * rows * width), sizeof *tokens);
    bool ok = images && tokens;
    Random random = random_stream(0, RANDOM_BENCH, 0, 0, 0);
    for (size_t i = 0; ok && i < numbers; i++)
        images[i] = (float)random_normal(&random);
    ok = ok && features_run(features, images, EXAMPLES) && features_read(features, 0, EXAMPLES, tokens);
    if (ok) {
        SafeTensor pair[] = {
            {.name = "image",
             .dtype = SAFETENSORS_F32,
             .ndim = 4,
             .shape = {EXAMPLES, r->image.channels, r->image.size[0], r->image.size[1]},
             .data = images},
            {.name = "tokens", .dtype = SAFETENSORS_F32, .ndim = 3, .shape = {EXAMPLES, rows, width}, .data = tokens}};
        ok = write_tensors(folder, "example.safetensors", &(Tensors){.tensors = pair, .count = 2}, NULL, 0);
    }
    memory_free(images);
    memory_free(tokens);
    features_close(features);
    return ok;
}

static bool write_folder(const char *folder, Backbone *b, const Weights *file, const Device *device)
{
    static const SafeMetadata metadata[] = {{"format", "pt"}}; /* as PyTorch's programs mark their files */
    Tensors encoder = {0};
    bool ok = file_make_folder(folder) && list_encoder(&encoder, b, true) &&
              write_tensors(folder, "model.safetensors", &encoder, metadata, 1) && write_config(folder, &b->recipe) &&
              write_decoders(folder, file, &b->recipe) && write_example(folder, b, device);
    tensors_free(&encoder);
    return ok;
}

bool export_timm(const char *from, const char *out, const Device *device, Text *note)
{
    Text made = {0}; /* OUT.tmp, until all of it is there */
    Weights *file = NULL;
    Recipe *recipe = memory_new(1, sizeof *recipe);
    Backbone *b = NULL;
    bool ok = recipe && (!file_exists(out) || error_set("%s is there already: choose another name, or move it away", out));
    ok = ok && (b = backbone_open(from, note)) && timm_has(&b->recipe) && (file = weights_open(from, recipe, NULL));
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/')
        length--;
    if (ok) {
        text_add(&made, "%.*s.tmp", (int)length, out);
        ok = !made.failed && file_remove(made.data) && write_folder(made.data, b, file, device) && file_sync(made.data) &&
             (rename(made.data, out) == 0 || error_set("cannot rename %s to %s: %s", made.data, out, strerror(errno)));
    }
    if (!ok && made.length) {
        char *why = memory_string(error_text());
        file_remove(made.data);
        if (why)
            error_set("%s", why);
        memory_free(why);
    }
    weights_close(file);
    backbone_close(b);
    memory_free(recipe);
    text_free(&made);
    return ok || error_context("exporting %s", from);
}

bool export_safetensors(const char *from, const char *out, Text *note)
{
    Tensors encoder = {0};
    Text yaml = {0};
    Backbone *b = backbone_open(from, note);
    bool ok = b && (!file_exists(out) || error_set("%s is there already: choose another name, or move it away", out));
    if (ok) {
        recipe_write(&b->recipe, &yaml);
        SafeMetadata metadata[] = {{"format", "lacuna"}, {"version", LACUNA_VERSION}, {"recipe", yaml.data}};
        ok = !yaml.failed && list_encoder(&encoder, b, false) &&
             safetensors_write(out, encoder.tensors, encoder.count, metadata, sizeof metadata / sizeof *metadata);
    }
    text_free(&yaml);
    tensors_free(&encoder);
    backbone_close(b);
    return ok || error_context("exporting %s", from);
}
