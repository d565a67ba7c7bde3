/* A model in training: weights, gradients, moments, and the program of a step. It knows nothing of files, pictures' sources or
 * the clock; the loop, the benchmark and the golden cases all drive it. */
#ifndef LACUNA_TRAIN_TRAINER_H
#define LACUNA_TRAIN_TRAINER_H

#include "device/device.h"
#include "device/ranks.h"
#include "graph/param.h"
#include "graph/program.h"
#include "mim/model.h"
#include "recipe/recipe.h"

typedef struct Trainer Trainer;

typedef struct {
    Device device;
    int batch;                 /* pictures of an optimizer step */
    int micro_batch;           /* pictures of a program; divides batch */
    bool plain;                /* without the exact savings */
    bool keep_predictions;     /* predictions and targets can be read after a step (first micro-batch) */
    bool evaluate_only;        /* no gradients, no optimizer: forward passes */
    int stage;                 /* of distillation: which draw of initial weights */
    const MimTeacher *teacher; /* of targets of kind `features`; NULL: of the recipe's own architecture. Copied */
    bool soft_labels;          /* of a classifier: batches have probabilities in place of labels, and no accuracy is known */
    bool plan_only;            /* sizes and costs alone: no weights, no arena, nothing can be run */
    RankGroup *ranks;          /* processes that share a batch, of which micro_batch must divide a share; NULL: this one alone.
                                  One trainer at a time has them, and it trains. Rank 0 opens it, the others are in
                                  trainer_serve() */
} TrainerOptions;

/* One optimizer step's input, owned by the caller. */
typedef struct {
    const float *images;         /* (batch, C, H, W), normalised */
    const float *teacher_images; /* (batch, C, its rows, its columns), as `images`: of target.image_size, where the teacher sees
                                    another size */
    const uint8_t *hidden;       /* (batch, L): 1 = hidden patch; NULL when the method hides none */
    const int32_t *codes;        /* (batch, L), when the teacher's codes are given by the caller */
    const uint8_t *kept;         /* (branches, batch): 1 = the branch of that picture is kept; NULL when nothing drops. Branches
                                    as trainer_branches() */
    double lr;
    double epoch; /* a fraction too: where target.hybrid's table is read */
    /* What other methods than masked image modelling want, else left out. */
    const int32_t *labels; /* (batch): classes of the head */
    const float *soft;     /* (batch, classes) probabilities, with TrainerOptions.soft_labels */
    const float *second;   /* (batch, C, H, W): the second view of each picture */
    double momentum;       /* of the momentum encoder in this step's update */
} TrainerBatch;

typedef struct {
    double loss;                        /* sum of weight x loss */
    double losses[RECIPE_DECODERS_MAX]; /* of each decoder, before its weight; of other methods the one there is */
    double accuracy;                    /* share of right answers; NaN for methods that have none */
    double grad_norm;                   /* before clipping; 0 when evaluating */
    bool finite;                        /* false: the step changed nothing */
} TrainerMetrics;

enum { TRAINER_PLACE_BYTES = 320 };

/* Where a step that was not finite went wrong. */
typedef struct {
    char place[TRAINER_PLACE_BYTES]; /* "linear of blocks.3.mlp writes nan", "the weights blocks.3.norm1.weight hold inf" */
    bool *pictures;                  /* (batch), the caller's: which pictures make it so */
    int picture_count;
} TrainerFault;

/* Builds the programs for a checked recipe, in f32 or bf16 as run.precision says (`auto`: f32), and draws the initial weights
 * from run.seed. The teacher, when targets need one, starts with a draw of its own (`target.teacher: random`); any other is put
 * into trainer_teacher_weights(). NULL after error_set(). */
Trainer *trainer_open(const Recipe *recipe, const TrainerOptions *options);
void trainer_close(Trainer *t);

/* Keeps what the host can read of weights and moments, and gives up programs and a GPU's memory: a trainer whose place another
 * one takes. It can still be read and closed. False after error_set(). */
bool trainer_retire(Trainer *t);

/* Forward, backward, clip, AdamW. Never allocates. false after error_set(), with nothing changed, when the masks do not fit the
 * recipe. trainer_steps() grows by one when finite. */
bool trainer_step(Trainer *t, const TrainerBatch *batch, TrainerMetrics *metrics);

/* What ranks 1 .. do in place of all else: a share of each step that a trainer of rank 0 begins, until trainer_dismiss(). They
 * open the same device, of a GPU's the one of their own number. False after error_set(), and then ranks_break(). */
bool trainer_serve(RankGroup *ranks);
void trainer_dismiss(RankGroup *ranks);

/* Why the gradients of several GPUs go through the host instead of from GPU to GPU; NULL when they do not, or are none. */
const char *trainer_host_sums(const Trainer *t);

/* With ranks: what sums gradients: "NCCL 2.27.3", with ", NVLS" where its order may be another each time, or "the host". */
void trainer_sums_way(const Trainer *t, char *text, size_t size);

