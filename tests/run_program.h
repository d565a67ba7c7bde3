/* Running the built program from a test and reading what it printed. Include behind cmocka.h. Files go to the working
 * directory. */
#ifndef LACUNA_TESTS_RUN_PROGRAM_H
#define LACUNA_TESTS_RUN_PROGRAM_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

typedef struct {
    int code; /* exit status; -1: ended by a signal */
    char *out, *err;
} Ran;

static inline void ran_free(Ran *ran)
{
    memory_free(ran->out);
    memory_free(ran->err);
    *ran = (Ran){0};
}

/* Runs the program with these arguments (in the shell's words). */
static inline Ran run_program(const char *format, ...)
{
    char arguments[4096], command[3 * 4096], out[64], err[64];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    snprintf(out, sizeof out, "program-%d.out", (int)getpid());
    snprintf(err, sizeof err, "program-%d.err", (int)getpid());
    snprintf(command, sizeof command, "'%s' %s >%s 2>%s </dev/null", LACUNA_BINARY, arguments, out, err);
    int status = system(command);
    size_t size;
    Ran ran = {
        .code = WIFEXITED(status) ? WEXITSTATUS(status) : -1, .out = file_read(out, 0, &size), .err = file_read(err, 0, &size)};
    file_remove(out);
    file_remove(err);
    assert_non_null(ran.out);
    assert_non_null(ran.err);
    return ran;
}

/* Whether mpirun can start a process, whatever it is: a machine without a network of its own has no use for it. */
static inline bool mpirun_starts(void)
{
    return system("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -n 1 true >/dev/null 2>&1") == 0;
}

#endif
