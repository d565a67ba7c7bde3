/* `lacuna analyse`: every measurement of docs/spec/analysis.md that this program makes, of one model or of several side by
 * side, into a folder: a CSV file a table, numbers.json with all of them, pictures, and report.html. */
#ifndef LACUNA_ANALYSIS_ANALYSE_H
#define LACUNA_ANALYSIS_ANALYSE_H

#include "base/text.h"
#include "device/device.h"

enum { ANALYSE_MODELS_MOST = 8 };

typedef struct {
    const char *const *from; /* runs, checkpoints or files of weights */
    int count;
    const char *data; /* pictures; several models see the same, each at its own size and with its own statistics */
    const char *out;  /* the folder, made if missing */
    Device device;
    size_t pictures; /* so many at even distances; 0: all */
    int batch;       /* pictures at a time, which changes no number */
    int cka_batch;   /* most samples of a minibatch of CKA, at least 4 */
    /* Told of each batch done and of each unreadable picture, which is left out. May be NULL. */
    void (*progress)(void *context, size_t done, size_t all);
    void (*bad)(void *context, const char *key, const char *reason);
    void *context;
} AnalyseOptions;

/* Files of the folder are replaced one by one when all is computed, so what an earlier analysis left stays until then. Notes on
 * the weights are appended to `notes`; *pictures: those that were measured. False after error_set(). */
bool analyse_write(const AnalyseOptions *options, Text *notes, size_t *pictures);

#endif