/* With several GPUs: whether algorithms that rank 0 has timed are of no use to some, since these are of another kind. */
bool trainer_has_other_gpus(const Trainer *t);

/* A step in two parts, so that the host can make the next batch ready while a GPU works: trainer_begin() takes all it needs of
 * the batch, trainer_end() gives the metrics of the oldest step that was begun. At most two are under way; trainer_steps()
 * counts them as finite until they end, and one that is begun behind one that is not finite changes what it changes. On cpu and
 * ref all is done in trainer_begin(). False after error_set(), and with ranks, for which one step at most is under way, after
 * ranks_break(), unless the batch was refused. */
bool trainer_begin(Trainer *t, const TrainerBatch *batch);
bool trainer_end(Trainer *t, TrainerMetrics *metrics);

/* Between the two: says which batch the next trainer_begin() will have, so that its first micro-batch is uploaded while a GPU
 * works; it is then not looked at again (but for `lr` and `momentum`). NULL: another one after all. False after error_set() as
 * trainer_begin(). */
bool trainer_ahead(Trainer *t, const TrainerBatch *batch);

/* After a step of that batch which was not finite: does it again, node by node, and finds the first value that is not; then the
 * pictures whose forward pass alone is not finite, or all of the batch when it takes more than one. The state stays as it is.
 * False after error_set(). */
bool trainer_diagnose(Trainer *t, const TrainerBatch *batch, TrainerFault *fault);

/* Forward only, on any number of pictures, `count` of the batch; losses are means over what counts in these pictures. The first
 * call builds the evaluation program: false after error_set() when that fails, or for a method whose pictures must fill a
 * micro-batch. */
bool trainer_evaluate(Trainer *t, const TrainerBatch *batch, int count, TrainerMetrics *metrics);

/* Terms of the loss: the decoders', or the single one of another method. */
int trainer_terms(const Trainer *t);

/* What term k counts in `count` pictures of a batch: means over parts are weighted with it. */
double trainer_counts(const Trainer *t, int term, const TrainerBatch *batch, int count);

/* With keep_predictions, of masked image modelling: predictions and targets (as the loss sees them: normalised) of decoder k
 * for micro_batch pictures of the last trainer_step()'s last micro-batch, or of the last trainer_evaluate()'s last one:
 * (micro_batch, places, outputs) or (micro_batch, places, target numbers), the places those of trainer_places(): class tokens
 * when they are predicted, then patches in image order. Without `plain` places that the loss does not look at are zeros. A
 * classifier has one place, and its predictions are the logits. */
int trainer_outputs(const Trainer *t, int decoder);
int trainer_target_numbers(const Trainer *t, int decoder);
int trainer_places(const Trainer *t, int decoder);
void trainer_prediction(const Trainer *t, int decoder, float *out);
void trainer_target(const Trainer *t, int decoder, float *out);

/* Layout and buffers (f32, in the order of the layout; trained ones except fixed). Owned by the trainer; gradient and moments
 * are NULL when evaluate_only. With a GPU a buffer is a copy, made when it is asked for and good until the next step, and
 * asking for it means that the copy goes back before the next step or evaluation; that a copy fails shows then. */
const ParamSet *trainer_params(const Trainer *t);
float *trainer_weights(Trainer *t);
float *trainer_fixed(Trainer *t);
float *trainer_gradient(Trainer *t);
float *trainer_moment1(Trainer *t);
float *trainer_moment2(Trainer *t);

/* What a checkpoint holds, as above but for reading alone: nothing goes back. Good until the next step. False after error_set()
 * when a copy fails. */
typedef struct {
    const float *weights, *fixed, *moment1, *moment2, *teacher;
    const float *average; /* NULL without ema.decay */
} TrainerState;
bool trainer_fetch(Trainer *t, TrainerState *state);

/* The averaged weights of ema.decay, in the layout of the trained ones; NULL without. */
float *trainer_average(Trainer *t);

/* Lets the averaged weights and the momentum encoder begin anew, as copies of the present weights. False after error_set(). */
bool trainer_begin_averages(Trainer *t);

/* The frozen teacher or the momentum encoder, empty without one. */
const ParamSet *trainer_teacher_params(const Trainer *t);
float *trainer_teacher_weights(Trainer *t);
float *trainer_teacher_fixed(Trainer *t);

/* Finite steps taken so far: AdamW's t. Set when a checkpoint is read. */
int64_t trainer_steps(const Trainer *t);
void trainer_set_steps(Trainer *t, int64_t steps);

/* Drop path: number of branches (two a block: encoder blocks, then each decoder's) and the rate of each; 0 when nothing drops.
 */
int trainer_branches(const Trainer *t);
double trainer_branch_rate(const Trainer *t, int branch);

/* Bytes of the device's memory that weights, gradients, moments and the training program take (the evaluation program when
 * evaluate_only). */
int64_t trainer_bytes(const Trainer *t);

/* The training program, for its plan, cost and profile; the evaluation program when evaluate_only. */
Program *trainer_program(Trainer *t);

#endif
