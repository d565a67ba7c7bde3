#include "train/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/map.h"
#include "train/checkpoint.h"
#include "train/checkpoint_parts.h"
#include "train/codes.h"
#include "train/teacher.h"

#define TEACHER_SUFFIX "#teacher"
#define TEACHER_PREFIX "teacher."

struct Weights {
    char *path;
    SafeTensors *own; /* of this program, or NULL: */
    StateDict *state;
    Foreign *foreign;
    Weight *weights; /* of `own` */
    size_t count;
};

/* ---- which file is meant */

/* The weights in a checkpoint's folder: the averaged ones, where there are. */
static char *model_in(const char *folder)
{
    char *average = file_join(folder, CHECKPOINT_AVERAGE);
    if (!average || file_exists(average))
        return average;
    memory_free(average);
    return file_join(folder, CHECKPOINT_MODEL);
}

/* The model of a run's newest checkpoint. A sentence on what was passed over is appended to `note`. */
static char *newest_model(const char *run, Text *note)
{
    Text passed_over = {0};
    char *folder = NULL, *model = NULL;
    if (!checkpoint_newest(run, &folder, &passed_over))
        return NULL;
    if (passed_over.length && note)
        text_add(note, "Checkpoints that cannot be used are passed over: %s. ", passed_over.data);
    text_free(&passed_over);
    if (folder)
        model = model_in(folder);
    else
        error_set("%s holds no complete checkpoint: neither %s nor checkpoints/step-N is there", run, CHECKPOINT_MODEL);
    memory_free(folder);
    return model;
}

char *weights_file(const char *path, Text *note)
{
    if (!file_exists(path)) {
        if (strchr(path, '#')) /* "PATH#KEY" */
            return memory_string(path);
        error_set("there is no run, checkpoint or file of weights at %s", path);
        return NULL;
    }
    if (!file_is_folder(path))
        return memory_string(path);
    char *model = model_in(path), *config = file_join(path, "config.json");
    bool alone = model && config && file_exists(model) && !file_exists(config);
    bool foreign = model && config && !alone && state_is_folder(path);
    memory_free(config);
    if (!model || alone)
        return model;
    memory_free(model);
    return foreign ? memory_string(path) : newest_model(path, note);
}

/* ---- files of this program */

/* Whether it is a safetensors file whose metadata say so. */
static bool is_own(const SafeTensors *file)
{
    const char *format = safetensors_metadata(file, "format");
    return format && !strcmp(format, "lacuna") && safetensors_metadata(file, "recipe");
}

static bool is_safetensors(const char *path)
{
    FileMap map;
    if (!file_map(path, &map))
        return false;
    bool is = map.size > 8 && ((const char *)map.data)[8] == '{' && !torch_is_file(map.data, map.size);
    file_unmap(&map);
    return is;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Weight *)a)->name, ((const Weight *)b)->name);
}

/* Their own names in their own file. Of a teacher those of its network, behind the prefix. */
static bool list_own(Weights *w, bool teacher)
{
    size_t all = safetensors_count(w->own), skipped = teacher ? strlen(TEACHER_PREFIX) : 0;
    w->weights = memory_new(all, sizeof *w->weights);
    for (size_t i = 0; w->weights && i < all; i++) {
        const SafeTensor *t = safetensors_at(w->own, i);
        if (strncmp(t->name, TEACHER_PREFIX, skipped) != 0 || (teacher && !teacher_is_network(t->name + skipped)))
            continue;
        Weight *to = &w->weights[w->count++];
        *to = (Weight){.name = (char *)t->name + skipped, .ndim = t->ndim, .piece_count = 1};
        memcpy(to->shape, t->shape, sizeof *t->shape * (size_t)t->ndim);
        to->pieces[0].view = state_strided(t);
    }
    if (w->weights && w->count)
        qsort(w->weights, w->count, sizeof *w->weights, by_name);
    return w->weights != NULL;
}

static bool read_recipe(const Weights *w, Recipe *recipe)
{
    const char *text = safetensors_metadata(w->own, "recipe");
    return recipe_parse(recipe, text, strlen(text), "its recipe") && recipe_check(recipe);
}

/* ---- the size of a network of this program */

static bool is_matrix(const Weights *w, const char *name, int64_t rows, int64_t columns)
{
    const Weight *t = weights_find(w, name);
    return t && t->shape[0] == rows && (columns ? t->ndim == 2 && t->shape[1] == columns : t->ndim == 1);
}

