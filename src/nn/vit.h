/* The vision transformer on the tape (spec/pretraining.md 5): embedding, blocks, and the pieces decoders share with it. */
#ifndef LACUNA_NN_VIT_H
#define LACUNA_NN_VIT_H

#include "graph/tape.h"
#include "nn/init.h"
#include "ops/activation/activation.h"

typedef enum { VIT_BIAS_ALL, VIT_BIAS_NONE, VIT_BIAS_NO_K } VitBias;
typedef enum {
    VIT_POSITION_NONE,
    VIT_POSITION_SINCOS,
    VIT_POSITION_LEARNED,
    VIT_POSITION_RELATIVE,          /* biases of the attention, one table for all blocks */
    VIT_POSITION_RELATIVE_PER_BLOCK /* a table each */
} VitPosition;

typedef struct {
    int64_t width;
    int heads;
    double mlp_ratio, norm_eps;
    Activation activation;
    VitBias qkv_bias;
    double layer_scale; /* initial value, 0: none */
    InitFamily family;
} BlockConfig;

typedef struct {
    BlockConfig block;
    int channels, patch, rows, columns; /* grid of patches */
    int depth, class_tokens;
    VitPosition position;
    bool patch_bias, norm_pre;
    bool mask_token; /* hidden patches are replaced, not dropped */
} VitConfig;

/* x (N, T, D) through SCOPE.*: y = x + dp(ls1 attn(norm1 x)); y + dp(ls2 mlp(norm2 y)). keep: (N) factors of the two branches
 * (drop path), or REF_NONE. bias: (heads, T, T) added to the attention's logits, or REF_NONE. index: of the block, for init.
 * The attention's softmax is named SCOPE.attn.map (N, heads, T, T), and made only for tape_keep_matching(). */
Ref vit_block(Tape *tape, Ref x, const BlockConfig *config, const Ref keep[2], Ref bias, int index);

/* Rows that are taken from tokens, `count` for each of the N sequences: I32 (N count), as gather() reads it. inverse: for each
 * token the row that it becomes, or -1; left out when none of a sequence's own tokens is taken. */
typedef struct {
    Ref index, inverse;
    int64_t count;
} VitRows;

/* Tokens that enter a block. All of them are `own` (N, T, D), or many are alike in all sequences: then `shared` (K, D) holds
 * these, and `rows` puts own and shared ones (index -1 - k) together. */
typedef struct {
    Ref own, shared;
    VitRows rows;
} VitTokens;

/* All of them (N, T, D). */
Ref vit_tokens(Tape *tape, const VitTokens *x);

/* vit_block() without the work that is for nothing: what depends on a token alone is computed once for a shared one, and of
 * tokens that are not wanted only keys and values are (with a bias, which belongs to places, queries too). wanted: rows of own
 * and shared tokens, result (N, count, D), with a bias only where none are shared; NULL: all of them, (N, T, D). */
Ref vit_block_part(Tape *tape, const VitTokens *x, const VitRows *wanted, const BlockConfig *config, const Ref keep[2],
                   Ref bias, int index);

/* Which rows enter the encoder, as values on the tape. */
typedef struct {
    int64_t batch;  /* N */
    int64_t tokens; /* T of the result, class token included */
    Ref patches;    /* I32: rows of all N L patches that are embedded; REF_NONE: all */
    Ref replaced;   /* mask_token: I32 (N L), l's row or -1 where the mask token goes */
    Ref replaced_inverse;
    Ref index; /* I32 (N T): row of the embedded patches, -1 the class token */
    Ref inverse;
    Ref place; /* I32 (N T): row of the position table */
} VitInput;

/* The rows of whole pictures, none hidden: (N, class + L) tokens in image order. */
VitInput vit_whole(Tape *tape, const VitConfig *config, int64_t batch);

/* The bias of block `index`'s attention over class tokens and all patches; REF_NONE unless positions are relative. Called in
 * the scope of the encoder. */
Ref vit_relative_bias(Tape *tape, const VitConfig *config, int index);

/* image (N, C, H, W) -> tokens (N, T, D) that enter the first block. */
Ref vit_embed(Tape *tape, Ref image, const VitConfig *config, const VitInput *input);

/* With config->mask_token: own tokens are the class tokens and those of the patches that `input` names, `replaced` left out.
 * The hidden ones share the mask token, a single one, or with a table of positions one at each: class + l. Their rows are left
 * to the caller. */
VitTokens vit_embed_masked(Tape *tape, Ref image, const VitConfig *config, const VitInput *input);

/* SCOPE.mask_token (1, 1, width). */
Ref vit_mask_token(Tape *tape, int64_t width, InitFamily family);

/* One token at every position of a table (1, T, D): (T, D). */
Ref vit_token_everywhere(Tape *tape, Ref token, Ref table);

/* Whether positions are a table (1, class + L, D) that is added to the tokens. */
bool vit_has_table(const VitConfig *config);

#endif
