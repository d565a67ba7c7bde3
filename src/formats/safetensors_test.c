/* safetensors: what is written reads back, what is unsound is refused. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/safetensors.h"

static const float weights[6] = {1, -2.5f, 3, 4, 5, 6e-8f};
static const int32_t labels[3] = {7, -8, 9};
static const double scalar = 0.125;
static const uint16_t halves[5] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x8000}, brains[2] = {0x3f80, 0xc020};
static const uint8_t flags[3] = {0, 1, 1};

static const SafeTensor tensors[] = {
    {"z.weight", SAFETENSORS_F32, 2, {2, 3}, weights, sizeof weights},
    {"flags", SAFETENSORS_BOOL, 1, {3}, flags, 0},
    {"a \"label\"\n", SAFETENSORS_I32, 1, {3}, labels, 0},
    {"empty", SAFETENSORS_F32, 2, {0, 5}, NULL, 0},
    {"one", SAFETENSORS_F64, 0, {0}, &scalar, 0},
    {"half", SAFETENSORS_F16, 1, {5}, halves, 0},
    {"brain", SAFETENSORS_BF16, 2, {1, 2}, brains, 0},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static const SafeMetadata metadata[] = {{"format", "lacuna"}, {"a", "\xc3\xa9\t"}};

static const char path[] = "safetensors_test.safetensors";

static void what_is_written_reads_back(void **state)
{
    (void)state;
    assert_true(safetensors_write(path, tensors, TENSORS, metadata, 2));
    SafeTensors *file = safetensors_open(path);
    if (!file)
        fail_msg("%s", error_text());
    assert_int_equal(safetensors_count(file), TENSORS);
    float out[8];
    for (size_t i = 0; i < TENSORS; i++) {
        const SafeTensor *t = safetensors_find(file, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->ndim, tensors[i].ndim);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape[0] * (size_t)t->ndim);
        if (t->bytes)
            assert_memory_equal(t->data, tensors[i].data, t->bytes);
        assert_true(safetensor_to_f32(t, out));
    }
    assert_string_equal(safetensors_at(file, 0)->name, "z.weight");
    assert_string_equal(safetensors_at(file, TENSORS - 1)->name, "brain");
    assert_null(safetensors_find(file, "none"));
    assert_string_equal(safetensors_metadata(file, "a"), "\xc3\xa9\t");
    assert_null(safetensors_metadata(file, "b"));
    assert_int_equal(safetensors_metadata_count(file), 2);
    assert_string_equal(safetensors_metadata_at(file, 0).key, "format");
    safetensor_to_f32(safetensors_find(file, "half"), out);
    assert_true(out[0] == 1 && out[1] == -2 && out[2] == 0x1p-24f && isinf(out[3]) && out[4] == 0 && signbit(out[4]));
    safetensor_to_f32(safetensors_find(file, "brain"), out);
    assert_true(out[0] == 1 && out[1] == -2.5f);
    safetensor_to_f32(safetensors_find(file, "flags"), out);
    assert_true(out[0] == 0 && out[2] == 1);
    safetensor_to_f32(safetensors_find(file, "a \"label\"\n"), out);
    assert_true(out[1] == -8);
    safetensor_to_f32(safetensors_find(file, "one"), out);
    assert_true(out[0] == 0.125f);
    assert_int_equal(safetensor_count(safetensors_find(file, "one")), 1);
    assert_int_equal(safetensor_count(safetensors_find(file, "empty")), 0);
    assert_non_null(safetensors_need(file, "z.weight", 2, (int64_t[]){2, 3}));
    assert_null(safetensors_need(file, "z.weight", 2, (int64_t[]){3, 2}));
    assert_non_null(strstr(error_text(), "'z.weight': its shape is [2, 3], but [3, 2] is needed"));
    assert_null(safetensors_need(file, "gone", 0, NULL));
    safetensors_close(file);
}

static void the_same_input_gives_the_same_bytes(void **state)
{
    (void)state;
    size_t first_size, second_size;
    assert_true(safetensors_write(path, tensors, TENSORS, metadata, 2));
    char *first = file_read(path, 0, &first_size);
    assert_true(safetensors_write(path, tensors, TENSORS, metadata, 2));
    char *second = file_read(path, 0, &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    assert_int_equal((unsigned char)first[0] % 8, 0); /* the header is padded */
    memory_free(first);
    memory_free(second);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    assert_true(safetensors_write(path, tensors, 1, NULL, 0));
    for (uint64_t n = 1; n <= 4; n++) {
        file_fail_at(n);
        assert_false(safetensors_write(path, tensors, TENSORS, metadata, 2));
        file_fail_at(0);
        assert_non_null(strstr(error_text(), "No space left"));
        SafeTensors *file = safetensors_open(path);
        assert_non_null(file);
        assert_int_equal(safetensors_count(file), 1);
        safetensors_close(file);
    }
    assert_false(file_exists("safetensors_test.safetensors.tmp"));
    const SafeTensor twice[] = {tensors[0], tensors[1], tensors[0]};
    assert_false(safetensors_write(path, twice, 3, NULL, 0));
    assert_non_null(strstr(error_text(), "'z.weight' is given twice"));
    const SafeMetadata same[] = {{"a", "1"}, {"a", "2"}};
    assert_false(safetensors_write(path, tensors, 1, same, 2));
    const SafeTensor wrong[] = {
        {"a", SAFETENSORS_F32, 1, {3}, weights, 8},
        {"a", SAFETENSORS_F32, 1, {-1}, weights, 0},
        {"a", SAFETENSORS_F32, 9, {1}, weights, 0},
        {"a", SAFETENSORS_F32, 3, {INT64_MAX, INT64_MAX, 4}, weights, 0},
        {"__metadata__", SAFETENSORS_F32, 1, {1}, weights, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(safetensors_write(path, &wrong[i], 1, NULL, 0));
}

/* A file of this header and so many zero bytes. */
static SafeTensors *open_text(const char *header, size_t data, char **kept)
{
    size_t length = strlen(header);
    char *bytes = memory_new(8 + length + data, 1);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, length);
    error_clear();
    *kept = bytes;
    return safetensors_open_memory(bytes, 8 + length + data, "test");
}