/* PREFIX blocks.0 .. of that width; hidden 0: their MLPs are not looked at. */
static bool has_blocks(const Weights *w, const char *prefix, int depth, int64_t width, int64_t hidden)
{
    for (int i = 0; i < depth; i++) {
        char name[4][64];
        static const char *const parts[] = {"norm1.weight", "attn.qkv.weight", "mlp.fc1.weight", "mlp.fc2.weight"};
        for (int k = 0; k < 4; k++)
            snprintf(name[k], sizeof name[k], "%sblocks.%d.%s", prefix, i, parts[k]);
        if (!is_matrix(w, name[0], width, 0) || !is_matrix(w, name[1], 3 * width, width) ||
            (hidden && (!is_matrix(w, name[2], hidden, width) || !is_matrix(w, name[3], width, hidden))))
            return error_set("it does not hold the %sblocks.%d that its recipe names", prefix, i);
    }
    return true;
}

static bool has_any(const Weights *w, const char *prefix)
{
    for (size_t i = 0; i < w->count; i++)
        if (!strncmp(w->weights[i].name, prefix, strlen(prefix)))
            return true;
    return false;
}

/* Who opens a model takes memory for what its recipe says: the file has to be as large, and positions, which it may not hold,
 * few enough. Decoders may be left out as a whole. */
static bool holds_network(const Weights *w, const Recipe *r)
{
    enum { PLACES_MOST = 1 << 18 };
    const Weight *table = weights_find(w, "pos_embed");
    int64_t places = recipe_patches(r), width = r->encoder.width;
    if (!has_any(w, "blocks."))
        return error_set("it holds no encoder, which its recipe names; decoders alone are no model");
    if (!has_blocks(w, "", recipe_depth(r), width, llround(r->encoder.mlp_ratio * (double)width)))
        return false;
    if (table ? table->ndim != 3 || table->shape[1] != places + r->encoder.class_token || table->shape[2] != width
              : places > PLACES_MOST)
        return error_set("its recipe names %lld patches of a picture, %s", (long long)places,
                         table ? "and its table of positions is of others" : "more than is accepted");
    for (int k = 0; k < r->decoder_count; k++) {
        const RecipeDecoder *d = &r->decoders[k];
        char prefix[32];
        snprintf(prefix, sizeof prefix, "decoders.%d.", k);
        if (d->kind == DECODER_TRANSFORMER && has_any(w, prefix) && !has_blocks(w, prefix, d->depth, d->width, 0))
            return false;
    }
    return true;
}

/* ---- the teacher of a checkpoint */

/* "PATH#teacher" of a run or a checkpoint; PATH into *of, fresh. */
static bool means_teacher(const char *path, char **of)
{
    size_t n = strlen(path), suffix = strlen(TEACHER_SUFFIX);
    *of = NULL;
    if (n <= suffix || strcmp(path + n - suffix, TEACHER_SUFFIX) != 0 || file_exists(path))
        return false;
    if ((*of = memory_string(path)))
        (*of)[n - suffix] = '\0';
    if (*of && file_is_folder(*of))
        return true;
    memory_free(*of);
    *of = NULL;
    return false;
}

bool weights_of_teacher(const char *path)
{
    char *of;
    bool means = means_teacher(path, &of);
    memory_free(of);
    return means;
}

/* What was a student once, or drawn as one, is an encoder of the run's recipe with fewer blocks. */
static bool describe_teacher(Weights *w, const char *folder, Recipe *r)
{
    CheckpointMeta meta;
    int blocks = 0, block;
    const char *first = r->target.teacher;
    if (!checkpoint_meta(folder, &meta))
        return false;
    if (recipe_method(r) == METHOD_MASKED && stage_of(r, meta.steps_per_epoch, meta.step) == 0 &&
        strcmp(first, "random") != 0 && strcmp(first, "initial") != 0)
        return error_set("its teacher is that of a file: name %s itself", first);
    for (size_t i = 0; i < w->count; i++)
        if (sscanf(w->weights[i].name, "blocks.%4d.", &block) == 1 && block >= blocks)
            blocks = block + 1;
    if (!blocks)
        return error_set("it has no teacher with blocks");
    for (int k = 0; k < r->decoder_count; k++)
        r->decoders[k].tap = TAP_LAST; /* it has none, nor what decoders learn */
    r->stages.count = 0;
    r->hybrid.from[0] = 0;
    if (blocks < recipe_depth(r))
        r->encoder.keep_blocks = blocks;
    r->encoder.final_norm = r->encoder.final_norm && weights_find(w, "norm.weight");
    return recipe_check(r) && holds_network(w, r);
}

