/* The network that weights are of, told by their shapes and by what the file says beside them (docs/spec/transfer.md D). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "nn/foreign_parts.h"
#include "nn/position.h"

enum { NAME_BYTES = 128, DEPTH_MOST = 512, DECODER_HEADS = 16, SIDE_MOST = 16384, HIDDEN_MOST = 1 << 24 };

/* Any number but 0 says that there is a layer scale; its values are in the file. */
#define LAYER_SCALE 0.1

/* How far a table may be from the sines that it is taken for. */
#define SINCOS_ERROR 1e-5f

/* ---- shapes */

/* A name of three parts; one that is too long is none. */
static const char *join(char name[NAME_BYTES], const char *a, const char *b, const char *c)
{
    if (snprintf(name, NAME_BYTES, "%s%s%s", a, b, c) >= NAME_BYTES)
        name[0] = 0;
    return name;
}

/* A prefix like "decoders.3." */
static const char *numbered(char name[NAME_BYTES], const char *a, const char *b, int number)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%d.", number);
    return join(name, a, b, digits);
}

static bool has(const Foreign *f, const char *name)
{
    return foreign_weight(f, name) != NULL;
}

static void add_shape(Text *out, int ndim, const int64_t *shape)
{
    text_add(out, "[");
    for (int i = 0; i < ndim; i++)
        text_add(out, "%s%" PRId64, i ? ", " : "", shape[i]);
    text_add(out, "]");
}

static bool wrong_shape(const Weight *w, int ndim, const int64_t *shape)
{
    Text words = {0};
    add_shape(&words, w->ndim, w->shape);
    text_add(&words, " and should be ");
    add_shape(&words, ndim, shape);
    error_set("%s is %s", w->name, words.data ? words.data : "of another shape");
    text_free(&words);
    return false;
}

/* Gives a weight a shape of as many numbers; false after error_set() when it is missing or has another number. */
static bool need(const Foreign *f, const char *name, int ndim, const int64_t *shape)
{
    Weight *w = foreign_weight(f, name);
    int64_t count = 1;
    if (!w)
        return error_set("%s is missing", name);
    for (int i = 0; i < ndim; i++)
        count *= shape[i];
    if (weight_count(w) != count)
        return wrong_shape(w, ndim, shape);
    /* Ones may be added or left out, nothing else. */
    int own = 0;
    for (int i = 0; i < ndim; i++) {
        while (own < w->ndim && w->shape[own] == 1 && shape[i] != 1)
            own++;
        if (shape[i] == 1)
            own += own < w->ndim && w->shape[own] == 1;
        else if (own >= w->ndim || w->shape[own++] != shape[i])
            return wrong_shape(w, ndim, shape);
    }
    w->ndim = ndim;
    memcpy(w->shape, shape, sizeof *shape * (size_t)ndim);
    return true;
}

static bool need_1(const Foreign *f, const char *prefix, const char *name, const char *end, int64_t a)
{
    char full[NAME_BYTES];
    return need(f, join(full, prefix, name, end), 1, (int64_t[]){a});
}

static bool need_2(const Foreign *f, const char *prefix, const char *name, const char *end, int64_t a, int64_t b)
{
    char full[NAME_BYTES];
    return need(f, join(full, prefix, name, end), 2, (int64_t[]){a, b});
}

static bool need_norm(const Foreign *f, const char *prefix, const char *norm, int64_t width)
{
    return need_1(f, prefix, norm, ".weight", width) && need_1(f, prefix, norm, ".bias", width);
}

static bool need_map(const Foreign *f, const char *prefix, const char *map, int64_t outputs, int64_t inputs)
{
    return need_2(f, prefix, map, ".weight", outputs, inputs) && need_1(f, prefix, map, ".bias", outputs);
}

