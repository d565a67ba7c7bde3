/* The golden cases through the built program, and proof that it would notice a wrong number. */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/safetensors.h"
#include "run_program.h"

#define GOLDEN LACUNA_SOURCE "/tests/golden/"
#define FOLDER "parity_test.tmp"

/* Golden cases in the tree. */
static size_t case_count(void)
{
    glob_t found;
    assert_int_equal(glob(GOLDEN "*.json", 0, NULL, &found), 0);
    size_t count = found.gl_pathc;
    globfree(&found);
    assert_true(count >= 25);
    return count;
}

static void test_all_cases(void **state)
{
    (void)state;
    static const char *const ways[] = {"--device ref", "--device ref --plain", "--device cpu --threads 1",
                                       "--device cpu --threads 2 --plain"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        Ran ran = run_program("parity %s '%s'*.json", ways[i], GOLDEN);
        if (ran.code != 0 || strstr(ran.out, "FAIL"))
            fail_msg("parity %s: exit %d\n%s%s", ways[i], ran.code, ran.err, ran.out);
        char all[64];
        snprintf(all, sizeof all, "%zu of %zu cases agree\n", case_count(), case_count());
        assert_non_null(strstr(ran.out, all));
        /* A line a tensor. */
        assert_non_null(strstr(ran.out, "\nok   grad.decoders.3.blocks.0.attn.qkv.weight "));
        assert_non_null(strstr(ran.out, "\nok   after.cls_token "));
        assert_non_null(strstr(ran.out, "\nok   table.decoders.0.pos_embed "));
        assert_string_equal(ran.err, "");
        ran_free(&ran);
    }
}

/* ---- cases with a fault */

typedef struct {
    const char *tensor; /* to be scaled by `factor`; NULL: none */
    double factor;
    const char *leave_out, *add; /* names; `add` is a tensor of two ones */
    const char *kind;            /* another case.kind */
} Fault;

/* Copies loss_l1 to FOLDER/case with a fault. */
static void write_case(const Fault *fault)
{
    size_t size;
    char *json = file_read(GOLDEN "loss_l1.json", 0, &size), *kind;
    assert_true(file_make_folder(FOLDER));
    if (fault->kind) {
        kind = strstr(json, "\"kind\": \"pretrain\"");
        assert_non_null(kind);
        memcpy(kind + 9, fault->kind, strlen(fault->kind));
    }
    assert_true(file_write(FOLDER "/case.json", json, size));
    memory_free(json);

    SafeTensors *from = safetensors_open(GOLDEN "loss_l1.safetensors");
    assert_non_null(from);
    size_t count = safetensors_count(from), kept = 0;
    SafeTensor *tensors = memory_new(count + 1, sizeof *tensors);
    float *changed = NULL;
    static const float ones[] = {1, 1};
    for (size_t i = 0; i < count; i++) {
        tensors[kept] = *safetensors_at(from, i);
        if (fault->leave_out && !strcmp(tensors[kept].name, fault->leave_out))
            continue;
        if (fault->tensor && !strcmp(tensors[kept].name, fault->tensor)) {
            size_t numbers = safetensor_count(&tensors[kept]);
            changed = memory_new(numbers, sizeof *changed);
            assert_true(safetensor_to_f32(&tensors[kept], changed));
            changed[numbers - 1] *= (float)fault->factor;
            tensors[kept].data = changed;
        }
        kept++;
    }
    assert_true(!fault->tensor || changed);
    if (fault->add)
        tensors[kept++] =
            (SafeTensor){.name = fault->add, .dtype = SAFETENSORS_F32, .ndim = 1, .shape = {2}, .data = ones, .bytes = 8};
    assert_true(safetensors_write(FOLDER "/case.safetensors", tensors, kept, NULL, 0));
    memory_free(changed);
    memory_free(tensors);
    safetensors_close(from);
}

/* The program's word on a case with that fault: its exit code, and a piece of its output. */
static void judge(Fault fault, int code, const char *piece)
{
    write_case(&fault);
    Ran ran = run_program("parity --device ref " FOLDER "/case.json");
    if (ran.code != code || (!strstr(ran.out, piece) && !strstr(ran.err, piece)))
        fail_msg("exit %d, without '%s':\n%s%s", ran.code, piece, ran.err, ran.out);
    ran_free(&ran);
}

/* In bf16 losses are judged, with their own tolerance, and nothing else. */
static void test_bf16_judges_losses(void **state)
{
    (void)state;
    static const char *const levels[] = {"", "wide", "avx2"}; /* "": the best there is */
    write_case(&(Fault){.tensor = "expect.loss", .factor = 1.1});
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        setenv("LACUNA_CPU", levels[i], 1);
        Ran ran = run_program("parity --precision bf16 '%smae_normpix.json' '%sdeepmim_pixels.json'", GOLDEN, GOLDEN);
        if (ran.code != 0)
            fail_msg("bf16, LACUNA_CPU=%s: %s%s", levels[i], ran.out, ran.err);
        assert_non_null(strstr(ran.out, "-    grad."));
        ran_free(&ran);
        ran = run_program("parity --precision bf16 " FOLDER "/case.json");
        assert_int_equal(ran.code, 1);
        assert_non_null(strstr(ran.out, "FAIL expect.loss "));
        ran_free(&ran);
    }
    unsetenv("LACUNA_CPU");
}

