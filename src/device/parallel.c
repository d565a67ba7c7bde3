#include "device/parallel.h"

#include <linux/futex.h>
#include <omp.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* How often a thread looks before it sleeps. Kernels of a step take 10 us and more, so waits are short when every thread has a
 * core of its own; when something else runs there (the loader), spinning longer would only keep that other thread, or a team
 * mate, from finishing. */
enum { SPINS = 4000, SHARES = 64 /* at most; more threads have shares together */ };

struct Team {
    int threads;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int round; /* futex: grows by one when all have arrived */
    _Alignas(64) atomic_int sleepers;
    struct {
        _Alignas(64) atomic_int_fast64_t taken;
    } share[2][SHARES]; /* tiles taken of each: the present phase's counters and the next one's */
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static int share_count(const Team *team)
{
    return team->threads < SHARES ? team->threads : SHARES;
}

int64_t worker_next(Worker *w, int64_t count)
{
    Team *team = w->team;
    int shares = share_count(team);
    for (; w->helped < shares; w->helped++) {
        int s = (w->thread + w->helped) % shares;
        int64_t first = s * count / shares, end = (s + 1) * count / shares;
        int64_t i = first + atomic_fetch_add_explicit(&team->share[w->phase & 1][s].taken, 1, memory_order_relaxed);
        if (i < end)
            return i;
    }
    return count;
}

static void clear_shares(Team *team, uint32_t phase)
{
    for (int s = 0; s < share_count(team); s++)
        atomic_store_explicit(&team->share[phase & 1][s].taken, 0, memory_order_relaxed);
}

void worker_sync(Worker *w)
{
    Team *team = w->team;
    w->phase++;
    w->helped = 0;
    if (team->threads == 1) {
        clear_shares(team, w->phase);
        return;
    }
    int round = atomic_load_explicit(&team->round, memory_order_relaxed);
    if (atomic_fetch_add(&team->arrived, 1) == team->threads - 1) {
        /* All are here, so nobody reads the counter of the phase that begins: it was last used two phases ago. */
        clear_shares(team, w->phase);
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store(&team->round, round + 1);
        if (atomic_load(&team->sleepers))
            syscall(SYS_futex, &team->round, FUTEX_WAKE_PRIVATE, team->threads, NULL, NULL, 0);
        return;
    }
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&team->round, memory_order_acquire) != round)
            return;
        relax();
    }
    atomic_fetch_add(&team->sleepers, 1);
    while (atomic_load(&team->round) == round)
        syscall(SYS_futex, &team->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    atomic_fetch_sub(&team->sleepers, 1);
}

void parallel_run(const Step *steps, int count, int threads, double *seconds)
{
    Team team = {0};
    double began = 0;
#pragma omp parallel num_threads(threads)
    {
#pragma omp single
        {
            team.threads = omp_get_num_threads(); /* the runtime may grant fewer than were asked for */
            /* Before anybody begins: thread 0 may come late to work that the others have done. */
            began = seconds ? clock_seconds() : 0;
        }
        Worker worker = {.thread = omp_get_thread_num(), .threads = team.threads, .team = &team};
        double last = began;
        for (int i = 0; i < count; i++) {
            if (!steps[i].serial || worker.thread == 0)
                steps[i].kernel(steps[i].call, &worker);
            worker_sync(&worker);
            if (seconds && worker.thread == 0) {
                double now = clock_seconds();
                seconds[i] += now - last;
                last = now;
            }
        }
    }
}