/* All that a block PREFIX of such an encoder has. */
static bool need_block(const Foreign *f, const char *prefix, const Recipe *r, int64_t width, bool scaled)
{
    int64_t hidden = llround(r->encoder.mlp_ratio * (double)width);
    bool ok = need_norm(f, prefix, "norm1", width) && need_norm(f, prefix, "norm2", width) &&
              need_2(f, prefix, "attn.qkv", ".weight", 3 * width, width) && need_map(f, prefix, "attn.proj", width, width) &&
              need_map(f, prefix, "mlp.fc1", hidden, width) && need_map(f, prefix, "mlp.fc2", width, hidden);
    if (ok && r->encoder.qkv_bias == QKV_BIAS_TRUE)
        ok = need_1(f, prefix, "attn.qkv", ".bias", 3 * width);
    if (ok && r->encoder.qkv_bias == QKV_BIAS_NO_K)
        ok = need_1(f, prefix, "attn.", "q_bias", width) && need_1(f, prefix, "attn.", "v_bias", width);
    if (ok && scaled)
        ok = need_1(f, prefix, "ls1.", "gamma", width) && need_1(f, prefix, "ls2.", "gamma", width);
    return ok;
}

/* Blocks from PREFIX 0 on. */
static int count_blocks(const Foreign *f, const char *prefix)
{
    char block[NAME_BYTES], name[NAME_BYTES];
    int count = 0;
    while (count < DEPTH_MOST && has(f, join(name, numbered(block, prefix, "blocks.", count), "norm1.weight", "")))
        count++;
    return count;
}

/* No block lies behind a gap, nor has one a bias or a scale that block 0 lacks: they would be left out without a word. */
static bool check_blocks(const Foreign *f, const char *prefix, int depth)
{
    char first[NAME_BYTES], blocks[NAME_BYTES];
    size_t n = strlen(join(blocks, prefix, "blocks.", ""));
    for (size_t i = 0; i < f->count; i++) {
        const char *name = f->weights[i].name, *rest = name + n;
        if (strncmp(name, blocks, n) != 0)
            continue;
        int number = 0;
        while (*rest >= '0' && *rest <= '9' && number < depth)
            number = 10 * number + (*rest++ - '0');
        if (number >= depth)
            return error_set("it has %.200s but no %s%d.norm1.weight", name, blocks, depth);
        if (!has(f, join(first, blocks, "0", rest)))
            return error_set("it has %.200s but no %s0%.100s", name, blocks, rest);
    }
    return true;
}

/* ---- encoder */

static int64_t whole_root(int64_t square)
{
    int64_t root = llround(sqrt((double)square));
    return root * root == square ? root : 0;
}

static bool describe_patches(Foreign *f, Recipe *r)
{
    Weight *w = foreign_weight(f, "patch_embed.proj.weight");
    int64_t patch = 0, channels = 3;
    if (!w)
        return error_set("patch_embed.proj.weight is missing");
    if (w->ndim == 4) {
        channels = w->shape[1];
        patch = w->shape[2] == w->shape[3] ? w->shape[2] : 0;
    } else if (w->ndim == 2) {
        patch = w->shape[1] % 3 ? 0 : whole_root(w->shape[1] / 3);
    }
    if (patch < 1 || patch > 4096 || channels < 1 || channels > RECIPE_CHANNELS_MAX || w->shape[0] < 1 || w->shape[0] > 65536)
        return error_set("patch_embed.proj.weight is no map of square patches of up to %d channels", RECIPE_CHANNELS_MAX);
    r->encoder.patch = (int)patch;
    r->encoder.width = (int)w->shape[0];
    r->image.channels = (int)channels;
    w->ndim = 4;
    memcpy(w->shape, (int64_t[]){r->encoder.width, channels, patch, patch}, 4 * sizeof *w->shape);
    r->encoder.patch_bias = has(f, "patch_embed.proj.bias");
    return !r->encoder.patch_bias || need_1(f, "patch_embed.proj", ".bias", "", r->encoder.width);
}

