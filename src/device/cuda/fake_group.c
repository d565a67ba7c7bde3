#include "device/cuda/fake_group.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

enum { RANKS_MOST = 8, NUMBERS = 4096 };

struct FakeRoom {
    atomic_int arrived; /* since the start, every time that all wait for each other */
    float numbers[RANKS_MOST][NUMBERS];
};

bool fake_group_name(char *name, size_t bytes)
{
    int file = memfd_create("fake sums", MFD_CLOEXEC);
    snprintf(name, bytes, "/proc/%d/fd/%d", (int)getpid(), file);
    if (file >= 0 && ftruncate(file, sizeof(struct FakeRoom)) == 0)
        return true;
    error_set("memory for the fake's sums: %s", strerror(errno));
    if (file >= 0)
        close(file);
    return false;
}

/* Returns when all of the group have called it as often as this one. */
static void meet(FakeGroup *g)
{
    g->met++;
    atomic_fetch_add(&g->room->arrived, 1);
    while (atomic_load(&g->room->arrived) < g->met * g->count)
        sched_yield();
}

bool fake_group_join(FakeGroup *g, const char *name, int rank, int count)
{
    if (count > RANKS_MOST)
        return error_set("the fake adds up for at most %d", RANKS_MOST);
    int file = open(name, O_RDWR);
    void *room = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *g->room, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    if (room == MAP_FAILED)
        return error_set("%s: %s", name, strerror(errno));
    *g = (FakeGroup){.room = room, .rank = rank, .count = count};
    meet(g);
    if (rank == 0 && sscanf(name, "/proc/%*d/fd/%d", &file) == 1) /* all have it now */
        close(file);
    return true;
}

void fake_group_close(FakeGroup *g, bool together)
{
    if (!g->room)
        return;
    if (together)
        meet(g);
    munmap(g->room, sizeof *g->room);
    g->room = NULL;
}

void fake_group_sum(FakeGroup *g, float *data, size_t count)
{
    for (size_t at = 0; g->room && at < count; at += NUMBERS) {
        size_t some = count - at < NUMBERS ? count - at : NUMBERS;
        memcpy(g->room->numbers[g->rank], data + at, some * sizeof *data);
        meet(g);
        for (size_t i = 0; i < some; i++) {
            data[at + i] = g->room->numbers[0][i];
            for (int r = 1; r < g->count; r++)
                data[at + i] += g->room->numbers[r][i];
        }
        meet(g);
    }
}
