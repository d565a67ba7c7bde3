/* The frozen teacher of targets of kind `features` and `tokens`, and the stages of distillation in which it changes
 * (docs/spec/pretraining.md 9.1, 9.5 and 12). */
#ifndef LACUNA_TRAIN_TEACHER_H
#define LACUNA_TRAIN_TEACHER_H

#include "train/trainer.h"

/* What a teacher is: the recipe that it was trained with (of which encoder.* and image.* count), how many of its blocks, the
 * width behind its projection, 0 when it has none, and whether it was the student of an earlier stage. */
typedef struct {
    Recipe recipe;
    int depth;
    int64_t projected;
    bool was_student;
} Teacher;

/* The stage, from 0, whose training has led to `step` steps of a run, and its first step and the one behind its last. Without
 * stages all steps are those of stage 0. */
int stage_of(const Recipe *recipe, int64_t per_epoch, int64_t step);
int64_t stage_first(const Recipe *recipe, int64_t per_epoch, int stage);
int64_t stage_end(const Recipe *recipe, int64_t per_epoch, int stage);

/* The teacher of a stage: of the first one as `target.teacher` says, whose file is opened when it is a path; later ones are
 * students of the recipe. False after error_set(). */
bool teacher_find(const Recipe *recipe, int stage, Teacher *teacher);

/* Its network as the student's program carries it out: with pictures of target.image_size, and its own statistics of them; one
 * that was a student sees pictures as students do. Statistics are left out while the student's are still to be measured
 * (image.mean: auto), which does to plan. */
bool teacher_model(const Recipe *student, const Teacher *teacher, MimTeacher *model);

/* Both in one: the network of a stage's teacher, and the code book of `tokens`. */
bool teacher_of(const Recipe *recipe, int stage, MimTeacher *model);

/* The network that a run must have room for: that of a file, else the student's with all of its blocks. */
bool teacher_largest(const Recipe *recipe, MimTeacher *model);

/* Puts the first stage's teacher into a trainer that was opened with it: a copy of the trainer's own present weights
 * (`initial`), weights of a file, or nothing, as a trainer begins with a random one; and a code book that a file holds. What
 * had to be assumed of files is appended to `note` (may be NULL). False after error_set(). */
bool teacher_begin(const Recipe *recipe, Trainer *trainer, Text *note);

/* Makes the student of `from` the teacher of `to`, whose weights stay; AdamW's state and count of steps go on in `to`
 * unless the stage resets them. False after error_set(). */
bool teacher_succeed(Trainer *from, Trainer *to, bool reset);

#endif
