/* Which patches of a picture are hidden (docs/spec/pretraining.md 4). Grids are `rows` x `columns` patches in image order;
 * hidden[i] becomes 1 for a hidden patch and 0 for one that stays. */
#ifndef LACUNA_MIM_MASK_H
#define LACUNA_MIM_MASK_H

#include <stdint.h>

#include "base/random.h"
#include "recipe/recipe.h"

/* The mask of one picture as `mask.*` of a checked recipe says. */
void mask_draw(const Recipe *recipe, Random *random, uint8_t *hidden);

/* 4.1: `visible` of the `places` patches stay, each choice as likely as any other. That is what "noise a patch, the smallest
 * stay" comes to; drawn place by place, so that no working memory is needed. 0 <= visible <= places. */
void mask_random(Random *random, int places, int visible, uint8_t *hidden);

/* 4.2: of the units of `side` x `side` patches `count` are hidden, each choice as likely as any other. `side` divides both
 * sides of the grid. */
void mask_units(Random *random, int rows, int columns, int side, int count, uint8_t *hidden);

/* 4.3: rectangles of at least about `least` patches until `wanted` are hidden. Never more, often fewer, at least one: the
 * number differs from picture to picture. Returns it. */
int mask_blocks(Random *random, int rows, int columns, int wanted, int least, uint8_t *hidden);

/* 4.4: the patches stay whose row and column `step` divides. */
void mask_grid(int rows, int columns, int step, uint8_t *hidden);

#endif
