/* Masked image modelling on the tape: encoder, taps, decoders, targets and losses of a recipe (spec/pretraining.md 4-9). */
#ifndef LACUNA_MIM_MODEL_H
#define LACUNA_MIM_MODEL_H

#include "graph/program.h"
#include "nn/encoder.h"
#include "recipe/recipe.h"

/* Where the codes of targets of kind `tokens` come from (12): the nearest row of a code book to a patch, or to a token of the
 * teacher; or from the caller. */
typedef enum { MIM_CODES_OF_PATCHES, MIM_CODES_OF_TOKENS, MIM_CODES_GIVEN } MimCodes;

/* The frozen model whose reconstructions targets are mixed with (9.4). It sees the student's masks. */
typedef struct {
    Recipe recipe; /* its own, with the student's pictures and masks, and one decoder */
    int decoder;   /* the number that it has in the file */
    bool renormalise;
    float scale[RECIPE_CHANNELS_MAX], shift[RECIPE_CHANNELS_MAX]; /* as of MimTeacher */
} MimHybrid;

/* What is frozen beside the student: the network whose tokens are the targets of kind `features` (9.1), and the code book of
 * kind `tokens`. Both see the same pictures. */
typedef struct {
    VitConfig vit;     /* vit.depth: the blocks that are carried out; 0: the tokens that would enter the first. Of a code book
                          of patches the grid and the side of a patch alone count */
    int64_t projected; /* width of its tokens behind its projection; 0: it has none */
    MimCodes codes_of;
    int codes;        /* rows of the code book */
    MimHybrid hybrid; /* with target.hybrid */
    bool renormalise; /* it sees pictures with statistics of its own: x becomes (x std + mean - its mean) / its std */
    float scale[RECIPE_CHANNELS_MAX], shift[RECIPE_CHANNELS_MAX]; /* which is x scale + shift, channel by channel */
} MimTeacher;

/* A teacher of the recipe's own architecture with its first `depth` blocks, as `target.teacher: random` and `initial` have it,
 * and a code book of target.codes patches. */
MimTeacher mim_teacher_alike(const Recipe *recipe, int depth);

/* Whether a decoder has targets of kind `features` or `tokens`, or mixed ones, which need something frozen; of that kind. */
bool mim_needs_teacher(const Recipe *recipe);
bool mim_has_target(const Recipe *recipe, TargetKind kind);

/* What a recipe comes to for a program of `batch` pictures. */
typedef struct {
    const Recipe *recipe; /* borrowed */
    VitConfig encoder;
    MimTeacher teacher;       /* when mim_needs_teacher() */
    ParamSet *teacher_params; /* its set, in storages "teacher" and "teacher.fixed"; borrowed */
    int64_t batch;
    int places;    /* L */
    int visible;   /* patches that stay; hidden ones are places - visible */
    int tokens;    /* rows of a picture in the encoder, class token included */
    bool plain;    /* without the exact savings */
    bool evaluate; /* no drop path; each place has a weight, so that a batch need not be full */
    bool keep;     /* predictions and targets can be read: "pred.K", "target.K" */
    DropPath drop; /* of the encoder's blocks, then of each decoder's */
    const char *no_decay[RECIPE_NAMES_MAX];
} Mim;

/* teacher: NULL when the recipe needs none. false after error_set(). */
bool mim_open(Mim *mim, const Recipe *recipe, const MimTeacher *teacher, ParamSet *teacher_params, int64_t batch, bool plain,
              bool evaluate, bool keep);

/* Appends the forward pass to the tape's present segment, with the parameters in use; losses[k] is decoder k's loss, a scalar:
 * its part of the batch's sum divided by what counts in the whole batch. Inputs (all filled by mim_feed()): "image" (batch, C,
 * H, W), "teacher.image" the same for a teacher with statistics of its own, indices, scales, "drop_path.B" factors. */
void mim_forward(Tape *tape, const Mim *mim, Ref losses[RECIPE_DECODERS_MAX]);

/* The encoder alone: appends it with the parameters in use. states (depth + 1): tokens (batch, tokens, width) after 0, 1, ...
 * depth blocks, named "embed" and "blocks.I" for tape_keep_matching(). class_only: of the last block only the class token is
 * computed, states[depth] is (batch, 1, width). The inputs are filled by mim_feed(). */
void mim_encode(Tape *tape, const Mim *mim, bool class_only, Ref *states);

/* Whether the encoder has a final norm: encoder.final_norm is set, and a decoder's tap is `last` or another method uses it.
 * mim_norm() applies it to tokens. */
bool mim_has_norm(const Recipe *recipe);
Ref mim_norm(Tape *tape, const Mim *mim, Ref x);

/* Pictures and what belongs to each of them, the caller's. */
typedef struct {
    const float *images;         /* (count, C, H, W) */
    const float *teacher_images; /* the same of the size that the teacher sees, with the statistics of `images`; may be NULL
                                    when that is theirs */
    const uint8_t *hidden;       /* (count, L), as mim_accepts() */
    const int32_t *codes;        /* (count, L), of MIM_CODES_GIVEN alone */
    double epoch;                /* a fraction too: where target.hybrid's table is read */
} MimPictures;

/* Those from number `first` on. */
MimPictures mim_pictures_from(const Mim *mim, const MimPictures *pictures, int64_t first);

/* Whether the teacher sees pictures of another size than the student; its rows and columns of pixels. */
bool mim_teacher_resizes(const Mim *mim);
int mim_teacher_rows(const MimTeacher *teacher);
int mim_teacher_columns(const MimTeacher *teacher);

/* Fills a program's inputs for its next run with `count` <= batch pictures, whose masks mim_accepts() (a plain program with
 * mask tokens takes any); the rest of the batch repeats the first one, which is allowed only when evaluating (weight 0). kept:
 * NULL, or for branch b and picture i kept[b * stride + i]. batch_pictures, batch_hidden: pictures of the whole optimizer step
 * and their hidden places, over which losses are averaged. */
void mim_feed(Program *program, const Mim *mim, const MimPictures *pictures, int64_t count, const uint8_t *kept, int64_t stride,
              int64_t batch_pictures, int64_t batch_hidden);

/* Whether masks can be fed: each picture has as many visible patches as the program was built for, but for blocks, whose number
 * varies; somewhere something is hidden. Sets *batch_hidden to their sum. false after error_set(). */
bool mim_accepts(const Mim *mim, const uint8_t *hidden, int64_t count, int64_t *batch_hidden);

/* Numbers that decoder k predicts for a place and those of its target (one code of `tokens`), and its places: the class tokens
 * when they are predicted, then L patches. */
int mim_outputs(const Mim *mim, int decoder);
int mim_target_numbers(const Mim *mim, int decoder);
int mim_target_places(const Mim *mim, int decoder);

/* Reads "pred.K" (targets false) or "target.K" of a run of that segment into (batch, places, numbers), class tokens first, then
 * image order; places that were left out become zeros. */
void mim_read_places(Program *program, Segment segment, const Mim *mim, int decoder, bool target, float *out);

#endif
