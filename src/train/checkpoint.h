/* Checkpoints: RUN/checkpoints/step-00012500/{model.safetensors, state.safetensors, meta.json}.
 *
 * model.safetensors holds all parameters by name in f32 and, as metadata, the recipe, so that it can be opened alone;
 * state.safetensors AdamW's moments, and of a frozen teacher the weights (teacher.NAME); meta.json where the run stood, and
 * checksums of all. With ema.decay average.safetensors holds the averaged weights, in the form of model.safetensors; a run or
 * checkpoint that is named for its weights means these. No clock, no number of threads, no name of a file: the same run leaves
 * the same bytes. A checkpoint is written into a folder whose name starts with a dot and renamed when all of it is on the disk,
 * so every folder of a proper name is whole. The link RUN/checkpoints/latest leads to the newest. One process at a time writes
 * to a run (run_folder.h locks it). */
#ifndef LACUNA_TRAIN_CHECKPOINT_H
#define LACUNA_TRAIN_CHECKPOINT_H

#include "recipe/recipe.h"
#include "train/trainer.h"

/* What guard.* must know to go on as an unbroken run does. */
typedef struct {
    int64_t draw;          /* how often the run has gone back: pictures and masks are drawn anew each time */
    int64_t skipped;       /* steps in a row that were skipped so far */
    int64_t losses;        /* that mean and variance are of */
    double mean, variance; /* running ones of the loss */
} CheckpointGuard;

typedef struct {
    int64_t step;            /* steps of the run done; the loader goes on with the batch of this number */
    int64_t optimizer_steps; /* AdamW's t */
    int64_t steps_per_epoch;
    int64_t pictures; /* that are trained on, held-out ones left out */
    uint64_t names;   /* source_names() of these; 0: not known, as of checkpoints of earlier versions */
    uint64_t seed;
    int channels;
    float mean[RECIPE_CHANNELS_MAX], std[RECIPE_CHANNELS_MAX]; /* of the pictures, as the model saw them */
    CheckpointGuard guard;
    bool stage_ends; /* a stage of distillation ends here: the checkpoint is never removed */
} CheckpointMeta;

/* Writes the state of the trainer as RUN/checkpoints/step-N, N from `meta`, points `latest` to it and removes what is older
 * than the newest `keep` (at least 1) complete ones, this one counted; ones that cannot be used do not count, and ends of
 * stages stay. optimizer_steps of `meta` is ignored: the trainer's own is written. On failure returns false after error_set();
 * what was there before is still there and whole. Remains of saves that were killed are removed. */
bool checkpoint_save(const char *run, Trainer *trainer, const Recipe *recipe, const CheckpointMeta *meta, int keep);

/* The folder of the newest complete checkpoint of a run, a fresh string in *folder, or NULL when the run has none at all. A
 * folder whose files are missing, cannot be opened or do not agree with their checksums is passed over: its name and why are
 * appended to `passed_over` (may be NULL). False after error_set() when the run cannot be looked into, or has checkpoints but
 * none that is complete. */
bool checkpoint_newest(const char *run, char **folder, Text *passed_over);

/* Points RUN/checkpoints/latest to the checkpoint of that step, unless it is so: a save that failed at its end has left it
 * behind. False after error_set(). */
bool checkpoint_point_latest(const char *run, int64_t step);

/* Where the run of a checkpoint's folder stood. False after error_set(). */
bool checkpoint_meta(const char *folder, CheckpointMeta *meta);

/* Reads a checkpoint's folder back into a trainer of the same recipe and stage: weights, fixed tables, moments, teacher, count
 * of steps. Every
 * name and shape must agree; the error names what is missing, unexpected or of another shape. On failure the trainer may be
 * half filled and is not to be used. Moments are left out when the trainer is evaluate_only. */
bool checkpoint_load(const char *folder, Trainer *trainer, CheckpointMeta *meta);

/* The recipe of the model that `path` means, as weights_open() of train/weights.h has it. False after error_set(). */
bool checkpoint_recipe(const char *path, Recipe *recipe);

/* Weights alone, for `--from` and for looking at a model: every trained parameter of the trainer's encoder must be there in its
 * shape, but a learned position table of another grid is resized (3.3). Fixed tables stay as the trainer made them. Decoders
 * that the file does not have keep their first draw, decoders that only the file has are passed over; a sentence on each is
 * appended to `note` (may be NULL). `recipe` is the trainer's. False after error_set(). */
bool checkpoint_load_weights(const char *path, const Recipe *recipe, Trainer *trainer, Text *note);

/* The same without a trainer: into the buffer of a set's trained parameters. */
bool checkpoint_read_weights(const char *path, const Recipe *recipe, const ParamSet *set, float *weights, Text *note);

/* The frozen teacher's weights from the encoder that `path` means; a learned position table of another grid is resized.
 * `recipe` is the student's; `note` as above. False after error_set(). */
bool checkpoint_load_teacher(const char *path, const Recipe *recipe, Trainer *trainer, Text *note);

/* Likewise encoder and decoder of the model that targets are mixed with, into the trainer's parameters hybrid.NAME. */
bool checkpoint_load_hybrid(const char *path, const Recipe *recipe, Trainer *trainer, Text *note);

#endif
