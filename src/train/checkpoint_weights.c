/* Weights out of a checkpoint, without the state of its training. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "nn/position.h"
#include "train/checkpoint.h"
#include "train/codes.h"
#include "train/weights.h"

bool checkpoint_recipe(const char *path, Recipe *recipe)
{
    Weights *file = weights_open(path, recipe, NULL);
    weights_close(file);
    return file != NULL;
}

/* A head of another method counts as one decoder more. */
enum { HEAD = RECIPE_DECODERS_MAX };

static bool is_head(const char *name)
{
    static const char *const groups[] = {"head.", "fc_norm.", "projector.", "predictor."};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (!strncmp(name, groups[i], strlen(groups[i])))
            return true;
    return false;
}

static bool same_shape(const Weight *w, const Param *p)
{
    bool same = w->ndim == p->shape.n;
    for (int i = 0; same && i < w->ndim; i++)
        same = w->shape[i] == p->shape.d[i];
    return same;
}

/* "NAME ([2, 3] instead of [3, 3])" */
static void add_shapes(Text *out, const Weight *w, const Param *p)
{
    text_add(out, "%.200s ([", p->name);
    for (int i = 0; i < w->ndim; i++)
        text_add(out, "%s%lld", i ? ", " : "", (long long)w->shape[i]);
    text_add(out, "] instead of [");
    for (int i = 0; i < p->shape.n; i++)
        text_add(out, "%s%lld", i ? ", " : "", (long long)p->shape.d[i]);
    text_add(out, "])");
}

/* The number of the decoder that a name belongs to, -1: of the encoder. */
static int decoder_of(const char *name)
{
    int k;
    if (is_head(name))
        return HEAD;
    return sscanf(name, "decoders.%d.", &k) == 1 && k >= 0 && k < RECIPE_DECODERS_MAX ? k : -1;
}

/* The token for hidden patches is no part of what the encoder makes of a picture: it may come, go, and start anew. Nor is a
 * projection behind it, which only a teacher has. */
static bool is_optional(const char *name)
{
    return !strcmp(name, "mask_token") || !strncmp(name, "projection.", 11);
}

/* A head on the mean of the patches has a norm of its own in the place of the encoder's (docs/spec/transfer.md A.1). */
static bool lacks_norm(const Recipe *r)
{
    return recipe_method(r) == METHOD_CLASSIFY && r->head.pool == HEAD_MEAN;
}

/* Nor is there one in other projects' files of such a model, whose heads are left out. */
static bool has_no_norm(const Weights *file, const Recipe *r)
{
    return weights_foreign(file) && !r->encoder.final_norm;
}

/* A learned table of another grid; both must have as many class rows, at most one. */
static bool resize_table(const Weight *t, const Recipe *from, const Param *p, const Recipe *to, float *out)
{
    int rows, columns, to_rows, to_columns, class_rows = to->encoder.class_token;
    recipe_grid(from, &rows, &columns);
    recipe_grid(to, &to_rows, &to_columns);
    if (strcmp(p->name, "pos_embed") || t->ndim != 3 || p->shape.n != 3 || t->shape[2] != p->shape.d[2] || class_rows > 1 ||
        t->shape[0] != 1 || t->shape[1] != (int64_t)rows * columns + class_rows ||
        p->shape.d[1] != (int64_t)to_rows * to_columns + class_rows)
        return false;
    float *table = memory_new((size_t)weight_count(t), sizeof *table);
    if (!table)
        return false;
    weight_to_f32(t, table);
    position_resize(table, rows, columns, (int)t->shape[2], class_rows > 0, to_rows, to_columns, out);
    memory_free(table);
    return true;
}

/* Why decoder k cannot be taken from the file; false when it can. */
static bool decoder_differs(const Weights *file, const ParamSet *set, int k, Text *why)
{
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        if (p->kind != PARAM_TRAINED || decoder_of(p->name) != k)
            continue;
        const Weight *t = weights_find(file, p->name);
        if (t && same_shape(t, p))
            continue;
        if (t)
            add_shapes(why, t, p);
        else
            text_add(why, "%s is not there", p->name);
        return true;
    }
    return false;
}

