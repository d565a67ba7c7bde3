/* Weights of other projects: names become ours, networks are told by shapes, and what cannot be carried out is named. Agreement
 * of features with the real programs is tests/oracle/checkpoints.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "nn/foreign_parts.h"
#include "nn/position.h"

static void names_become_ours(void **state)
{
    (void)state;
    static const struct {
        ForeignNames names;
        const char *theirs;
        ForeignPart part;
        const char *ours; /* or how the reason begins */
    } cases[] = {
        {NAMES_TIMM, "blocks.11.attn.qkv.weight", PART_WHOLE, "blocks.11.attn.qkv.weight"},
        {NAMES_TIMM, "blocks.0.gamma_1", PART_WHOLE, "blocks.0.ls1.gamma"},
        {NAMES_TIMM, "blocks.0.attn.relative_position_index", PART_IGNORED, "numbers that follow"},
        {NAMES_TIMM, "decoder_embed.weight", PART_WHOLE, "decoders.0.embed.weight"},
        {NAMES_TIMM, "decoder_embed3.bias", PART_WHOLE, "decoders.2.embed.bias"},
        {NAMES_TIMM, "decoder_blocks2.7.mlp.fc1.bias", PART_WHOLE, "decoders.1.blocks.7.mlp.fc1.bias"},
        {NAMES_TIMM, "decoder_blocks.7.mlp.fc1.bias", PART_WHOLE, "decoders.0.blocks.7.mlp.fc1.bias"},
        {NAMES_TIMM, "decoder_predp.weight", PART_WHOLE, "decoders.0.pred.weight"},
        {NAMES_TIMM, "mask_token4", PART_WHOLE, "decoders.3.mask_token"},
        {NAMES_TIMM, "mask_token0", PART_UNKNOWN, ""},
        {NAMES_TIMM, "decoder.0.weight", PART_WHOLE, "decoders.0.pred.weight"},
        {NAMES_TIMM, "decoder_pos_embed", PART_IGNORED, "a fixed table"},
        {NAMES_TIMM, "head.weight", PART_DROPPED, "the head"},
        {NAMES_TIMM, "reg_token", PART_REFUSED, "register tokens"},
        {NAMES_TIMM, "blocks.3.attn.q_norm.weight", PART_REFUSED, "layer norms of queries"},
        {NAMES_TIMM, "blocks.3.mlp.w12.weight", PART_REFUSED, "a gated MLP"},
        {NAMES_TIMM, "blocks.3.other", PART_REFUSED, "blocks with a part"},
        {NAMES_TIMM, "patch_embed.proj.0.weight", PART_REFUSED, "a stem"},
        {NAMES_TIMM, "something", PART_UNKNOWN, ""},
        {NAMES_HF_VIT, "encoder.layer.3.attention.attention.key.bias", PART_K, "blocks.3.attn.qkv.bias"},
        {NAMES_HF_VIT, "encoder.layer.3.attention.output.dense.weight", PART_WHOLE, "blocks.3.attn.proj.weight"},
        {NAMES_HF_VIT, "encoder.layer.3.output.dense.weight", PART_WHOLE, "blocks.3.mlp.fc2.weight"},
        {NAMES_HF_VIT, "encoder.layer.3.intermediate.dense.weight", PART_WHOLE, "blocks.3.mlp.fc1.weight"},
        {NAMES_HF_VIT, "encoder.layer.3.layernorm_after.bias", PART_WHOLE, "blocks.3.norm2.bias"},
        {NAMES_HF_VIT, "layers.10.attention.v_proj.weight", PART_V, "blocks.10.attn.qkv.weight"},
        {NAMES_HF_VIT, "layers.10.attention.o_proj.weight", PART_WHOLE, "blocks.10.attn.proj.weight"},
        {NAMES_HF_VIT, "layers.10.strange.weight", PART_REFUSED, "blocks with a part"},
        {NAMES_HF_VIT, "decoder.decoder_layers.1.layernorm_before.weight", PART_WHOLE, "decoders.0.blocks.1.norm1.weight"},
        {NAMES_HF_VIT, "decoder.decoder_encoder.layer.1.layernorm_before.weight", PART_WHOLE,
         "decoders.0.blocks.1.norm1.weight"},
        {NAMES_HF_VIT, "pooler.dense.weight", PART_DROPPED, "a pooler"},
        {NAMES_CLIP, "transformer.resblocks.2.attn.in_proj_weight", PART_WHOLE, "blocks.2.attn.qkv.weight"},
        {NAMES_CLIP, "transformer.resblocks.2.mlp.c_proj.bias", PART_WHOLE, "blocks.2.mlp.fc2.bias"},
        {NAMES_CLIP, "ln_post.weight", PART_WHOLE, "norm.weight"},
        {NAMES_CLIP, "proj", PART_TRANSPOSED, "projection.weight"},
        {NAMES_HF_CLIP, "encoder.layers.2.self_attn.q_proj.bias", PART_Q, "blocks.2.attn.qkv.bias"},
        {NAMES_HF_CLIP, "pre_layrnorm.weight", PART_WHOLE, "norm_pre.weight"},
        {NAMES_HF_CLIP, "text_model.embeddings.x", PART_DROPPED, "no part of the vision tower"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Text out = {0};
        ForeignPart part = foreign_rename(cases[i].names, cases[i].theirs, &out);
        const char *ours = out.data ? out.data : "";
        bool same = part < PART_IGNORED ? !strcmp(ours, cases[i].ours) : !strncmp(ours, cases[i].ours, strlen(cases[i].ours));
        if (part != cases[i].part || !same)
            fail_msg("%s: %d, %s", cases[i].theirs, part, ours);
        text_free(&out);
    }
}

