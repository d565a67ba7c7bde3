#include "transfer/probe_steps.h"

#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

enum { SHARE = 10, STAGE = 1 }; /* one of so many is set apart; not the stage of a run's held-out share */

static void shuffle(Random random, uint32_t *order, size_t count)
{
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = random_below(&random, (uint32_t)(i + 1));
        uint32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

void probe_shuffle(uint64_t seed, uint32_t epoch, uint32_t *order, size_t count)
{
    shuffle(random_stream(seed, RANDOM_SHUFFLE, 0, epoch, 0), order, count);
}

static size_t class_of(const int32_t *labels, size_t picture)
{
    return labels ? (size_t)labels[picture] : 0;
}

bool probe_set_apart(const int32_t *labels, int classes, size_t count, uint32_t *rows, size_t *learn)
{
    size_t kinds = labels ? (size_t)classes : 1, apart = 0;
    size_t *left = memory_new(kinds, sizeof *left); /* of each class, to be set apart */
    uint8_t *marked = memory_new(count, 1);
    bool ok = left && marked;
    for (size_t i = 0; ok && i < count; i++)
        left[class_of(labels, i)]++;
    for (size_t c = 0; ok && c < kinds; c++) {
        left[c] = left[c] < 2 ? 0 : left[c] < SHARE ? 1 : (left[c] + SHARE / 2) / SHARE;
        apart += left[c];
    }
    ok = ok &&
         (apart || error_set("of %zu training pictures none can be set apart to choose a learning rate by, since no class has "
                             "two: give a single one with --lrs",
                             count));
    if (ok) {
        shuffle(random_stream(0, RANDOM_SPLIT, STAGE, 0, 0), rows, count);
        for (size_t i = 0; i < count; i++) {
            size_t *of_class = &left[class_of(labels, rows[i])];
            marked[rows[i]] = *of_class > 0;
            *of_class -= *of_class > 0;
        }
        *learn = count - apart;
        for (size_t i = 0, others = 0, chosen = *learn; i < count; i++)
            rows[marked[i] ? chosen++ : others++] = (uint32_t)i;
    }
    memory_free(left);
    memory_free(marked);
    return ok;
}

int probe_best_rate(const double *quality, size_t apart, int lrs, int seeds)
{
    int best = 0;
    double most = -1;
    for (int k = 0; k < lrs; k++) {
        double sum = 0;
        for (int s = 0; s < seeds; s++)
            sum += *(const double *)((const char *)quality + (size_t)(s * lrs + k) * apart);
        if (sum / seeds > most) {
            most = sum / seeds;
            best = k;
        }
    }
    return best;
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
