/* What is forecast is what a run then takes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/forecast.h"
#include "train/settle.h"
#include "train/tiny_recipe.h"
#include "train/trainer.h"

#define HOME "forecast_test.tmp"

static Recipe recipe;
static Forecast forecast;

static int begin(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(HOME) && tiny_recipe(&recipe) ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static int64_t bytes_of(const char *path)
{
    struct stat about;
    if (stat(path, &about) != 0)
        fail_msg("no %s", path);
    return about.st_size;
}

static void sizes_are_those_of_the_run(void **state)
{
    (void)state;
    if (!forecast_make(&recipe, false, &forecast))
        fail_msg("%s", error_text());
    const Recipe *r = &forecast.recipe;
    assert_int_equal(forecast.trained + forecast.held_out, 44);
    assert_int_equal(forecast.steps_per_epoch, forecast.trained / 8);
    assert_int_equal(forecast.steps, 2 * forecast.steps_per_epoch);
    assert_true(forecast.step_seconds == 0);

    TrainerOptions options = {.device = forecast.device, .batch = 8, .micro_batch = r->run.micro_batch};
    Trainer *t = trainer_open(r, &options);
    assert_non_null(t);
    Program *p = trainer_program(t);
    assert_int_equal(forecast.arena, program_arena_bytes(p));
    int64_t trained = forecast.encoder_parameters + forecast.decoder_parameters[0] + forecast.decoder_parameters[1];
    assert_int_equal(trained, param_trained_numbers(trainer_params(t)));
    /* 2 blocks of width 16: norms, qkv, proj, fc1, fc2; patches of 48 numbers; class token; final norm. */
    assert_int_equal(forecast.encoder_parameters,
                     2 * (4 * 16 + 48 * 16 + 48 + 16 * 16 + 16 + 64 * 16 + 64 + 16 * 64 + 16) + 16 * 48 + 16 + 16 + 32);
    double flops =
        program_cost(p, SEGMENT_FIRST).flops + program_cost(p, SEGMENT_LAST).flops + program_cost(p, SEGMENT_UPDATE).flops;
    assert_true(flops > 0 && forecast.step_flops == flops);
    assert_int_equal(forecast.memory, forecast.arena + forecast.evaluation + forecast.parameters + forecast.ring);
    assert_int_equal(forecast.parameters, 4 * (4 * trainer_params(t)->trained_count + trainer_params(t)->fixed_count));

    CheckpointMeta meta = {.step = 1, .steps_per_epoch = 4, .pictures = 40, .channels = 3};
    float ones[RECIPE_CHANNELS_MAX] = {1, 1, 1};
    Recipe stored = *r;
    recipe_statistics_set(&stored.image.mean, 3, ones);
    recipe_statistics_set(&stored.image.std, 3, ones);
    if (!checkpoint_save(HOME, t, &stored, &meta, 1))
        fail_msg("%s", error_text());
    int64_t saved = bytes_of(HOME "/checkpoints/step-00000001/model.safetensors") +
                    bytes_of(HOME "/checkpoints/step-00000001/state.safetensors");
    /* Names, shapes and the recipe come on top: little beside a model of use, much beside this one. */
    assert_true(forecast.checkpoint <= saved && saved < forecast.checkpoint + 40000);
    trainer_close(t);
}

static void what_is_planned_only_takes_no_memory_and_makes_the_same_plan(void **state)
{
    (void)state;
    Recipe r = recipe;
    settle_recipe(&r, 8);
    Device device;
    assert_true(device_open("cpu", 2, &device));
    for (int evaluate = 0; evaluate < 2; evaluate++) {
        TrainerOptions options = {.device = device, .batch = 8, .micro_batch = 2, .evaluate_only = evaluate};
        Trainer *real = trainer_open(&r, &options);
        options.plan_only = true;
        Trainer *planned = trainer_open(&r, &options);
        assert_non_null(real);
        assert_non_null(planned);
        assert_null(trainer_weights(planned));
        assert_int_equal(program_arena_bytes(trainer_program(real)), program_arena_bytes(trainer_program(planned)));
        assert_int_equal(program_floor_bytes(trainer_program(real)), program_floor_bytes(trainer_program(planned)));
        trainer_close(real);
        trainer_close(planned);
    }
}

