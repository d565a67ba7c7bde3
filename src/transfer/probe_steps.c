#include "transfer/probe_steps.h"

#include <math.h>

#include "base/random.h"

void probe_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, size_t count)
{
    Random random = random_stream(seed, RANDOM_SHUFFLE, 0, epoch, 0);
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = random_below(&random, (uint32_t)(i + 1));
        uint32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

double probe_rate(double epoch, double warmup_epochs, double epochs)
{
    if (epoch < warmup_epochs)
        return epoch / warmup_epochs;
    return 0.5 * (1 + cos(M_PI * (epoch - warmup_epochs) / (epochs - warmup_epochs)));
}

int32_t probe_rank(const float *logits, int classes, int32_t label)
{
    int32_t before = 0;
    for (int c = 0; c < classes; c++) {
        if (!isfinite(logits[c]))
            return classes;
        before += logits[c] > logits[label] || (logits[c] == logits[label] && c < label);
    }
    return before;
}
