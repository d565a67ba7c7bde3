/* A program: a tape lowered for a device, planned in one arena, and bound to kernels. It is immutable; running it allocates
 * nothing and starts no thread: the team is started when the program is made.
 *
 * On a GPU a run only puts its work into a stream, as one captured graph a segment. What the host reads of it is copied when it
 * is asked for, behind all that was put to run before. */
#ifndef LACUNA_GRAPH_PROGRAM_H
#define LACUNA_GRAPH_PROGRAM_H

#include "device/cuda/sums.h"
#include "graph/plan.h"
#include "graph/tape.h"

typedef struct Program Program;

/* Memory for a storage of the tape: `data` holds storage_count() REAL elements in the device's memory (device/buffer.h),
 * aligned to 64 bytes, owned by the caller and outliving the program. */
typedef struct {
    const char *name;
    void *data;
} Binding;

/* Lowers, checks, leaves out what neither a storage nor a kept value depends on, plans, allocates the arena and binds. Storages
 * that `bindings` leaves out belong to the program and start as zeros. The tape (to which lowering adds
 * temporaries) must outlive the program. NULL after error_set(): a failed tape, a read of an overwritten value (named), memory
 * out. */
Program *program_make(Tape *tape, const Device *device, const Binding *bindings, int count);
void program_free(Program *program);

/* As program_make(), but stops behind the plan: sizes and costs can be asked for, and nothing can be run, read or written. */
Program *program_plan(Tape *tape, const Device *device);

/* Runs the nodes of one segment. False after error_set(), on a GPU alone; what fails while it runs there shows when something
 * is read. */
bool program_run(Program *program, Segment segment);

/* A segment in pieces, for what is to begin before its end. program_written() returns how many of its nodes must have run until
 * none that is left writes to elements offset .. offset + count - 1 of a storage.
 *
 * Without a GPU program_run_nodes() runs its nodes first .. end - 1. For a GPU program_cut() makes pieces of it that end behind
 * so many nodes, `count` numbers that grow up to program_step_count(), and of which the first may be 0; program_run() puts them
 * to run one behind the other, and program_read_piece() copies what piece number `piece` and those before it wrote, as soon as
 * they are done and while later ones still run. program_sum_piece() sums such numbers of the device's memory, in place, over
 * the GPUs of a group, likewise while later pieces run, and the host waits for nothing; what is put to run behind
 * program_sum_join() waits for all sums. False after error_set(); the program of which a segment could not be cut can only be
 * freed. */
size_t program_written(const Program *program, Segment segment, const char *storage, int64_t offset, int64_t count);
void program_run_nodes(Program *program, Segment segment, size_t first, size_t end);
bool program_cut(Program *program, Segment segment, const size_t *ends, int count);
size_t program_piece_end(const Program *program, Segment segment, int piece); /* nodes of the segment */
bool program_read_piece(Program *program, Segment segment, int piece, const void *from, void *to, size_t bytes);
bool program_sum_piece(Program *program, Segment segment, int piece, CudaSums *sums, float *data, size_t count);
bool program_sum_join(Program *program);

/* Memory of an input, to be filled before a run; NULL when there is none of that name. To be asked for anew before each run
 * that is to see other numbers: on a GPU it is memory of the host, and asking says that it has to be uploaded again. */
void *program_input(Program *program, const char *name);

/* Starts to copy the inputs that were asked for since the last run, while a GPU still computes that one: the next run finds
 * them there. Without a GPU there is nothing to do. False after error_set(). */
bool program_upload(Program *program);

/* Memory of a kept value or a storage by name; NULL when there is none. Kept values of several segments are told apart by
 * `segment`. On a GPU it is a copy as of now, good until the same is asked for again and for reading alone; NULL after
 * error_set() when copying fails. */
void *program_kept(Program *program, Segment segment, const char *name);
void *program_storage(Program *program, const char *name);

/* Small storages (metrics) without waiting: program_fetch() puts a copy into the first or second place behind what was put to
 * run before, program_fetched() waits for that copy alone. `storage` has at most PROGRAM_FETCH_MOST elements. False or NULL
 * after error_set(). */
enum { PROGRAM_FETCHES = 2, PROGRAM_FETCH_MOST = 256 };
bool program_fetch(Program *program, const char *storage, int place);
const float *program_fetched(Program *program, int place);
const Shape *program_shape(const Program *program, Segment segment, const char *name); /* of an input or kept value */

/* Copies between host numbers and REAL values of this program's device. */
void program_write_real(const Program *program, void *to, const float *from, size_t count);
void program_read_real(const Program *program, const void *from, float *to, size_t count);

const Device *program_device(const Program *program);
int64_t program_arena_bytes(const Program *program); /* the arena */
int64_t program_floor_bytes(const Program *program); /* the largest sum alive at once */
int64_t program_bytes(const Program *program);       /* the arena, and what a GPU needs for inputs besides */
bool program_plan_is_sound(const Program *program);
size_t program_step_count(const Program *program, Segment segment);
Cost program_cost(const Program *program, Segment segment);

/* From now on, runs add the seconds of each node, from zero. False after error_set(). */
bool program_measure(Program *program);
double program_op_seconds(const Program *program, const char *op); /* so far, over all nodes of that op */

/* A node as it runs: for tables of where the time goes. All that is pointed to belongs to the program or its tape. */
typedef struct {
    const char *op, *scope;
    Segment segment;
    const Call *call; /* shapes and types of what goes in and out */
    double seconds;   /* of all runs since program_measure(); 0 before */
    Cost cost;        /* of one run; zeros when the op names none */
} ProgramNode;

size_t program_node_count(const Program *program);
ProgramNode program_node(const Program *program, size_t i);

/* Runs that node alone; those before it in its segment must have run. False after error_set(). */
bool program_run_node(Program *program, size_t i);

/* The numbers of its output k, NULL when it has none or after error_set(). On a GPU a copy for reading alone, good until the
 * next call: there is one place for the outputs of all nodes. */
const void *program_node_output(Program *program, size_t i, int k);

#endif