static bool open_teacher(Weights *w, const char *of, Recipe *recipe, Text *note)
{
    char *model = weights_file(of, note), *folder = model ? memory_string(model) : NULL, *state = NULL;
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        *slash = '\0';
    bool ok = folder && checkpoint_recipe(model, recipe) && (state = file_join(slash ? folder : ".", CHECKPOINT_STATE)) &&
              (w->own = safetensors_open(state)) && list_own(w, true) && describe_teacher(w, slash ? folder : ".", recipe);
    if (!ok)
        error_context("%s", w->path);
    memory_free(model);
    memory_free(folder);
    memory_free(state);
    return ok;
}

/* ---- opening */

/* What may be a part of the network that is not carried out. */
static void note_unexpected(const Foreign *f, Text *note)
{
    enum { NAMED = 3, NAME_SHOWN = 120 };
    size_t count, found = 0;
    const ForeignTensor *tensors = foreign_tensors(f, &count);
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].fate != FOREIGN_UNEXPECTED)
            continue;
        if (found++ < NAMED)
            text_add(note, "%s%.*s", found == 1 ? "Left out as unknown: " : ", ", NAME_SHOWN, tensors[i].tensor->name);
    }
    if (found > NAMED)
        text_add(note, " and %zu more", found - NAMED);
    if (found)
        text_add(note, ". ");
}

static bool open_foreign(Weights *w, Recipe *recipe, Text *note)
{
    SafeTensors *file = w->own; /* of another program */
    w->own = NULL;
    if (!(w->state = file ? state_of_safetensors(file, w->path) : state_open(w->path)))
        return false;
    if (!(w->foreign = foreign_open(w->state, recipe)))
        return error_context("%s", w->path);
    if (note) {
        text_add(note, "%s: %s. %s", w->path, foreign_kind(w->foreign), foreign_notes(w->foreign));
        note_unexpected(w->foreign, note);
    }
    return true;
}

static bool open_file(Weights *w, Recipe *recipe, Text *note)
{
    bool file = file_exists(w->path) && !file_is_folder(w->path);
    if (file && is_safetensors(w->path)) {
        if (!(w->own = safetensors_open(w->path)))
            return false;
        if (is_own(w->own))
            return list_own(w, false) && ((read_recipe(w, recipe) && holds_network(w, recipe)) || error_context("%s", w->path));
    }
    return open_foreign(w, recipe, note);
}

Weights *weights_open(const char *path, Recipe *recipe, Text *note)
{
    char *of = NULL;
    Weights *w = memory_new(1, sizeof *w);
    bool ok;
    if (w && means_teacher(path, &of))
        ok = (w->path = memory_string(path)) && open_teacher(w, of, recipe, note);
    else
        ok = w && (w->path = weights_file(path, note)) && open_file(w, recipe, note);
    memory_free(of);
    if (!ok) {
        weights_close(w);
        return NULL;
    }
    return w;
}

void weights_close(Weights *w)
{
    if (!w)
        return;
    foreign_close(w->foreign);
    state_close(w->state);
    safetensors_close(w->own);
    memory_free(w->weights);
    memory_free(w->path);
    memory_free(w);
}

size_t weights_count(const Weights *w)
{
    return w->foreign ? foreign_count(w->foreign) : w->count;
}

const Weight *weights_at(const Weights *w, size_t i)
{
    return w->foreign ? foreign_at(w->foreign, i) : &w->weights[i];
}

const Weight *weights_find(const Weights *w, const char *name)
{
    if (w->foreign)
        return foreign_find(w->foreign, name);
    Weight wanted = {.name = (char *)name};
    return w->count ? bsearch(&wanted, w->weights, w->count, sizeof wanted, by_name) : NULL;
}

const char *weights_path(const Weights *w)
{
    return w->path;
}

const Foreign *weights_foreign(const Weights *w)
{
    return w->foreign;
}

const char *weights_words(const Weights *w)
{
    return w->state ? state_words(w->state) : NULL;
}

const char *weights_others(const Weights *w)
{
    return w->state ? state_others(w->state) : NULL;
}
