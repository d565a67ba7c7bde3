/* For tests: a training that is stopped behind a step, as by a signal, or refused as it begins. Behind cmocka.h. */
#ifndef LACUNA_TRAIN_STOPPED_RUN_H
#define LACUNA_TRAIN_STOPPED_RUN_H

#include <string.h>

#include "base/error.h"
#include "train/pretrain.h"

typedef struct {
    int64_t stop_at, seen; /* steps; stop_at 0: never */
} StoppedRun;

static inline void stopped_run_see(void *context, const PretrainProgress *p)
{
    ((StoppedRun *)context)->seen = p->step;
}

static inline bool stopped_run_stops(void *context)
{
    const StoppedRun *s = context;
    return s->stop_at > 0 && s->seen >= s->stop_at;
}

/* Trains until that step (0: to the end), and fails the test when the outcome is another one. */
static inline void run_until(const Recipe *recipe, const char *out, bool resume, int64_t step, PretrainOutcome expected)
{
    StoppedRun stopped = {.stop_at = step};
    PretrainOptions options = {.recipe = recipe,
                               .out = out,
                               .resume = resume,
                               .progress = stopped_run_see,
                               .stop = stopped_run_stops,
                               .context = &stopped};
    PretrainOutcome outcome = pretrain_run(&options);
    if (outcome != expected)
        fail_msg("outcome %d: %s", (int)outcome, error_text());
}

/* Fails the test unless the training is refused with an error that says both words. */
static inline void expect_refused_run(const Recipe *recipe, const char *out, const char *const words[2])
{
    PretrainOptions options = {.recipe = recipe, .out = out};
    assert_int_equal(pretrain_run(&options), PRETRAIN_FAILED);
    for (int k = 0; k < 2; k++)
        if (!strstr(error_text(), words[k]))
            fail_msg("'%s' does not say '%s'", error_text(), words[k]);
}

#endif
