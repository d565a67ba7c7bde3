/* Checkpoints and sheets of a run. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "image/image.h"
#include "report/report.h"
#include "train/reconstruct.h"
#include "train/run.h"
#include "train/teacher.h"

enum { SAMPLES = 8 }; /* pictures of a sheet in RUN/samples */

/* The pictures of the sheets: held-out ones as they are validated, else whole training pictures. */
static bool load_samples(Run *run)
{
    const Recipe *r = &run->recipe;
    LoaderOptions options = pictures_val_options(&run->pictures, r, SAMPLES);
    options.other[0] = options.other[1] = 0; /* sheets show what the student sees */
    if (run->pictures.val.count == 0) {
        options.source = run->pictures.source;
        options.samples = run->pictures.train.samples;
        options.count = run->pictures.train.count;
        options.cache = run->pictures.cache;
    }
    LoaderBatch batch;
    Loader *loader = loader_open(&options);
    bool ok = loader && loader_next(loader, &batch);
    if (ok) {
        size_t numbers = (size_t)options.channels * (size_t)options.height * (size_t)options.width;
        run->sample_images = memory_new(batch.count * numbers, sizeof *run->sample_images);
        run->sample_hidden = memory_new(batch.count, (size_t)recipe_patches(r));
        ok = run->sample_images && run->sample_hidden;
        if (ok) {
            memcpy(run->sample_images, batch.images, batch.count * numbers * sizeof *batch.images);
            pictures_masks(r, true, 0, 0, batch.samples, batch.count, run->sample_hidden);
            run->samples = (int)batch.count;
        } else {
            memory_free(run->sample_images);
            memory_free(run->sample_hidden);
            run->sample_images = NULL;
            run->sample_hidden = NULL;
        }
    }
    loader_close(loader);
    return ok;
}

/* The sheet as TensorBoard shows it. */
static bool add_event(Run *run, const char *path)
{
    size_t size;
    int height, width;
    char *png = file_read(path, 0, &size);
    bool ok = png && image_probe(png, size, path, &height, &width, NULL);
    if (ok)
        event_add_png(&run->event, "reconstructions", height, width, png, size);
    ok = ok && run_folder_events(run->folder, &run->event, run->step);
    memory_free(png);
    return ok;
}

void run_draw_samples(Run *run)
{
    char name[64];
    if (run->drawn == run->step || !reconstruct_can(&run->recipe))
        return;
    run->drawn = run->step;
    snprintf(name, sizeof name, "step-%08" PRId64 ".png", run->step);
    char *folder = file_join(run_folder_path(run->folder), "samples"), *path = folder ? file_join(folder, name) : NULL;
    TrainerState state;
    bool ok = path && file_make_folder(folder) && (run->samples || load_samples(run)) && trainer_fetch(run->trainer, &state) &&
              reconstruct_write(&run->recipe, state.weights, state.fixed, run->sample_images, run->sample_hidden, run->samples,
                                path) &&
              add_event(run, path);
    if (!ok)
        run_say(run, "no sheet of reconstructions at step %" PRId64 ": %s", run->step, error_text());
    error_clear();
    memory_free(path);
    memory_free(folder);
}

void run_draw_targets(Run *run)
{
    const Recipe *r = &run->recipe;
    MimTeacher *teacher = NULL;
    if (run->step > 0 || !reconstruct_can_mix(r))
        return;
    char *folder = file_join(run_folder_path(run->folder), "samples"), *path = folder ? file_join(folder, "targets.png") : NULL;
    bool ok = path && (teacher = memory_new(1, sizeof *teacher)) && file_make_folder(folder) &&
              (run->samples || load_samples(run)) && teacher_of(r, run->stage, teacher) &&
              reconstruct_targets(r, teacher, trainer_teacher_weights(run->trainer), run->sample_images, run->sample_hidden,
                                  run->samples, path);
    if (!ok)
        run_say(run, "no sheet of mixed targets: %s", error_text());
    error_clear();
    memory_free(teacher);
    memory_free(path);
    memory_free(folder);
}

/* RUN/report.html. A run does not end because its report cannot be written. */
static void write_report(Run *run)
{
    const char *path = run_folder_path(run->folder);
    char *out = file_join(path, "report.html");
    if (!out || !report_write(&path, 1, out))
        run_say(run, "no report at step %" PRId64 ": %s", run->step, error_text());
    error_clear();
    memory_free(out);
}

CheckpointMeta run_meta(const Run *run)
{
    const Recipe *r = &run->recipe;
    CheckpointMeta meta = {.step = run->step,
                           .steps_per_epoch = run->per_epoch,
                           .pictures = (int64_t)run->pictures.train.count,
                           .names = run->names,
                           .seed = r->run.seed,
                           .channels = r->image.channels,
                           .guard = run->guard,
                           .stage_ends = r->stages.count && run->step == stage_end(r, run->per_epoch, run->stage)};
    memcpy(meta.mean, r->image.mean.values, sizeof meta.mean);
    memcpy(meta.std, r->image.std.values, sizeof meta.std);
    return meta;
}

bool run_save(Run *run)
{
    const Recipe *r = &run->recipe;
    if (run->saved == run->step)
        return true;
    CheckpointMeta meta = run_meta(run);
    /* The log first: a checkpoint never has steps behind it that the log lost. */
    if (!run_folder_sync_log(run->folder) || !run_folder_write_algorithms(run->folder, &run->device) ||
        !checkpoint_save(run_folder_path(run->folder), run->trainer, r, &meta, r->run.keep))
        return false;
    run->saved = run->step;
    run->returns = 0;
    run_draw_samples(run);
    write_report(run);
    return true;
}
