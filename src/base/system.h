/* What this machine calls itself and what the process has used of it, for reports. */
#ifndef LACUNA_BASE_SYSTEM_H
#define LACUNA_BASE_SYSTEM_H

enum { SYSTEM_PROCESSOR_BYTES = 128 };

/* The processor's name, "" where the system does not tell. */
void system_processor(char name[SYSTEM_PROCESSOR_BYTES]);

/* Bytes of the process's largest resident set so far, 0 where the system does not tell. */
long long system_peak_resident(void);

#endif
