/* Errors as one sentence a person can act on: what failed, where, why, what to do.
 *
 * A function that fails returns false or NULL after error_set(). Callers may put what they were doing in front with
 * error_context(). The outermost caller prints error_text(). The text is per thread; whoever moves work to another thread
 * carries the text over. */
#ifndef LACUNA_BASE_ERROR_H
#define LACUNA_BASE_ERROR_H

#include <stdbool.h>

/* Replaces the calling thread's error text. Always false, so that `return error_set(...)` reads well. Macros, so that compilers
 * and analysers see the false. */
#define error_set(...) (error_write(__VA_ARGS__), error_false())

/* Puts "CONTEXT: " in front of the present error text. Always false. */
#define error_context(...) (error_prepend(__VA_ARGS__), error_false())

void error_write(const char *format, ...) __attribute__((format(printf, 1, 2)));
void error_prepend(const char *format, ...) __attribute__((format(printf, 1, 2)));

static inline bool error_false(void)
{
    return false;
}

/* The calling thread's error text, "" when there is none; valid until the next call of this header on this thread. */
const char *error_text(void);

/* What stands behind "NAME: " in `text`, for those who tell the name apart; all of `text` if it does not begin so. Points into
 * `text`. */
const char *error_without(const char *name, const char *text);

void error_clear(void);

/* Whether the present error is one of the machine (no memory, no descriptor, a disk that does not answer), which says nothing
 * about the file or picture that was being read. error_set() takes the mark off, error_context() keeps it. */
bool error_is_machine(void);

/* Marks the present error so. */
void error_blame_machine(void);

/* As error_blame_machine(), unless errno's value `number` tells of a path itself: missing, no permission, a folder, too long.
 */
void error_blame_errno(int number);

#endif
