/* What a run will cost, known before it starts: sizes and memory from the planner itself, time from a few steps. */
#ifndef LACUNA_TRAIN_FORECAST_H
#define LACUNA_TRAIN_FORECAST_H

#include "device/device.h"
#include "recipe/recipe.h"

typedef struct {
    Recipe recipe; /* settled: what `auto` stands for is filled in, but for the pictures' statistics */
    Device device;
    char pictures[512];       /* where they come from, for people */
    size_t trained, held_out; /* pictures */
    int64_t steps_per_epoch, steps;

    int64_t encoder_parameters, decoder_parameters[RECIPE_DECODERS_MAX]; /* trained ones */
    int64_t head_parameters;                                             /* of methods without decoders */
    double step_flops; /* forward, backward, update of a whole batch; of several stages the mean over the run */

    /* Bytes that are taken as long as the run lasts, but for `codes`. */
    int64_t arena;        /* of the training program, for one micro-batch; of all run.devices of a processor */
    int64_t evaluation;   /* of the validation's program; 0: no validation */
    int64_t parameters;   /* weights and fixed tables, gradients, two moments; likewise */
    int64_t ring;         /* pictures made ahead */
    int64_t codes;        /* while a code book is made, before validation and pictures made ahead take theirs; 0: none is */
    int64_t memory;       /* the most of these at one time */
    int64_t cache;        /* of decoded pictures: at most so many bytes more */
    int64_t free;         /* what the machine, or the GPU, could give now */
    int micro_batch_most; /* the largest divisor of a device's share that fits into `free`; 0: none */

    int64_t checkpoint; /* bytes of one on the disk, with the teacher's weights */
    int checkpoints;    /* that lie there at most: run.keep, one more while saving, and those where stages end */

    double step_seconds; /* of a whole batch, without what devices exchange; 0: not measured */
} Forecast;

/* Plans the run of a recipe. The device stays open, also on failure: device_close(&forecast->device). With `time` some
 * micro-batches of its pictures are trained on, in a model that is then thrown away, for a few seconds; that is left out, with
 * step_seconds 0, when the memory it takes is not free. False after error_set() when the run could not start. */
bool forecast_make(const Recipe *recipe, bool time, Forecast *forecast);

/* Bytes of memory that this process could still get: of the machine, and of its control group where that has a limit. 0 when
 * nobody tells. */
int64_t forecast_free_memory(void);

/* Bytes that a control group could still get, without what it keeps of files, by the kernel's files in its folder (cgroup v2).
 * -1: it has no limit, or nobody tells. */
int64_t forecast_group_memory(const char *folder);

#endif
