/* Weights of other projects: which network a file holds, told by names and shapes, and its tensors under our names
 * (docs/spec/transfer.md D). MAE, DeepMIM, dBOT, SimMIM's ViT, BEiT's style, timm's ViT, DINO, MoCo v3, Hugging Face's ViT and
 * ViTMAE, CLIP's vision tower. What this program's encoder cannot be is refused with a sentence that says what it is. */
#ifndef LACUNA_NN_FOREIGN_H
#define LACUNA_NN_FOREIGN_H

#include "formats/state.h"
#include "recipe/recipe.h"

enum { WEIGHT_PIECES_MAX = 3, WEIGHT_DIMS_MAX = 8 };

/* A weight under our name, made of pieces of a file one behind the other: q, k and v of a qkv, or zeros where the file has
 * nothing. */
typedef struct {
    int64_t zeros; /* that many zeros, or 0: */
    StridedTensor view;
} WeightPiece;

typedef struct {
    char *name;
    int ndim;
    int64_t shape[WEIGHT_DIMS_MAX];
    WeightPiece pieces[WEIGHT_PIECES_MAX];
    int piece_count;
} Weight;

/* Numbers of a weight; and all of them into out. */
int64_t weight_count(const Weight *weight);
void weight_to_f32(const Weight *weight, float *out);

/* What became of a tensor of the file. */
typedef enum { FOREIGN_USED, FOREIGN_IGNORED, FOREIGN_DROPPED, FOREIGN_UNEXPECTED } ForeignFate;

typedef struct {
    const StridedTensor *tensor;
    ForeignFate fate;
    char *what; /* used: our name; else why it is left out */
} ForeignTensor;

typedef struct Foreign Foreign;

/* Recognises the network and fills *recipe: encoder, picture size and statistics, decoders where the file has them, all else as
 * by default. Every weight of the encoder is there in its shape. `state` is borrowed and must outlive the result. NULL after
 * error_set(). */
Foreign *foreign_open(const StateDict *state, Recipe *recipe);
void foreign_close(Foreign *foreign);

/* "MAE", "CLIP's vision tower (names of OpenAI)" ..; and sentences on what had to be assumed, or "". */
const char *foreign_kind(const Foreign *foreign);
const char *foreign_notes(const Foreign *foreign);

/* Weights in the order of their names, owned. */
size_t foreign_count(const Foreign *foreign);
const Weight *foreign_at(const Foreign *foreign, size_t i);
const Weight *foreign_find(const Foreign *foreign, const char *name);

/* Every tensor of the file, in the order of the names there. */
const ForeignTensor *foreign_tensors(const Foreign *foreign, size_t *count);

#endif
