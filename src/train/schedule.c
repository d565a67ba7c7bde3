#include "train/schedule.h"

#include <math.h>

double schedule_at(const Schedule *s, double epoch)
{
    if (epoch < s->warmup)
        return s->start + (s->peak - s->start) * epoch / s->warmup;
    if (s->steps) {
        double rate = s->peak;
        for (int i = 0; i < s->steps->count && s->steps->values[i] <= epoch; i++)
            rate /= 10;
        return rate;
    }
    double turn = (epoch - s->warmup) / (s->epochs - s->warmup);
    return s->least + (s->peak - s->least) * (1 + cos(M_PI * turn)) / 2;
}

double schedule_rate_of(const Recipe *r, const double *stages, int count, double epoch)
{
    Schedule s = {.peak = recipe_lr(r),
                  .least = r->schedule.min_lr,
                  .start = r->schedule.warmup_lr,
                  .warmup = r->schedule.warmup_epochs,
                  .epochs = r->schedule.epochs,
                  .steps = r->schedule.kind == SCHEDULE_MULTISTEP ? &r->schedule.steps : NULL};
    for (int i = 0; i < count; i++) {
        if (epoch < stages[i]) {
            s.epochs = stages[i];
            break;
        }
        epoch -= stages[i];
    }
    return schedule_at(&s, epoch);
}

double schedule_rate(const Recipe *r, double epoch)
{
    double stages[RECIPE_STAGES_MAX];
    for (int i = 0; i < r->stages.count; i++)
        stages[i] = r->stages.items[i].epochs;
    return schedule_rate_of(r, stages, r->stages.count, epoch);
}

double schedule_momentum(const Recipe *r, double epoch)
{
    return 1 - (1 - r->contrast.momentum) * (1 + cos(M_PI * epoch / r->schedule.epochs)) / 2;
}