/* ---- networks, as safetensors files in memory */

enum { WIDTH = 192, TENSORS_MOST = 100, GRID = 2, PATCH = 2 };

typedef struct {
    SafeTensor tensors[TENSORS_MOST];
    char names[TENSORS_MOST][80];
    int count;
} Network;

static float numbers[16 * WIDTH * WIDTH]; /* every tensor begins here */

static void add(Network *n, const char *name, int ndim, const int64_t *shape)
{
    assert_true(n->count < TENSORS_MOST);
    SafeTensor *t = &n->tensors[n->count];
    snprintf(n->names[n->count], sizeof n->names[0], "%s", name);
    *t = (SafeTensor){.name = n->names[n->count], .dtype = SAFETENSORS_F32, .ndim = ndim, .data = numbers};
    memcpy(t->shape, shape, sizeof *shape * (size_t)ndim);
    n->count++;
}

#define ADD(n, name, ...) add(n, name, (int)(sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static SafeTensor *tensor_of(Network *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (!strcmp(n->names[i], name))
            return &n->tensors[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void rename_tensor(Network *n, const char *name, const char *to)
{
    SafeTensor *t = tensor_of(n, name);
    snprintf(n->names[t - n->tensors], sizeof n->names[0], "%s", to);
}

static void drop_tensor(Network *n, const char *name)
{
    rename_tensor(n, name, "fc_norm.dropped"); /* which is left out */
}

static void make_vit(Network *n)
{
    static const struct {
        const char *name;
        int64_t rows, columns; /* columns 0: a vector */
    } block[] = {{"norm1.weight", WIDTH, 0},
                 {"norm1.bias", WIDTH, 0},
                 {"attn.qkv.weight", 3 * WIDTH, WIDTH},
                 {"attn.qkv.bias", 3 * WIDTH, 0},
                 {"attn.proj.weight", WIDTH, WIDTH},
                 {"attn.proj.bias", WIDTH, 0},
                 {"norm2.weight", WIDTH, 0},
                 {"norm2.bias", WIDTH, 0},
                 {"mlp.fc1.weight", 4 * WIDTH, WIDTH},
                 {"mlp.fc1.bias", 4 * WIDTH, 0},
                 {"mlp.fc2.weight", WIDTH, 4 * WIDTH},
                 {"mlp.fc2.bias", WIDTH, 0}};
    for (int i = 0; i < 4 * WIDTH * WIDTH; i++)
        numbers[i] = (float)(i % 251) / 251;
    memset(n, 0, sizeof *n);
    ADD(n, "cls_token", 1, 1, WIDTH);
    ADD(n, "pos_embed", 1, GRID * GRID + 1, WIDTH);
    ADD(n, "patch_embed.proj.weight", WIDTH, 3, PATCH, PATCH);
    ADD(n, "patch_embed.proj.bias", WIDTH);
    ADD(n, "norm.weight", WIDTH);
    ADD(n, "norm.bias", WIDTH);
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof block / sizeof *block; k++) {
            char name[64];
            snprintf(name, sizeof name, "blocks.%d.%s", i, block[k].name);
            add(n, name, block[k].columns ? 2 : 1, (int64_t[]){block[k].rows, block[k].columns});
        }
}

