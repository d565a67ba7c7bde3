/* What the trainer's files share: trainer.c, trainer_buffers.c, trainer_ranks.c, trainer_sums.c,
 * trainer_diagnose.c. */
#ifndef LACUNA_TRAIN_TRAINER_PARTS_H
#define LACUNA_TRAIN_TRAINER_PARTS_H

#include "device/cuda/sums.h"
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
    bool pinned; /* the copy is memory of cuda_pinned_new() */
} Buffer;

/* A run of gradients that are complete at the same place of a step's last segment. */
typedef struct {
    int64_t offset, count;
    size_t after; /* nodes of the segment */
    int piece;    /* of the program on a GPU */
} GradientRun;

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
    int share;           /* pictures of a step that this process computes: the first ones of the batch for rank 0 */
    float *metrics;      /* storage "metrics" of `train`, in the device's memory; with ranks */
    GradientRun *runs;   /* in the order in which they are complete; with ranks */
    int run_count;
    int pieces;          /* of the program's last segment; on a GPU */
    CudaSums *sums;      /* how GPUs sum by themselves; NULL: through the host */
    bool joined;         /* the others, so that all have to leave together */
    bool has_other_gpus; /* for which what this one has timed is of no use */
    char why_host_sums[256];
    bool touched[BUFFERS]; /* the other ranks have not seen what the host may have changed */
};

/* Writes one micro-batch of a step to the program's inputs; returns the segment that it is run with. counts: of the whole
 * batch, as the method's accepts() has it. */
Segment trainer_feed(Trainer *trainer, const TrainerBatch *batch, int part, int64_t counts);

/* Writes the first micro-batch of the step to come, and begins to upload it. False after error_set(). */
bool trainer_feed_ahead(Trainer *trainer, const TrainerBatch *batch, int64_t counts);

size_t trainer_picture_floats(const Trainer *trainer);

/* A batch from picture i on, `kept` left out. */
TrainerBatch trainer_picture(const Trainer *trainer, const TrainerBatch *batch, int i);

/* Numbers of the storage "metrics". */
int trainer_metrics(const Trainer *trainer);

/* This process's share of a step, and the update. counts: of the whole batch, as the method's accepts() has it. */
bool trainer_compute(Trainer *trainer, const TrainerBatch *batch, int64_t counts);

/* ---- trainer_buffers.c */

/* Those that are not there yet. False after error_set(). */
bool trainer_new_buffers(Trainer *trainer);
void trainer_free_buffers(Trainer *trainer);

/* What a GPU holds of them; the host keeps its copies, but for gradients in pinned memory, which is dear. */
void trainer_free_device_buffers(Trainer *trainer);

/* Numbers of a buffer, and where the host looks at and changes them. */
int64_t trainer_buffer_count(const Trainer *trainer, int which);
float *trainer_buffer(Trainer *trainer, int which);

/* Brings what the host changed to the device. False after error_set(). */
bool trainer_push_buffers(Trainer *trainer);

/* ---- trainer_ranks.c and trainer_sums.c; all are for trainers with ranks */

/* Lets the other ranks open the same trainer, and GPUs join. False after error_set(): one of them cannot. */
bool trainer_ranks_open(Trainer *trainer);

/* Leaves the group of GPUs, if there is one. Rank 0 lets the others leave at the same time; when one has failed each leaves by
 * itself, else what they compute is done. */
void trainer_ranks_leave(Trainer *trainer);

/* Gives each of the other ranks its share of the step that comes next, while the present one is computed. */
void trainer_ranks_ahead(Trainer *trainer, const TrainerBatch *batch, int64_t counts);

/* Begins a step on the other ranks: gives each its share, unless that came ahead, and first what the host has changed since the
 * last one. */
void trainer_ranks_begin(Trainer *trainer, const TrainerBatch *batch, int64_t counts);

/* Lets the other ranks wait for the end of the step too, so that one whose device fails in it ends the run. */
void trainer_ranks_finish(Trainer *trainer);

/* Which gradients are complete when, for the program that was made, and whether GPUs can sum by themselves. False after
 * error_set(). */
bool trainer_sums_plan(Trainer *trainer);

/* Joins that group of GPUs, or with NULL sums through the host. False after error_set(). */
bool trainer_sums_join(Trainer *trainer, const CudaSumsName *group);

/* Runs the last segment of this rank's share and sums gradients and losses over all ranks. False after error_set(). */
bool trainer_sums_run(Trainer *trainer, Segment segment);

#endif
