/* What ranks.c wants of MPI; ranks_mpi.c, alone, includes it. Linked into the program where MPI was found. */
#ifndef LACUNA_DEVICE_RANKS_TRANSPORT_H
#define LACUNA_DEVICE_RANKS_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>

/* Calls come from one thread at a time. All wait without keeping a processor busy for long. */
typedef struct {
    bool (*open)(int *rank, int *count);
    void (*close)(void);
    void (*abort)(int code);
    void (*send)(int to, const void *data, size_t bytes);
    void (*receive)(int from, void *data, size_t bytes);
    void (*broadcast)(void *data, size_t bytes);
    /* Rank r owns numbers starts[r] .. starts[r + 1] - 1 of `data`. collect: `all` receives this rank's own ones as every rank
     * has them, one rank behind the other. share: everybody receives from each rank what it owns. */
    void (*collect)(const float *data, const int *starts, float *all);
    void (*share)(float *data, const int *starts);
} RankTransport;

/* Weak here, so that its address tells whether it is linked; ranks_mpi.c leaves the word out. */
#ifndef LACUNA_RANKS_MPI_HERE
const RankTransport *ranks_mpi(void) __attribute__((weak));
#else
const RankTransport *ranks_mpi(void);
#endif

#endif