/* Through a file, as everyone else. */
static Foreign *open_network(const Network *n, StateDict **state, Recipe *recipe)
{
    static const char path[] = "foreign_test.safetensors";
    assert_true(safetensors_write(path, n->tensors, (size_t)n->count, NULL, 0));
    error_clear();
    *state = state_open(path);
    if (!*state)
        fail_msg("%s", error_text());
    return foreign_open(*state, recipe);
}

static Network network;
static Recipe recipe;

static void shapes_tell_the_network(void **unused)
{
    (void)unused;
    StateDict *state;
    make_vit(&network);
    Foreign *f = open_network(&network, &state, &recipe);
    if (!f)
        fail_msg("%s", error_text());
    assert_true(recipe.encoder.width == WIDTH && recipe.encoder.depth == 2 && recipe.encoder.heads == 3);
    assert_true(recipe.encoder.patch == PATCH && recipe.image.size[0] == GRID * PATCH && recipe.image.size[1] == GRID * PATCH);
    assert_true(recipe.encoder.mlp_ratio == 4 && recipe.encoder.class_token == 1 && recipe.encoder.norm_eps == 1e-6);
    assert_int_equal(recipe.encoder.position, ENCODER_POSITION_LEARNED);
    assert_int_equal(recipe.encoder.qkv_bias, QKV_BIAS_TRUE);
    assert_true(recipe.encoder.final_norm && !recipe.encoder.norm_pre && recipe.encoder.layer_scale == 0);
    assert_int_equal(foreign_count(f), network.count);
    foreign_close(f);
    state_close(state);
}

/* A table of MAE's sines is the one that this program makes. */
static void sines_are_recognised(void **unused)
{
    (void)unused;
    static float table[(GRID * GRID + 1) * WIDTH];
    StateDict *state;
    make_vit(&network);
    position_sincos(GRID, GRID, WIDTH, true, table);
    tensor_of(&network, "pos_embed")->data = table;
    Foreign *f = open_network(&network, &state, &recipe);
    assert_non_null(f);
    assert_int_equal(recipe.encoder.position, ENCODER_POSITION_SINCOS);
    assert_int_equal(recipe.encoder.init, ENCODER_INIT_AUTO);
    foreign_close(f);
    state_close(state);
    position_swap_halves(table, GRID * GRID + 1, WIDTH); /* MoCo v3's */
    f = open_network(&network, &state, &recipe);
    assert_non_null(f);
    assert_int_equal(recipe.encoder.position, ENCODER_POSITION_SINCOS);
    assert_int_equal(recipe.encoder.init, ENCODER_INIT_MOCO);
    foreign_close(f);
    state_close(state);
    table[WIDTH + 5] += 1e-3f;
    f = open_network(&network, &state, &recipe);
    assert_non_null(f);
    assert_int_equal(recipe.encoder.position, ENCODER_POSITION_LEARNED);
    foreign_close(f);
    state_close(state);
}

static void what_is_put_together_has_the_right_numbers(void **unused)
{
    (void)unused;
    static float out[3 * WIDTH * WIDTH];
    StateDict *state;
    make_vit(&network);
    /* No row for the class token: zeros stand in front. */
    tensor_of(&network, "pos_embed")->shape[1] = GRID * GRID;
    Foreign *f = open_network(&network, &state, &recipe);
    if (!f)
        fail_msg("%s", error_text());
    const Weight *table = foreign_find(f, "pos_embed");
    assert_int_equal(weight_count(table), (GRID * GRID + 1) * WIDTH);
    weight_to_f32(table, out);
    for (int i = 0; i < WIDTH; i++)
        assert_true(out[i] == 0 && out[WIDTH + i] == numbers[i]);
    foreign_close(f);
    state_close(state);
}

