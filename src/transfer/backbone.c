#include "transfer/backbone.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "graph/tape.h"
#include "mim/model.h"
#include "nn/init.h"
#include "train/checkpoint.h"

void backbone_recipe(Recipe *r)
{
    r->mask.kind = MASK_RANDOM;
    r->mask.ratio = 0;
    for (int k = 0; k < r->decoder_count; k++)
        r->decoders[k].target.kind = TARGET_PIXELS;
    r->hybrid.from[0] = 0;
}

/* The layout follows from the model's code: it is built on a tape that makes no program. */
static bool declare_params(Backbone *b)
{
    Mim mim;
    Recipe *recipe = memory_new(1, sizeof *recipe);
    if (recipe) {
        *recipe = b->recipe;
        backbone_recipe(recipe);
    }
    Ref *states = memory_new((size_t)recipe_depth(&b->recipe) + 1, sizeof *states);
    Tape *tape = recipe && states && mim_open(&mim, recipe, NULL, NULL, 1, true, true, false) ? tape_new() : NULL;
    bool ok = tape != NULL;
    if (ok) {
        tape_segment(tape, SEGMENT_EVALUATE);
        tape_use_params(tape, &b->params, "params", false);
        mim_encode(tape, &mim, false, states);
        if (mim_has_norm(&b->recipe))
            mim_norm(tape, &mim, states[recipe_depth(&b->recipe)]);
        ok = !tape_failed(tape);
    }
    tape_free(tape);
    memory_free(states);
    memory_free(recipe);
    return ok;
}

static bool new_buffer(float **buffer, int64_t count)
{
    if ((*buffer = memory_new_aligned((size_t)count, sizeof **buffer)))
        memset(*buffer, 0, (size_t)count * sizeof **buffer);
    return *buffer != NULL;
}

Backbone *backbone_new(const Recipe *recipe)
{
    Backbone *b = memory_new(1, sizeof *b);
    if (!b)
        return NULL;
    b->recipe = *recipe;
    if (!declare_params(b) || !new_buffer(&b->weights, b->params.trained_count) ||
        !new_buffer(&b->fixed, b->params.fixed_count)) {
        backbone_close(b);
        return NULL;
    }
    init_params(&b->params, recipe->run.seed, 0, b->weights, b->fixed);
    return b;
}

Backbone *backbone_open(const char *from, Text *note)
{
    Recipe *recipe = memory_new(1, sizeof *recipe);
    Backbone *b = recipe && checkpoint_recipe(from, recipe) ? backbone_new(recipe) : NULL;
    if (b && !checkpoint_read_weights(from, recipe, &b->params, b->weights, note)) {
        backbone_close(b);
        b = NULL;
    }
    memory_free(recipe);
    return b;
}

bool backbone_take(Backbone *b, const ParamSet *params, const float *weights)
{
    for (size_t i = 0; i < b->params.count; i++) {
        const Param *to = &b->params.params[i];
        int at = param_find(params, to->name);
        const Param *from = at < 0 ? NULL : &params->params[at];
        if (to->kind != PARAM_TRAINED)
            continue;
        if (!from || from->kind != to->kind || from->count != to->count)
            return error_set("the model has no weights %s of an encoder like this", to->name);
        memcpy(b->weights + to->offset, weights + from->offset, (size_t)to->count * sizeof *weights);
    }
    return true;
}

void backbone_close(Backbone *b)
{
    if (!b)
        return;
    memory_free(b->weights);
    memory_free(b->fixed);
    param_set_free(&b->params);
    memory_free(b);
}

uint64_t backbone_hash(const Backbone *b)
{
    /* FNV-1a over the bits of each number. */
    uint64_t hash = 0xCBF29CE484222325u;
    for (int64_t i = 0; i < b->params.trained_count; i++) {
        uint32_t bits;
        memcpy(&bits, &b->weights[i], sizeof bits);
        hash = (hash ^ bits) * 0x100000001B3u;
    }
    return hash;
}
