/* Checkpoints: what is saved comes back, whatever happens while saving; others are refused. No program is run here, so that
 * processes can be forked. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "nn/position.h"
#include "train/checkpoint.h"
#include "train/tiny_recipe.h"

#define HOME "checkpoint_test.tmp"
#define RUN  HOME "/run"

static Recipe recipe;

static int begin(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(RUN) && tiny_recipe(&recipe) ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

static Trainer *open_trainer(const Recipe *r)
{
    TrainerOptions options = {.batch = 8, .micro_batch = 4};
    if (!device_open("ref", 1, &options.device))
        fail_msg("%s", error_text());
    Trainer *t = trainer_open(r, &options);
    if (!t)
        fail_msg("%s", error_text());
    return t;
}

/* Every number of the state says which step it is of. */
static void set_state(Trainer *t, int64_t step)
{
    const ParamSet *set = trainer_params(t);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        for (int64_t k = p->offset; p->kind == PARAM_TRAINED && k < p->offset + p->count; k++) {
            trainer_weights(t)[k] = (float)(step * 1000 + k % 7);
            trainer_moment1(t)[k] = (float)(step * 2000 + k % 5);
            trainer_moment2(t)[k] = (float)(step * 3000 + k % 3);
        }
    }
    trainer_set_steps(t, step);
}

static CheckpointMeta meta_of(int64_t step)
{
    return (CheckpointMeta){.step = step,
                            .steps_per_epoch = 4,
                            .pictures = 35,
                            .seed = 5,
                            .channels = 3,
                            .mean = {0.1f, 0.2f, 0.3f},
                            .std = {1, 2, 3}};
}

static bool save(Trainer *t, int64_t step)
{
    CheckpointMeta meta = meta_of(step);
    set_state(t, step);
    return checkpoint_save(RUN, t, &recipe, &meta, 2);
}

/* Loads the newest checkpoint and proves that all of it is of one step, which is returned; 0: there is none. */
static int64_t newest_step(Trainer *t)
{
    char *folder;
    CheckpointMeta meta, expected;
    if (!checkpoint_newest(RUN, &folder, NULL))
        fail_msg("%s", error_text());
    if (!folder)
        return 0;
    set_state(t, 99);
    if (!checkpoint_load(folder, t, &meta))
        fail_msg("%s", error_text());
    memory_free(folder);
    expected = meta_of(meta.step);
    expected.optimizer_steps = meta.step;
    assert_memory_equal(&meta, &expected, sizeof meta);
    assert_int_equal(trainer_steps(t), meta.step);
    const ParamSet *set = trainer_params(t);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        for (int64_t k = p->offset; p->kind == PARAM_TRAINED && k < p->offset + p->count; k++) {
            assert_true(trainer_weights(t)[k] == (float)(meta.step * 1000 + k % 7));
            assert_true(trainer_moment1(t)[k] == (float)(meta.step * 2000 + k % 5));
            assert_true(trainer_moment2(t)[k] == (float)(meta.step * 3000 + k % 3));
        }
    }
    return meta.step;
}

static void what_is_saved_comes_back(void **state)
{
    (void)state;
    Trainer *t = open_trainer(&recipe);
    assert_int_equal(newest_step(t), 0);
    for (int64_t step = 1; step <= 4; step++) {
        if (!save(t, step))
            fail_msg("%s", error_text());
        assert_int_equal(newest_step(t), step);
    }
    /* The newest two are kept, and the link leads to the last. */
    assert_false(file_exists(RUN "/checkpoints/step-00000002"));
    assert_true(file_exists(RUN "/checkpoints/step-00000003/state.safetensors"));
    char target[64] = {0};
    assert_true(readlink(RUN "/checkpoints/latest", target, sizeof target - 1) > 0);
    assert_string_equal(target, "step-00000004");
    /* Again under the same name, and a run whose newest is damaged goes back to the one before. */
    assert_true(save(t, 4));
    assert_int_equal(newest_step(t), 4);
    assert_int_equal(truncate(RUN "/checkpoints/step-00000004/state.safetensors", 5000), 0);
    assert_int_equal(newest_step(t), 3);
    assert_true(save(t, 4));
    assert_int_equal(newest_step(t), 4);
    assert_true(file_remove(RUN "/checkpoints/step-00000004/meta.json"));
    assert_int_equal(newest_step(t), 3);
    trainer_close(t);
}

static bool holds(int step, const char *file)
{
    char path[128];
    snprintf(path, sizeof path, RUN "/checkpoints/step-%08d/%s", step, file);
    return file_exists(path);
}

