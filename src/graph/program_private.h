/* The inside of a program, for the files that make and run it. */
#ifndef LACUNA_GRAPH_PROGRAM_PRIVATE_H
#define LACUNA_GRAPH_PROGRAM_PRIVATE_H

#include "device/parallel.h"
#include "graph/program.h"
#include "graph/tape_private.h"

/* What a program on a GPU has besides; program_gpu.c. */
typedef struct ProgramGpu ProgramGpu;

struct Program {
    Tape *tape;
    Device device;
    Node *nodes; /* lowered, in order of their segments */
    size_t node_count;
    size_t begin[SEGMENTS], end[SEGMENTS];
    Call *calls;
    Step *steps;     /* of ref and cpu */
    double *seconds; /* NULL unless measured */
    PlanItem *items;
    size_t item_count;
    int64_t arena_bytes;
    char *arena;     /* of the device, as all that follows */
    void **storages; /* by index of the tape's */
    bool *own_storage;
    void **data; /* by slot */
    ProgramGpu *gpu;
    void *fetched[PROGRAM_FETCHES]; /* host memory of program_fetch() */
};

int64_t program_value_bytes(const Program *p, int slot);

/* Places all values in one arena: an item of p->items a slot that has its own memory, item_of[slot], -1 for one outside of the
 * arena, and one a lane for the workspaces, workspace_items[lane], -1 when none wants any. False after error_set(). */
bool program_plan_memory(Program *p, int *item_of, int *workspace_items);

/* Memory of the inputs, in the arena's stead: sets p->data of their slots. False after error_set(). */
bool program_gpu_open(Program *p);

/* Behind the binding of all nodes: captures each segment in a graph, unless the device says one by one. */
bool program_gpu_capture(Program *p);

/* As program_cut() and so on. */
bool program_gpu_cut(Program *p, Segment segment, const size_t *ends, int count);
size_t program_gpu_piece_end(const Program *p, Segment segment, int which);
bool program_gpu_read_piece(Program *p, Segment segment, int which, const void *from, void *to, size_t bytes);
bool program_gpu_sum_piece(Program *p, Segment segment, int which, CudaSums *sums, float *data, size_t count);
bool program_gpu_sum_join(Program *p);

/* Bytes of the GPU's memory that inputs take. */
int64_t program_gpu_bytes(const Program *p);

void program_gpu_close(Program *p);

/* Puts a segment's work into the stream, what was written to the inputs first. */
bool program_gpu_run(Program *p, Segment segment);

bool program_gpu_run_node(Program *p, size_t node);

/* Memory of the host that is uploaded to an input before the next run, or with program_gpu_upload() while the last one goes on.
 */
void *program_gpu_input(Program *p, int slot);
bool program_gpu_upload(Program *p);

/* What runs need to be measured. False after error_set(). */
bool program_gpu_measure(Program *p);

/* A copy of what the GPU holds, NULL after error_set(); program_gpu_output() has one place for all. */
void *program_gpu_look(Program *p, const void *data, size_t bytes, int place);
void *program_gpu_output(Program *p, const void *data, size_t bytes);

bool program_gpu_fetch(Program *p, const void *data, size_t bytes, int which);
bool program_gpu_fetch_wait(Program *p, int which);

#endif
