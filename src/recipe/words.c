#include "recipe/words.h"

#include <stddef.h>
#include <string.h>

const char *words_key(const char *unknown)
{
    static const struct {
        const char *word, *key, *of_decoder; /* NULL: there is none */
    } words[] = {{"embed_dim", "encoder.width", "decoders.K.width"},
                 {"hidden_size", "encoder.width", "decoders.K.width"},
                 {"dim", "encoder.width", "decoders.K.width"},
                 {"num_heads", "encoder.heads", "decoders.K.heads"},
                 {"decoder_embed_dim", "decoders.K.width", "decoders.K.width"},
                 {"decoder_depth", "decoders.K.depth", "decoders.K.depth"},
                 {"decoder_num_heads", "decoders.K.heads", "decoders.K.heads"},
                 {"patch_size", "encoder.patch", NULL},
                 {"img_size", "image.size", NULL},
                 {"input_size", "image.size", NULL},
                 {"image_size", "image.size", NULL},
                 {"mask_ratio", "mask.ratio", NULL},
                 {"norm_pix_loss", "target.normalise", "decoders.K.target.normalise"},
                 {"accum_iter", "schedule.accumulate", NULL},
                 {"num_workers", "data.workers", NULL},
                 {"clip_grad", "optimizer.clip", NULL},
                 {"base_lr", "schedule.blr", NULL},
                 {"amp", "run.precision", NULL}};
    const char *leaf = strrchr(unknown, '.');
    leaf = leaf ? leaf + 1 : unknown;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(leaf, words[i].word))
            return strncmp(unknown, "decoders.", 9) ? words[i].key : words[i].of_decoder;
    return NULL;
}