static bool describe_heads(const Foreign *f, Recipe *r)
{
    static const int known[][2] = {{192, 3},   {384, 6},   {768, 12},  {1024, 16}, {1152, 16},
                                   {1280, 16}, {1408, 16}, {1536, 24}, {1664, 16}};
    static const char *const keys[] = {"num_attention_heads", "vision_config.num_attention_heads", "model_args.num_heads",
                                       "num_heads"};
    const Weight *table = foreign_weight(f, "rel_pos_bias.relative_position_bias_table");
    double heads = 0;
    table = table ? table : foreign_weight(f, "blocks.0.attn.relative_position_bias_table");
    for (size_t i = 0; !heads && i < sizeof keys / sizeof *keys; i++)
        if (!state_number(f->state, keys[i], &heads))
            heads = 0;
    if (!heads && table && table->ndim == 2)
        heads = (double)table->shape[1];
    if (!heads && (f->moco || r->encoder.init == ENCODER_INIT_MOCO) && r->encoder.width == 384)
        heads = 12;
    for (size_t i = 0; !heads && i < sizeof known / sizeof *known; i++)
        if (known[i][0] == r->encoder.width)
            heads = known[i][1];
    if (!heads && (f->names == NAMES_CLIP || f->names == NAMES_HF_CLIP) && r->encoder.width % 64 == 0)
        heads = floor(r->encoder.width / 64.0);
    if (!heads)
        return error_set(
            "the file does not tell how many attention heads share its width of %d; put it as model.safetensors or "
            "pytorch_model.bin into a folder with a config.json that says {\"num_attention_heads\": N}",
            r->encoder.width);
    if (!(heads >= 1 && heads <= 1024) || heads != floor(heads) || r->encoder.width % (int)heads)
        return error_set("%g attention heads cannot share a width of %d", heads, r->encoder.width);
    r->encoder.heads = (int)heads;
    return true;
}

static bool describe_blocks(Foreign *f, Recipe *r)
{
    const Weight *fc1 = foreign_weight(f, "blocks.0.mlp.fc1.weight");
    r->encoder.depth = count_blocks(f, "");
    if (!r->encoder.depth || !fc1 || fc1->ndim != 2 || fc1->shape[0] < 1)
        return error_set("blocks.0.%s is missing", fc1 ? "norm1.weight" : "mlp.fc1.weight");
    if (fc1->shape[0] > HIDDEN_MOST)
        return error_set("blocks.0.mlp.fc1.weight makes more than %d numbers", HIDDEN_MOST);
    r->encoder.mlp_ratio = (double)fc1->shape[0] / r->encoder.width;
    r->encoder.qkv_bias = has(f, "blocks.0.attn.q_bias") || has(f, "blocks.0.attn.v_bias") ? QKV_BIAS_NO_K
                          : has(f, "blocks.0.attn.qkv.bias")                               ? QKV_BIAS_TRUE
                                                                                           : QKV_BIAS_FALSE;
    bool scaled = has(f, "blocks.0.ls1.gamma") || has(f, "blocks.0.ls2.gamma");
    r->encoder.layer_scale = scaled ? LAYER_SCALE : 0;
    for (int i = 0; i < r->encoder.depth; i++) {
        char prefix[NAME_BYTES];
        if (!need_block(f, numbered(prefix, "", "blocks.", i), r, r->encoder.width, scaled))
            return false;
    }
    if (!check_blocks(f, "", r->encoder.depth))
        return false;
    r->encoder.norm_pre = has(f, "norm_pre.weight");
    r->encoder.final_norm = has(f, "norm.weight");
    return (!r->encoder.norm_pre || need_norm(f, "", "norm_pre", r->encoder.width)) &&
           (!r->encoder.final_norm || need_norm(f, "", "norm", r->encoder.width));
}

/* ---- positions, and with them the size of pictures */

/* Rows and columns of patches: what the file says beside its weights, else a square. */
static bool find_grid(const Foreign *f, int64_t places, int patch, int64_t grid[2])
{
    static const char *const keys[] = {"pretrained_cfg.input_size", "model_args.img_size", "image_size"};
    float size[3];
    for (int i = 0; i < 3; i++)
        if (state_numbers(f->state, keys[i], i ? 2 : 3, size)) {
            const float *sides = i ? size : size + 1;
            if (!(sides[0] >= 1 && sides[0] <= SIDE_MOST && sides[1] >= 1 && sides[1] <= SIDE_MOST))
                continue;
            grid[0] = (int64_t)sides[0] / patch;
            grid[1] = (int64_t)sides[1] / patch;
            if (grid[0] * grid[1] == places)
                return true;
        }
    grid[0] = grid[1] = whole_root(places);
    return grid[0] > 0;
}

static bool is_sincos(const Recipe *r, const Weight *table, bool row_first)
{
    size_t count = (size_t)weight_count(table);
    if (r->encoder.width % 4 || r->encoder.class_token > 1)
        return false;
    float *given = memory_new(count, sizeof *given), *made = memory_new(count, sizeof *made);
    bool same = given && made;
    if (same) {
        int rows, columns;
        recipe_grid(r, &rows, &columns);
        weight_to_f32(table, given);
        position_sincos(rows, columns, r->encoder.width, r->encoder.class_token > 0, made);
        if (row_first)
            position_swap_halves(made, (long)(count / (size_t)r->encoder.width), r->encoder.width);
        for (size_t i = 0; same && i < count; i++)
            same = fabsf(given[i] - made[i]) <= SINCOS_ERROR;
    }
    memory_free(given);
    memory_free(made);
    return same;
}

