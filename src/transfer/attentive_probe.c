#include "transfer/attentive_probe.h"

#include "base/error.h"
#include "base/memory.h"
#include "ops/bf16.h"
#include "transfer/probe_steps.h"
#include "transfer/token_heads.h"

static const double DECAY = 1e-3;

static size_t numbers_of(const AttentiveProbe *p)
{
    return (size_t)p->tokens * (size_t)p->width;
}

static void take(const AttentiveProbe *p, const TokenSet *set, size_t from, float *to)
{
    const uint16_t *tokens = set->tokens + from * set->stride;
    for (size_t i = 0; i < numbers_of(p); i++)
        to[i] = bf16_to_float(tokens[i]);
}

static bool train(const AttentiveProbe *p, TokenHeads *heads, uint32_t *order)
{
    size_t batch = (size_t)p->batch, steps = p->train.count / batch;
    for (uint32_t epoch = 0; epoch < p->epochs; epoch++) {
        probe_shuffle(p->seed, epoch, order, p->train.count);
        for (size_t step = 0; step < steps && epoch + (double)step / (double)steps < p->epochs; step++) {
            for (size_t i = 0; i < batch; i++) {
                size_t from = probe_row(p->train.rows, order[step * batch + i]);
                take(p, &p->train, from, token_heads_features(heads) + i * numbers_of(p));
                token_heads_labels(heads)[i] = p->train.labels[from];
            }
            if (!token_heads_step(heads, probe_rate(epoch + (double)step / (double)steps, p->warmup_epochs, p->epochs),
                                  (double)batch))
                return false;
        }
    }
    return true;
}

static bool evaluate(const AttentiveProbe *p, TokenHeads *heads, int32_t *ranks)
{
    size_t batch = (size_t)p->batch;
    for (size_t first = 0; first < p->val.count; first += batch) {
        size_t some = p->val.count - first < batch ? p->val.count - first : batch;
        for (size_t i = 0; i < some; i++)
            take(p, &p->val, probe_row(p->val.rows, first + i), token_heads_evaluate_features(heads) + i * numbers_of(p));
        if (!token_heads_evaluate(heads))
            return false;
        for (int k = 0; k < p->lr_count; k++) {
            const float *outputs = token_heads_outputs(heads, k);
            if (!outputs)
                return false;
            for (size_t i = 0; i < some; i++)
                ranks[(size_t)k * p->val.count + first + i] =
                    probe_rank(outputs + i * (size_t)p->classes, p->classes, p->val.labels[probe_row(p->val.rows, first + i)]);
        }
    }
    return true;
}

bool attentive_probe(const AttentiveProbe *p, int32_t *ranks)
{
    if (p->batch < 1 || (size_t)p->batch > p->train.count)
        return error_set("an attentive probe wants a batch of no more pictures than there are");
    uint32_t *order = memory_new(p->train.count, sizeof *order);
    TokenHeads *heads = order ? token_heads_open(&(TokenHeadsOptions){.kind = HEAD_CLASSES,
                                                                      .device = p->device,
                                                                      .tokens = p->tokens,
                                                                      .width = p->width,
                                                                      .outputs = p->classes,
                                                                      .lrs = p->lrs,
                                                                      .count = p->lr_count,
                                                                      .decay = DECAY,
                                                                      .batch = p->batch,
                                                                      .seed = p->seed})
                              : NULL;
    bool ok = heads && train(p, heads, order) && evaluate(p, heads, ranks);
    token_heads_close(heads);
    memory_free(order);
    return ok;
}