/* The same network under Hugging Face's names: queries, keys and values are tensors of their own. */
static void make_hf(Network *n)
{
    static const char *const outside[][2] = {{"cls_token", "embeddings.cls_token"},
                                             {"pos_embed", "embeddings.position_embeddings"},
                                             {"patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"},
                                             {"patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"},
                                             {"norm.weight", "layernorm.weight"},
                                             {"norm.bias", "layernorm.bias"}},
                             *const inside[][2] = {{"norm1", "layernorm_before"}, {"attn.proj", "attention.output.dense"},
                                                   {"norm2", "layernorm_after"},  {"mlp.fc1", "intermediate.dense"},
                                                   {"mlp.fc2", "output.dense"},   {"attn.qkv", "attention.attention.query"}},
                             *const ends[] = {"weight", "bias"}, *const more[] = {"key", "value"};
    make_vit(n);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        rename_tensor(n, outside[i][0], outside[i][1]);
    for (int block = 0; block < 2; block++)
        for (int end = 0; end < 2; end++) {
            char ours[80], theirs[80];
            for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
                snprintf(ours, sizeof ours, "blocks.%d.%s.%s", block, inside[i][0], ends[end]);
                snprintf(theirs, sizeof theirs, "encoder.layer.%d.%s.%s", block, inside[i][1], ends[end]);
                rename_tensor(n, ours, theirs);
            }
            tensor_of(n, theirs)->shape[0] = WIDTH; /* the query */
            for (int k = 0; k < 2; k++) {
                snprintf(theirs, sizeof theirs, "encoder.layer.%d.attention.attention.%s.%s", block, more[k], ends[end]);
                add(n, theirs, end ? 1 : 2, (int64_t[]){WIDTH, WIDTH});
                n->tensors[n->count - 1].data = numbers + 10 * (k + 1);
            }
        }
}

static void queries_keys_and_values_are_stacked(void **unused)
{
    (void)unused;
    static float out[3 * WIDTH * WIDTH];
    StateDict *state;
    make_hf(&network);
    drop_tensor(&network, "encoder.layer.1.attention.attention.key.bias");
    rename_tensor(&network, "fc_norm.dropped", "pooler.dense.bias");
    Foreign *f = open_network(&network, &state, &recipe);
    if (!f)
        fail_msg("%s", error_text());
    assert_string_equal(foreign_kind(f), "ViT of Hugging Face");
    assert_true(recipe.encoder.norm_eps == 1e-12 && recipe.encoder.qkv_bias == QKV_BIAS_TRUE);
    weight_to_f32(foreign_find(f, "blocks.0.attn.qkv.weight"), out);
    for (int part = 0; part < 3; part++)
        assert_memory_equal(out + part * WIDTH * WIDTH, numbers + 10 * part, WIDTH * WIDTH * sizeof *out);
    weight_to_f32(foreign_find(f, "blocks.0.attn.qkv.bias"), out);
    for (int part = 0; part < 3; part++)
        assert_memory_equal(out + part * WIDTH, numbers + 10 * part, WIDTH * sizeof *out);
    weight_to_f32(foreign_find(f, "blocks.1.attn.qkv.bias"), out);
    for (int i = 0; i < WIDTH; i++)
        assert_true(out[i] == numbers[i] && out[WIDTH + i] == 0 && out[2 * WIDTH + i] == numbers[20 + i]);
    foreign_close(f);
    state_close(state);
    make_hf(&network);
    drop_tensor(&network, "encoder.layer.1.attention.attention.value.bias");
    f = open_network(&network, &state, &recipe);
    assert_null(f);
    assert_non_null(strstr(error_text(), "blocks.1.attn.qkv.bias: only a part of it is there"));
    state_close(state);
    make_hf(&network);
    drop_tensor(&network, "encoder.layer.1.attention.attention.key.bias");
    rename_tensor(&network, "fc_norm.dropped", "pooler.dense.bias");
    tensor_of(&network, "encoder.layer.1.attention.attention.query.bias")->shape[0] = 0;
    tensor_of(&network, "encoder.layer.1.attention.attention.value.bias")->shape[0] = 0;
    f = open_network(&network, &state, &recipe);
    assert_null(f);
    assert_non_null(strstr(error_text(), "blocks.1.attn.qkv.bias: its queries are empty"));
    state_close(state);
}

