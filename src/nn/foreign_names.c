/* The names of each project (docs/spec/transfer.md D.2 to D.6). */
#include <ctype.h>
#include <string.h>

#include "nn/foreign_parts.h"

/* A name of theirs and ours. In theirs # is a number, @ a number from 1 on that is one less in ours. Theirs ending in a dot
 * stands for all names that begin so, whose rest, `weight` or `bias` or what a block has, ours gets; in a star for all that
 * begin so, without the rest. The first that fits counts. */
typedef struct {
    const char *theirs, *ours;
    ForeignPart part;
} Rule;

static const char index_words[] = "numbers that follow from the grid", head_words[] = "the head of a classifier or of a loss",
                  qk_words[] = "layer norms of queries and keys (encoder.qk_norm)", swiglu_words[] = "a gated MLP (SwiGLU)",
                  register_words[] = "register tokens (encoder.reg_tokens)",
                  inner_words[] = "layer norms inside of attention or MLP", table_words[] = "a fixed table that is made anew",
                  tower_words[] = "no part of the vision tower",
                  pool_words[] = "attention pooling; tokens are as they leave the encoder";

static const Rule timm_rules[] = {
    {"cls_token", "cls_token", PART_WHOLE},
    {"pos_embed", "pos_embed", PART_WHOLE},
    {"patch_embed.proj.weight", "patch_embed.proj.weight", PART_WHOLE},
    {"patch_embed.proj.bias", "patch_embed.proj.bias", PART_WHOLE},
    {"patch_embed.*", "a stem of several layers in front of the patches", PART_REFUSED},
    {"norm_pre.", "norm_pre.", PART_WHOLE},
    {"norm.", "norm.", PART_WHOLE},
    {"blocks.#.norm1.", "blocks.#.norm1.", PART_WHOLE},
    {"blocks.#.norm2.", "blocks.#.norm2.", PART_WHOLE},
    {"blocks.#.attn.qkv.", "blocks.#.attn.qkv.", PART_WHOLE},
    {"blocks.#.attn.q_bias", "blocks.#.attn.q_bias", PART_WHOLE},
    {"blocks.#.attn.v_bias", "blocks.#.attn.v_bias", PART_WHOLE},
    {"blocks.#.attn.proj.", "blocks.#.attn.proj.", PART_WHOLE},
    {"blocks.#.attn.relative_position_bias_table", "blocks.#.attn.relative_position_bias_table", PART_WHOLE},
    {"blocks.#.attn.relative_position_index", index_words, PART_IGNORED},
    {"blocks.#.attn.q_norm.*", qk_words, PART_REFUSED},
    {"blocks.#.attn.k_norm.*", qk_words, PART_REFUSED},
    {"blocks.#.attn.norm.*", inner_words, PART_REFUSED},
    {"blocks.#.mlp.norm.*", inner_words, PART_REFUSED},
    {"blocks.#.mlp.w12.*", swiglu_words, PART_REFUSED},
    {"blocks.#.mlp.fc1_g.*", swiglu_words, PART_REFUSED},
    {"blocks.#.mlp.fc1.", "blocks.#.mlp.fc1.", PART_WHOLE},
    {"blocks.#.mlp.fc2.", "blocks.#.mlp.fc2.", PART_WHOLE},
    {"blocks.#.ls1.gamma", "blocks.#.ls1.gamma", PART_WHOLE},
    {"blocks.#.ls2.gamma", "blocks.#.ls2.gamma", PART_WHOLE},
    {"blocks.#.gamma_1", "blocks.#.ls1.gamma", PART_WHOLE},
    {"blocks.#.gamma_2", "blocks.#.ls2.gamma", PART_WHOLE},
    {"blocks.*", "blocks with a part that is not known here", PART_REFUSED},
    {"rel_pos_bias.relative_position_bias_table", "rel_pos_bias.relative_position_bias_table", PART_WHOLE},
    {"rel_pos_bias.relative_position_index", index_words, PART_IGNORED},
    {"reg_token", register_words, PART_REFUSED},
    {"storage_tokens", register_words, PART_REFUSED},
    {"register_tokens", register_words, PART_REFUSED},
    {"rope_embed.*", "rotary positions (encoder.position)", PART_REFUSED},
    {"dist_token", "a token of distillation", PART_REFUSED},
    {"mask_token", "mask_token", PART_WHOLE},
    {"decoder.0.", "decoders.0.pred.", PART_WHOLE},
    {"decoder_pos_embed", table_words, PART_IGNORED},
    {"decoder_embed.", "decoders.0.embed.", PART_WHOLE},
    {"decoder_embed@.", "decoders.@.embed.", PART_WHOLE},
    {"decoder_norm.", "decoders.0.norm.", PART_WHOLE},
    {"decoder_norm@.", "decoders.@.norm.", PART_WHOLE},
    {"decoder_blocks.#.", "decoders.0.blocks.#.", PART_WHOLE},
    {"decoder_blocks@.#.", "decoders.@.blocks.#.", PART_WHOLE},
    {"decoder_pred.", "decoders.0.pred.", PART_WHOLE},
    {"decoder_predp.", "decoders.0.pred.", PART_WHOLE},
    {"decoder_pred@.", "decoders.@.pred.", PART_WHOLE},
    {"mask_token@", "decoders.@.mask_token", PART_WHOLE},
    {"fc_norm.*", "the norm behind the mean of a classifier", PART_DROPPED},
    {"head.*", head_words, PART_DROPPED},
    {"head_dist.*", head_words, PART_DROPPED},
    {"pre_logits.*", head_words, PART_DROPPED},
    {"predictor.*", head_words, PART_DROPPED},
    {"lm_head.", "decoders.0.pred.", PART_WHOLE},
    {"attn_pool.*", pool_words, PART_DROPPED},
    {0},
};

