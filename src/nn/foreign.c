#include "nn/foreign.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "nn/foreign_parts.h"

enum { NAME_SHOWN = 120 };

/* ---- weights */

int64_t weight_count(const Weight *w)
{
    int64_t count = 1;
    for (int i = 0; i < w->ndim; i++)
        count *= w->shape[i];
    return count;
}

void weight_to_f32(const Weight *w, float *out)
{
    for (int i = 0; i < w->piece_count; i++) {
        const WeightPiece *piece = &w->pieces[i];
        int64_t count = piece->zeros ? piece->zeros : strided_count(&piece->view);
        if (piece->zeros)
            memset(out, 0, (size_t)count * sizeof *out);
        else
            strided_to_f32(&piece->view, out);
        out += count;
    }
}

static int by_weight(const void *a, const void *b)
{
    return strcmp(((const Weight *)a)->name, ((const Weight *)b)->name);
}

Weight *foreign_weight(const Foreign *f, const char *name)
{
    Weight wanted = {.name = (char *)name};
    return f->count ? bsearch(&wanted, f->weights, f->count, sizeof wanted, by_weight) : NULL;
}

void foreign_drop(Foreign *f, const char *prefix, const char *why)
{
    size_t n = strlen(prefix), kept = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (!strncmp(f->weights[i].name, prefix, n))
            memory_free(f->weights[i].name);
        else
            f->weights[kept++] = f->weights[i];
    }
    f->count = kept;
    for (size_t i = 0; i < state_count(f->state); i++) {
        ForeignTensor *t = &f->tensors[i];
        if (t->fate != FOREIGN_USED || !t->what || strncmp(t->what, prefix, n))
            continue;
        memory_free(t->what);
        t->what = memory_string(why);
        f->notes.failed = f->notes.failed || !t->what;
        t->fate = FOREIGN_DROPPED;
    }
}

/* ---- prefixes */

static bool begins(const char *name, const char *prefix)
{
    return !strncmp(name, prefix, strlen(prefix));
}

/* Their names without what all of them carry. */
static void strip_common(const Foreign *f, const char **stems)
{
    static const char *const prefixes[] = {"module.", "_orig_mod.", "model.", "backbone."};
    size_t count = state_count(f->state), p = 0;
    while (p < sizeof prefixes / sizeof *prefixes) {
        bool all = true;
        for (size_t i = 0; all && i < count; i++)
            all = begins(stems[i], prefixes[p]) && stems[i][strlen(prefixes[p])];
        for (size_t i = 0; all && i < count; i++)
            stems[i] += strlen(prefixes[p]);
        p = all ? 0 : p + 1;
    }
}

static bool any(const Foreign *f, const char *const *stems, const char *prefix)
{
    for (size_t i = 0; i < state_count(f->state); i++)
        if (begins(stems[i], prefix))
            return true;
    return false;
}

/* The prefix of the network that is meant, "" for none. */
static const char *find_prefix(Foreign *f, const char *const *stems)
{
    static const char *const prefixes[] = {"visual.", "vision_model.", "vit.", "backbone."};
    const char *key = state_key(f->state);
    if (any(f, stems, "base_encoder.") && any(f, stems, "momentum_encoder.")) {
        f->moco = true;
        return key && !strcmp(key, "momentum_encoder") ? "momentum_encoder." : "base_encoder.";
    }
    if (any(f, stems, "encoder.blocks.0.") || any(f, stems, "encoder.layers.0.blocks.0.")) {
        f->simmim = true;
        return "encoder.";
    }
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (any(f, stems, prefixes[i]))
            return prefixes[i];
    return "";
}

