/* Opening a run: anew, or where it stood. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/fit.h"
#include "train/run.h"
#include "train/settle.h"
#include "train/teacher.h"

/* A run that goes on computes as before: its products are not timed again, except on other machines. */
static bool read_algorithms(Run *run)
{
    bool fits = true;
    if (!run_folder_read_algorithms(run->folder, &run->device, &fits))
        return false;
    if (!fits)
        run_say(run, "%s/algorithms.json is of another GPU or other libraries: algorithms are timed anew",
                run_folder_path(run->folder));
    return true;
}

static bool open_device(Run *run, bool parts_are_open, FitRun of)
{
    Recipe *r = &run->recipe;
    if (!device_open(recipe_word("run.device", (int)r->run.device), r->run.threads, &run->device))
        return false;
    device_set_tf32(&run->device, r->run.tf32);
    device_set_autotune(&run->device, r->run.autotune);
    if (r->run.autotune && (run->device.kind != DEVICE_CUDA || run->device.one_by_one))
        run_say(run, "run.autotune does nothing here: it is for GPUs, and for steps that are captured as graphs");
    if (r->run.autotune && run->folder && !read_algorithms(run))
        return false;
    return !parts_are_open || fit_settle(r, &run->device, run->options->plain, of);
}

static bool open_trainer(Run *run, FitRun of)
{
    const Recipe *r = &run->recipe;
    TrainerOptions options = {.device = run->device,
                              .batch = r->schedule.batch_size / r->run.devices,
                              .micro_batch = r->run.micro_batch,
                              .plain = run->options->plain};
    if (!fit_check(r, &options, of) || (of == FIT_BEGINS && !run_codes_fit(run)) ||
        !run_open_trainer(run, run->stage, &run->trainer))
        return false;
    return run_new_inputs(run);
}

static void set_steps(Run *run, int64_t per_epoch)
{
    const Recipe *r = &run->recipe;
    run->per_epoch = per_epoch;
    run->total = per_epoch * r->schedule.epochs;
    run->last = r->run.max_steps > 0 && r->run.max_steps < run->total ? r->run.max_steps : run->total;
}

/* Steps of an epoch and of the whole, known as soon as the pictures are. */
static bool count_steps(Run *run)
{
    const Recipe *r = &run->recipe;
    int64_t per_epoch = (int64_t)(run->pictures.train.count / (size_t)r->schedule.batch_size);
    if (per_epoch < 1)
        return error_set("%zu training pictures at %s do not fill one batch: set schedule.batch_size (%d) to %zu or less",
                         run->pictures.train.count, source_where(run->pictures.source), r->schedule.batch_size,
                         run->pictures.train.count);
    set_steps(run, per_epoch);
    return true;
}

/* A run goes on with its own recipe: one that was named beside has to be the same, as far as the name tells. */
static bool is_named(const Run *run, const char *name)
{
    const char *given = run->options->named;
    if (!given)
        return true;
    const char *last = file_name(given), *dot = strrchr(last, '.');
    size_t length = dot && dot > last ? (size_t)(dot - last) : strlen(last);
    bool same = !strcmp(last, name) || (strlen(name) == length && !strncmp(last, name, length));
    if (name[0] && !same)
        return error_set("the run %s was begun with the recipe %s, not %s: leave the recipe out to go on with it, or choose "
                         "another folder with --out",
                         run_folder_path(run->folder), name, given);
    run_say(run, "goes on with the run's own recipe, %s/recipe.yaml; %s is not read again", run_folder_path(run->folder),
            given);
    return true;
}

/* The recipe of a run that goes on, also of one that ended before its first checkpoint (NULL). */
static bool resume_recipe(Run *run, const char *checkpoint)
{
    bool found = false;
    Recipe *stored = memory_new(1, sizeof *stored);
    bool ok = stored && (run_folder_read_recipe(run_folder_path(run->folder), stored, &found) || !found);
    if (ok && !found && checkpoint) /* lost: the model's copy lacks only what changes no result */
        ok = checkpoint_recipe(checkpoint, stored);
    if (ok && (found || checkpoint))
        ok = (!found || is_named(run, stored->name)) && settle_resumed(run->options->recipe, stored, &run->recipe);
    if (ok && found)
        memcpy(run->recipe.name, stored->name, sizeof stored->name);
    memory_free(stored);
    return ok;
}

/* A run that has a log and no checkpoint ended before its first one, or was robbed of them: its log is kept. Not before the
 * pictures are listed, since a folder is known for a run by its log. */
static bool keep_old_log(Run *run)
{
    char *log = file_join(run_folder_path(run->folder), "log.jsonl"), *old = NULL, name[40];
    bool ok = log != NULL;
    struct stat is;
    bool any = ok && stat(log, &is) == 0 && is.st_size > 0;
    for (int k = 1; ok && any && (!old || file_exists(old)); k++) {
        memory_free(old);
        snprintf(name, sizeof name, "log.old-%d.jsonl", k);
        ok = (old = file_join(run_folder_path(run->folder), name)) != NULL;
    }
    if (ok && any) {
        run_say(run, "%s has no checkpoint: it begins again at step 1, and its log so far is kept as %s",
                run_folder_path(run->folder), name);
        ok = rename(log, old) == 0 || error_set("cannot rename %s: %s", log, strerror(errno));
    }
    memory_free(log);
    memory_free(old);
    return ok;
}

