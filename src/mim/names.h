/* What the files of this folder agree on: the rows that count, and the program's inputs. */
#ifndef LACUNA_MIM_NAMES_H
#define LACUNA_MIM_NAMES_H

#include "mim/model.h"

/* The places that a loss looks at: hidden patches or all, and class tokens or not. Inputs of a view are VIEW.rows, VIEW.inverse
 * (between rows of (N, class + L) and counted rows), VIEW.places (rows of (N, L), views without class tokens), VIEW.teacher
 * (rows of the teacher's (N, class + L)), VIEW.codes (given codes, -1 where nothing counts), VIEW.scale (1 / what counts in the
 * batch) and, when weighted, VIEW.weight. Where
 * hidden places share their tokens, VIEW.tokens and VIEW.tokens_inverse stand between the encoder's rows (N, T) and counted
 * rows; a hidden place is shared token class + l. */
typedef enum { MIM_MASKED, MIM_ALL, MIM_MASKED_CLASS, MIM_ALL_CLASS, MIM_VIEWS } MimView;
extern const char *const mim_view_names[MIM_VIEWS];

static inline bool mim_view_all(MimView view)
{
    return view == MIM_ALL || view == MIM_ALL_CLASS;
}

static inline bool mim_view_class(MimView view)
{
    return view == MIM_MASKED_CLASS || view == MIM_ALL_CLASS;
}

/* That of a decoder's loss. */
MimView mim_view_of(const Mim *mim, int decoder);

/* Whether every picture has the same number of hidden places, for which a program can be built. Blocks hide more here and fewer
 * there. */
bool mim_even(const Mim *mim);

/* Whether the rows of a view are those of every place. */
bool mim_view_every(const Mim *mim, MimView view);

/* Rows that are predicted. All places, or the hidden ones; when their number varies between pictures there is room for all,
 * those that count first. */
int64_t mim_view_rows(const Mim *mim, MimView view);
bool mim_view_weighted(const Mim *mim, MimView view);

/* Whether a decoder's tokens of hidden places, the same in each picture, are computed once and not for each. */
bool mim_shares_tokens(const Mim *mim);

/* Whether the mask tokens that enter the encoder (`input: mask_token`) are computed once. Models that see the same masks agree
 * on it. */
bool mim_shares_masks(const Mim *mim);

/* Tokens of a picture that are embedded: its class tokens and visible patches, and the hidden ones unless they are left out or
 * shared. */
int mim_embedded(const Mim *mim);

/* An input of a view. */
Ref mim_view_input(Tape *tape, MimView view, const char *what, DType dtype, Shape shape);

/* What the targets of a micro-batch have in common: values that several decoders read are made once. */
typedef struct {
    Ref image, teacher_tokens, reconstruction; /* the latter of hidden patches, by the frozen model */
    Ref unmixed[RECIPE_DECODERS_MAX];          /* targets of each decoder so far */
} MimTargets;

/* What the frozen model of target.hybrid predicts for the hidden patches of `image`, as its pictures are (9.4). */
Ref mim_reconstruction(Tape *tape, const Mim *mim, Ref image, MimView view);

/* The target of decoder k (2, 9.1, 10, 11), rows as the view of its loss has them. */
Ref mim_target(Tape *tape, const Mim *mim, MimTargets *targets, int decoder);

#endif
