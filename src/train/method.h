/* The methods by which recipes train, each as a table of functions, so that the trainer knows none of them: masked image
 * modelling (src/mim), and a classifier and MoCo v3 as controls (src/controls). */
#ifndef LACUNA_TRAIN_METHOD_H
#define LACUNA_TRAIN_METHOD_H

#include "controls/classifier.h"
#include "controls/contrast.h"
#include "mim/model.h"
#include "train/trainer.h"

typedef struct Method Method;

/* What a recipe comes to for a program of `batch` pictures. */
typedef struct {
    const Method *method;
    union {
        Mim mim;
        Classifier classifier;
        Contrast contrast;
    };
} Model;

typedef struct {
    const Recipe *recipe;      /* borrowed, as are: */
    const MimTeacher *teacher; /* of masked image modelling */
    ParamSet *teacher_params;  /* of a frozen teacher or a momentum encoder */
    int64_t batch;
    bool plain, evaluate, keep, soft_labels; /* as TrainerOptions */
} ModelOptions;

/* Scalars of a micro-batch: parts of means over the whole batch. */
typedef struct {
    Ref losses[RECIPE_DECODERS_MAX]; /* method_terms() of them */
    Ref hits;                        /* share of right answers; REF_NONE: there is none */
} ModelResult;

/* Pictures first .. first + count - 1 of `batch`, whose kept[] has `kept_stride` pictures a branch, out of the `total` of a
 * step. counts: as accepts() has it for the whole step. */
typedef struct {
    const TrainerBatch *batch;
    int64_t first, count, kept_stride, total, counts;
} ModelPart;

struct Method {
    bool momentum; /* the set "teacher" is a running average of the trained one, and begins as its copy */
    bool couples;  /* a picture's loss depends on the others of its micro-batch, which must be full */
    /* False after error_set(). */
    bool (*open)(Model *model, const ModelOptions *options);
    /* Appends the forward pass with the parameters in use. */
    void (*forward)(Tape *tape, const Model *model, ModelResult *result);
    /* Whether `count` pictures of a batch can be fed. *counts: what feed() must know of all of them. False after error_set().
     */
    bool (*accepts)(const Model *model, const TrainerBatch *batch, int64_t count, int64_t *counts);
    void (*feed)(Program *program, const Model *model, const ModelPart *part);
    /* What a term of the loss counts in `count` pictures: means over parts are weighted with it. */
    double (*counted)(const Model *model, int term, const TrainerBatch *batch, int64_t count);
    /* Branches of drop path; NULL: none. */
    const DropPath *(*drop)(const Model *model);
    /* Numbers that a term predicts for a place, its places, and what a run of that segment predicted or had for a target, as
     * trainer_prediction(). NULL: cannot be read. */
    int (*outputs)(const Model *model, int term), (*target_numbers)(const Model *model, int term);
    int (*places)(const Model *model, int term);
    void (*read)(Program *program, Segment segment, const Model *model, int term, bool target, float *out);
};

/* The table of a recipe's method. */
const Method *method_of(const Recipe *recipe);

/* Terms of the loss and the factor of each: the decoders', or a single one. */
int method_terms(const Recipe *recipe, double weights[RECIPE_DECODERS_MAX]);

#endif
