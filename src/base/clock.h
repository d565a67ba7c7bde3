/* Time, for progress and logs only: nothing that a run computes depends on it. */
#ifndef LACUNA_BASE_CLOCK_H
#define LACUNA_BASE_CLOCK_H

/* Seconds since some fixed moment, never going back. */
double clock_seconds(void);

/* Seconds since the beginning of 1970, as the system's clock has it. */
double clock_wall(void);

/* Seconds of processor time that the calling thread has used. */
double clock_thread_seconds(void);

/* Seconds of processor time that all threads of the process have used together. */
double clock_process_seconds(void);

#endif
