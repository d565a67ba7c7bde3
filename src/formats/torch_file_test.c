/* Files of torch.save and TorchScript: those that the real PyTorch wrote (tests/fuzz/make_corpus.py) are read to the number,
 * and what was changed in them is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/state.h"
#include "formats/zip.h"
#include "formats/zip_case.h"

#define CORPUS LACUNA_SOURCE "/tests/fuzz/corpus/torch/"

static void expect_numbers(const StateDict *s, const char *name, SafeDtype dtype, int ndim, const int64_t *shape,
                           const float *numbers)
{
    const StridedTensor *t = state_find(s, name);
    float out[16];
    if (!t)
        fail_msg("there is no %s", name);
    assert_int_equal(t->dtype, dtype);
    assert_int_equal(t->ndim, ndim);
    if (ndim)
        assert_memory_equal(t->shape, shape, sizeof *shape * (size_t)ndim);
    assert_true(strided_count(t) <= 16);
    strided_to_f32(t, out);
    for (int64_t i = 0; i < strided_count(t); i++)
        assert_true(out[i] == numbers[i]);
}

static void both_formats_are_read(void **state)
{
    (void)state;
    static const char *const files[] = {CORPUS "zip.pth", CORPUS "legacy.pth"};
    static const float counted[] = {0, 1, 2, 3, 4, 5}, turned[] = {0, 3, 1, 4, 2, 5}, ones[] = {1, 1}, three[] = {3},
                       part[] = {4, 5}, flags[] = {1, 0}, bytes[] = {-3, 4};
    for (int f = 0; f < 2; f++) {
        StateDict *s = state_open(files[f]);
        if (!s)
            fail_msg("%s", error_text());
        assert_int_equal(state_count(s), 12);
        expect_numbers(s, "a", SAFETENSORS_F32, 2, (int64_t[]){2, 3}, counted);
        expect_numbers(s, "b", SAFETENSORS_F32, 2, (int64_t[]){3, 2}, turned);
        expect_numbers(s, "slice", SAFETENSORS_F32, 2, (int64_t[]){1, 2}, part);
        expect_numbers(s, "c", SAFETENSORS_I64, 0, NULL, three);
        expect_numbers(s, "h", SAFETENSORS_F16, 1, (int64_t[]){2}, ones);
        expect_numbers(s, "bf", SAFETENSORS_BF16, 1, (int64_t[]){2}, ones);
        expect_numbers(s, "d", SAFETENSORS_F64, 1, (int64_t[]){2}, ones);
        expect_numbers(s, "e", SAFETENSORS_F32, 1, (int64_t[]){0}, NULL);
        expect_numbers(s, "u", SAFETENSORS_U16, 1, (int64_t[]){2}, ones);
        expect_numbers(s, "p", SAFETENSORS_F32, 1, (int64_t[]){2}, ones);
        expect_numbers(s, "g", SAFETENSORS_BOOL, 1, (int64_t[]){2}, flags);
        expect_numbers(s, "i", SAFETENSORS_I8, 1, (int64_t[]){2}, bytes);
        double number;
        assert_true(state_number(s, "x", &number) && number == 1); /* of args */
        assert_non_null(strstr(state_words(s), "tensors under 'model'"));
        state_close(s);
    }
}

static void modules_become_names(void **state)
{
    (void)state;
    StateDict *s = state_open(CORPUS "script.pt");
    if (!s)
        fail_msg("%s", error_text());
    assert_int_equal(state_count(s), 3);
    assert_non_null(state_find(s, "linear.weight"));
    assert_non_null(state_find(s, "linear.bias"));
    expect_numbers(s, "ones", SAFETENSORS_F16, 1, (int64_t[]){1}, (float[]){1});
    assert_string_equal(state_words(s), "TorchScript archive");
    state_close(s);
}

static void keys_are_chosen(void **state)
{
    (void)state;
    StateDict *s = state_open(CORPUS "zip.pth#model");
    assert_non_null(s);
    state_close(s);
    assert_null(state_open(CORPUS "zip.pth#student"));
    assert_non_null(strstr(error_text(), "it holds nothing under 'student'"));
    assert_null(state_open(CORPUS "zip.pth#epoch"));
    assert_non_null(strstr(error_text(), "is no mapping from names to tensors"));
    assert_null(state_open(CORPUS "zip.pth#args"));
    assert_non_null(strstr(error_text(), "an object of the class argparse.Namespace"));
}

/* Opens a copy of a file of the corpus in which `old` is replaced by bytes of the same number, the n-th time that it occurs. */
static bool opens_changed(const char *path, int n, const char *old, const char *new, size_t bytes)
{
    size_t size;
    char *data = file_read(path, 0, &size), *at = data;
    assert_non_null(data);
    for (int i = 0; i <= n; i++) {
        at = memmem(at + (i > 0), size - (size_t)(at + (i > 0) - data), old, bytes);
        assert_non_null(at);
    }
    memcpy(at, new, bytes);
    error_clear();
    StateDict *s = state_open_memory(data, size, "it");
    bool ok = s != NULL;
    state_close(s);
    memory_free(data);
    return ok;
}

