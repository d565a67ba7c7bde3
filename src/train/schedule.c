#include "train/schedule.h"

#include <math.h>

double schedule_at(const Schedule *s, double epoch)
{
    if (epoch < s->warmup)
        return s->start + (s->peak - s->start) * epoch / s->warmup;
    double turn = (epoch - s->warmup) / (s->epochs - s->warmup);
    return s->least + (s->peak - s->least) * (1 + cos(M_PI * turn)) / 2;
}

double schedule_rate_of(const Recipe *r, const double *stages, int count, double epoch)
{
    Schedule s = {.peak = recipe_lr(r),
                  .least = r->schedule.min_lr,
                  .start = r->schedule.warmup_lr,
                  .warmup = r->schedule.warmup_epochs,
                  .epochs = r->schedule.epochs};
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
    return schedule_rate_of(r, NULL, 0, epoch);
}