static void test_wrong_numbers_fail(void **state)
{
    (void)state;
    judge((Fault){0}, 0, "1 of 1 cases agree");
    judge((Fault){.tensor = "expect.loss", .factor = 1.01}, 1, "FAIL expect.loss ");
    judge((Fault){.tensor = "expect.lr", .factor = 1.01}, 1, "FAIL expect.lr ");
    judge((Fault){.tensor = "expect.grad_norm", .factor = 0.99}, 1, "FAIL expect.grad_norm ");
    judge((Fault){.tensor = "expect.pred.0", .factor = 1.01}, 1, "FAIL expect.pred.0 ");
    judge((Fault){.tensor = "expect.target.0", .factor = 1.01}, 1, "FAIL expect.target.0 ");
    judge((Fault){.tensor = "after.norm.weight", .factor = 1.01}, 1, "FAIL after.norm.weight ");
    judge((Fault){.tensor = "grad.decoders.0.pred.bias", .factor = 1.1}, 1, "FAIL grad.decoders.0.pred.bias ");
    judge((Fault){.tensor = "weight.pos_embed", .factor = 1.01}, 1, "FAIL table.pos_embed ");
    judge((Fault){.tensor = "expect.loss", .factor = NAN}, 1, "FAIL expect.loss ");
    judge((Fault){.tensor = "weight.norm.weight", .factor = NAN}, 1, "FAIL expect.loss ");
    judge((Fault){.tensor = "image.0", .factor = 1.5}, 1, "FAIL expect.loss ");
}

static void test_nothing_is_skipped(void **state)
{
    (void)state;
    judge((Fault){.add = "expect.surprise"}, 1, "FAIL expect.surprise ");
    judge((Fault){.add = "grad.surprise"}, 1, "FAIL grad.surprise ");
    judge((Fault){.add = "teacher.norm.bias"}, 1, "teacher.norm.bias is not a parameter");
    judge((Fault){.add = "weight.surprise"}, 1, "weight.surprise is not a parameter");
    judge((Fault){.leave_out = "weight.cls_token"}, 1, "weight.cls_token");
    judge((Fault){.leave_out = "image.2"}, 1, "image.2");
    judge((Fault){.leave_out = "noise.1"}, 1, "noise.1");
    judge((Fault){.kind = "finetune"}, 1, "case.kind 'finetune' is not carried out yet");
}

static void test_one_bad_case_fails_the_whole(void **state)
{
    (void)state;
    write_case(&(Fault){.tensor = "expect.loss", .factor = 1.01});
    Ran ran = run_program("parity --device ref " FOLDER "/case.json '%sloss_l1.json' nowhere.json", GOLDEN);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.out, "1 of 3 cases agree\n"));
    assert_non_null(strstr(ran.err, "lacuna: nowhere.json: "));
    ran_free(&ran);
}

static void test_out(void **state)
{
    (void)state;
    static const char *const names[] = {"deepmim_pixels", "resize_pil", "posembed"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        Ran ran = run_program("parity --device ref --out " FOLDER "/out '%s%s.json'", GOLDEN, names[i]);
        assert_int_equal(ran.code, 0);
        ran_free(&ran);
        snprintf(path, sizeof path, "%s%s.safetensors", GOLDEN, names[i]);
        SafeTensors *want = safetensors_open(path);
        snprintf(path, sizeof path, "%s/out/%s.safetensors", FOLDER, names[i]);
        SafeTensors *got = safetensors_open(path);
        assert_non_null(want);
        assert_non_null(got);
        size_t compared = 0;
        for (size_t k = 0; k < safetensors_count(want); k++) {
            const SafeTensor *t = safetensors_at(want, k);
            if (strncmp(t->name, "expect.", 7) && strncmp(t->name, "grad.", 5) && strncmp(t->name, "after.", 6))
                continue;
            const SafeTensor *mine = safetensors_need(got, t->name, t->ndim, t->shape);
            if (!mine)
                fail_msg("%s", error_text());
            assert_int_equal(mine->dtype, t->dtype);
            compared++;
        }
        assert_int_equal(compared, safetensors_count(got));
        safetensors_close(want);
        safetensors_close(got);
    }
}

static int clean(void **state)
{
    (void)state;
    return file_remove(FOLDER) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_cases),
                                       cmocka_unit_test(test_bf16_judges_losses),
                                       cmocka_unit_test(test_wrong_numbers_fail),
                                       cmocka_unit_test(test_nothing_is_skipped),
                                       cmocka_unit_test(test_one_bad_case_fails_the_whole),
                                       cmocka_unit_test(test_out)};
    return cmocka_run_group_tests(tests, clean, clean);
}