static const Rule hf_vit_rules[] = {
    {"embeddings.cls_token", "cls_token", PART_WHOLE},
    {"embeddings.position_embeddings", "pos_embed", PART_WHOLE},
    {"embeddings.patch_embeddings.projection.", "patch_embed.proj.", PART_WHOLE},
    {"embeddings.mask_token", "mask_token", PART_WHOLE},
    {"encoder.layer.#.", "blocks.#.", PART_WHOLE},
    {"layers.#.", "blocks.#.", PART_WHOLE},
    {"layernorm.", "norm.", PART_WHOLE},
    {"decoder.decoder_embed.", "decoders.0.embed.", PART_WHOLE},
    {"decoder.decoder_norm.", "decoders.0.norm.", PART_WHOLE},
    {"decoder.decoder_pred.", "decoders.0.pred.", PART_WHOLE},
    {"decoder.mask_token", "decoders.0.mask_token", PART_WHOLE},
    {"decoder.decoder_pos_embed", table_words, PART_IGNORED},
    {"decoder.decoder_layers.#.", "decoders.0.blocks.#.", PART_WHOLE},
    {"decoder.decoder_encoder.layer.#.", "decoders.0.blocks.#.", PART_WHOLE},
    {"decoder.0.", "decoders.0.pred.", PART_WHOLE},
    {"pooler.*", "a pooler, which is no part of the encoder", PART_DROPPED},
    {"classifier.*", head_words, PART_DROPPED},
    {0},
};

/* Behind the number of a block. */
static const Rule hf_vit_block[] = {
    {"layernorm_before.", "norm1.", PART_WHOLE},
    {"layernorm_after.", "norm2.", PART_WHOLE},
    {"attention.attention.query.", "attn.qkv.", PART_Q},
    {"attention.attention.key.", "attn.qkv.", PART_K},
    {"attention.attention.value.", "attn.qkv.", PART_V},
    {"attention.q_proj.", "attn.qkv.", PART_Q},
    {"attention.k_proj.", "attn.qkv.", PART_K},
    {"attention.v_proj.", "attn.qkv.", PART_V},
    {"attention.output.dense.", "attn.proj.", PART_WHOLE},
    {"attention.o_proj.", "attn.proj.", PART_WHOLE},
    {"intermediate.dense.", "mlp.fc1.", PART_WHOLE},
    {"output.dense.", "mlp.fc2.", PART_WHOLE},
    {"mlp.fc1.", "mlp.fc1.", PART_WHOLE},
    {"mlp.fc2.", "mlp.fc2.", PART_WHOLE},
    {0},
};

static const Rule clip_rules[] = {
    {"class_embedding", "cls_token", PART_WHOLE},
    {"positional_embedding", "pos_embed", PART_WHOLE},
    {"conv1.weight", "patch_embed.proj.weight", PART_WHOLE},
    {"ln_pre.", "norm_pre.", PART_WHOLE},
    {"ln_post.", "norm.", PART_WHOLE},
    {"transformer.resblocks.#.", "blocks.#.", PART_WHOLE},
    {"proj", "projection.weight", PART_TRANSPOSED},
    {"attn_pool.*", pool_words, PART_DROPPED},
    {0},
};

static const Rule clip_block[] = {
    {"ln_1.", "norm1.", PART_WHOLE},
    {"ln_2.", "norm2.", PART_WHOLE},
    {"attn.in_proj_weight", "attn.qkv.weight", PART_WHOLE},
    {"attn.in_proj_bias", "attn.qkv.bias", PART_WHOLE},
    {"attn.out_proj.", "attn.proj.", PART_WHOLE},
    {"mlp.c_fc.", "mlp.fc1.", PART_WHOLE},
    {"mlp.c_proj.", "mlp.fc2.", PART_WHOLE},
    {0},
};

