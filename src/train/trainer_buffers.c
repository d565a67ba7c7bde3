/* The numbers of a trainer: weights, gradients, moments, averages and what its teacher has, on the device and where the host
 * sees them. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "device/buffer.h"
#include "train/trainer_parts.h"

int64_t trainer_buffer_count(const Trainer *t, int which)
{
    if (which == AVERAGE && t->recipe.ema.decay == 0)
        return 0;
    const ParamSet *set = which == TEACHER || which == TEACHER_FIXED ? &t->teacher_params : &t->params;
    return which == FIXED || which == TEACHER_FIXED ? set->fixed_count : set->trained_count;
}

bool trainer_new_buffers(Trainer *t)
{
    const Device *device = &t->options.device;
    for (int i = 0; i < (t->options.evaluate_only ? GRADIENT : BUFFERS); i++) {
        Buffer *b = &t->buffers[i];
        size_t count = (size_t)trainer_buffer_count(t, i);
        if (!b->data && !(b->data = buffer_new(device, count, sizeof *b->host)))
            return false;
        if (!b->host && !(b->host = buffer_on_host(device) ? b->data : memory_new(count, sizeof *b->host)))
            return false;
    }
    return true;
}

/* Makes the host's copy as new as the device's numbers. */
static void refresh(Trainer *t, int which)
{
    Buffer *b = &t->buffers[which];
    if (b->stale &&
        !buffer_read(&t->options.device, b->data, b->host, (size_t)trainer_buffer_count(t, which) * sizeof *b->host))
        t->failed = true;
    b->stale = false;
}

/* What the device holds, for the host to look at and to change. */
float *trainer_buffer(Trainer *t, int which)
{
    Buffer *b = &t->buffers[which];
    refresh(t, which);
    b->edited = b->data && b->host != b->data;
    t->touched[which] = true;
    return b->host;
}

/* Brings what the host changed to the device. */
bool trainer_push_buffers(Trainer *t)
{
    if (t->failed)
        return error_set("the numbers of %s could not be copied before", device_describe(&t->options.device));
    for (int i = 0; i < BUFFERS; i++) {
        Buffer *b = &t->buffers[i];
        if (b->edited &&
            !buffer_write(&t->options.device, b->data, b->host, (size_t)trainer_buffer_count(t, i) * sizeof *b->host))
            return false;
        b->edited = false;
    }
    return true;
}

bool trainer_fetch(Trainer *t, TrainerState *state)
{
    for (int i = 0; i < BUFFERS && !t->failed; i++)
        if (i != GRADIENT)
            refresh(t, i);
    *state = (TrainerState){.weights = t->buffers[WEIGHTS].host,
                            .fixed = t->buffers[FIXED].host,
                            .moment1 = t->buffers[MOMENT1].host,
                            .moment2 = t->buffers[MOMENT2].host,
                            .teacher = t->buffers[TEACHER].host,
                            .average = t->recipe.ema.decay > 0 ? t->buffers[AVERAGE].host : NULL};
    return !t->failed || error_context("copying what was learnt from the device");
}

static void free_host(Trainer *t, Buffer *b)
{
    if (b->pinned)
        cuda_pinned_free(t->options.device.cuda, b->host);
    else if (b->host != b->data)
        memory_free(b->host);
    b->host = NULL;
    b->pinned = false;
}

void trainer_free_buffers(Trainer *t)
{
    for (int i = 0; i < BUFFERS; i++) {
        free_host(t, &t->buffers[i]);
        buffer_free(&t->options.device, t->buffers[i].data);
    }
    buffer_free(&t->options.device, t->metrics);
}

void trainer_free_device_buffers(Trainer *t)
{
    if (t->buffers[GRADIENT].pinned) /* nobody reads them any more, and pinned memory is dear */
        free_host(t, &t->buffers[GRADIENT]);
    for (int i = 0; i < BUFFERS; i++)
        if (t->buffers[i].host != t->buffers[i].data) {
            buffer_free(&t->options.device, t->buffers[i].data);
            t->buffers[i].data = NULL;
        }
}