static void unsound_headers_are_refused(void **state)
{
    (void)state;
#define ENTRY(name, shape, from, to) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
    static const struct {
        const char *header;
        size_t data;
        const char *part; /* of the error; NULL: sound */
    } cases[] = {
        {"{" ENTRY("a", "[2]", "0", "8") "}", 8, NULL},
        {"{" ENTRY("a", "[2]", "0", "8") "}    ", 8, NULL},
        {"{}", 0, NULL},
        {"{\"__metadata__\":{\"k\":\"v\"}," ENTRY("b", "[]", "4", "8") "," ENTRY("a", "[1,1]", "0", "4") "}", 8, NULL},
        {"{}", 1, "1 bytes at its end"},
        {"{" ENTRY("a", "[2]", "0", "8") "}", 9, "1 bytes at its end"},
        {"{" ENTRY("a", "[2]", "0", "8") "}", 7, "'a': its data_offsets 0 to 8 do not lie in the 7 bytes"},
        {"{" ENTRY("a", "[1]", "4", "8") "}", 8, "'a': 4 bytes in front"},
        {"{" ENTRY("a", "[2]", "0", "8") "," ENTRY("b", "[1]", "4", "8") "}", 8, "'b': its data overlap those of 'a'"},
        {"{" ENTRY("a", "[1]", "0", "4") "," ENTRY("b", "[1]", "0", "4") "}", 4, "overlap"},
        {"{" ENTRY("a", "[1]", "0", "4") "," ENTRY("a", "[1]", "4", "8") "}", 8, "duplicate"},
        {"{" ENTRY("a", "[3]", "0", "8") "}", 8, "its shape needs 12 bytes of F32"},
        {"{" ENTRY("a", "[2]", "8", "0") "}", 8, "data_offsets"},
        {"{" ENTRY("a", "[2]", "-8", "0") "}", 8, "data_offsets"},
        {"{" ENTRY("a", "[2]", "0", "8.0") "}", 8, "data_offsets"},
        {"{" ENTRY("a", "[-2]", "0", "8") "}", 8, "shape"},
        {"{" ENTRY("a", "[true]", "0", "8") "}", 8, "shape"},
        {"{" ENTRY("a", "2", "0", "8") "}", 8, "shape"},
        {"{" ENTRY("a", "[1,1,1,1,1,1,1,1,2]", "0", "8") "}", 8, "9 dimensions"},
        {"{" ENTRY("a", "[4611686018427387904,2]", "0", "0") "}", 0, "overflows"},
        {"{" ENTRY("a", "[4294967296,4294967296]", "0", "0") "}", 0, "overflows"},
        {"{" ENTRY("a", "[0,4611686018427387904,2]", "0", "0") "}", 0, "overflows"},
        {"{" ENTRY("a", "[4611686018427387904,0]", "0", "0") "}", 0, "overflows"},
        {"{" ENTRY("a", "[99999999999999999999]", "0", "8") "}", 8, "too big"},
        {"{" ENTRY("a", "[2]", "0", "9223372036854775807") "}", 8, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype 'F33'"},
        {"{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "no dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, "besides"},
        {"{\"a\":3}", 8, "not an object"},
        {"{\"__metadata__\":3}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"k\":3}}", 0, "'k'"},
        {"[]", 0, "not a JSON object"},
        {"{", 0, "not sound JSON"},
        {"", 0, "not sound JSON"},
        {"{} {}", 0, "not sound JSON"},
        {"{\"\\u0000\":1}", 0, "not sound JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *bytes;
        SafeTensors *file = open_text(cases[i].header, cases[i].data, &bytes);
        if (!file == !cases[i].part)
            fail_msg("%s: %s", cases[i].header, error_text());
        if (!file && (!strstr(error_text(), cases[i].part) || strncmp(error_text(), "test: ", 6)))
            fail_msg("'%s' does not say '%s'", error_text(), cases[i].part);
        safetensors_close(file);
        memory_free(bytes);
    }
    /* Headers announced larger than the file or the limit. */
    unsigned char huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_null(safetensors_open_memory(huge, sizeof huge, "test"));
    assert_non_null(strstr(error_text(), "at most 16777216"));
    unsigned char large[16] = {9};
    assert_null(safetensors_open_memory(large, sizeof large, "test"));
    assert_non_null(strstr(error_text(), "cut short"));
    assert_null(safetensors_open_memory(large, 7, "test"));
    assert_null(safetensors_open("missing.safetensors"));
    assert_null(safetensors_open("."));
}

static void cut_and_damaged_files_are_survived(void **state)
{
    (void)state;
    assert_true(safetensors_write(path, tensors, TENSORS, metadata, 2));
    size_t size;
    char *bytes = file_read(path, 0, &size);
    for (size_t n = 0; n < size; n++) {
        /* A block of exactly n bytes, so that a sanitizer sees a read behind it. */
        char *cut = memory_new(n, 1);
        memcpy(cut, bytes, n);
        assert_null(safetensors_open_memory(cut, n, "cut"));
        memory_free(cut);
    }
    uint32_t x = 7;
    for (int i = 0; i < 20000; i++) {
        char *copy = memory_new(size, 1);
        memcpy(copy, bytes, size);
        for (int k = 0; k < 2; k++) {
            x = x * 1664525u + 1013904223u;
            copy[(x >> 9) % size] = (x >> 5) % 3 ? "0123456789[]{},:\""[(x >> 24) % 17] : (char)(x >> 24);
        }
        SafeTensors *file = safetensors_open_memory(copy, size, "damaged");
        float out[64];
        for (size_t t = 0; file && t < safetensors_count(file); t++)
            if (safetensor_count(safetensors_at(file, t)) <= 64)
                safetensor_to_f32(safetensors_at(file, t), out);
        safetensors_close(file);
        memory_free(copy);
    }
    memory_free(bytes);
    assert_true(file_remove(path));
}

/* Files that another program wrote. */
static void golden_files_are_read(void **state)
{
    (void)state;
    char *folder = file_join(LACUNA_SOURCE, "tests/golden");
    DIR *dir = opendir(folder);
    int seen = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!strstr(entry->d_name, ".safetensors"))
            continue;
        char *name = file_join(folder, entry->d_name);
        SafeTensors *file = safetensors_open(name);
        if (!file)
            fail_msg("%s", error_text());
        assert_true(safetensors_count(file) > 0);
        for (size_t i = 0; i < safetensors_count(file); i++)
            assert_ptr_equal(safetensors_find(file, safetensors_at(file, i)->name), safetensors_at(file, i));
        safetensors_close(file);
        memory_free(name);
        seen++;
    }
    if (dir)
        closedir(dir);
    memory_free(folder);
    if (!seen)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),         cmocka_unit_test(the_same_input_gives_the_same_bytes),
        cmocka_unit_test(a_failed_write_leaves_the_old_file), cmocka_unit_test(unsound_headers_are_refused),
        cmocka_unit_test(cut_and_damaged_files_are_survived), cmocka_unit_test(golden_files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
