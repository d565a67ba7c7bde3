/* For tests: a transport that stands for a second rank, whose gradients are zeros, which always could open its trainer and sees
 * what rank 0 shares. */
#ifndef LACUNA_TRAIN_PRETENDED_RANKS_H
#define LACUNA_TRAIN_PRETENDED_RANKS_H

#define LACUNA_RANKS_MPI_HERE
#include <string.h>

#include "device/ranks_transport.h"

static bool pretend_open(int *rank, int *count)
{
    *rank = 0;
    *count = 2;
    return true;
}

static void pretend_close(void)
{
}

/* MPI's would end the process. */
static void pretend_abort(int code)
{
    (void)code;
}

static size_t pretend_sent; /* bytes to the second rank alone */

static void pretend_send(int to, const void *data, size_t bytes)
{
    (void)to, (void)data;
    pretend_sent += bytes;
}

/* All that is received is whether the other one could: open its trainer, sum, see what is shared. */
static void pretend_receive(int from, void *data, size_t bytes)
{
    (void)from;
    memset(data, 0, bytes);
    memset(data, true, bytes < 2 ? bytes : 2);
}

static int pretend_told; /* times that all were told something */

static void pretend_broadcast(void *data, size_t bytes)
{
    (void)data, (void)bytes;
    pretend_told++;
}

static void pretend_collect(const float *data, const int *starts, float *all)
{
    size_t own = (size_t)starts[1];
    memcpy(all, data, own * sizeof *all);
    memset(all + own, 0, own * sizeof *all);
}

static void pretend_share(float *data, const int *starts)
{
    (void)data, (void)starts;
}

const RankTransport *ranks_mpi(void)
{
    static const RankTransport pretends = {.open = pretend_open,
                                           .close = pretend_close,
                                           .abort = pretend_abort,
                                           .send = pretend_send,
                                           .receive = pretend_receive,
                                           .broadcast = pretend_broadcast,
                                           .collect = pretend_collect,
                                           .share = pretend_share};
    return &pretends;
}

#endif