/* Looks for the run's newest checkpoint. A finished run does not need its pictures any more: *finished is then set. */
static bool find_start(Run *run, char **checkpoint, bool *finished)
{
    CheckpointMeta meta;
    Text passed_over = {0};
    bool ok = checkpoint_newest(run->options->out, checkpoint, &passed_over);
    if (ok && passed_over.length)
        run_say(run, "checkpoints that cannot be used are passed over: %s", passed_over.data);
    text_free(&passed_over);
    ok = ok && resume_recipe(run, *checkpoint) &&
         (!*checkpoint || (checkpoint_meta(*checkpoint, &meta) && checkpoint_point_latest(run->options->out, meta.step)));
    if (ok && *checkpoint) {
        set_steps(run, meta.steps_per_epoch);
        run->stage = stage_of(&run->recipe, meta.steps_per_epoch, meta.step);
        *finished = meta.step >= run->last;
        if (*finished)
            run->step = run->saved = meta.step;
    }
    return ok;
}

static bool load_checkpoint(Run *run, const char *checkpoint)
{
    CheckpointMeta meta;
    const Recipe *r = &run->recipe;
    if (!checkpoint_load(checkpoint, run->trainer, &meta))
        return false;
    if (meta.pictures != (int64_t)run->pictures.train.count || meta.steps_per_epoch != run->per_epoch)
        return error_set("the run was trained on %" PRId64 " pictures, but %s now gives %zu: it can only go on with the same",
                         meta.pictures, source_where(run->pictures.source), run->pictures.train.count);
    if (meta.names && meta.names != run->names)
        return error_set(
            "the run was trained on other pictures than %s: as many, but of other names, labels or in another order. "
            "It can only go on with the same; give them with --data, or begin another run with --out",
            source_where(run->pictures.source));
    if (meta.seed != r->run.seed || meta.channels != r->image.channels)
        return error_set("%s belongs to another run: its seed or channels are not those of recipe.yaml", checkpoint);
    run->step = run->saved = meta.step;
    run->guard = meta.guard;
    return true;
}

static bool load_start(Run *run)
{
    Text note = {0};
    bool ok = checkpoint_load_weights(run->recipe.run.from, &run->recipe, run->trainer, &note);
    if (ok)
        run_say(run, "starts with the weights of %s. %s", run->recipe.run.from, note.data ? note.data : "");
    text_free(&note);
    return ok || error_context("run.from");
}

static bool begin_teacher(Run *run)
{
    Text note = {0};
    bool ok = teacher_begin(&run->recipe, run->trainer, &note);
    if (ok && note.length)
        run_say(run, "teacher: %s", note.data);
    text_free(&note);
    return ok;
}

static bool write_environment(const Run *run)
{
    const RankGroup *ranks = run->options->ranks;
    RunDevices devices = {.count = ranks_count(ranks)};
    if (ranks)
        trainer_sums_way(run->trainer, devices.gradients, sizeof devices.gradients);
    snprintf(devices.pictures, sizeof devices.pictures, "%s", run->shared ? "shared memory" : "messages");
    return run_folder_write_environment(run->folder, &run->device, ranks ? &devices : NULL);
}

static void say_what(const Run *run)
{
    const Recipe *r = &run->recipe;
    const Pictures *p = &run->pictures;
    char beside[64] = "";
    if (r->run.devices > 1)
        snprintf(beside, sizeof beside, ", %d of these share a batch", r->run.devices);
    run_say(run, "%s: %s", run_folder_path(run->folder), source_summary(p->source));
    if (source_left_out(p->source, NULL))
        run_say(run, "%s", source_left_out(p->source, NULL));
    if (p->val_source && source_left_out(p->val_source, NULL))
        run_say(run, "of data.val, %s: %s", source_where(p->val_source), source_left_out(p->val_source, NULL));
    run_say(run,
            "%zu pictures to train on, %zu held out; %" PRId64 " steps an epoch, %" PRId64
            " in all; batch %d in parts of %d; %.1f "
            "million weights; %s%s",
            p->train.count, p->held_out, run->per_epoch, run->total, r->schedule.batch_size, r->run.micro_batch,
            (double)param_trained_numbers(trainer_params(run->trainer)) / 1e6, device_describe(&run->device), beside);
    if (r->run.autotune && trainer_has_other_gpus(run->trainer))
        run_say(run,
                "not all GPUs are of one kind: run.autotune is for those like the first, the others compute as without it");
    if (trainer_host_sums(run->trainer))
        run_say(run, "the GPUs' gradients are summed by the host, which takes longer than by NCCL: %s",
                trainer_host_sums(run->trainer));
    if (run->step > 0)
        run_say(run, "goes on behind step %" PRId64, run->step);
}

