#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_BYTES = 2048 };

static _Thread_local char present[ERROR_BYTES];
static _Thread_local bool machine;

void error_write(const char *format, ...)
{
    /* The arguments may point into `present` itself. */
    char next[ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(next, sizeof next, format, args);
    va_end(args);
    memcpy(present, next, sizeof present);
    machine = false;
}

void error_prepend(const char *format, ...)
{
    char next[ERROR_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(next, sizeof next, format, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof next - 3)
        return;
    snprintf(next + n, sizeof next - (size_t)n, ": %.*s", (int)(sizeof next - 3 - (size_t)n), present);
    memcpy(present, next, sizeof present);
}

const char *error_text(void)
{
    return present;
}

const char *error_without(const char *name, const char *text)
{
    size_t length = strlen(name);
    return !strncmp(text, name, length) && !strncmp(text + length, ": ", 2) ? text + length + 2 : text;
}

void error_clear(void)
{
    present[0] = 0;
    machine = false;
}

bool error_is_machine(void)
{
    return machine;
}

void error_blame_machine(void)
{
    machine = true;
}

void error_blame_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case ELOOP:
    case ENAMETOOLONG:
        break;
    default:
        machine = true;
    }
}