static void damaged_ones_are_told_of_and_do_not_count(void **state)
{
    (void)state;
    char *newest;
    Text passed_over = {0};
    CheckpointMeta meta = meta_of(6);
    Trainer *t = open_trainer(&recipe);
    assert_true(save(t, 3) && save(t, 4));
    assert_int_equal(truncate(RUN "/checkpoints/step-00000004/state.safetensors", 5000), 0);
    assert_true(checkpoint_newest(RUN, &newest, &passed_over));
    assert_string_equal(file_name(newest), "step-00000003");
    assert_non_null(passed_over.data);
    assert_memory_equal(passed_over.data, "step-00000004: ", 15);
    assert_non_null(strstr(passed_over.data, "state.safetensors"));
    memory_free(newest);
    text_free(&passed_over);
    /* Two are kept, and the damaged one is none of them. */
    assert_true(save(t, 5));
    assert_true(holds(5, "meta.json") && holds(3, "meta.json"));
    /* A damaged one of a later step does not push out the one just saved, nor the link. */
    assert_true(save(t, 9));
    assert_true(file_remove(RUN "/checkpoints/step-00000009/model.safetensors"));
    assert_true(checkpoint_save(RUN, t, &recipe, &meta, 1));
    assert_true(holds(6, "meta.json") && holds(9, "meta.json"));
    assert_false(holds(5, "meta.json"));
    assert_true(checkpoint_newest(RUN, &newest, NULL));
    assert_string_equal(file_name(newest), "step-00000006");
    assert_true(checkpoint_meta(newest, &meta));
    assert_int_equal(meta.step, 6);
    memory_free(newest);
    /* With none left it is an error, not a new run. */
    assert_true(file_remove(RUN "/checkpoints/step-00000006/state.safetensors"));
    assert_false(checkpoint_newest(RUN, &newest, NULL));
    assert_non_null(strstr(error_text(), "step-00000006: "));
    trainer_close(t);
}

/* One bit of one byte, anywhere in any of the three files. */
static void a_changed_bit_is_found(void **state)
{
    (void)state;
    static const char *const files[] = {"model.safetensors", "state.safetensors", "meta.json"};
    Trainer *t = open_trainer(&recipe);
    assert_true(save(t, 1));
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 8; k++) {
            char path[128];
            size_t size;
            Text note = {0};
            assert_true(save(t, 2));
            snprintf(path, sizeof path, RUN "/checkpoints/step-00000002/%s", files[i]);
            char *bytes = file_read(path, 0, &size);
            assert_non_null(bytes);
            bytes[k < 7 ? size / 7 * (size_t)k : size - 3] ^= (char)(1 << k); /* behind it only the object's end */
            assert_true(file_write(path, bytes, size));
            memory_free(bytes);
            assert_int_equal(newest_step(t), 1);
            /* Whoever takes the weights alone is told as well. */
            assert_true(checkpoint_load_weights(RUN, &recipe, t, &note));
            assert_non_null(strstr(note.data, "step-00000002: "));
            text_free(&note);
        }
    }
    trainer_close(t);
}

static void a_failing_write_leaves_the_old_one(void **state)
{
    (void)state;
    Trainer *t = open_trainer(&recipe);
    assert_true(save(t, 1));
    uint64_t n = 1;
    for (;; n++) {
        file_fail_at(n);
        bool saved = save(t, 2);
        file_fail_at(0);
        if (saved)
            break;
        assert_non_null(strstr(error_text(), "o space left"));
        assert_int_equal(newest_step(t), 1);
        assert_false(file_exists(RUN "/checkpoints/step-00000002"));
        assert_true(n < 1000);
    }
    assert_true(n > 20); /* every tensor is a write */
    assert_int_equal(newest_step(t), 2);
    trainer_close(t);
}

/* The n-th allocation fails, too. */
static void want_of_memory_leaves_the_old_one(void **state)
{
    (void)state;
    Trainer *t = open_trainer(&recipe);
    assert_true(save(t, 1));
    uint64_t n = 1;
    for (;; n++) {
        memory_fail_at(n);
        bool saved = save(t, 2);
        memory_fail_at(0);
        if (saved)
            break;
        int64_t step = newest_step(t); /* 2 when only the link or the pruning failed */
        assert_true(step == 1 || step == 2);
        assert_true(n < 2000);
    }
    assert_int_equal(newest_step(t), 2);
    trainer_close(t);
}