static void a_projection_is_turned(void **unused)
{
    (void)unused;
    static const char *const names[][2] = {{"cls_token", "visual.class_embedding"},
                                           {"pos_embed", "visual.positional_embedding"},
                                           {"patch_embed.proj.weight", "visual.conv1.weight"},
                                           {"norm.weight", "visual.ln_post.weight"},
                                           {"norm.bias", "visual.ln_post.bias"}},
                             *const inside[][2] = {{"norm1.weight", "ln_1.weight"},
                                                   {"norm1.bias", "ln_1.bias"},
                                                   {"attn.qkv.weight", "attn.in_proj_weight"},
                                                   {"attn.qkv.bias", "attn.in_proj_bias"},
                                                   {"attn.proj.weight", "attn.out_proj.weight"},
                                                   {"attn.proj.bias", "attn.out_proj.bias"},
                                                   {"norm2.weight", "ln_2.weight"},
                                                   {"norm2.bias", "ln_2.bias"},
                                                   {"mlp.fc1.weight", "mlp.c_fc.weight"},
                                                   {"mlp.fc1.bias", "mlp.c_fc.bias"},
                                                   {"mlp.fc2.weight", "mlp.c_proj.weight"},
                                                   {"mlp.fc2.bias", "mlp.c_proj.bias"}};
    StateDict *state;
    make_vit(&network);
    rename_tensor(&network, "patch_embed.proj.bias", "visual.ln_pre.bias");
    ADD(&network, "visual.ln_pre.weight", WIDTH);
    ADD(&network, "visual.proj", WIDTH, 3);
    ADD(&network, "transformer.resblocks.0.ln_1.weight", 7); /* of the text tower */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        rename_tensor(&network, names[i][0], names[i][1]);
    for (int block = 0; block < 2; block++)
        for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
            char ours[80], theirs[80];
            snprintf(ours, sizeof ours, "blocks.%d.%s", block, inside[i][0]);
            snprintf(theirs, sizeof theirs, "visual.transformer.resblocks.%d.%s", block, inside[i][1]);
            rename_tensor(&network, ours, theirs);
        }
    Foreign *f = open_network(&network, &state, &recipe);
    if (!f)
        fail_msg("%s", error_text());
    assert_true(recipe.encoder.norm_pre && !recipe.encoder.patch_bias && recipe.encoder.norm_eps == 1e-5);
    assert_int_equal(recipe.encoder.activation, ENCODER_ACTIVATION_QUICK_GELU);
    assert_int_equal(recipe.image.mean.kind, STATISTICS_CLIP);
    const Weight *w = foreign_find(f, "projection.weight");
    float out[3 * WIDTH];
    assert_true(w && w->shape[0] == 3 && w->shape[1] == WIDTH);
    weight_to_f32(w, out);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < WIDTH; k++)
            assert_true(out[i * WIDTH + k] == numbers[k * 3 + i]);
    foreign_close(f);
    state_close(state);
}

static void expect_refusal(const char *words)
{
    StateDict *state;
    Foreign *f = open_network(&network, &state, &recipe);
    if (f)
        fail_msg("what should say '%s' is accepted", words);
    if (!strstr(error_text(), words))
        fail_msg("'%s' does not say '%s'", error_text(), words);
    state_close(state);
}