static void time_is_measured(void **state)
{
    (void)state;
    if (!forecast_make(&recipe, true, &forecast))
        fail_msg("%s", error_text());
    assert_true(forecast.step_seconds > 0 && forecast.step_seconds < 60);
    assert_true(forecast.free > 1 << 20);
    assert_int_equal(forecast.micro_batch_most, 8);
}

static void write_group(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, HOME "/%s", name);
    assert_true(file_write(path, text, strlen(text)));
}

/* What a group keeps of files is as good as free. */
static void pictures_that_were_read_are_no_memory_in_use(void **state)
{
    (void)state;
    assert_int_equal(forecast_group_memory(HOME), -1);
    write_group("memory.max", "max\n");
    write_group("memory.current", "900\n");
    assert_int_equal(forecast_group_memory(HOME), -1);
    write_group("memory.max", "1000\n");
    assert_int_equal(forecast_group_memory(HOME), 100);
    write_group("memory.stat", "anon 200\nfile 700\ninactive_anon 1\nactive_anon 2\ninactive_file 400\nactive_file 200\n");
    assert_int_equal(forecast_group_memory(HOME), 700);
    write_group("memory.current", "500\n"); /* the files are not read in one moment */
    assert_int_equal(forecast_group_memory(HOME), 1000);
    write_group("memory.current", "2000\n");
    assert_int_equal(forecast_group_memory(HOME), 0);
}

/* A teacher's weights lie in every checkpoint, and one stays for each stage. */
static void distillation_takes_more_of_the_disk(void **state)
{
    (void)state;
    Recipe r = recipe;
    if (!forecast_make(&r, false, &forecast))
        fail_msg("%s", error_text());
    assert_int_equal(forecast.checkpoints, r.run.keep + 1);
    assert_true(recipe_set(&r, "target={kind: features, normalise: token, class_token: true}") &&
                recipe_set(&r, "loss.kind=smooth_l1") && recipe_set(&r, "stages=[{epochs: 1}, {epochs: 1}]"));
    if (!forecast_make(&r, false, &forecast))
        fail_msg("%s", error_text());
    assert_int_equal(forecast.checkpoints, r.run.keep + 3);
    int64_t encoder = forecast.encoder_parameters, trained = encoder;
    for (int k = 0; k < r.decoder_count; k++)
        trained += forecast.decoder_parameters[k];
    assert_true(forecast.checkpoint > 4 * 3 * trained + 3 * encoder);
}

/* A stage whose teacher has fewer blocks has less to compute, for as many epochs as it has. */
static void each_stage_counts_for_itself(void **state)
{
    (void)state;
    static const char *const stages[] = {"stages=[{epochs: 1, teacher_depth: 2}, {epochs: 1}]",
                                         "stages=[{epochs: 1, teacher_depth: 0}, {epochs: 1}]",
                                         "stages=[{epochs: 1, teacher_depth: 0}, {epochs: 1, teacher_depth: 0}]"};
    double flops[3];
    for (int i = 0; i < 3; i++) {
        Recipe taught = recipe;
        assert_true(recipe_set(&taught, "target.kind=features") && recipe_set(&taught, "target.normalise=token") &&
                    recipe_set(&taught, stages[i]));
        if (!forecast_make(&taught, false, &forecast))
            fail_msg("%s", error_text());
        flops[i] = forecast.step_flops;
    }
    assert_true(flops[2] < flops[1] && flops[1] < flops[0]);
    assert_true(fabs(flops[1] - (flops[0] + flops[2]) / 2) <= 1e-12 * flops[0]);
}

static void a_run_that_cannot_start_is_told(void **state)
{
    (void)state;
    Recipe r = recipe;
    r.schedule.batch_size = 64;
    r.run.micro_batch = RECIPE_AUTO;
    assert_false(forecast_make(&r, false, &forecast));
    assert_non_null(strstr(error_text(), "schedule.batch_size"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_are_those_of_the_run),
                                       cmocka_unit_test(what_is_planned_only_takes_no_memory_and_makes_the_same_plan),
                                       cmocka_unit_test(time_is_measured),
                                       cmocka_unit_test(pictures_that_were_read_are_no_memory_in_use),
                                       cmocka_unit_test(distillation_takes_more_of_the_disk),
                                       cmocka_unit_test(each_stage_counts_for_itself),
                                       cmocka_unit_test(a_run_that_cannot_start_is_told)};
    return cmocka_run_group_tests(tests, begin, end);
}
