/* What trainer.c and trainer_diagnose.c share. */
#ifndef LACUNA_TRAIN_TRAINER_PARTS_H
#define LACUNA_TRAIN_TRAINER_PARTS_H

#include "train/method.h"
#include "train/trainer.h"

/* A tape with its program. */
typedef struct {
    Model model;
    Tape *tape;
    Program *program; /* storage "metrics": the terms of the loss, their weighted sum, status of grad_norm(), share of hits */
} Built;

enum { WEIGHTS, FIXED, TEACHER, TEACHER_FIXED, GRADIENT, MOMENT1, MOMENT2, AVERAGE, BUFFERS };

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
    const Method *method;
    bool has_hits;
    int terms; /* of the loss, with their factors: */
    double factors[RECIPE_DECODERS_MAX];
    Built train, evaluate; /* evaluate is built when it is first asked for */
    Built *last;           /* whose predictions can be read */
    Segment last_segment;
    Buffer buffers[BUFFERS];
    bool failed;         /* a copy for the host could not be made */
    int64_t steps;       /* finite ones, those begun taken for such */
    int64_t begun, done; /* steps of this trainer, for the places of their metrics */
    bool ahead;          /* the program's inputs hold the first micro-batch of the step that is begun next */
};

/* Writes one micro-batch of a step to the program's inputs; returns the segment that it is run with. counts: of the whole
 * batch, as the method's accepts() has it. */
Segment trainer_feed(Trainer *trainer, const TrainerBatch *batch, int part, int64_t counts);

size_t trainer_picture_floats(const Trainer *trainer);

#endif