static const Rule hf_clip_rules[] = {
    {"embeddings.class_embedding", "cls_token", PART_WHOLE},
    {"embeddings.position_embedding.weight", "pos_embed", PART_WHOLE},
    {"embeddings.position_ids", index_words, PART_IGNORED},
    {"embeddings.patch_embedding.", "patch_embed.proj.", PART_WHOLE},
    {"pre_layrnorm.", "norm_pre.", PART_WHOLE}, /* so it is spelled */
    {"post_layernorm.", "norm.", PART_WHOLE},
    {"encoder.layers.#.", "blocks.#.", PART_WHOLE},
    {"visual_projection.weight", "projection.weight", PART_WHOLE},
    {"text_projection.*", tower_words, PART_DROPPED},
    {"text_model.*", tower_words, PART_DROPPED},
    {"logit_scale", tower_words, PART_DROPPED},
    {0},
};

static const Rule hf_clip_block[] = {
    {"layer_norm1.", "norm1.", PART_WHOLE},
    {"layer_norm2.", "norm2.", PART_WHOLE},
    {"self_attn.q_proj.", "attn.qkv.", PART_Q},
    {"self_attn.k_proj.", "attn.qkv.", PART_K},
    {"self_attn.v_proj.", "attn.qkv.", PART_V},
    {"self_attn.out_proj.", "attn.proj.", PART_WHOLE},
    {"mlp.fc1.", "mlp.fc1.", PART_WHOLE},
    {"mlp.fc2.", "mlp.fc2.", PART_WHOLE},
    {0},
};

static const struct {
    const Rule *rules, *block; /* block: NULL when names inside of blocks are in `rules` */
} families[] = {
    [NAMES_TIMM] = {timm_rules, NULL},
    [NAMES_HF_VIT] = {hf_vit_rules, hf_vit_block},
    [NAMES_CLIP] = {clip_rules, clip_block},
    [NAMES_HF_CLIP] = {hf_clip_rules, hf_clip_block},
};

enum { NUMBERS_MOST = 2, DIGITS_MOST = 6 };

/* Whether a name fits; its numbers in order, and where its rest begins. */
static bool fits(const char *pattern, const char *name, int numbers[NUMBERS_MOST], const char **rest)
{
    int found = 0;
    const char *p = pattern, *n = name;
    while (*p && *p != '*') {
        if (*p == '#' || *p == '@') {
            int number = 0, digits = 0;
            for (; isdigit((unsigned char)*n) && digits < DIGITS_MOST; n++, digits++)
                number = 10 * number + (*n - '0');
            if (!digits || found == NUMBERS_MOST || (*p == '@' && !number))
                return false;
            numbers[found++] = number - (*p == '@');
            p++;
        } else if (*p++ != *n++) {
            return false;
        }
    }
    *rest = n;
    return *p == '*' || p[-1] == '.' || !*n;
}

/* Ours with the numbers of theirs in it. */
static void add_ours(const char *ours, const int numbers[NUMBERS_MOST], Text *out)
{
    int at = 0;
    for (const char *c = ours; *c; c++) {
        if (*c == '#' || *c == '@')
            text_add(out, "%d", numbers[at++]);
        else
            text_add_bytes(out, c, 1);
    }
}

/* What a linear or a norm has; other tensors under its name make it another layer. */
static bool is_of_layer(const char *rest)
{
    return !strcmp(rest, "weight") || !strcmp(rest, "bias");
}

static ForeignPart rename_by(const Rule *rules, const Rule *block, const char *theirs, Text *out)
{
    for (const Rule *r = rules; r->theirs; r++) {
        int numbers[NUMBERS_MOST] = {0};
        const char *rest;
        size_t n = strlen(r->theirs);
        bool numbered = n > 2 && !strcmp(r->theirs + n - 2, "#.");
        if (!fits(r->theirs, theirs, numbers, &rest) || (r->theirs[n - 1] == '.' && !numbered && !is_of_layer(rest)))
            continue;
        if (r->part >= PART_IGNORED) {
            text_add(out, "%s", r->ours);
            return r->part;
        }
        add_ours(r->ours, numbers, out);
        if (block && numbered) {
            ForeignPart part = rename_by(block, NULL, rest, out);
            if (part != PART_UNKNOWN)
                return part;
            text_free(out);
            text_add(out, "blocks with a part that is not known here");
            return PART_REFUSED;
        }
        if (r->theirs[n - 1] == '.')
            text_add(out, "%s", rest);
        return r->part;
    }
    return PART_UNKNOWN;
}

ForeignPart foreign_rename(ForeignNames names, const char *theirs, Text *out)
{
    return rename_by(families[names].rules, families[names].block, theirs, out);
}
