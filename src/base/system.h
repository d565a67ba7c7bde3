/* What this machine calls itself, for reports. */
#ifndef LACUNA_BASE_SYSTEM_H
#define LACUNA_BASE_SYSTEM_H

enum { SYSTEM_PROCESSOR_BYTES = 128 };

/* The processor's name, "" where the system does not tell. */
void system_processor(char name[SYSTEM_PROCESSOR_BYTES]);

#endif