/* Names that count though the network's prefix is not theirs: heads and decoders stand beside it. */
static bool stands_beside(const char *name)
{
    static const char *const prefixes[] = {"decoder.", "classifier.", "visual_projection.", "lm_head."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (begins(name, prefixes[i]))
            return true;
    return false;
}

/* ---- whose names they are */

static bool unknown_network(const Foreign *f)
{
    Text names = {0};
    for (size_t i = 0; i < state_count(f->state) && i < 6; i++)
        text_add(&names, "%s%.*s", i ? ", " : "", NAME_SHOWN, state_at(f->state, i)->name);
    error_set("its %zu tensors (%s ..) are those of no network that is known here", state_count(f->state),
              names.data ? names.data : "");
    text_free(&names);
    return false;
}

static bool find_names(Foreign *f, const char *const *stems)
{
    if (any(f, stems, "layers.0.blocks.0."))
        return error_set("it holds a Swin Transformer, which cannot be carried out yet (encoder.kind)");
    if (any(f, stems, "layer1.0.conv1.weight"))
        return error_set("it holds a ResNet, which cannot be carried out (encoder.kind)");
    if (any(f, stems, "class_embedding") && any(f, stems, "conv1.weight"))
        f->names = NAMES_CLIP;
    else if (any(f, stems, "embeddings.class_embedding"))
        f->names = NAMES_HF_CLIP;
    else if (any(f, stems, "embeddings.patch_embeddings.projection.weight"))
        f->names = NAMES_HF_VIT;
    else if (any(f, stems, "patch_embed.") && any(f, stems, "blocks.0."))
        f->names = NAMES_TIMM;
    else
        return unknown_network(f);
    f->dino = any(f, stems, "head.last_layer.") || any(f, stems, "head.mlp.0.");
    return true;
}

/* The kind in words, by what else is there. */
static void name_kind(Foreign *f)
{
    const char *kind = "ViT (names of timm: MAE's encoder, dBOT's teacher, timm)";
    const Weight *norm_pre = foreign_weight(f, "norm_pre.weight");
    if (f->names == NAMES_CLIP)
        kind = "CLIP's vision tower (names of OpenAI)";
    else if (f->names == NAMES_HF_CLIP)
        kind = "CLIP's vision tower (names of Hugging Face)";
    else if (f->names == NAMES_HF_VIT)
        kind = foreign_weight(f, "decoders.0.embed.weight") ? "ViTMAE of Hugging Face" : "ViT of Hugging Face";
    else if (f->moco)
        kind = "MoCo v3";
    else if (f->dino)
        kind = "DINO";
    else if (f->simmim)
        kind = "SimMIM's ViT";
    else if (foreign_weight(f, "decoders.1.embed.weight"))
        kind = "DeepMIM";
    else if (f->dbot)
        kind = "dBOT's student";
    else if (foreign_weight(f, "decoders.0.embed.weight"))
        kind = "MAE with its decoder";
    else if (foreign_weight(f, "blocks.0.attn.q_bias"))
        kind = "ViT in BEiT's style";
    else if (norm_pre)
        kind = "CLIP's vision tower (names of timm)";
    text_add(&f->kind, "%s", kind);
}

/* ---- putting weights together */

/* The view with its two dimensions exchanged. */
static bool transpose(StridedTensor *t)
{
    if (t->ndim != 2)
        return error_set("tensor '%.*s' should have two dimensions", NAME_SHOWN, t->name);
    int64_t rows = t->shape[0], stride = t->stride[0];
    t->shape[0] = t->shape[1];
    t->stride[0] = t->stride[1];
    t->shape[1] = rows;
    t->stride[1] = stride;
    return true;
}

/* A tensor with what it is to become. */
typedef struct {
    const ForeignTensor *tensor;
    ForeignPart part;
} Found;

static int by_found(const void *a, const void *b)
{
    const Found *x = a, *y = b;
    int order = strcmp(x->tensor->what, y->tensor->what);
    return order ? order : (x->part > y->part) - (x->part < y->part);
}

static bool add_piece(Weight *w, const Found *found)
{
    const StridedTensor *t = found->tensor->tensor;
    int at = found->part >= PART_Q ? (int)(found->part - PART_Q) : 0;
    if (t->ndim > WEIGHT_DIMS_MAX)
        return error_set("tensor '%.*s' has %d dimensions", NAME_SHOWN, t->name, t->ndim);
    if ((found->part >= PART_Q) != (w->piece_count > 1) || w->pieces[at].view.name)
        return error_set("two of its tensors would both become %s", w->name);
    w->pieces[at].view = *t;
    return found->part != PART_TRANSPOSED || transpose(&w->pieces[at].view);
}

/* Weights in the order of their names, of what was found. */
static bool collect(Foreign *f, Found *found, size_t count)
{
    if (count)
        qsort(found, count, sizeof *found, by_found);
    for (size_t i = 0; i < count; i++) {
        const char *name = found[i].tensor->what;
        if (!f->count || strcmp(f->weights[f->count - 1].name, name)) {
            char *copy = memory_string(name);
            if (!copy || !memory_grow((void **)&f->weights, f->count, &f->capacity, sizeof *f->weights)) {
                memory_free(copy);
                return false;
            }
            f->weights[f->count++] = (Weight){.name = copy, .piece_count = found[i].part >= PART_Q ? WEIGHT_PIECES_MAX : 1};
        }
        if (!add_piece(&f->weights[f->count - 1], &found[i]))
            return false;
    }
    return true;
}

/* The token for hidden patches belongs to the encoder or to a decoder, as the program has it. */
static const char *mask_token_of(const Foreign *f, const char *const *stems)
{
    if (any(f, stems, "decoder_embed.weight"))
        return "decoders.0.mask_token";
    return f->simmim || f->codes || any(f, stems, "decoder.0.weight") ? "mask_token" : NULL;
}

/* What becomes of tensor i; *part says how. */
static bool take(Foreign *f, const char *const *stems, const char *prefix, size_t i, ForeignPart *how)
{
    const StridedTensor *t = state_at(f->state, i);
    ForeignTensor *fate = &f->tensors[i];
    Text name = {0};
    const char *stem = stems[i];
    ForeignPart part = PART_DROPPED;
    bool inside = begins(stem, prefix), ok = true;
    if (inside)
        stem += strlen(prefix);
    if (inside || stands_beside(stem) || f->names == NAMES_HF_CLIP)
        part = foreign_rename(f->names, stem, &name);
    else
        text_add(&name, "no part of the network that is read (%s)", prefix);
    if (part == PART_WHOLE && name.data && !strcmp(name.data, "mask_token")) {
        const char *owner = mask_token_of(f, stems);
        text_free(&name);
        text_add(&name, "%s", owner ? owner : "the token for hidden patches, which the encoder does not need");
        part = owner ? PART_WHOLE : PART_DROPPED;
    }
    if (part == PART_UNKNOWN)
        text_add(&name, "not known here");
    if (name.failed) {
        text_free(&name);
        return false;
    }
    if (part == PART_REFUSED)
        ok = error_set("its network has %s, which cannot be carried out yet (tensor '%.*s')", name.data, NAME_SHOWN, t->name);
    *how = part;
    *fate = (ForeignTensor){.tensor = t,
                            .fate = part < PART_IGNORED    ? FOREIGN_USED
                                    : part == PART_IGNORED ? FOREIGN_IGNORED
                                    : part == PART_UNKNOWN ? FOREIGN_UNEXPECTED
                                                           : FOREIGN_DROPPED,
                            .what = name.data};
    return ok;
}

/* The shape of what is put together. Of q, k and v the one of k may be missing, as a bias of zeros. */
static bool shape_weight(Weight *w)
{
    const StridedTensor *first = &w->pieces[0].view;
    if (!first->name)
        return error_set("%s: only a part of it is there", w->name);
    w->ndim = first->ndim;
    memcpy(w->shape, first->shape, sizeof *w->shape * (size_t)w->ndim);
    if (w->piece_count == 1)
        return true;
    if (!strided_count(first))
        return error_set("%s: its queries are empty", w->name);
    for (int i = 1; i < WEIGHT_PIECES_MAX; i++) {
        WeightPiece *piece = &w->pieces[i];
        if (i == 1 && !piece->view.name && first->ndim == 1)
            piece->zeros = strided_count(first);
        else if (!piece->view.name)
            return error_set("%s: only a part of it is there", w->name);
        else if (piece->view.ndim != first->ndim ||
                 memcmp(piece->view.shape, first->shape, sizeof *first->shape * (size_t)first->ndim))
            return error_set("%s: queries, keys and values are of different shapes", w->name);
    }
    if (!w->ndim)
        return error_set("%s: it should have a dimension", w->name);
    w->shape[0] *= WEIGHT_PIECES_MAX;
    return true;
}

static bool recognise(Foreign *f, const char **stems, Recipe *recipe)
{
    size_t count = state_count(f->state);
    for (size_t i = 0; i < count; i++)
        stems[i] = state_at(f->state, i)->name;
    strip_common(f, stems);
    const char *prefix = find_prefix(f, stems), *key = state_key(f->state);
    if (key && !f->moco && (!strcmp(key, "base_encoder") || !strcmp(key, "momentum_encoder")))
        return error_set("it holds nothing under '%s', as a file of MoCo v3 would", key);
    f->dbot = any(f, stems, "decoder_predp.");
    f->codes = any(f, stems, "lm_head.");
    if (prefix[0]) { /* what is inside of it decides whose names they are */
        const char **inner = memory_new(count, sizeof *inner);
        if (!inner)
            return false;
        for (size_t i = 0; i < count; i++)
            inner[i] = begins(stems[i], prefix) ? stems[i] + strlen(prefix) : begins(stems[i], "head.") ? stems[i] : "";
        bool known = find_names(f, inner);
        memory_free(inner);
        if (!known)
            return false;
    } else if (!find_names(f, stems)) {
        return false;
    }
    Found *found = memory_new(count, sizeof *found);
    size_t used = 0;
    bool ok = found != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        found[used].tensor = &f->tensors[i];
        ok = take(f, stems, prefix, i, &found[used].part);
        used += ok && found[used].part < PART_IGNORED;
    }
    ok = ok && collect(f, found, used);
    memory_free(found);
    if (!ok)
        return false;
    for (size_t i = 0; i < f->count; i++)
        if (!shape_weight(&f->weights[i]))
            return false;
    name_kind(f);
    return foreign_describe(f, recipe);
}

