#include "train/fit.h"

#include "base/error.h"
#include "device/cuda/cuda.h"
#include "train/codes.h"
#include "train/teacher.h"

/* Left to the libraries, to sheets drawn on the way, and to what fragments. */
#define RESERVE_SHARE 0.05
#define RESERVE_BYTES 256e6

int64_t fit_bytes(const Recipe *recipe, const TrainerOptions *options, FitRun of)
{
    TrainerOptions plan = *options;
    MimTeacher teacher;
    CodesMemory codes = {0};
    plan.plan_only = true;
    if (mim_needs_teacher(recipe)) {
        if (!teacher_largest(recipe, &teacher))
            return -1;
        plan.teacher = &teacher;
    }
    Trainer *t = trainer_open(recipe, &plan);
    if (!t)
        return -1;
    int64_t bytes = trainer_bytes(t), beside = 0;
    trainer_close(t);
    if (options->evaluate_only)
        return bytes;
    if (recipe->data.val_every > 0) {
        plan.evaluate_only = true;
        if (!(t = trainer_open(recipe, &plan)))
            return -1;
        beside = program_bytes(trainer_program(t));
        trainer_close(t);
    }
    if (of == FIT_BEGINS && !codes_memory(recipe, &options->device, NULL, &codes))
        return -1;
    return bytes + (codes.device > beside ? codes.device : beside);
}

bool fit_room(const Device *device, int64_t *bytes)
{
    if (!cuda_memory_left(device->cuda, bytes))
        return false;
    double left = (double)*bytes * (1 - RESERVE_SHARE) - RESERVE_BYTES;
    *bytes = left > 0 ? (int64_t)left : 0;
    return true;
}

bool fit_micro_batch(const Recipe *recipe, const TrainerOptions *options, FitRun of, int *micro_batch)
{
    int64_t room;
    TrainerOptions some = *options;
    *micro_batch = 0;
    if (!fit_room(&options->device, &room))
        return false;
    for (int parts = 1; parts <= options->batch; parts++) {
        if (options->batch % parts)
            continue;
        some.micro_batch = options->batch / parts;
        int64_t bytes = fit_bytes(recipe, &some, of);
        if (bytes < 0)
            return false;
        if (bytes <= room) {
            *micro_batch = some.micro_batch;
            return true;
        }
    }
    return true;
}

bool fit_settle(Recipe *recipe, const Device *device, bool plain, FitRun of)
{
    int most;
    TrainerOptions options = {.device = *device, .batch = recipe->schedule.batch_size / recipe->run.devices, .plain = plain};
    /* What is contrasted is a group, whatever fits: other groups would be other results. */
    if (device->kind != DEVICE_CUDA || recipe_method(recipe) == METHOD_CONTRAST)
        return true;
    if (!fit_micro_batch(recipe, &options, of, &most))
        return false;
    recipe->run.micro_batch = most ? most : 1;
    recipe->schedule.accumulate = recipe->schedule.batch_size / recipe->run.micro_batch;
    return true;
}

bool fit_check(const Recipe *recipe, const TrainerOptions *options, FitRun of)
{
    int64_t room, bytes;
    int largest;
    if (options->device.kind != DEVICE_CUDA)
        return true;
    if (!fit_room(&options->device, &room) || (bytes = fit_bytes(recipe, options, of)) < 0)
        return false;
    if (bytes <= room)
        return true;
    if (recipe_method(recipe) == METHOD_CONTRAST)
        return error_set(
            "a group of %d pictures that are contrasted needs %.2f GB of the GPU's memory, and %.2f GB can be used: "
            "choose a smaller contrast.group, which divides the batch (and changes the results)",
            options->micro_batch, (double)bytes / 1e9, (double)room / 1e9);
    if (!fit_micro_batch(recipe, options, of, &largest))
        return false;
    if (largest)
        return error_set("%d pictures at once need %.2f GB of the GPU's memory, and %.2f GB can be used: %d at once fit "
                         "(run.micro_batch=%d; a run that is gone on with keeps its own, so end what else uses the GPU)",
                         options->micro_batch, (double)bytes / 1e9, (double)room / 1e9, largest, largest);
    return error_set(
        "%d pictures at once need %.2f GB of the GPU's memory, and %.2f GB can be used: not even one picture fits; "
        "end what else runs on the GPU, choose a smaller model, or use device cpu",
        options->micro_batch, (double)bytes / 1e9, (double)room / 1e9);
}