static void kills_while_saving_leave_a_whole_one(void **state)
{
    (void)state;
    const int kills = getenv("LACUNA_LONG") ? 1000 : 50;
    Trainer *t = open_trainer(&recipe);
    int64_t reached = 3;
    double before = clock_seconds();
    assert_true(save(t, 1) && save(t, 2) && save(t, 3));
    /* Kills fall into the first three saves of a child, however fast the disk is. */
    long room = (long)((clock_seconds() - before) * 1e6);
    srand(1);
    for (int kill_number = 0; kill_number < kills; kill_number++) {
        pid_t child = fork();
        if (child == 0)
            for (int64_t step = reached + 1;; step++)
                if (!save(t, step))
                    _exit(1);
        long pause = rand() % (room < 1000 ? 1000 : room > 300000 ? 300000 : room);
        nanosleep(&(struct timespec){.tv_nsec = 1000 * pause}, NULL);
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        int64_t step = newest_step(t);
        assert_true(step >= reached);
        if (step == reached) /* the machine has become slower */
            room += room / 8;
        reached = step;
    }
    assert_true(reached > kills / 5); /* some saves came through */
    /* What the kills left is swept away by the next save. */
    if (!save(t, reached + 1))
        fail_msg("%s", error_text());
    assert_int_equal(system("test $(ls -A " RUN "/checkpoints | wc -l) = 3"), 0);
    trainer_close(t);
}

/* Rewrites the model's file with one change. */
typedef enum { DROP, RENAME, RESHAPE, ADD } Change;
static void change_model(Change change)
{
    static const char path[] = RUN "/checkpoints/step-00000001/model.safetensors";
    SafeTensors *file = safetensors_open(path);
    assert_non_null(file);
    size_t count = safetensors_count(file), kept = 0;
    SafeTensor *tensors = memory_new(count + 1, sizeof *tensors);
    for (size_t i = 0; i < count; i++) {
        tensors[kept] = *safetensors_at(file, i);
        bool here = !strcmp(tensors[kept].name, "blocks.1.attn.qkv.weight");
        if (here && change == DROP)
            continue;
        if (here && change == RENAME)
            tensors[kept].name = "blocks.9.attn.qkv.weight";
        if (here && change == RESHAPE) {
            tensors[kept].shape[0] *= 2;
            tensors[kept].shape[1] /= 2;
        }
        kept++;
    }
    if (change == ADD)
        tensors[kept++] = (SafeTensor){"stranger", SAFETENSORS_F32, 1, {1}, "abc", 0};
    assert_true(safetensors_write(path, tensors, kept, NULL, 0));
    memory_free(tensors);
    safetensors_close(file);
}

static void others_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const words[] = {"missing: blocks.1.attn.qkv.weight", "unexpected: blocks.9.attn.qkv.weight",
                                        "blocks.1.attn.qkv.weight ([96, 8] instead of [48, 16])", "unexpected: stranger"};
    Trainer *t = open_trainer(&recipe);
    for (int change = DROP; change <= ADD; change++) {
        CheckpointMeta meta;
        assert_true(save(t, 1));
        change_model((Change)change);
        assert_false(checkpoint_load(RUN "/checkpoints/step-00000001", t, &meta));
        if (!strstr(error_text(), words[change]))
            fail_msg("'%s' does not say '%s'", error_text(), words[change]);
        /* It has lost its recipe as well, and is looked at as another project's. */
        assert_false(checkpoint_load_weights(RUN "/checkpoints/step-00000001", &recipe, t, NULL));
        assert_non_null(strstr(error_text(), "model.safetensors: "));
        /* As a run's newest it does not even count: it is not what was saved. */
        assert_false(checkpoint_load_weights(RUN, &recipe, t, NULL));
        assert_non_null(strstr(error_text(), "checksum"));
    }
    /* meta.json of strangers. */
    static const char *const metas[] = {
        "",
        "[]",
        "{",
        "{\"step\":1}",
        "{\"step\":-1,\"optimizer_steps\":1,\"steps_per_epoch\":4,\"pictures\":35,\"seed\":5,\"mean\":[1,1,1],\"std\":[1,1,1]}",
        "{\"step\":1,\"optimizer_steps\":1,\"steps_per_epoch\":0,\"pictures\":35,\"seed\":5,\"mean\":[1,1,1],\"std\":[1,1,1]}",
        "{\"step\":1,\"optimizer_steps\":1,\"steps_per_epoch\":4,\"pictures\":35,\"seed\":5,\"mean\":[1,1,1],\"std\":[1]}",
        "{\"step\":1,\"optimizer_steps\":1,\"steps_per_epoch\":4,\"pictures\":35,\"seed\":5,\"mean\":[\"x\"],\"std\":[1]}"};
    for (size_t i = 0; i < sizeof metas / sizeof *metas; i++) {
        CheckpointMeta meta;
        assert_true(save(t, 1));
        assert_true(file_write(RUN "/checkpoints/step-00000001/meta.json", metas[i], strlen(metas[i])));
        assert_false(checkpoint_load(RUN "/checkpoints/step-00000001", t, &meta));
        assert_non_null(strstr(error_text(), "meta.json"));
        char *newest;
        assert_false(checkpoint_newest(RUN, &newest, NULL));
        assert_null(newest);
        assert_non_null(strstr(error_text(), "meta.json"));
        assert_non_null(strstr(error_text(), "move that folder away"));
    }
    assert_false(checkpoint_load_weights(HOME "/nowhere", &recipe, t, NULL));
    assert_false(checkpoint_load_weights(HOME, &recipe, t, NULL));
    assert_non_null(strstr(error_text(), "no complete checkpoint"));
    trainer_close(t);
}

