/* What other programs of this field call a key. Only for src/recipe. */
#ifndef LACUNA_RECIPE_WORDS_H
#define LACUNA_RECIPE_WORDS_H

/* The key that is meant by an unknown one ("encoder.embed_dim", "decoders.K.num_heads", "mask_ratio"); NULL: nobody's word. */
const char *words_key(const char *unknown);

#endif