static void other_networks_are_named(void **unused)
{
    (void)unused;
    static const struct {
        const char *name, *words;
    } more[] = {{"blocks.0.attn.q_norm.weight", "encoder.qk_norm"},
                {"reg_token", "register tokens"},
                {"storage_tokens", "register tokens"},
                {"rope_embed.periods", "rotary positions"},
                {"blocks.0.attn.qkv.bias_mask", "a part that is not known here"},
                {"blocks.0.mlp.w12.weight", "SwiGLU"},
                {"layers.0.blocks.0.attn.qkv.weight", "Swin Transformer"},
                {"rel_pos_bias.relative_position_bias_table", "biases of the attention as well"}};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        make_vit(&network);
        ADD(&network, more[i].name, 12, 3);
        expect_refusal(more[i].words);
    }
    make_vit(&network);
    drop_tensor(&network, "blocks.1.mlp.fc2.weight");
    expect_refusal("blocks.1.mlp.fc2.weight is missing");
    make_vit(&network);
    tensor_of(&network, "blocks.1.mlp.fc2.weight")->shape[0] = WIDTH + 1;
    tensor_of(&network, "blocks.1.mlp.fc2.weight")->shape[1] = WIDTH;
    expect_refusal("blocks.1.mlp.fc2.weight is [193, 192] and should be [192, 768]");
    make_vit(&network);
    tensor_of(&network, "pos_embed")->shape[1] = 7;
    expect_refusal("are no square grid of patches");
    make_vit(&network);
    ADD(&network, "blocks.3.norm1.weight", WIDTH);
    expect_refusal("it has blocks.3.norm1.weight but no blocks.2.norm1.weight");
    make_vit(&network);
    ADD(&network, "blocks.1.ls1.gamma", WIDTH);
    expect_refusal("it has blocks.1.ls1.gamma but no blocks.0.ls1.gamma");
    memset(&network, 0, sizeof network);
    ADD(&network, "fc.weight", 2, 2);
    expect_refusal("are those of no network that is known here");
}

/* A ViT-S has 6 heads, MoCo v3's 12: its own positions tell it where its names are gone. */
static void heads_of_moco_are_told_by_its_positions(void **unused)
{
    (void)unused;
    static float table[(GRID * GRID + 1) * 2 * WIDTH];
    StateDict *state;
    for (int moco = 0; moco < 2; moco++) {
        make_vit(&network);
        for (int i = 0; i < network.count; i++)
            for (int k = 0; k < network.tensors[i].ndim; k++)
                if (network.tensors[i].shape[k] % WIDTH == 0)
                    network.tensors[i].shape[k] *= 2;
        position_sincos(GRID, GRID, 2 * WIDTH, true, table);
        if (moco)
            position_swap_halves(table, GRID * GRID + 1, 2 * WIDTH);
        tensor_of(&network, "pos_embed")->data = table;
        Foreign *f = open_network(&network, &state, &recipe);
        if (!f)
            fail_msg("%s", error_text());
        assert_int_equal(recipe.encoder.heads, moco ? 12 : 6);
        foreign_close(f);
        state_close(state);
    }
}

/* A width that no known network has does not tell the number of heads. */
static void heads_are_asked_for(void **unused)
{
    (void)unused;
    make_vit(&network);
    for (int i = 0; i < network.count; i++)
        for (int k = 0; k < network.tensors[i].ndim; k++)
            if (network.tensors[i].shape[k] % WIDTH == 0)
                network.tensors[i].shape[k] = network.tensors[i].shape[k] / WIDTH * 20;
    expect_refusal("does not tell how many attention heads share its width of 20");
}

static void prefixes_are_taken_off(void **unused)
{
    (void)unused;
    StateDict *state;
    make_vit(&network);
    for (int i = 0; i < network.count; i++) {
        char name[80];
        snprintf(name, sizeof name, "module.backbone.%.60s", network.names[i]);
        snprintf(network.names[i], sizeof network.names[i], "%s", name);
    }
    ADD(&network, "module.head.last_layer.weight_g", 4, 1);
    Foreign *f = open_network(&network, &state, &recipe);
    if (!f)
        fail_msg("%s", error_text());
    size_t count;
    const ForeignTensor *tensors = foreign_tensors(f, &count);
    int used = 0;
    for (size_t i = 0; i < count; i++)
        used += tensors[i].fate == FOREIGN_USED;
    assert_int_equal(used, network.count - 1);
    assert_string_equal(foreign_kind(f), "DINO");
    foreign_close(f);
    state_close(state);
}