/* A table without rows for class tokens, which timm's no_embed_class adds to patches alone: zeros come in front. */
static bool pad_table(Weight *table, int64_t rows, int64_t width)
{
    if (table->piece_count != 1)
        return error_set("pos_embed is of an unknown form");
    table->pieces[1] = table->pieces[0];
    table->pieces[0] = (WeightPiece){.zeros = rows * width};
    table->piece_count = 2;
    return true;
}

static bool describe_table(Foreign *f, Recipe *r, Weight *table, int64_t grid[2])
{
    int64_t width = r->encoder.width, tokens = r->encoder.class_token, rows = weight_count(table) / width;
    if (table->ndim < 2 || table->shape[table->ndim - 1] != width || rows < 1 || rows > 1 << 24)
        return error_set("pos_embed is no table of rows of %" PRId64 " numbers", width);
    bool whole = rows > tokens && find_grid(f, rows - tokens, r->encoder.patch, grid);
    if (!whole && (!tokens || !find_grid(f, rows, r->encoder.patch, grid) || !pad_table(table, tokens, width)))
        return error_set("pos_embed has %" PRId64 " rows, which with %" PRId64 " class tokens are no square grid of patches",
                         rows, tokens);
    if (!whole)
        text_add(&f->notes, "Positions have no row for the class token, which gets one of zeros. ");
    table->ndim = 3;
    memcpy(table->shape, (int64_t[]){1, grid[0] * grid[1] + tokens, width}, 3 * sizeof *table->shape);
    return true;
}

/* T = (2G - 1)^2, and 3 more with a class token. */
static bool describe_relative(const Foreign *f, const Recipe *r, const Weight *table, int64_t grid[2])
{
    int64_t rows = table->shape[0] - (r->encoder.class_token ? 3 : 0), side = rows > 0 ? whole_root(rows) : 0;
    if (table->ndim != 2 || side % 2 == 0)
        return error_set("%s is no table of a square grid", table->name);
    grid[0] = grid[1] = (side + 1) / 2;
    for (int i = 0; r->encoder.position == ENCODER_POSITION_RELATIVE_PER_BLOCK && i < r->encoder.depth; i++) {
        char prefix[NAME_BYTES];
        if (!need_2(f, numbered(prefix, "", "blocks.", i), "attn.relative_position_bias_table", "", table->shape[0],
                    table->shape[1]))
            return false;
    }
    return true;
}

static bool describe_positions(Foreign *f, Recipe *r)
{
    static const char shared[] = "rel_pos_bias.relative_position_bias_table",
                      each[] = "blocks.0.attn.relative_position_bias_table";
    Weight *table = foreign_weight(f, "pos_embed"), *relative = foreign_weight(f, has(f, shared) ? shared : each);
    int64_t grid[2] = {14, 14};
    const Weight *token = foreign_weight(f, "cls_token");
    if (token) {
        int64_t count = weight_count(token) / r->encoder.width;
        if (count < 1 || count > 1024 || weight_count(token) % r->encoder.width ||
            !need(f, "cls_token", 3, (int64_t[]){1, count, r->encoder.width}))
            return error_set("cls_token is no token of %d numbers", r->encoder.width);
        r->encoder.class_token = (int)count;
    } else {
        r->encoder.class_token = 0;
    }
    if (table && relative)
        return error_set(
            "its network has a table of positions and biases of the attention as well, which cannot be carried out "
            "yet (encoder.position)");
    r->encoder.position = table            ? ENCODER_POSITION_LEARNED
                          : !relative      ? ENCODER_POSITION_NONE
                          : has(f, shared) ? ENCODER_POSITION_RELATIVE
                                           : ENCODER_POSITION_RELATIVE_PER_BLOCK;
    if ((table && !describe_table(f, r, table, grid)) || (relative && !describe_relative(f, r, relative, grid)))
        return false;
    for (int i = 0; i < 2; i++) {
        if (grid[i] < 1 || grid[i] > SIDE_MOST || grid[i] * r->encoder.patch > SIDE_MOST)
            return error_set("%" PRId64 " x %" PRId64 " patches of %d pixels are more than is accepted", grid[0], grid[1],
                             r->encoder.patch);
        r->image.size[i] = (int)grid[i] * r->encoder.patch;
    }
    if (table && is_sincos(r, table, false)) {
        r->encoder.position = ENCODER_POSITION_SINCOS;
    } else if (table && is_sincos(r, table, true)) { /* MoCo v3's */
        r->encoder.position = ENCODER_POSITION_SINCOS;
        r->encoder.init = ENCODER_INIT_MOCO;
    } else if (!table && !relative) {
        text_add(&f->notes, "Nothing tells the size of its pictures: %d x %d is assumed. ", r->image.size[0], r->image.size[1]);
    }
    if (relative || has(f, "mask_token")) {
        r->encoder.input = ENCODER_INPUT_MASK_TOKEN;
        if (has(f, "mask_token") && !need(f, "mask_token", 3, (int64_t[]){1, 1, r->encoder.width}))
            return false;
    }
    return true;
}

