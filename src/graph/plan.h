/* The memory plan: each value and workspace gets an offset in one arena, such that no two that are alive at the same time
 * overlap. */
#ifndef LACUNA_GRAPH_PLAN_H
#define LACUNA_GRAPH_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t bytes;
    int first, last; /* positions in the list of nodes, both included, at which it must exist */
    int64_t offset;  /* result, a multiple of 64 */
} PlanItem;

/* Sets the offsets; *bytes becomes the size of the arena. false after error_set() (memory). */
bool plan_place(PlanItem *items, size_t count, int64_t *bytes);

/* The largest sum of bytes alive at one position: no plan can do with less. */
int64_t plan_floor(const PlanItem *items, size_t count);

/* Whether no two items overlap in both time and place (checked pair by pair). */
bool plan_is_sound(const PlanItem *items, size_t count);

#endif