/* A student of dBOT has MAE's names but one, also behind a prefix. */
static void a_student_is_told_behind_a_prefix(void **unused)
{
    (void)unused;
    StateDict *state;
    make_vit(&network);
    ADD(&network, "decoder_embed.weight", 16, WIDTH);
    ADD(&network, "decoder_predp.weight", 16, 16);
    for (int i = 0; i < network.count; i++) {
        char name[80];
        snprintf(name, sizeof name, "module.%.60s", network.names[i]);
        snprintf(network.names[i], sizeof network.names[i], "%s", name);
    }
    Foreign *f = open_network(&network, &state, &recipe);
    if (!f)
        fail_msg("%s", error_text());
    assert_string_equal(foreign_kind(f), "dBOT's student");
    foreign_close(f);
    state_close(state);
}

/* BEiT's head is a linear decoder of codes; without the token of hidden patches it is left out, and said so. */
static void a_head_of_codes_is_a_decoder(void **unused)
{
    (void)unused;
    for (int with = 0; with < 2; with++) {
        StateDict *state;
        make_vit(&network);
        ADD(&network, "lm_head.weight", 40, WIDTH);
        ADD(&network, "lm_head.bias", 40);
        if (with)
            ADD(&network, "mask_token", 1, 1, WIDTH);
        Foreign *f = open_network(&network, &state, &recipe);
        if (!f)
            fail_msg("%s", error_text());
        assert_int_equal(foreign_find(f, "decoders.0.pred.weight") != NULL, with);
        assert_int_equal(recipe.decoders[0].kind == DECODER_LINEAR && recipe.decoders[0].target.kind == TARGET_TOKENS &&
                             recipe.decoders[0].target.codes == 40 && recipe.decoders[0].loss.kind == LOSS_CROSS_ENTROPY,
                         with);
        assert_non_null(
            strstr(foreign_notes(f), with ? "(lm_head) predicts are taken for codes" : "Its decoders are left out"));
        foreign_close(f);
        state_close(state);
    }
}

/* Ratios of an MLP that the default decoder cannot have do not make an encoder unreadable. */
static void any_whole_mlp_is_read(void **unused)
{
    (void)unused;
    StateDict *state;
    make_vit(&network);
    for (int i = 0; i < network.count; i++)
        for (int k = 0; k < network.tensors[i].ndim; k++)
            if (network.tensors[i].shape[k] == 4 * WIDTH)
                network.tensors[i].shape[k] = 4 * WIDTH - 1;
    Foreign *f = open_network(&network, &state, &recipe);
    if (!f)
        fail_msg("%s", error_text());
    assert_true(recipe.decoders[0].width == WIDTH && recipe.decoders[0].heads == 3);
    foreign_close(f);
    state_close(state);
}

static void keys_of_moco_are_for_moco(void **unused)
{
    (void)unused;
    StateDict *state = state_open(LACUNA_SOURCE "/tests/fuzz/corpus/torch/vit.pth#momentum_encoder");
    assert_non_null(state);
    assert_null(foreign_open(state, &recipe));
    assert_non_null(strstr(error_text(), "it holds nothing under 'momentum_encoder'"));
    state_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_become_ours),
        cmocka_unit_test(shapes_tell_the_network),
        cmocka_unit_test(sines_are_recognised),
        cmocka_unit_test(what_is_put_together_has_the_right_numbers),
        cmocka_unit_test(queries_keys_and_values_are_stacked),
        cmocka_unit_test(a_projection_is_turned),
        cmocka_unit_test(other_networks_are_named),
        cmocka_unit_test(heads_of_moco_are_told_by_its_positions),
        cmocka_unit_test(heads_are_asked_for),
        cmocka_unit_test(prefixes_are_taken_off),
        cmocka_unit_test(a_student_is_told_behind_a_prefix),
        cmocka_unit_test(a_head_of_codes_is_a_decoder),
        cmocka_unit_test(any_whole_mlp_is_read),
        cmocka_unit_test(keys_of_moco_are_for_moco),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
