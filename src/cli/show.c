/* lacuna show: what a run, a checkpoint or a recipe is; of two, what differs. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/show_weights.h"
#include "train/checkpoint.h"
#include "train/run_summary.h"
#include "train/teacher.h"
#include "train/weights.h"

typedef struct {
    const char *name; /* as it was given */
    bool is_run, is_checkpoint;
    Recipe recipe;
    RunSummary run;
    CheckpointMeta meta; /* step 0: not known, as of a lone model file */
    Weights *foreign;    /* of another project's file, else NULL */
} Subject;

static bool ends_in(const char *path, size_t length, const char *end)
{
    size_t n = strlen(end);
    return length >= n && !memcmp(path + length - n, end, n);
}

/* A folder or file with weights, of whatever project. Files that recipes are in have endings of their own. */
static bool has_weights(const char *path)
{
    const char *hash = strchr(path, '#');
    if (weights_of_teacher(path))
        return true;
    bool whole = !hash || file_exists(path);
    size_t length = whole ? strlen(path) : (size_t)(hash - path);
    char *file = memory_string(path);
    if (file)
        file[length] = 0;
    bool is = file && file_exists(file) &&
              (file_is_folder(file)
                   ? state_is_folder(file)
                   : !ends_in(path, length, ".yaml") && !ends_in(path, length, ".yml") && !ends_in(path, length, ".json"));
    memory_free(file);
    return is;
}

static bool open_subject(const char *name, Subject *s)
{
    s->name = name;
    s->is_run = run_summary_is_run(name);
    s->is_checkpoint = !s->is_run && has_weights(name);
    if (s->is_run) {
        if (!run_summary_read(name, &s->run))
            return false;
        s->recipe = s->run.recipe;
        return true;
    }
    if (s->is_checkpoint) {
        Weights *weights = weights_open(name, &s->recipe, NULL);
        if (weights && weights_foreign(weights))
            s->foreign = weights;
        else
            weights_close(weights);
        return weights && (s->foreign || !file_is_folder(name) || checkpoint_meta(name, &s->meta));
    }
    if (file_is_folder(name))
        return error_set("%s is a folder, but there is neither a run nor a checkpoint in it", name);
    return recipe_load(&s->recipe, name);
}

/* ---- one */

/* decoders: whether there are any beside the encoder. */
static void add_model(Text *t, const Recipe *r, bool decoders)
{
    char blocks[RECIPE_BLOCKS_SIZE];
    text_add(t, "%s, width %d, %s, %d heads, patch %d, %d x %d pixels; ", recipe_word("encoder.kind", (int)r->encoder.kind),
             r->encoder.width, recipe_blocks(r, blocks), r->encoder.heads, r->encoder.patch, r->image.size[0],
             r->image.size[1]);
    if (recipe_method(r) == METHOD_CLASSIFY)
        text_add(t, "a head for labels on the %s", r->head.pool == HEAD_MEAN ? "mean of the patches" : "class token");
    else if (recipe_method(r) == METHOD_CONTRAST)
        text_add(t, "two views are contrasted (%s)", recipe_word("contrast.kind", (int)r->contrast.kind));
    else if (!decoders)
        text_add(t, "no decoder");
    else
        text_add(t, "%d decoder%s behind ", r->decoder_count, r->decoder_count == 1 ? "" : "s");
    for (int k = 0; decoders && k < r->decoder_count; k++) {
        text_add(t, "%s", k == 0 ? "" : k + 1 == r->decoder_count ? " and " : ", ");
        if (r->decoders[k].tap == TAP_LAST)
            text_add(t, "the last block");
        else
            text_add(t, "block %d", r->decoders[k].tap);
    }
}

