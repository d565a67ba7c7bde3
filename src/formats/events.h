/* TensorBoard's event files: records (length, masked CRC-32C of it, bytes, masked CRC-32C of them) that each hold an Event in
 * the encoding of protocol buffers: time, step, and a summary of scalars and pictures. Only what a run writes is here. */
#ifndef LACUNA_FORMATS_EVENTS_H
#define LACUNA_FORMATS_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* One event being put together; {0} is an empty one. Its memory is kept from event to event; events_free() gives it back. */
typedef struct {
    Text summary, record;
} EventDraft;

/* Adds a number (stored as f32) to the draft. */
void event_add_scalar(EventDraft *draft, const char *tag, double value);

/* Adds a PNG file of height x width RGB pixels. */
void event_add_png(EventDraft *draft, const char *tag, int height, int width, const void *png, size_t size);

/* Writes the draft as the event of a step at the end of the file and empties it. wall_time: seconds since 1970. False after
 * error_set(); the draft is empty then, too. */
bool event_write(EventDraft *draft, int descriptor, const char *path, double wall_time, int64_t step);

void event_draft_free(EventDraft *draft);

/* Opens `path` for appending; a fresh or foreign file gets the record that event files begin with, which every reader asks
 * for. Events of a step beyond `step`, what follows them, and a torn or damaged rest are cut off. The descriptor, closed by
 * the caller; -1 after error_set(). */
int events_open(const char *path, int64_t step, double wall_time);

#endif
