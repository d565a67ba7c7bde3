/* What trainer.c and trainer_diagnose.c share. */
#ifndef LACUNA_TRAIN_TRAINER_PARTS_H
#define LACUNA_TRAIN_TRAINER_PARTS_H

#include "mim/model.h"
#include "train/trainer.h"

/* A tape with its program. */
typedef struct {
    Mim mim;
    Tape *tape;
    Program *program;
    float *metrics; /* losses of the decoders, their weighted sum, status of grad_norm() */
} Built;

struct Trainer {
    Recipe recipe;
    TrainerOptions options;
    ParamSet params, teacher_params;
    MimTeacher teacher;
    float *teacher_weights, *teacher_fixed;
    Built train, evaluate; /* evaluate is built when it is first asked for */
    Built *last;           /* whose predictions can be read */
    Segment last_segment;
    float *weights, *fixed, *gradient, *moment1, *moment2;
    int64_t steps;
};

/* Writes one micro-batch of a step to the program's inputs; returns the segment that it is run with. hidden: of the whole
 * batch. */
Segment trainer_feed(Trainer *trainer, const TrainerBatch *batch, int part, int64_t hidden);

size_t trainer_picture_floats(const Trainer *trainer);

#endif
