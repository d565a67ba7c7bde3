/* Errors as one sentence a person can act on: what failed, where, why, what to do.
 *
 * A function that fails returns false or NULL after error_set(). Callers may put what they were doing in front with
 * error_context(). The outermost caller prints error_text(). The text is per thread; whoever moves work to another thread
 * carries the text over. */
#ifndef LACUNA_BASE_ERROR_H
#define LACUNA_BASE_ERROR_H

#include <stdbool.h>

/* Replaces the calling thread's error text. Always returns false, so that `return error_set(...)` reads well. */
bool error_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts "CONTEXT: " in front of the present error text. Always returns false. */
bool error_context(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The calling thread's error text, "" when there is none; valid until the next call of this header on this thread. */
const char *error_text(void);

void error_clear(void);

#endif
