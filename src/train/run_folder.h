/* A run's directory, except its checkpoints: the lock, recipe.yaml, log.jsonl, TensorBoard's events, environment.json,
 * algorithms.json, bad_files.csv. */
#ifndef LACUNA_TRAIN_RUN_FOLDER_H
#define LACUNA_TRAIN_RUN_FOLDER_H

#include "device/device.h"
#include "formats/events.h"
#include "recipe/recipe.h"
#include "train/bad_names.h"

typedef struct RunFolder RunFolder;

/* Makes the folder if need be and locks it until run_folder_close(). path NULL: runs/NAME-N with the smallest N that is free.
 * NULL after error_set(): another process uses it, or it cannot be made. */
RunFolder *run_folder_open(const char *path, const char *name);

/* Unlocks. A folder that was made here and has received nothing is removed again. NULL is fine. */
void run_folder_close(RunFolder *folder);

/* Owned by the folder. */
const char *run_folder_path(const RunFolder *folder);

/* Whether there is a run in it: a recipe, a log or a checkpoint. */
bool run_folder_holds_run(const RunFolder *folder);

/* Whether a new run may begin in the folder `path`, which need not be there. False after error_set() when one is in it. */
bool run_folder_is_new(const char *path);

/* RUN/recipe.yaml: the recipe with every default written out, its name in a comment; replaced as a whole. Reading, which
 * needs no lock, tells in *found whether there is one (false and no error when not), and gives it the name it was written with,
 * "" when that is not known. */
bool run_folder_write_recipe(RunFolder *folder, const Recipe *recipe);
bool run_folder_read_recipe(const char *run, Recipe *recipe, bool *found);

/* Of a run on several devices: what sums their gradients, and how pictures come to them. */
typedef struct {
    int count;
    char gradients[32], pictures[32];
} RunDevices;

/* RUN/environment.json: what computes, as JSON; replaced as a whole by every session. devices: NULL for one. */
bool run_folder_write_environment(RunFolder *folder, const Device *device, const RunDevices *devices);

/* RUN/algorithms.json: what was timed for products on a GPU (device_write_timed()); written when there is something new,
 * replaced as a whole. Reading takes it over when it is there (*fits true when not, and as device_read_timed() else); false
 * after error_set(): damaged. */
bool run_folder_write_algorithms(RunFolder *folder, const Device *device);
bool run_folder_read_algorithms(RunFolder *folder, Device *device, bool *fits);

/* Opens RUN/log.jsonl for run_folder_log() and TensorBoard's events for run_folder_events(), and cuts off all that belongs to
 * steps behind `step`, and ends that are torn. Sheets of later steps go as well. They may be open
 * already: then the run goes back. */
bool run_folder_open_log(RunFolder *folder, int64_t step);

/* Appends one line; `line` is a JSON object that starts with "step", without the line's end. */
bool run_folder_log(RunFolder *folder, const char *line);

/* Appends an event to RUN/events.out.tfevents.*, and empties the draft. */
bool run_folder_events(RunFolder *folder, EventDraft *draft, int64_t step);

/* The log, the events and bad_files.csv as far as they go are on the disk. */
bool run_folder_sync_log(RunFolder *folder);

/* Notes a picture that cannot be read in RUN/bad_files.csv (columns file, reason; RFC 4180 quotes), once for each name over all
 * sessions of a run. */
bool run_folder_bad(RunFolder *folder, const char *key, const char *reason);

/* The names that bad_files.csv holds, of this session and earlier ones; *names is borrowed from the folder. */
bool run_folder_bad_names(RunFolder *folder, const BadNames **names);

/* Appends a number in the fewest digits that read back as the same double; null when it is not finite. */
void log_number(Text *text, double value);

#endif
