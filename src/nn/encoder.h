/* The encoder that a recipe describes, and what every method needs around it: drop path, and tokens of whole pictures
 * (docs/spec/pretraining.md 5). */
#ifndef LACUNA_NN_ENCODER_H
#define LACUNA_NN_ENCODER_H

#include "graph/program.h"
#include "nn/vit.h"
#include "recipe/recipe.h"

VitConfig encoder_config(const Recipe *recipe);

/* Whether a parameter of that name lies among the trained ones and never changes (5.4): the patch embedding of MoCo's family.
 */
bool encoder_freezes(const Recipe *recipe, const char *parameter);

/* ---- drop path (5.2): two branches a block, numbered through all blocks of a model */

enum { DROP_PATH_MOST = 1024 };

typedef struct {
    int count;
    double rates[DROP_PATH_MOST]; /* 0: never dropped */
} DropPath;

/* Two branches for each of `depth` blocks more, the rate rising linearly from 0 to `rate`. False after error_set(): too many.
 */
bool drop_path_add(DropPath *drop, double rate, int depth);

/* The factors of branches `branch` and `branch` + 1, inputs "drop_path.B" (batch); REF_NONE for one that never drops, and for
 * both when drop is NULL. */
void drop_path_keep(Tape *tape, const DropPath *drop, int branch, int64_t batch, Ref keep[2]);

/* Fills these inputs: picture i keeps branch b if kept[b * stride + i]. Pictures from `count` on are as the first. kept NULL:
 * all are kept. */
void drop_path_feed(Program *program, const DropPath *drop, int64_t batch, int64_t count, const uint8_t *kept, int64_t stride);

/* ---- whole pictures */

/* Appends the encoder over all patches of `image` (batch, C, H, W), with the parameters in use: the tokens (batch, class + L,
 * width) behind the last block, before any norm. Branches of `drop` count from 0; NULL: none drops. config->mask_token must be
 * false. */
Ref encoder_whole(Tape *tape, const VitConfig *config, Ref image, int64_t batch, const DropPath *drop);

#endif