static void a_checkpoint_alone_tells_its_recipe(void **state)
{
    (void)state;
    Trainer *t = open_trainer(&recipe);
    Recipe read;
    snprintf(recipe.name, sizeof recipe.name, "tiny");
    assert_true(save(t, 1));
    if (!checkpoint_recipe(RUN, &read))
        fail_msg("%s", error_text());
    /* What the recipe's file is called makes no other bytes. */
    static const char path[] = RUN "/checkpoints/step-00000001/model.safetensors";
    size_t size, other_size;
    char *model = file_read(path, 0, &size);
    snprintf(recipe.name, sizeof recipe.name, "recipe");
    assert_true(save(t, 1));
    char *other = file_read(path, 0, &other_size);
    assert_true(model && other && size == other_size && !memcmp(model, other, size));
    memory_free(model);
    memory_free(other);
    assert_int_equal(read.encoder.width, 16);
    assert_int_equal(read.decoder_count, 2);
    assert_int_equal(read.image.mean.kind, STATISTICS_LIST);
    assert_true(read.image.std.values[2] == 3);
    assert_true(checkpoint_recipe(RUN "/checkpoints/latest", &read));
    assert_true(checkpoint_recipe(RUN "/checkpoints/step-00000001/model.safetensors", &read));
    trainer_close(t);
}

static float *named(Trainer *t, const char *name)
{
    int at = param_find(trainer_params(t), name);
    assert_true(at >= 0);
    return trainer_weights(t) + trainer_params(t)->params[at].offset;
}

static void weights_start_another_run(void **state)
{
    (void)state;
    assert_true(recipe_set(&recipe, "encoder.position=learned"));
    Trainer *t = open_trainer(&recipe);
    CheckpointMeta meta = meta_of(1);
    float *table = named(t, "pos_embed");
    for (int i = 0; i < 17 * 16; i++)
        table[i] = (float)(i % 11);
    assert_true(checkpoint_save(RUN, t, &recipe, &meta, 2));
    /* Larger pictures, and a decoder more. */
    Recipe other = recipe;
    Text note = {0};
    assert_true(recipe_set(&other, "image.size=[24, 16]") && recipe_set(&other, "decoders.2.tap=2") &&
                recipe_set(&other, "decoders.2.width=8") && recipe_set(&other, "decoders.2.heads=2") &&
                recipe_set(&other, "decoders.2.depth=1") && recipe_set(&other, "run.seed=77"));
    Trainer *u = open_trainer(&other);
    float fresh = named(u, "decoders.2.pred.weight")[0], resized[25 * 16];
    if (!checkpoint_load_weights(RUN, &other, u, &note))
        fail_msg("%s", error_text());
    position_resize(table, 4, 4, 16, true, 6, 4, resized);
    assert_memory_equal(named(u, "pos_embed"), resized, sizeof resized);
    assert_memory_equal(named(u, "blocks.1.mlp.fc1.weight"), named(t, "blocks.1.mlp.fc1.weight"), 64 * 16 * sizeof(float));
    assert_memory_equal(named(u, "decoders.1.pred.weight"), named(t, "decoders.1.pred.weight"), 48 * 8 * sizeof(float));
    assert_true(named(u, "decoders.2.pred.weight")[0] == fresh);
    assert_non_null(strstr(note.data, "Decoder 2 starts anew"));
    assert_non_null(strstr(note.data, "position table is resized"));
    text_free(&note);
    trainer_close(u);
    /* An encoder of another width is none to start from. */
    assert_true(recipe_set(&other, "encoder.width=24"));
    u = open_trainer(&other);
    assert_false(checkpoint_load_weights(RUN, &other, u, NULL));
    assert_non_null(strstr(error_text(), "another shape"));
    trainer_close(u);
    trainer_close(t);
}