/* ---- what no shape tells */

static bool describe_activation(Foreign *f, Recipe *r)
{
    static const char *const keys[] = {"hidden_act", "vision_config.hidden_act", "model_args.act_layer"};
    bool clip = f->names == NAMES_CLIP || f->names == NAMES_HF_CLIP;
    const char *named = NULL, *architecture = state_text(f->state, "architecture");
    for (size_t i = 0; !named && i < sizeof keys / sizeof *keys; i++)
        named = state_text(f->state, keys[i]);
    if (!named && architecture && strstr(architecture, "quickgelu"))
        named = "quick_gelu";
    if (!named && (clip || (r->encoder.norm_pre && !architecture)))
        text_add(&f->notes, "The file does not name its activation: %s is assumed. ", clip ? "quick_gelu" : "gelu");
    if (named && strcmp(named, "gelu") != 0 && strcmp(named, "quick_gelu") != 0)
        return error_set("its network has the activation %.40s, which cannot be carried out (encoder.activation)", named);
    r->encoder.activation =
        (named ? !strcmp(named, "quick_gelu") : clip) ? ENCODER_ACTIVATION_QUICK_GELU : ENCODER_ACTIVATION_GELU;
    return true;
}

static bool describe_eps(Foreign *f, Recipe *r)
{
    double eps;
    bool clip = f->names == NAMES_CLIP || f->names == NAMES_HF_CLIP;
    if (state_number(f->state, "layer_norm_eps", &eps) || state_number(f->state, "vision_config.layer_norm_eps", &eps))
        r->encoder.norm_eps = eps;
    else
        r->encoder.norm_eps = clip || r->encoder.norm_pre ? 1e-5 : f->names == NAMES_HF_VIT ? 1e-12 : 1e-6;
    if (f->names == NAMES_HF_VIT && r->encoder.norm_eps == 1e-12)
        text_add(&f->notes, "Its layer norms add 1e-12, as Hugging Face has it by default. ");
    return (r->encoder.norm_eps >= 0 && r->encoder.norm_eps <= 1) ||
           error_set("its layer_norm_eps is %g, which is not between 0 and 1", r->encoder.norm_eps);
}

