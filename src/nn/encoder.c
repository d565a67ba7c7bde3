#include "nn/encoder.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

static InitFamily family_of(const Recipe *r)
{
    if (r->encoder.init == ENCODER_INIT_BEIT)
        return FAMILY_BEIT;
    if (r->encoder.init == ENCODER_INIT_XAVIER)
        return FAMILY_XAVIER;
    if (r->encoder.init == ENCODER_INIT_MASKFEAT)
        return FAMILY_MASKFEAT;
    if (r->encoder.init == ENCODER_INIT_MOCO)
        return FAMILY_MOCO;
    return r->encoder.input == ENCODER_INPUT_MASK_TOKEN ? FAMILY_BEIT : FAMILY_XAVIER;
}

static VitPosition position_of(const Recipe *r)
{
    switch (r->encoder.position) {
    case ENCODER_POSITION_SINCOS:
        return VIT_POSITION_SINCOS;
    case ENCODER_POSITION_LEARNED:
        return VIT_POSITION_LEARNED;
    case ENCODER_POSITION_RELATIVE:
        return VIT_POSITION_RELATIVE;
    case ENCODER_POSITION_RELATIVE_PER_BLOCK:
        return VIT_POSITION_RELATIVE_PER_BLOCK;
    default:
        return VIT_POSITION_NONE;
    }
}

VitConfig encoder_config(const Recipe *r)
{
    int rows, columns;
    recipe_grid(r, &rows, &columns);
    return (VitConfig){.block = {.width = r->encoder.width,
                                 .heads = r->encoder.heads,
                                 .mlp_ratio = r->encoder.mlp_ratio,
                                 .norm_eps = r->encoder.norm_eps,
                                 .activation = r->encoder.activation == ENCODER_ACTIVATION_QUICK_GELU ? ACTIVATION_QUICK_GELU
                                                                                                      : ACTIVATION_GELU,
                                 .qkv_bias = r->encoder.qkv_bias == QKV_BIAS_NO_K    ? VIT_BIAS_NO_K
                                             : r->encoder.qkv_bias == QKV_BIAS_FALSE ? VIT_BIAS_NONE
                                                                                     : VIT_BIAS_ALL,
                                 .layer_scale = r->encoder.layer_scale,
                                 .family = family_of(r)},
                       .channels = r->image.channels,
                       .patch = r->encoder.patch,
                       .rows = rows,
                       .columns = columns,
                       .depth = recipe_depth(r),
                       .class_tokens = r->encoder.class_token,
                       .position = position_of(r),
                       .patch_bias = r->encoder.patch_bias,
                       .norm_pre = r->encoder.norm_pre,
                       .mask_token = r->encoder.input == ENCODER_INPUT_MASK_TOKEN};
}

bool encoder_freezes(const Recipe *r, const char *parameter)
{
    return family_of(r) == FAMILY_MOCO && !strncmp(parameter, "patch_embed.", 12);
}

/* ---- drop path */

bool drop_path_add(DropPath *drop, double rate, int depth)
{
    if (drop->count + 2 * depth > DROP_PATH_MOST)
        return error_set("encoder and decoders have more than %d blocks together", DROP_PATH_MOST / 2);
    for (int i = 0; i < depth; i++)
        for (int k = 0; k < 2; k++)
            drop->rates[drop->count++] = depth > 1 ? rate * i / (depth - 1) : 0;
    return true;
}

void drop_path_keep(Tape *t, const DropPath *drop, int branch, int64_t batch, Ref keep[2])
{
    for (int k = 0; k < 2; k++) {
        keep[k] = REF_NONE;
        if (!drop || drop->rates[branch + k] == 0)
            continue;
        char name[64];
        snprintf(name, sizeof name, "drop_path.%d", branch + k);
        keep[k] = tape_input(t, name, DTYPE_REAL, shape_1(batch));
    }
}

void drop_path_feed(Program *p, const DropPath *drop, int64_t batch, int64_t count, const uint8_t *kept, int64_t stride)
{
    size_t real = device_element(program_device(p), DTYPE_REAL);
    for (int b = 0; b < drop->count; b++) {
        char name[64];
        snprintf(name, sizeof name, "drop_path.%d", b);
        char *factors = program_input(p, name);
        for (int64_t i = 0; factors && i < batch; i++) {
            bool stays = !kept || kept[b * stride + (i < count ? i : 0)];
            float factor = stays ? (float)(1 / (1 - drop->rates[b])) : 0;
            program_write_real(p, factors + (size_t)i * real, &factor, 1);
        }
    }
}

/* ---- whole pictures */

Ref encoder_whole(Tape *t, const VitConfig *c, Ref image, int64_t batch, const DropPath *drop)
{
    bool shared = c->position == VIT_POSITION_RELATIVE;
    VitInput in = vit_whole(t, c, batch);
    Ref bias = REF_NONE;
    tape_layer(t, 0);
    Ref x = tape_name(t, vit_embed(t, image, c, &in), "embed");
    for (int i = 0; i < c->depth; i++) {
        Ref keep[2];
        drop_path_keep(t, drop, 2 * i, batch, keep);
        tape_layer(t, shared ? c->depth + 1 : i + 1);
        if (!shared || i == 0)
            bias = vit_relative_bias(t, c, i);
        tape_layer(t, i + 1);
        scope_push(t, "blocks.%d", i);
        x = vit_block(t, x, &c->block, keep, bias, i);
        scope_pop(t);
        tape_name(t, x, "blocks.%d", i);
    }
    tape_layer(t, c->depth + 1);
    return x;
}