/* Tables of sines are never read: one that differs would give other features without a word. */
static bool same_sines(const Recipe *from, const Recipe *to, Text *note)
{
    int rows, columns, to_rows, to_columns;
    bool moco = from->encoder.init == ENCODER_INIT_MOCO;
    if (from->encoder.position != ENCODER_POSITION_SINCOS || to->encoder.position != ENCODER_POSITION_SINCOS)
        return true;
    if (moco != (to->encoder.init == ENCODER_INIT_MOCO))
        return error_set(
            "its table of positions is in %s order, rows before columns or columns before rows, and here it would be "
            "in the other one: give encoder.init=%s, or encoder.position=learned, which takes the table as it is",
            moco ? "MoCo v3's" : "MAE's", moco ? "moco" : "xavier");
    recipe_grid(from, &rows, &columns);
    recipe_grid(to, &to_rows, &to_columns);
    if (rows != to_rows || columns != to_columns)
        text_add(note, "Positions are computed anew for the grid of %d x %d patches. ", to_rows, to_columns);
    return true;
}

static bool load_encoder(const Weights *file, const Recipe *from, const Recipe *to, const ParamSet *set, float *weights,
                         Text *note)
{
    if (from->encoder.position == ENCODER_POSITION_LEARNED && to->encoder.position != ENCODER_POSITION_LEARNED)
        return error_set("its encoder.position is learned, here it is %s",
                         recipe_word("encoder.position", (int)to->encoder.position));
    if (from->encoder.heads != to->encoder.heads)
        return error_set("its encoder.heads is %d, here it is %d", from->encoder.heads, to->encoder.heads);
    if (from->encoder.activation != to->encoder.activation)
        return error_set("its encoder.activation is %s, here it is %s",
                         recipe_word("encoder.activation", (int)from->encoder.activation),
                         recipe_word("encoder.activation", (int)to->encoder.activation));
    if (from->encoder.norm_eps != to->encoder.norm_eps)
        text_add(note, "Its encoder.norm_eps is %g, here it is %g. ", from->encoder.norm_eps, to->encoder.norm_eps);
    if (from->encoder.position != to->encoder.position)
        text_add(note, "Positions were %s, here they are %s. ", recipe_word("encoder.position", (int)from->encoder.position),
                 recipe_word("encoder.position", (int)to->encoder.position));
    if (!same_sines(from, to, note))
        return false;
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        if (p->kind != PARAM_TRAINED || decoder_of(p->name) >= 0)
            continue;
        const Weight *t = weights_find(file, p->name);
        if (!t && (is_optional(p->name) || (!strncmp(p->name, "norm.", 5) && (lacks_norm(from) || has_no_norm(file, from)))))
            text_add(note, "%s starts anew: it is not there. ", p->name);
        else if (!t)
            return error_set("%s is missing", p->name);
        else if (same_shape(t, p))
            weight_to_f32(t, weights + p->offset);
        else if (resize_table(t, from, p, to, weights + p->offset))
            text_add(note, "The position table is resized. ");
        else {
            Text words = {0};
            add_shapes(&words, t, p);
            error_set("%s is of another shape", words.data ? words.data : p->name);
            text_free(&words);
            return false;
        }
    }
    int dropped = 0; /* blocks of the file */
    for (size_t i = 0; i < weights_count(file); i++) {
        const char *name = weights_at(file, i)->name;
        int block;
        if (to->encoder.keep_blocks && sscanf(name, "blocks.%d.", &block) == 1 && block >= recipe_depth(to)) {
            dropped = block + 1 - recipe_depth(to) > dropped ? block + 1 - recipe_depth(to) : dropped;
            continue;
        }
        if (decoder_of(name) >= 0 || is_optional(name) || !strcmp(name, "pos_embed") ||
            (!strncmp(name, "norm.", 5) && lacks_norm(to)))
            continue;
        if (!strcmp(name, "norm.weight") && param_find(set, name) < 0 && weights_foreign(file))
            text_add(note, "Its final norm is left out, since no decoder's tap is last. ");
        else if (!strncmp(name, "norm.", 5) && weights_foreign(file))
            continue;
        else if (param_find(set, name) < 0)
            return error_set("%.200s has no place in this encoder", name);
    }
    if (dropped)
        text_add(note, "Its last %d blocks are left out (encoder.keep_blocks)%s. ", dropped,
                 param_find(set, "norm.weight") < 0 ? "" : "; the final norm, which was fitted to the last one, stays");
    return true;
}

/* What both have in the same shape. */
static void load_head(const Weights *file, const ParamSet *set, float *weights, Text *note)
{
    Text why = {0};
    bool differs = decoder_differs(file, set, HEAD, &why);
    if (differs)
        text_add(note, "The head starts anew: %s. ", why.data ? why.data : "it differs");
    for (size_t i = 0; i < set->count && !differs; i++) {
        const Param *p = &set->params[i];
        const Weight *t = decoder_of(p->name) == HEAD ? weights_find(file, p->name) : NULL;
        if (t && p->kind == PARAM_TRAINED)
            weight_to_f32(t, weights + p->offset);
    }
    text_free(&why);
}