static bool describe_statistics(Foreign *f, Recipe *r)
{
    static const char *const keys[][2] = {{"image_mean", "image_std"}, {"pretrained_cfg.mean", "pretrained_cfg.std"}};
    float mean[RECIPE_CHANNELS_MAX], std[RECIPE_CHANNELS_MAX];
    bool clip = f->names == NAMES_CLIP || f->names == NAMES_HF_CLIP || r->encoder.norm_pre;
    for (int i = 0; i < 2; i++) {
        if (!state_numbers(f->state, keys[i][0], r->image.channels, mean) ||
            !state_numbers(f->state, keys[i][1], r->image.channels, std))
            continue;
        for (int k = 0; k < r->image.channels; k++)
            if (!isfinite(mean[k]) || !(std[k] >= 1e-6f && std[k] <= 1e3f) || fabsf(mean[k]) > 1e3f)
                return error_set("its config names a mean or deviation of pictures that is none");
        recipe_statistics_set(&r->image.mean, r->image.channels, mean);
        recipe_statistics_set(&r->image.std, r->image.channels, std);
        return true;
    }
    if (r->image.channels != 3 || (f->names == NAMES_HF_VIT && !has(f, "decoders.0.embed.weight"))) {
        for (int k = 0; k < r->image.channels; k++)
            mean[k] = std[k] = 0.5f;
        recipe_statistics_set(&r->image.mean, r->image.channels, mean);
        recipe_statistics_set(&r->image.std, r->image.channels, std);
        text_add(&f->notes, "The file does not say how pictures are normalised: mean and deviation 0.5 are assumed. ");
        return true;
    }
    r->image.mean.kind = r->image.std.kind = clip ? STATISTICS_CLIP : STATISTICS_IMAGENET;
    if (!clip && f->names == NAMES_TIMM && !f->simmim && !f->dino && !f->moco && !has(f, "decoders.0.embed.weight"))
        text_add(&f->notes, "The file does not say how pictures are normalised: ImageNet's mean and deviation are assumed. ");
    return true;
}

/* ---- decoders */

/* A decoder of transformer blocks; false without an error when it does not fit together. */
static bool describe_decoder(Foreign *f, Recipe *r, int k)
{
    char prefix[NAME_BYTES], name[NAME_BYTES];
    RecipeDecoder *d = &r->decoders[k];
    numbered(prefix, "", "decoders.", k);
    const Weight *embed = foreign_weight(f, join(name, prefix, "embed.weight", ""));
    const Weight *pred = foreign_weight(f, join(name, prefix, "pred.weight", ""));
    *d = r->decoders[0];
    d->tap = TAP_LAST;
    d->kind = DECODER_TRANSFORMER;
    d->depth = count_blocks(f, prefix);
    if (!embed || embed->ndim != 2 || !pred || pred->ndim != 2 || !d->depth || embed->shape[0] < 1 || embed->shape[0] > 65536 ||
        embed->shape[0] % DECODER_HEADS || pred->shape[0] < 1 || pred->shape[0] > 1 << 24)
        return error_set("its embedding, blocks or prediction are missing or of another form");
    d->width = (int)embed->shape[0];
    double heads;
    d->heads = state_number(f->state, "decoder_num_attention_heads", &heads) && heads >= 1 && heads <= 1024 ? (int)heads
                                                                                                            : DECODER_HEADS;
    if (d->width % d->heads)
        return error_set("%d attention heads cannot share a width of %d", d->heads, d->width);
    bool ok = need_map(f, prefix, "embed", d->width, r->encoder.width) && need_norm(f, prefix, "norm", d->width) &&
              need_map(f, prefix, "pred", pred->shape[0], d->width) &&
              need(f, join(name, prefix, "mask_token", ""), 3, (int64_t[]){1, 1, d->width});
    for (int i = 0; ok && i < d->depth; i++)
        ok = need_block(f, numbered(name, prefix, "blocks.", i), r, d->width, false);
    ok = ok && check_blocks(f, prefix, d->depth);
    bool pixels = pred->shape[0] == (int64_t)r->encoder.patch * r->encoder.patch * r->image.channels && !f->dbot;
    d->target.kind = pixels ? TARGET_PIXELS : TARGET_FEATURES;
    double normalised;
    bool told = state_number(f->state, "norm_pix_loss", &normalised);
    if (pixels && told && normalised != 0)
        d->target.normalise = NORMALISE_PATCH;
    if (ok && pixels && !told && k == 0)
        text_add(
            &f->notes,
            "The file does not say what its %d numbers a patch are: pixels are assumed, not normalised by patch (if they are, "
            "put it as pytorch_model.bin into a folder with a config.json that says {\"norm_pix_loss\": true}). ",
            (int)pred->shape[0]);
    return ok;
}

/* SimMIM's: a map to pixels. */
static bool describe_head(Foreign *f, Recipe *r)
{
    RecipeDecoder *d = &r->decoders[0];
    int64_t numbers = (int64_t)r->encoder.patch * r->encoder.patch * r->image.channels;
    d->kind = DECODER_PIXEL_SHUFFLE;
    d->width = d->depth = d->heads = 0;
    d->loss.kind = r->loss.kind = LOSS_L1;
    if (r->encoder.input != ENCODER_INPUT_MASK_TOKEN)
        return error_set("it predicts from hidden patches without a token for them (mask_token)");
    return need_map(f, "decoders.0.", "pred", numbers, r->encoder.width);
}

