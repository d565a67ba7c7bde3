/* Probes while training: when one is due, and how what it found is written. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "train/run.h"
#include "train/settle.h"

bool pretrain_found(PretrainFindings *f, const char *name, int block, double value)
{
    if (!memory_grow((void **)&f->items, f->count, &f->capacity, sizeof *f->items))
        return false;
    Finding *item = &f->items[f->count++];
    *item = (Finding){.block = block, .value = value};
    snprintf(item->name, sizeof item->name, "%s", name);
    return true;
}

static bool is_due(const Run *run)
{
    if (!run->options->probe || run->step % run->per_epoch)
        return false;
    return probe_is_due(&run->recipe, run->step / run->per_epoch);
}

/* The last block's numbers, for people. */
static void tell(const Run *run)
{
    const PretrainFindings *f = &run->findings;
    Text words = {0};
    for (size_t i = 0; i < f->count; i++)
        if (i + 1 == f->count || strcmp(f->items[i].name, f->items[i + 1].name))
            text_add(&words, "%s%s %.4g", words.length ? ", " : "", f->items[i].name, f->items[i].value);
    if (words.length && !words.failed)
        run_say(run, "probe at step %" PRId64 ", last block: %s", run->step, words.data);
    text_free(&words);
}

void run_probe(Run *run)
{
    PretrainFindings *f = &run->findings;
    TrainerState state;
    f->count = 0;
    if (!is_due(run))
        return;
    bool ok = trainer_fetch(run->trainer, &state);
    PretrainLook look = {
        .recipe = &run->recipe, .pictures = &run->pictures, .device = &run->device, .params = trainer_params(run->trainer)};
    if (ok) {
        look.weights = state.weights;
        ok = run->options->probe(run->options->probe_context, &look, f);
    }
    if (!ok) {
        run_say(run, "no probe at step %" PRId64 ": %s", run->step, error_text());
        error_clear();
        f->count = 0;
    }
    tell(run);
}

/* "probe": {NAME: {BLOCK: number, ..}, ..}; null for a number that is not finite. */
void run_add_findings(const Run *run, Text *line)
{
    const PretrainFindings *f = &run->findings;
    if (!f->count)
        return;
    text_add(line, ",\"probe\":{");
    for (size_t i = 0; i < f->count; i++) {
        const Finding *item = &f->items[i];
        bool begins = i == 0 || strcmp(item->name, f->items[i - 1].name);
        text_add(line, begins ? "%s\"%s\":{" : ",", i ? "}," : "", item->name);
        text_add(line, "\"%d\":", item->block);
        log_number(line, item->value);
    }
    text_add(line, "}}");
}

void run_event_findings(Run *run)
{
    const PretrainFindings *f = &run->findings;
    for (size_t i = 0; i < f->count; i++) {
        char tag[64];
        snprintf(tag, sizeof tag, "probe/%s/%d", f->items[i].name, f->items[i].block);
        event_add_scalar(&run->event, tag, f->items[i].value);
    }
}