static void load_decoders(const Weights *file, const Recipe *from, const Recipe *to, const ParamSet *set, float *weights,
                          Text *note)
{
    for (int k = 0; k < to->decoder_count; k++) {
        Text why = {0};
        if (decoder_differs(file, set, k, &why)) {
            text_add(note, "Decoder %d starts anew: %s. ", k, why.data ? why.data : "it differs");
        } else {
            for (size_t i = 0; i < set->count; i++) {
                const Param *p = &set->params[i];
                const Weight *t = weights_find(file, p->name);
                if (p->kind == PARAM_TRAINED && decoder_of(p->name) == k && t)
                    weight_to_f32(t, weights + p->offset);
            }
        }
        text_free(&why);
    }
    for (int k = to->decoder_count; k < from->decoder_count; k++)
        text_add(note, "Decoder %d of the file is passed over. ", k);
    load_head(file, set, weights, note);
}

/* Those of a set's parameters that begin with `prefix`, or, when it is empty, are of the teacher's network. */
static bool load_frozen(const Weights *file, const Recipe *from, const Recipe *to, const char *prefix, const ParamSet *set,
                        float *weights)
{
    size_t length = strlen(prefix);
    for (size_t i = 0; i < set->count; i++) {
        Param p = set->params[i];
        if (p.kind != PARAM_TRAINED || (length ? strncmp(p.name, prefix, length) != 0 : !teacher_is_network(p.name)))
            continue;
        p.name += length;
        const Weight *t = weights_find(file, p.name);
        bool relative = strstr(p.name, "relative_position_bias_table") != NULL;
        if (!t && !strncmp(p.name, "norm.", 5))
            return error_set("it has no final norm, which target.final_norm asks for");
        if (!t)
            return error_set("%s is missing", p.name);
        if (same_shape(t, &p))
            weight_to_f32(t, weights + p.offset);
        else if (!resize_table(t, from, &p, to, weights + p.offset))
            return error_set("%s is of another shape%s%s", p.name,
                             relative ? ": its positions are relative ones of another grid of patches, which pictures of its "
                                        "own size have "
                                      : "",
                             !relative ? ""
                             : length  ? "(image.size)"
                                       : "(target.image_size)");
    }
    return true;
}

/* Its own network at the size of pictures that it sees here. */
static bool read_frozen(const char *path, const int size[2], const char *prefix, Trainer *t, Text *note)
{
    Recipe *from = memory_new(1, sizeof *from), *to = memory_new(1, sizeof *to);
    Weights *file = from && to ? weights_open(path, from, note) : NULL;
    bool ok = file != NULL;
    if (ok) {
        *to = *from;
        memcpy(to->image.size, size, sizeof to->image.size);
        ok = load_frozen(file, from, to, prefix, trainer_teacher_params(t), trainer_teacher_weights(t)) ||
             error_context("%s", weights_path(file));
    }
    weights_close(file);
    memory_free(from);
    memory_free(to);
    return ok;
}

bool checkpoint_load_teacher(const char *path, const Recipe *r, Trainer *t, Text *note)
{
    return read_frozen(path, r->target.image_size[0] ? r->target.image_size : r->image.size, "", t, note);
}

bool checkpoint_load_hybrid(const char *path, const Recipe *r, Trainer *t, Text *note)
{
    return read_frozen(path, r->image.size, "hybrid.", t, note);
}

bool checkpoint_read_weights(const char *path, const Recipe *recipe, const ParamSet *set, float *weights, Text *note)
{
    Recipe *from = memory_new(1, sizeof *from);
    Text unread = {0};
    Weights *file = from ? weights_open(path, from, note) : NULL;
    bool ok = file != NULL;
    if (ok && !load_encoder(file, from, recipe, set, weights, note ? note : &unread))
        ok = error_context("the weights of %s do not fit the recipe", weights_path(file));
    if (ok)
        load_decoders(file, from, recipe, set, weights, note ? note : &unread);
    text_free(&unread);
    weights_close(file);
    memory_free(from);
    return ok;
}

bool checkpoint_load_weights(const char *path, const Recipe *recipe, Trainer *t, Text *note)
{
    return checkpoint_read_weights(path, recipe, trainer_params(t), trainer_weights(t), note);
}
