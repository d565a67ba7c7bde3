/* A recipe small enough to be trained in a moment, for the tests of this folder. */
#ifndef LACUNA_TRAIN_TINY_RECIPE_H
#define LACUNA_TRAIN_TINY_RECIPE_H

#include <string.h>

#include "recipe/recipe.h"

/* 16 x 16 pictures of the world in patches of 4, two decoders, drop path, a batch of 8 in two parts, 8 steps in 2 epochs. */
static inline bool tiny_recipe(Recipe *r)
{
    static const char text[] = "image: {size: 16, mean: auto, std: auto}\n"
                               "data: {train: world, world_images: 44, val_share: 0.2, workers: 2}\n"
                               "encoder: {patch: 4, width: 16, depth: 2, heads: 2, drop_path: 0.3}\n"
                               "decoders:\n"
                               "  - {tap: 1, width: 8, depth: 1, heads: 2}\n"
                               "  - {tap: last, width: 8, depth: 1, heads: 2}\n"
                               "target: {normalise: patch}\n"
                               "schedule: {batch_size: 8, epochs: 2, warmup_epochs: 0.5, lr: 1e-2}\n"
                               "run: {micro_batch: 4, threads: 1, save_steps: 3, seed: 5}\n";
    return recipe_parse(r, text, strlen(text), "the tiny recipe");
}

/* Pictures of so many numbers in all, and masks that hide three of four patches. */
static inline void tiny_draw(float *images, int numbers, uint8_t *hidden, int patches)
{
    for (int i = 0; i < numbers; i++)
        images[i] = (float)(i * 37 % 101) / 101 - 0.5F;
    for (int i = 0; i < patches; i++)
        hidden[i] = i % 4 != 0;
}

#endif