/* BEiT's: a map to codes. That of dBOT's CLIP branch has the same name and maps to the teacher's tokens. */
static bool describe_codes(Foreign *f, Recipe *r)
{
    RecipeDecoder *d = &r->decoders[0];
    const Weight *pred = foreign_weight(f, "decoders.0.pred.weight");
    if (pred->ndim != 2 || pred->shape[0] < 2 || pred->shape[0] > 1 << 20)
        return error_set("what maps to codes (lm_head) is of another form");
    if (r->encoder.input != ENCODER_INPUT_MASK_TOKEN)
        return error_set("it predicts from hidden patches without a token for them (mask_token)");
    d->kind = DECODER_LINEAR;
    d->width = d->depth = d->heads = 0;
    d->target.kind = TARGET_TOKENS;
    d->target.codes = (int)pred->shape[0];
    snprintf(d->target.teacher, sizeof d->target.teacher, "random"); /* whose codes they are is not in the file */
    d->loss.kind = r->loss.kind = LOSS_CROSS_ENTROPY;
    text_add(&f->notes, "The %d numbers a patch that its head (lm_head) predicts are taken for codes. ", (int)pred->shape[0]);
    return need_map(f, "decoders.0.", "pred", pred->shape[0], r->encoder.width);
}

static void describe_decoders(Foreign *f, Recipe *r)
{
    static const int taps[] = {6, 8, 10, TAP_LAST}; /* DeepMIM's */
    RecipeDecoder plain = r->decoders[0];
    int count = 0;
    bool ok = true;
    if (!has(f, "decoders.0.embed.weight") && has(f, "decoders.0.pred.weight")) {
        ok = f->codes ? describe_codes(f, r) : describe_head(f, r);
        count = f->codes;
    } else {
        for (; ok && count < RECIPE_DECODERS_MAX; count++) {
            char prefix[NAME_BYTES], name[NAME_BYTES];
            if (!has(f, join(name, numbered(prefix, "", "decoders.", count), "embed.weight", "")))
                break;
            ok = describe_decoder(f, r, count);
            ok = ok && (recipe_target_equal(&r->decoders[0].target, &r->decoders[count].target) ||
                        error_set("they predict different things"));
        }
        if (ok && count > 1 && (count != 4 || r->encoder.depth < 11))
            ok = error_set("where its %d decoders are attached is not known", count);
        for (int k = 0; ok && count > 1 && k < count; k++)
            r->decoders[k].tap = taps[k];
    }
    r->decoder_count = ok && count ? count : 1;
    if (ok && count && r->decoders[0].target.kind == TARGET_FEATURES) /* whose teacher is not in the file */
        for (int k = 0; k < count; k++)
            snprintf(r->decoders[k].target.teacher, sizeof r->target.teacher, "random");
    if (ok && count)
        r->target = r->decoders[0].target;
    if (!ok) {
        r->decoders[0] = plain;
        r->loss.kind = plain.loss.kind;
        text_add(&f->notes, "Its decoders are left out: %s. ", error_text());
        error_clear();
        foreign_drop(f, "decoders.", "a decoder that is left out");
    }
    /* The decoder that training would begin with has the encoder's ratio of the MLP, which may not suit its default width. */
    double hidden = r->decoders[0].width * r->encoder.mlp_ratio;
    if ((!ok || !count) && fabs(hidden - nearbyint(hidden)) > 1e-6 * hidden) {
        r->decoders[0].width = r->encoder.width;
        r->decoders[0].heads = r->encoder.heads;
    }
}

bool foreign_describe(Foreign *f, Recipe *r)
{
    recipe_defaults(r);
    if (!describe_patches(f, r) || !describe_blocks(f, r) || !describe_positions(f, r) || !describe_heads(f, r) ||
        !describe_activation(f, r) || !describe_eps(f, r) || !describe_statistics(f, r))
        return false;
    describe_decoders(f, r);
    const Weight *projection = foreign_weight(f, "projection.weight");
    if (projection && (projection->ndim != 2 || projection->shape[1] != r->encoder.width))
        return error_set("its projection does not fit its width of %d", r->encoder.width);
    return recipe_check(r);
}
