/* What a model makes of masked pictures, as a sheet: original, masked, reconstruction of every decoder; visible patches are
 * pasted back (docs/spec/pretraining.md 2, "to draw a reconstruction"). */
#ifndef LACUNA_TRAIN_RECONSTRUCT_H
#define LACUNA_TRAIN_RECONSTRUCT_H

#include "image/image.h"
#include "recipe/recipe.h"
#include "train/trainer.h"

/* Whether all decoders predict pixels that can be drawn. */
bool reconstruct_can(const Recipe *recipe);

/* A trainer that only evaluates and whose predictions of all places can be read, for reconstruct_sheet(). Its weights are the
 * recipe's first draw until others are put there. Owned by the caller (trainer_close). NULL after error_set(). */
Trainer *reconstruct_open(const Recipe *recipe, const Device *device);

/* Draws `count` pictures, a row each: images (count, C, H, W) normalised with image.mean and image.std, which must be numbers
 * by now (not auto); hidden (count, L). Predictions of patch-normalised pixels are brought back with mean and unbiased variance
 * of the true patch. *out is a fresh picture, owned by the caller. False after error_set(). */
bool reconstruct_sheet(Trainer *trainer, const Recipe *recipe, const float *images, const uint8_t *hidden, int count,
                       Image *out);

/* All in one, for the training loop: opens a trainer on run.device, copies the two weight buffers (of a trainer of the same
 * recipe) into it, and writes the sheet as a PNG file. False after error_set(). */
bool reconstruct_write(const Recipe *recipe, const float *weights, const float *fixed, const float *images,
                       const uint8_t *hidden, int count, const char *png_path);

/* Whether the targets that target.hybrid mixes can be drawn; and a sheet of them as a PNG file: for each mixed decoder a column
 * with hidden patches as its target has them, or columns for five epochs from the first to the last of its row. `teacher` holds
 * the frozen model and teacher_weights its weights (trainer_teacher_weights()); pictures as above. False after error_set(). */
bool reconstruct_can_mix(const Recipe *recipe);
bool reconstruct_targets(const Recipe *recipe, const MimTeacher *teacher, const float *teacher_weights, const float *images,
                         const uint8_t *hidden, int count, const char *png_path);

#endif