/* MoCo v3's order of the sines is not MAE's. */
static void sines_of_another_order_are_refused(void **state)
{
    (void)state;
    Recipe other = recipe;
    Text note = {0};
    assert_true(recipe_set(&recipe, "encoder.init=moco"));
    Trainer *t = open_trainer(&recipe), *u = open_trainer(&other);
    CheckpointMeta meta = meta_of(1);
    assert_true(checkpoint_save(RUN, t, &recipe, &meta, 2));
    assert_false(checkpoint_load_weights(RUN, &other, u, &note));
    assert_non_null(strstr(error_text(), "encoder.init=moco, or encoder.position=learned"));
    trainer_close(u);
    assert_true(recipe_set(&other, "encoder.position=learned"));
    u = open_trainer(&other);
    if (!checkpoint_load_weights(RUN, &other, u, &note))
        fail_msg("%s", error_text());
    const ParamSet *set = trainer_params(t);
    const Param *table = &set->params[param_find(set, "pos_embed")];
    assert_int_equal(table->kind, PARAM_FIXED);
    assert_memory_equal(named(u, "pos_embed"), trainer_fixed(t) + table->offset, 17 * 16 * sizeof(float));
    trainer_close(u);
    trainer_close(t);
    text_free(&note);
}

/* The run that begins has fewer blocks (docs/spec/transfer.md A.12); drop path and layers are those of the blocks that are
 * left. */
static void last_blocks_are_left_out(void **state)
{
    (void)state;
    assert_true(recipe_set(&recipe, "encoder.depth=3"));
    Trainer *t = open_trainer(&recipe);
    set_state(t, 1);
    CheckpointMeta meta = meta_of(1);
    assert_true(checkpoint_save(RUN, t, &recipe, &meta, 2));
    Recipe kept = recipe;
    Text note = {0};
    assert_true(recipe_set(&kept, "encoder.depth=2"));
    Trainer *u = open_trainer(&kept);
    assert_false(checkpoint_load_weights(RUN, &kept, u, NULL)); /* unless it is said */
    assert_non_null(strstr(error_text(), "blocks.2."));
    trainer_close(u);
    assert_true(recipe_set(&kept, "encoder.depth=3") && recipe_set(&kept, "encoder.keep_blocks=2"));
    u = open_trainer(&kept);
    if (!checkpoint_load_weights(RUN, &kept, u, &note))
        fail_msg("%s", error_text());
    assert_int_equal(param_find(trainer_params(u), "blocks.2.norm1.weight"), -1);
    assert_memory_equal(named(u, "blocks.1.mlp.fc1.weight"), named(t, "blocks.1.mlp.fc1.weight"), 64 * 16 * sizeof(float));
    assert_memory_equal(named(u, "norm.weight"), named(t, "norm.weight"), 16 * sizeof(float));
    assert_non_null(strstr(note.data, "last 1 blocks are left out"));
    assert_non_null(strstr(note.data, "the final norm"));
    /* Two branches a block, and the decoders'. */
    assert_int_equal(trainer_branches(t) - trainer_branches(u), 2);
    /* Saved, it is an encoder of two blocks for all who name it. */
    Recipe read;
    meta = meta_of(2);
    assert_true(checkpoint_save(RUN, u, &kept, &meta, 2));
    assert_true(checkpoint_recipe(RUN, &read));
    assert_int_equal(recipe_depth(&read), 2);
    text_free(&note);
    trainer_close(u);
    trainer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_saved_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(damaged_ones_are_told_of_and_do_not_count, begin, end),
        cmocka_unit_test_setup_teardown(a_changed_bit_is_found, begin, end),
        cmocka_unit_test_setup_teardown(a_failing_write_leaves_the_old_one, begin, end),
        cmocka_unit_test_setup_teardown(want_of_memory_leaves_the_old_one, begin, end),
        cmocka_unit_test_setup_teardown(kills_while_saving_leave_a_whole_one, begin, end),
        cmocka_unit_test_setup_teardown(others_are_refused_by_name, begin, end),
        cmocka_unit_test_setup_teardown(a_checkpoint_alone_tells_its_recipe, begin, end),
        cmocka_unit_test_setup_teardown(weights_start_another_run, begin, end),
        cmocka_unit_test_setup_teardown(sines_of_another_order_are_refused, begin, end),
        cmocka_unit_test_setup_teardown(last_blocks_are_left_out, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
