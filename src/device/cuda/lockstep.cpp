/* A fiber leaves by _longjmp() to the scheduler and comes back likewise; only its first entry needs ucontext. Global state is
 * what threadIdx and its like are on a GPU; one thread of the host runs launches at a time. */
#include "device/cuda/lockstep.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

extern "C" {
#include "base/error.h"
}

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace
{

enum { LINES = 64, KNOWN = 64, THREADS = 1024, STACK = 128 << 10, GUARD = 256, GUARD_BYTE = 0xa5, WARP = LOCKSTEP_WARP };

enum State { READY, BARRIER, EXCHANGE, ENDED };

struct Fiber {
    ucontext_t first;
    jmp_buf at;
    bool started;
    State state;
    int line; /* where it waits */
    unsigned mask;
    const void *mine;
    char *all;
    size_t size;
    dim3 index;
};

struct Machine {
    Fiber fibers[THREADS];
    jmp_buf home;
    char *stacks;
    int current, count;
    void (*thread)(void *);
    void *context;
    char *shared;
    LockstepOrder order;
    bool failed;
    struct {
        void *at;
        size_t bytes;
    } known[KNOWN];
    int known_count;
    LockstepPlant plant;
    int planted, launches, lines[LINES], line_count;
} machine;

bool plants(LockstepPlant plant, int n)
{
    return machine.plant == plant && machine.planted == n;
}

/* The number of a barrier's line, in the order in which they are met. */
int line_number(int line)
{
    int n = 0;
    while (n < machine.line_count && machine.lines[n] != line)
        n++;
    if (n == machine.line_count && n < LINES)
        machine.lines[machine.line_count++] = line;
    return n;
}

void leave(void)
{
    if (!_setjmp(machine.fibers[machine.current].at))
        _longjmp(machine.home, 1);
}

void fiber_main(void)
{
    for (;;) {
        machine.thread(machine.context);
        machine.fibers[machine.current].state = ENDED;
        leave();
    }
}

/* Runs a fiber until it waits or ends. */
void enter(int i)
{
    Fiber *f = &machine.fibers[i];
    machine.current = i;
    threadIdx = f->index;
    if (_setjmp(machine.home))
        return;
    if (f->started)
        _longjmp(f->at, 1);
    f->started = true;
    getcontext(&f->first);
    f->first.uc_stack.ss_sp = machine.stacks + (size_t)i * STACK;
    f->first.uc_stack.ss_size = STACK;
    makecontext(&f->first, fiber_main, 0);
    setcontext(&f->first);
}

bool fail(const char *text)
{
    if (!machine.failed)
        error_set("lock-step, block (%u, %u, %u): %s", blockIdx.x, blockIdx.y, blockIdx.z, text);
    machine.failed = true;
    for (int i = 0; i < machine.count; i++)
        machine.fibers[i].started = false; /* they stand somewhere in a kernel that is given up */
    return false;
}

bool fail_waiting(int i, int other)
{
    char text[160];
    const Fiber *a = &machine.fibers[i], *b = &machine.fibers[other];
    if (other >= machine.count)
        snprintf(text, sizeof text, "thread %d waits at line %d for thread %d, which does not exist", i, a->line, other);
    else if (b->state == ENDED)
        snprintf(text, sizeof text, "thread %d waits at line %d, but thread %d has ended", i, a->line, other);
    else
        snprintf(text, sizeof text, "thread %d waits at line %d, but thread %d at line %d", i, a->line, other, b->line);
    return fail(text);
}

/* The lane that keeps a fiber's exchange from happening, or -1. */
int missing_lane(int i)
{
    const Fiber *f = &machine.fibers[i];
    int warp = i / WARP * WARP;
    for (int lane = 0; lane < WARP; lane++) {
        const Fiber *other = &machine.fibers[warp + lane];
        if ((f->mask >> lane & 1) && (warp + lane >= machine.count || other->state != EXCHANGE || other->line != f->line ||
                                      other->mask != f->mask || other->size != f->size))
            return warp + lane;
    }
    return -1;
}

void exchange(int i)
{
    int warp = i / WARP * WARP;
    unsigned mask = machine.fibers[i].mask;
    size_t size = machine.fibers[i].size;
    for (int to = 0; to < WARP; to++)
        for (int from = 0; from < WARP && (mask >> to & 1); from++) {
            char *at = machine.fibers[warp + to].all + (size_t)from * size;
            if (mask >> from & 1)
                memcpy(at, machine.fibers[warp + from].mine, size);
            else
                memset(at, 0xff, size);
        }
    for (int to = 0; to < WARP; to++)
        if (mask >> to & 1)
            machine.fibers[warp + to].state = READY;
}

/* The k-th of n in the present order. */
int in_order(int k, int n)
{
    if (machine.order == LOCKSTEP_REVERSE)
        return n - 1 - k;
    if (machine.order == LOCKSTEP_SHUFFLED) { /* a step that has no factor in common with n */
        static const int steps[] = {37, 41, 43, 47, 53};
        for (int step : steps)
            if (n % step)
                return (int)(((int64_t)k * step + n / 3) % n);
    }
    return k;
}

/* Whether a thread of the warp that ends with this thread can go on. */
bool warp_goes_on(int last)
{
    for (int i = last / WARP * WARP; i <= last; i++)
        if (machine.fibers[i].state == READY)
            return true;
    return false;
}

bool run_block(void)
{
    bool last = blockIdx.x + 1 == gridDim.x && blockIdx.y + 1 == gridDim.y && blockIdx.z + 1 == gridDim.z;
    if (last && plants(PLANT_NO_LAST_BLOCK, machine.launches))
        return true;
    int idle = plants(PLANT_NO_LAST_WARP, machine.launches) ? (machine.count - 1) / WARP * WARP : machine.count;
    for (int i = 0; i < machine.count; i++) {
        machine.fibers[i].state = i < idle ? READY : ENDED;
        machine.fibers[i].index =
            dim3((unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y, (unsigned)i / blockDim.x / blockDim.y);
    }
    for (;;) {
        bool ran = false;
        for (int k = 0; k < machine.count; k++) {
            int i = in_order(k, machine.count);
            if (machine.fibers[i].state == READY) {
                ran = true;
                enter(i);
                if (machine.fibers[i].state == EXCHANGE && missing_lane(i) < 0)
                    exchange(i);
            }
            bool ends_warp = k % WARP == WARP - 1 || k == machine.count - 1;
            if (machine.order == LOCKSTEP_WARPS && ends_warp && warp_goes_on(k))
                k = k / WARP * WARP - 1; /* its first lane comes next */
        }
        if (ran)
            continue;
        /* Nobody can go on: the block has ended, all are at one barrier, or something is wrong. */
        int waits = -1;
        for (int i = 0; i < machine.count; i++) {
            if (machine.fibers[i].state == EXCHANGE)
                return fail_waiting(i, missing_lane(i));
            if (machine.fibers[i].state == BARRIER && waits < 0)
                waits = i;
        }
        if (waits < 0)
            return true;
        for (int i = 0; i < machine.count; i++)
            if (machine.fibers[i].state == ENDED || machine.fibers[i].line != machine.fibers[waits].line)
                return fail_waiting(waits, i);
        for (int i = 0; i < machine.count; i++)
            machine.fibers[i].state = READY;
    }
}

bool guards_hold(size_t shared)
{
    for (size_t i = 0; i < GUARD; i++)
        if ((unsigned char)machine.shared[i] != GUARD_BYTE || (unsigned char)machine.shared[GUARD + shared + i] != GUARD_BYTE)
            return false;
    return true;
}

} // namespace

void lockstep_barrier(int line)
{
    if (plants(PLANT_NO_BARRIER, line_number(line)))
        return;
    Fiber *f = &machine.fibers[machine.current];
    f->line = line;
    f->state = BARRIER;
    leave();
}

void lockstep_exchange(unsigned mask, const void *mine, void *all, size_t size, int line)
{
    Fiber *f = &machine.fibers[machine.current];
    f->line = line;
    f->mask = mask;
    f->mine = mine;
    f->all = (char *)all;
    f->size = size;
    f->state = EXCHANGE;
    leave();
}

void *lockstep_shared(void)
{
    return machine.shared + GUARD;
}

bool lockstep_know_shared(void *at, size_t bytes)
{
    memset(at, 0xff, bytes);
    if (machine.known_count == KNOWN)
        return fail("there are more shared arrays than the lock-step has room for");
    machine.known[machine.known_count].at = at;
    machine.known[machine.known_count++].bytes = bytes;
    return true;
}

void lockstep_set_order(LockstepOrder order)
{
    machine.order = order;
}

void lockstep_plant(LockstepPlant plant, int n)
{
    machine.plant = plant;
    machine.planted = n;
    machine.launches = machine.line_count = 0;
}

int lockstep_launches(void)
{
    return machine.launches;
}

int lockstep_barriers(void)
{
    return machine.line_count;
}

bool lockstep_ok(void)
{
    bool ok = !machine.failed;
    machine.failed = false;
    return ok;
}

void lockstep_launch(dim3 grid, dim3 block, size_t shared, void (*thread)(void *), void *context)
{
    int64_t threads = (int64_t)block.x * block.y * block.z, blocks = (int64_t)grid.x * grid.y * grid.z;
    blockIdx = dim3(0, 0, 0);
    if (machine.failed)
        return;
    if (threads < 1 || threads > THREADS || blocks < 1 || blocks > INT32_MAX || grid.y > 65535 || grid.z > 65535) {
        fail("a launch of no or too many threads or blocks");
        return;
    }
    if (!machine.stacks)
        machine.stacks = (char *)malloc((size_t)THREADS * STACK);
    machine.shared = (char *)aligned_alloc(GUARD, (shared + 3 * GUARD - 1) / GUARD * GUARD);
    if (!machine.stacks || !machine.shared) {
        fail("out of memory");
        return;
    }
    machine.count = (int)threads;
    machine.thread = thread;
    machine.context = context;
    blockDim = block;
    gridDim = grid;
    for (int64_t b = 0; b < blocks && !machine.failed; b++) {
        unsigned at = (unsigned)in_order((int)b, (int)blocks);
        blockIdx = dim3(at % grid.x, at / grid.x % grid.y, at / grid.x / grid.y);
        memset(machine.shared, GUARD_BYTE, shared + 2 * GUARD);
        memset(machine.shared + GUARD, 0xff, shared);
        for (int i = 0; i < machine.known_count; i++)
            memset(machine.known[i].at, 0xff, machine.known[i].bytes);
        if (run_block() && !guards_hold(shared))
            fail("something was written beside the shared memory");
    }
    machine.launches++;
    free(machine.shared);
    machine.shared = nullptr;
}
