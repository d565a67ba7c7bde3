/* MPI, of which nothing but the movement of numbers is used: what a sum comes to must not depend on how a library adds up. */
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define LACUNA_RANKS_MPI_HERE
#include "device/ranks_transport.h"

enum { PIECE_BYTES = 1 << 30 }; /* MPI counts with int */

/* Libraries wait by looking again and again, which would take the processor from who is waited for: the ranks share it. */
static void wait_for(MPI_Request *request)
{
    enum { EAGER = 2000, SHORT = 4000 }; /* looks; then 20 us apart, about a tenth of a second, then a millisecond */
    int done = 0;
    for (int looks = 0;; looks++) {
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done)
            return;
        if (looks < EAGER)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = looks < EAGER + SHORT ? 20000 : 1000000}, NULL);
    }
}

static bool mpi_open(int *rank, int *count)
{
    int has;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &has) != MPI_SUCCESS)
        return false;
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, count);
    return has >= MPI_THREAD_SERIALIZED;
}

static void mpi_close(void)
{
    MPI_Finalize();
}

static void mpi_abort(int code)
{
    MPI_Abort(MPI_COMM_WORLD, code);
}

static int piece_of(size_t bytes)
{
    return bytes < PIECE_BYTES ? (int)bytes : PIECE_BYTES;
}

static void mpi_send(int to, const void *data, size_t bytes)
{
    for (const char *at = data; bytes > 0;) {
        int piece = piece_of(bytes);
        MPI_Request request;
        MPI_Isend(at, piece, MPI_BYTE, to, 0, MPI_COMM_WORLD, &request);
        wait_for(&request);
        at += piece; // NOLINT(clang-analyzer-optin.mpi.MPI-Checker): wait_for() asks until it is done
        bytes -= (size_t)piece;
    }
}

static void mpi_receive(int from, void *data, size_t bytes)
{
    for (char *at = data; bytes > 0;) {
        int piece = piece_of(bytes);
        MPI_Request request;
        MPI_Irecv(at, piece, MPI_BYTE, from, 0, MPI_COMM_WORLD, &request);
        wait_for(&request);
        at += piece; // NOLINT(clang-analyzer-optin.mpi.MPI-Checker): wait_for() asks until it is done
        bytes -= (size_t)piece;
    }
}

static void mpi_broadcast(void *data, size_t bytes)
{
    for (char *at = data; bytes > 0;) {
        int piece = piece_of(bytes);
        MPI_Request request;
        MPI_Ibcast(at, piece, MPI_BYTE, 0, MPI_COMM_WORLD, &request);
        wait_for(&request);
        at += piece; // NOLINT(clang-analyzer-optin.mpi.MPI-Checker): wait_for() asks until it is done
        bytes -= (size_t)piece;
    }
}

/* How many numbers go to or come from each rank, and where they lie: (2, ranks). */
static int *new_counts(int ranks)
{
    int *counts = malloc(2 * (size_t)ranks * sizeof *counts);
    if (!counts)
        mpi_abort(1);
    return counts;
}

static void mpi_collect(const float *data, const int *starts, float *all)
{
    int ranks, rank;
    MPI_Request request;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    int *out = new_counts(ranks), *in = new_counts(ranks), own = starts[rank + 1] - starts[rank];
    for (int i = 0; i < ranks; i++) {
        out[i] = starts[i + 1] - starts[i];
        out[ranks + i] = starts[i];
        in[i] = own;
        in[ranks + i] = i * own;
    }
    MPI_Ialltoallv(data, out, out + ranks, MPI_FLOAT, all, in, in + ranks, MPI_FLOAT, MPI_COMM_WORLD, &request);
    wait_for(&request);
    free(out);
    free(in);
}

static void mpi_share(float *data, const int *starts)
{
    int ranks;
    MPI_Request request;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int *in = new_counts(ranks);
    for (int i = 0; i < ranks; i++) {
        in[i] = starts[i + 1] - starts[i];
        in[ranks + i] = starts[i];
    }
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, data, in, in + ranks, MPI_FLOAT, MPI_COMM_WORLD, &request);
    wait_for(&request);
    free(in);
}

const RankTransport *ranks_mpi(void)
{
    static const RankTransport transport = {.open = mpi_open,
                                            .close = mpi_close,
                                            .abort = mpi_abort,
                                            .send = mpi_send,
                                            .receive = mpi_receive,
                                            .broadcast = mpi_broadcast,
                                            .collect = mpi_collect,
                                            .share = mpi_share};
    return &transport;
}
