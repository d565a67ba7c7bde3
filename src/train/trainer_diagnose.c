/* Finding where a step lost its numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/diagnose.h"
#include "train/trainer_parts.h"

static void write_place(TrainerFault *fault, const char *before, const char *what, const char *verb, double value)
{
    snprintf(fault->place, sizeof fault->place, "%s%s%s%s %s", before, what, *what ? " " : "", verb,
             isnan(value) ? "nan"
             : value > 0  ? "inf"
                          : "-inf");
}

static const float *first_bad(const float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(numbers[i]))
            return &numbers[i];
    return NULL;
}

/* Pictures that come in broken. */
static bool find_images(const Trainer *t, const TrainerBatch *batch, TrainerFault *fault)
{
    size_t size = trainer_picture_floats(t);
    for (int i = 0; i < t->options.batch; i++) {
        const float *bad = first_bad(batch->images + (size_t)i * size, size);
        fault->pictures[i] = bad != NULL;
        fault->picture_count += bad != NULL;
        if (bad && fault->picture_count == 1)
            write_place(fault, "the picture itself ", "", "holds", (double)*bad);
    }
    return fault->picture_count > 0;
}

static bool find_weights(Trainer *t, TrainerFault *fault)
{
    const float *weights = trainer_weights(t);
    for (size_t i = 0; i < t->params.count; i++) {
        const Param *p = &t->params.params[i];
        const float *bad = p->kind == PARAM_TRAINED ? first_bad(weights + p->offset, (size_t)p->count) : NULL;
        if (!bad)
            continue;
        write_place(fault, "the weights ", p->name, "of before it hold", (double)*bad);
        return true;
    }
    return false;
}

static bool find_node(Trainer *t, Segment segment, TrainerFault *fault)
{
    ProgramFault found;
    if (!program_find_fault(t->train.program, segment, &found))
        return false;
    char what[TRAINER_PLACE_BYTES / 2];
    snprintf(what, sizeof what, "%s, where %s", found.node.scope[0] ? found.node.scope : "the step", found.node.op);
    write_place(fault, "first in ", what, "writes", found.value);
    return true;
}

/* Each picture on its own; when that tells nothing, it takes them together. */
static bool find_pictures(Trainer *t, const TrainerBatch *batch, TrainerFault *fault)
{
    for (int i = 0; i < t->options.batch && !t->method->couples; i++) {
        TrainerMetrics alone;
        TrainerBatch picture = trainer_picture(t, batch, i);
        if (!trainer_evaluate(t, &picture, 1, &alone))
            return false;
        fault->pictures[i] = !alone.finite;
        fault->picture_count += !alone.finite;
    }
    for (int i = 0; fault->picture_count == 0 && i < t->options.batch; i++)
        fault->pictures[i] = true;
    if (fault->picture_count == 0)
        fault->picture_count = t->options.batch;
    return true;
}

bool trainer_diagnose(Trainer *t, const TrainerBatch *batch, TrainerFault *fault)
{
    int parts = t->options.batch / t->options.micro_batch;
    int64_t counts;
    fault->picture_count = 0;
    snprintf(fault->place, sizeof fault->place, "no single value shows it");
    if (find_images(t, batch, fault))
        return true;
    if (!t->method->accepts(&t->train.model, batch, t->options.batch, &counts))
        return false;
    bool found = find_weights(t, fault);
    for (int part = 0; !found && part < parts; part++)
        found = find_node(t, trainer_feed(t, batch, part, counts), fault);
    if (!found)
        find_node(t, SEGMENT_UPDATE, fault);
    return find_pictures(t, batch, fault);
}