bool run_open_loader(Run *run)
{
    LoaderOptions options = pictures_train_options(&run->pictures, &run->recipe);
    int64_t first = stage_first(&run->recipe, run->per_epoch, run->stage),
            end = stage_end(&run->recipe, run->per_epoch, run->stage);
    options.first = (uint64_t)(run->step - first);
    options.steps = (uint64_t)((end < run->last ? end : run->last) - first);
    options.stage = (uint32_t)(run->guard.draw * RECIPE_STAGES_MAX + run->stage);
    run_drop_other_size(run, &options);
    options.bad = run_note_bad;
    options.bad_context = run;
    options.known_bad = run->known_bad.samples;
    options.known_bad_count = run->known_bad.count;
    size_t bytes;
    if (run->options->ranks && loader_memory(&options, &bytes)) /* the other ranks take their shares from there */
        options.memory = run->shared = ranks_shared_new(run->options->ranks, bytes);
    run->loader = loader_open(&options);
    return run->loader != NULL;
}

void run_close_loader(Run *run)
{
    loader_close(run->loader);
    run->loader = NULL;
    if (run->shared)
        ranks_shared_free(run->options->ranks, run->shared);
    run->shared = NULL;
}

static void say_measured(void *context, size_t done, size_t all)
{
    run_say(context, "measuring image.mean and image.std: %zu of %zu pictures", done, all);
}

static bool is_lost(const char *path)
{
    return path[0] && path[0] != '/' && strcmp(path, "world") != 0 && !file_exists(path);
}

/* A run goes on wherever it is called from, but its recipe may name pictures as seen from where it began. */
static bool open_pictures(Run *run)
{
    const Recipe *r = &run->recipe;
    if (pictures_open(r, &run->pictures))
        return true;
    bool lost = is_lost(r->data.train) || is_lost(r->data.val);
    char *why = run->options->resume && lost ? memory_string(error_text()) : NULL;
    if (why)
        error_set(
            "%s (a path is seen from the folder that the command runs in, which need not be the one that the run began in; "
            "--data and --val say where pictures are)",
            why);
    memory_free(why);
    return false;
}

bool run_open(Run *run)
{
    const PretrainOptions *o = run->options;
    char *checkpoint = NULL;
    bool ok = false, finished = false;
    run->recipe = *o->recipe;
    run->saved = run->drawn = -1;
    if (!recipe_check(&run->recipe))
        return false;
    if (o->recipe->run.devices != ranks_count(o->ranks))
        return error_set("run.devices %d: the processes that train are %d", o->recipe->run.devices, ranks_count(o->ranks));
    if (o->resume && !o->out)
        return error_set("to go on with a run its folder is needed: give it with --out");
    if (o->out) {
        run->folder = run_folder_open(o->out, NULL);
        if (!run->folder)
            return false;
        if (!o->resume && !run_folder_is_new(o->out))
            return false;
        if (o->resume && !find_start(run, &checkpoint, &finished))
            goto done;
        if (finished) {
            ok = true;
            goto done;
        }
    }
    Recipe *r = &run->recipe;
    if (!recipe_check(r) || !open_pictures(run) || !count_steps(run) || !pictures_classes(&run->pictures, r) ||
        !pictures_statistics(&run->pictures, &(SourceWatch){say_measured, run}, r) ||
        !(run->names = source_names(run->pictures.source, run->pictures.train.samples, run->pictures.train.count)))
        goto done;
    if (run_is_stopped(run)) {
        run->stopped = ok = true;
        goto done;
    }
    bool parts_are_open = r->run.micro_batch == RECIPE_AUTO && r->schedule.accumulate == RECIPE_AUTO;
    settle_recipe(r, run->total);
    FitRun of = checkpoint ? FIT_GOES_ON : FIT_BEGINS;
    if (!open_device(run, parts_are_open, of) || !open_trainer(run, of))
        goto done;
    if (checkpoint ? !load_checkpoint(run, checkpoint)
                   : (r->run.from[0] && !load_start(run)) || !begin_teacher(run) || !run_make_codes(run))
        goto done;
    if (!run->folder && !(run->folder = run_folder_open(NULL, r->name)))
        goto done;
    run->stopped = run->stopped || run_is_stopped(run);
    if (run->step < run->last && !run->stopped) {
        const BadNames *names;
        if (!run_folder_bad_names(run->folder, &names) || !pictures_known_bad(&run->pictures, r, names, &run->known_bad))
            goto done;
        if (!run_open_loader(run) || (o->resume && !checkpoint && !keep_old_log(run)) ||
            !run_folder_write_recipe(run->folder, r) || !write_environment(run) ||
            !run_folder_write_algorithms(run->folder, &run->device) || !run_folder_open_log(run->folder, run->step))
            goto done;
        /* Somewhere to go back to. */
        if (r->guard.spike > 0 && run->saved < 0 && !run_save(run))
            goto done;
    }
    say_what(run);
    ok = true;
done:
    memory_free(checkpoint);
    return ok;
}
