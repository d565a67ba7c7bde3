/* An encoder small enough for the tests of this folder, with its first draw of weights, and pictures of the world. */
#ifndef LACUNA_TRANSFER_TINY_BACKBONE_H
#define LACUNA_TRANSFER_TINY_BACKBONE_H

#include <string.h>

#include "transfer/features.h"

/* 16 x 16 pictures in patches of 4, three blocks of width 12, class token, a final norm that is not trivial. */
static inline Backbone *tiny_backbone(void)
{
    static const char text[] = "image: {size: 16, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}\n"
                               "data: {train: world, world_images: 44}\n"
                               "encoder: {patch: 4, width: 12, depth: 3, heads: 2}\n"
                               "decoders: [{tap: last, width: 8, depth: 1, heads: 2}]\n"
                               "run: {seed: 5}\n";
    static Recipe r;
    if (!recipe_parse(&r, text, sizeof text - 1, "test") || !recipe_check(&r))
        return NULL;
    Backbone *b = backbone_new(&r);
    for (size_t i = 0; b && i < b->params.count; i++)
        for (int64_t k = 0; b->params.params[i].shape.n == 1 && k < b->params.params[i].count; k++)
            b->weights[b->params.params[i].offset + k] += 0.01f * (float)(k % 7) - 0.02f;
    return b;
}

#endif