Foreign *foreign_open(const StateDict *state, Recipe *recipe)
{
    Foreign *f = memory_new(1, sizeof *f);
    if (!f)
        return NULL;
    f->state = state;
    f->tensors = memory_new(state_count(state), sizeof *f->tensors);
    const char **stems = memory_new(state_count(state), sizeof *stems);
    bool ok = f->tensors && stems && recognise(f, stems, recipe) && !f->kind.failed && !f->notes.failed;
    memory_free(stems);
    if (!ok) {
        foreign_close(f);
        return NULL;
    }
    return f;
}

void foreign_close(Foreign *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++)
        memory_free(f->weights[i].name);
    for (size_t i = 0; f->tensors && i < state_count(f->state); i++)
        memory_free(f->tensors[i].what);
    memory_free(f->weights);
    memory_free(f->tensors);
    text_free(&f->kind);
    text_free(&f->notes);
    memory_free(f);
}

const char *foreign_kind(const Foreign *f)
{
    return f->kind.data;
}

const char *foreign_notes(const Foreign *f)
{
    return f->notes.data ? f->notes.data : "";
}

size_t foreign_count(const Foreign *f)
{
    return f->count;
}

const Weight *foreign_at(const Foreign *f, size_t i)
{
    return &f->weights[i];
}

const Weight *foreign_find(const Foreign *f, const char *name)
{
    return foreign_weight(f, name);
}

const ForeignTensor *foreign_tensors(const Foreign *f, size_t *count)
{
    *count = state_count(f->state);
    return f->tensors;
}