static void expect_refused(bool opened, const char *words)
{
    if (opened)
        fail_msg("what should say '%s' is accepted", words);
    if (!strstr(error_text(), words))
        fail_msg("'%s' does not say '%s'", error_text(), words);
}

static void changed_files_are_refused(void **state)
{
    (void)state;
    static const char *const files[] = {CORPUS "zip.pth", CORPUS "legacy.pth"};
    for (int f = 0; f < 2; f++) {
        /* offset 0, size (2, 3), stride (3, 1) of the first tensor */
        const char *view = "K\0K\2K\3\x86";
        expect_refused(opens_changed(files[f], 0, view, "K\1K\2K\3\x86", 7), "reaches outside of its storage");
        expect_refused(opens_changed(files[f], 0, view, "K\0K\2K\4\x86", 7), "reaches outside of its storage");
        expect_refused(opens_changed(files[f], 0, view, "K\0K\xffK\3\x86", 7), "reaches outside of its storage");
        expect_refused(opens_changed(files[f], 0, "FloatStorage", "FloutStorage", 12), " type");
        /* What is not known stands beside the tensors, of which _v3 made one. */
        assert_true(opens_changed(files[f], 0, "_rebuild_tensor_v2", "_rebuild_tensor_v9", 18));
        expect_refused(opens_changed(files[f], 0, "X\1\0\0\0c", "X\1\0\0\0a", 6), "its name occurs twice");
    }
    expect_refused(opens_changed(CORPUS "zip.pth", 0, "little", "bitter", 6), "big-endian");
    expect_refused(opens_changed(CORPUS "legacy.pth", 0, "endianq\2\x88", "endianq\2\x89", 9), "big-endian");
    expect_refused(opens_changed(CORPUS "zip.pth", 1, "/data.pkl", "/dato.pkl", 9), "no record data.pkl");
    /* The size of a storage's record, in the directory. */
    expect_refused(opens_changed(CORPUS "zip.pth", 0, "FloatStorage", "LongStorage\n", 12), "");
}

static void cut_files_are_refused(void **state)
{
    (void)state;
    static const char *const files[] = {CORPUS "zip.pth", CORPUS "legacy.pth", CORPUS "script.pt", CORPUS "vit.pth"};
    for (int f = 0; f < 4; f++) {
        size_t size;
        char *data = file_read(files[f], 0, &size);
        assert_non_null(data);
        for (size_t cut = 0; cut < size; cut++) {
            char *part = memory_new(cut, 1);
            if (cut)
                memcpy(part, data, cut);
            error_clear();
            assert_null(state_open_memory(part, cut, "it"));
            assert_true(*error_text() != 0);
            memory_free(part);
        }
        memory_free(data);
    }
}

/* ---- archives made by hand */

static bool zip_opens(const ZipEntry *entries, int count)
{
    Text t = {0};
    zip_case(&t, entries, count);
    error_clear();
    Zip *zip = zip_open(t.data, t.length, "it");
    bool ok = zip != NULL;
    if (ok) {
        const ZipRecord *r = zip_find(zip, entries[0].name);
        assert_true(r && r->bytes == entries[0].bytes && !memcmp(r->data, entries[0].data, r->bytes));
        assert_true(r->packed == (entries[0].method != 0));
        assert_null(zip_find(zip, "none"));
    }
    zip_close(zip);
    text_free(&t);
    return ok;
}

static void directories_are_checked(void **state)
{
    (void)state;
    assert_true(zip_opens((ZipEntry[]){{"a/data.pkl", "N.", 2, 0, 0}, {"a/b", "xyz", 3, 0, 0}}, 2));
    assert_true(zip_opens((ZipEntry[]){{"a/data.pkl", "N.", 2, 8, 0}}, 1));
    expect_refused(zip_opens((ZipEntry[]){{"a", "xy", 2, 0, 0}, {"a", "xyz", 3, 0, 0}}, 2), "record 'a' occurs twice");
    expect_refused(zip_opens((ZipEntry[]){{"a", "xy", 2, 0, 0}, {"b", "xy", 2, 0, -33}}, 2), "overlap");
    expect_refused(zip_opens((ZipEntry[]){{"a", "xy", 2, 0, 5}}, 1), "is announced at byte 5 and is not there");
    Text t = {0};
    zip_case(&t, (ZipEntry[]){{"a/data.pkl", "N.", 2, 8, 0}}, 1);
    assert_null(state_open_memory(t.data, t.length, "it"));
    assert_non_null(strstr(error_text(), "data.pkl is compressed or encrypted"));
    /* Sizes in the directory that reach behind it. */
    uint32_t huge = 0xfffffff0u;
    char *entry = memmem(t.data, t.length, "PK\1\2", 4);
    memcpy(entry + 20, &huge, 4);
    assert_null(zip_open(t.data, t.length, "it"));
    assert_non_null(strstr(error_text(), "reaches into the directory"));
    text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_formats_are_read), cmocka_unit_test(modules_become_names),
        cmocka_unit_test(keys_are_chosen),       cmocka_unit_test(changed_files_are_refused),
        cmocka_unit_test(cut_files_are_refused), cmocka_unit_test(directories_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
