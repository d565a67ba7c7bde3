/* Starting one process for each device, with mpirun. */
#ifndef LACUNA_CLI_LAUNCH_H
#define LACUNA_CLI_LAUNCH_H

#include <signal.h>

/* mpirun hands these on, and ends what it has started when it gets others: what SIGINT and SIGTERM become on the way to rank 0.
 */
#define LAUNCH_INTERRUPT SIGUSR1
#define LAUNCH_TERMINATE SIGUSR2

enum { LAUNCH_MOST = 1024 };

/* Runs this very command line in `count` processes and waits for them; the first SIGINT, SIGTERM or SIGHUP goes to rank 0, the
 * second one ends all. Returns the exit code of rank 0, EXIT_FAILED after saying that processes were killed or could not be
 * started. */
int launch_ranks(int count);

/* What rank 0 ends with: `code`, but under launch_ranks() one that mpirun never ends with by itself. */
int launch_exit_code(int code);

/* In ranks 1 ..: signals that stop a run may reach all processes and are for rank 0. */
void launch_ignore_signals(void);

#endif