static void add_losses(Text *t, double total, const double *losses, int decoders, double accuracy, int64_t step)
{
    text_add(t, "%.4f", total);
    if (!isnan(accuracy))
        text_add(t, ", accuracy %.2f%%,", 100 * accuracy);
    for (int k = 0; decoders > 1 && k < decoders; k++)
        text_add(t, "%s%.4f%s", k ? " " : " (", losses[k], k + 1 == decoders ? ")" : "");
    text_add(t, " at step %lld", (long long)step);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void add_checkpoints(Text *t, const char *run)
{
    struct dirent **entries = NULL;
    char *folder = file_join(run, "checkpoints");
    int count = folder ? scandir(folder, &entries, NULL, by_name) : -1;
    bool any = false;
    for (int i = 0; i < count; i++) {
        if (!strncmp(entries[i]->d_name, "step-", 5)) {
            text_add(t, "%s%s", any ? ", " : "", entries[i]->d_name);
            any = true;
        }
        free(entries[i]);
    }
    free(entries);
    memory_free(folder);
    if (!any)
        text_add(t, "none");
}

static void add_stage(Text *t, const Recipe *r, int64_t per_epoch, int64_t step)
{
    if (r->stages.count)
        text_add(t, ", stage %d of %d", stage_of(r, per_epoch, step) + 1, r->stages.count);
}

static void add_run(Text *t, const Subject *s)
{
    const RunSummary *run = &s->run;
    text_add(t, "run         %s, begun with %s: %s", s->name, s->recipe.name[0] ? s->recipe.name : "a recipe without a name",
             run_summary_state(run->state));
    if (run->step)
        text_add(t, ", step %lld of %lld, epoch %.2f of %d", (long long)run->step, (long long)run->steps, run->epoch,
                 s->recipe.schedule.epochs);
    if (run->step && run->steps)
        add_stage(t, &s->recipe, run->steps / s->recipe.schedule.epochs, run->step);
    text_add(t, "\nmodel       ");
    add_model(t, &s->recipe, true);
    text_add(t, "\npictures    %s", s->recipe.data.train);
    if (run->step) {
        text_add(t, "\nloss        ");
        add_losses(t, run->loss, run->losses, s->recipe.decoder_count, run->accuracy, run->step);
    }
    if (run->val_step) {
        text_add(t, "\nval loss    ");
        add_losses(t, run->val_loss, run->val_losses, s->recipe.decoder_count, run->val_accuracy, run->val_step);
    }
    if (run->step) {
        text_add(t, "\ntime        ");
        progress_add_time(t, run->seconds);
        text_add(t, " for these steps, %.0f pictures/s at last", run->images_per_second);
    }
    text_add(t, "\ncheckpoints ");
    add_checkpoints(t, s->name);
    text_add(t, "\n");
}

static void add_subject(Text *t, const Subject *s)
{
    if (s->is_run) {
        add_run(t, s);
    } else {
        text_add(t, "%-11s %s", s->foreign ? "weights" : s->is_checkpoint ? "checkpoint" : "recipe", s->name);
        if (s->meta.step)
            text_add(t, ": after step %lld, epoch %.2f of %d, on %lld pictures", (long long)s->meta.step,
                     (double)s->meta.step / (double)s->meta.steps_per_epoch, s->recipe.schedule.epochs,
                     (long long)s->meta.pictures);
        if (s->meta.step)
            add_stage(t, &s->recipe, s->meta.steps_per_epoch, s->meta.step);
        if (s->foreign)
            text_add(t, ": %s", foreign_kind(weights_foreign(s->foreign)));
        text_add(t, "\nmodel       ");
        add_model(t, &s->recipe,
                  s->foreign ? weights_find(s->foreign, "decoders.0.pred.weight") != NULL : !weights_of_teacher(s->name));
        text_add(t, "\n");
    }
}

/* Lines "KEY: A -> B", two blanks in front. */
static void add_indented(Text *t, const char *lines)
{
    while (lines && *lines) {
        size_t length = strcspn(lines, "\n");
        text_add(t, "  %.*s\n", (int)length, lines);
        lines += length + (lines[length] != 0);
    }
}

static bool show_one(const Subject *s, Text *t)
{
    Text lines = {0};
    Recipe *plain = memory_new(1, sizeof *plain);
    if (!plain)
        return false;
    recipe_defaults(plain);
    add_subject(t, s);
    if (s->foreign)
        show_weights(t, s->foreign, &s->recipe);
    int count = recipe_differences(plain, &s->recipe, &lines);
    text_add(t, count ? "settings (default -> here):\n" : "all settings are the defaults\n");
    add_indented(t, lines.data);
    bool ok = !lines.failed;
    text_free(&lines);
    memory_free(plain);
    return ok;
}

/* ---- two */

static void add_row(Text *t, const char *what, bool known_a, double a, bool known_b, double b, int digits)
{
    text_add(t, "  %-14s", what);
    for (int i = 0; i < 2; i++) {
        if (i ? known_b : known_a)
            text_add(t, " %14.*f", digits, i ? b : a);
        else
            text_add(t, " %14s", "-");
    }
    text_add(t, "\n");
}

static void add_results(Text *t, const Subject *a, const Subject *b)
{
    const RunSummary *x = &a->run, *y = &b->run;
    int decoders = a->recipe.decoder_count > b->recipe.decoder_count ? a->recipe.decoder_count : b->recipe.decoder_count;
    char what[32];
    text_add(t, "results (%s, %s):\n", a->name, b->name);
    add_row(t, "steps", true, (double)x->step, true, (double)y->step, 0);
    add_row(t, "epochs", true, x->epoch, true, y->epoch, 2);
    add_row(t, "loss", x->step, x->loss, y->step, y->loss, 4);
    add_row(t, "val loss", x->val_step, x->val_loss, y->val_step, y->val_loss, 4);
    if (!isnan(x->val_accuracy) || !isnan(y->val_accuracy))
        add_row(t, "val accuracy", !isnan(x->val_accuracy), x->val_accuracy, !isnan(y->val_accuracy), y->val_accuracy, 4);
    for (int k = 0; decoders > 1 && k < decoders; k++) {
        snprintf(what, sizeof what, "val loss %d", k);
        add_row(t, what, x->val_step && k < a->recipe.decoder_count, x->val_losses[k],
                y->val_step && k < b->recipe.decoder_count, y->val_losses[k], 4);
    }
    add_row(t, "hours", x->step, x->seconds / 3600, y->step, y->seconds / 3600, 2);
}

static bool show_two(const Subject *a, const Subject *b, Text *t)
{
    Text lines = {0};
    add_subject(t, a);
    text_add(t, "\n");
    add_subject(t, b);
    int count = recipe_differences(&a->recipe, &b->recipe, &lines);
    if (count)
        text_add(t, "\nsettings that differ (%s -> %s):\n", a->name, b->name);
    else
        text_add(t, "\nno setting differs\n");
    add_indented(t, lines.data);
    if (a->is_run && b->is_run) {
        text_add(t, "\n");
        add_results(t, a, b);
    }
    bool ok = !lines.failed;
    text_free(&lines);
    return ok;
}

/* What a file holds that is no network here, for whoever wonders why; the error stays. */
static void show_unknown(const char *path)
{
    Text t = {0};
    char *why = memory_string(error_text());
    StateDict *state = why ? state_open(path) : NULL;
    if (state)
        show_tensors(&t, state);
    if (state && !t.failed)
        cli_print_safely(stdout, t.data, true);
    error_set("%s", why ? why : "out of memory");
    state_close(state);
    text_free(&t);
    memory_free(why);
}

static int run_show(void *options, const Arguments *arguments)
{
    (void)options;
    Text t = {0};
    Subject *subjects = memory_new(2, sizeof *subjects);
    bool ok = subjects != NULL;
    for (int i = 0; ok && i < arguments->count; i++)
        ok = open_subject(arguments->words[i], &subjects[i]);
    if (ok)
        ok = arguments->count == 1 ? show_one(subjects, &t) : show_two(&subjects[0], &subjects[1], &t);
    ok = ok && !t.failed;
    if (ok)
        cli_print_safely(stdout, t.data, true); /* names in it may come from strangers */
    else if (subjects && subjects[0].is_checkpoint && arguments->count == 1)
        show_unknown(arguments->words[0]);
    text_free(&t);
    for (int i = 0; subjects && i < 2; i++)
        weights_close(subjects[i].foreign);
    memory_free(subjects);
    return ok ? EXIT_DONE : cli_failed();
}

const Verb show_verb = {
    .name = "show",
    .line = "tell of a run, a checkpoint, weights or a recipe; of two, what differs",
    .operands = "RUN|CHECKPOINT|WEIGHTS|RECIPE [RUN|CHECKPOINT|WEIGHTS|RECIPE]",
    .least = 1,
    .most = 2,
    .wanted = {"a run directory, a checkpoint or a recipe"},
    .about =
        "Of one: the model, the settings that are not the defaults and, of a run, how far it has come, its last losses and its "
        "checkpoints; of another project's weights what became of each tensor. Of two: the settings that differ, and the "
        "results side by side.",
    .examples = "lacuna show mae-vit-b16\n"
                "lacuna show runs/deepmim\n"
                "lacuna show runs/deepmim/checkpoints/latest\n"
                "lacuna show runs/world runs/deepmim\n",
    .size = 0,
    .recipes = true,
    .run = run_show};
