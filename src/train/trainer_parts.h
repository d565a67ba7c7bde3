/* What trainer.c and trainer_diagnose.c share. */
#ifndef LACUNA_TRAIN_TRAINER_PARTS_H
#define LACUNA_TRAIN_TRAINER_PARTS_H

#include "mim/model.h"
#include "train/trainer.h"

/* A tape with its program. */
typedef struct {
    Mim mim;
    Tape *tape;
    Program *program; /* storage "metrics": losses of the decoders, their weighted sum, status of grad_norm() */
} Built;

enum { WEIGHTS, FIXED, TEACHER, TEACHER_FIXED, GRADIENT, MOMENT1, MOMENT2, BUFFERS };

/* Numbers of the device, and where the host sees them: the same memory, or a copy. */
typedef struct {
    void *data;
    float *host;
    bool stale;  /* the copy is older than the device's numbers */
    bool edited; /* the copy may have been written since */
} Buffer;

struct Trainer {
    Recipe recipe;
    TrainerOptions options;
    ParamSet params, teacher_params;
    MimTeacher teacher;
    Built train, evaluate; /* evaluate is built when it is first asked for */
    Built *last;           /* whose predictions can be read */
    Segment last_segment;
    Buffer buffers[BUFFERS];
    bool failed;         /* a copy for the host could not be made */
    int64_t steps;       /* finite ones, those begun taken for such */
    int64_t begun, done; /* steps of this trainer, for the places of their metrics */
    bool ahead;          /* the program's inputs hold the first micro-batch of the step that is begun next */
};

/* Writes one micro-batch of a step to the program's inputs; returns the segment that it is run with. hidden: of the whole
 * batch. */
Segment trainer_feed(Trainer *trainer, const TrainerBatch *batch, int part, int64_t hidden);

size_t trainer_picture_floats(const Trainer *trainer);

#endif
