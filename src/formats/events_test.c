/* Event files: read back by a reader of the test's own, byte by byte against what the format's descriptions give, and cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/crc32c.h"
#include "formats/events.h"

#define HOME "events_test.tmp"
#define PATH HOME "/events"

static int begin(void **state)
{
    (void)state;
    return file_remove(HOME) && file_make_folder(HOME) ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    return file_remove(HOME) ? 0 : 1;
}

/* RFC 3720, B.4. */
static void sums_are_those_of_the_standard(void **state)
{
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(bytes, 32), 0x46dd794e);
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
}

/* ---- a reader that goes bit by bit */

static uint32_t slow_masked(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    crc = ~crc;
    return (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u);
}

typedef struct {
    uint64_t field, number; /* number: a varint, or a length */
    const uint8_t *bytes;   /* of a length, or the fixed bytes */
} Field;

static const uint8_t *next_field(const uint8_t *at, Field *f)
{
    uint64_t values[2] = {0, 0};
    f->bytes = NULL;
    for (int i = 0; i < 2; i++) {
        for (int shift = 0;; shift += 7) {
            values[i] |= (uint64_t)(*at & 0x7f) << shift;
            if (!(*at++ & 0x80))
                break;
        }
        f->field = values[0] >> 3;
        uint64_t wire = values[0] & 7;
        if (i == 0 && (wire == 1 || wire == 5)) {
            f->bytes = at;
            return at + (wire == 1 ? 8 : 4);
        }
        if (i == 1 && wire == 2) {
            f->bytes = at;
            at += values[1];
        }
    }
    f->number = values[1];
    return at;
}

/* Appends "step TAG=VALUE .." of each event. */
static void list_events(Text *out)
{
    size_t size, at = 0;
    uint8_t *file = (uint8_t *)file_read(PATH, 0, &size);
    assert_non_null(file);
    while (at < size) {
        uint64_t length;
        uint32_t crc;
        memcpy(&length, file + at, 8);
        memcpy(&crc, file + at + 8, 4);
        assert_int_equal(crc, slow_masked(file + at, 8));
        const uint8_t *event = file + at + 12, *last = event + length;
        memcpy(&crc, last, 4);
        assert_int_equal(crc, slow_masked(event, length));
        at += 16 + length;
        assert_true(at <= size);
        Field f;
        while (event < last) {
            event = next_field(event, &f);
            if (f.field == 1) {
                double time;
                memcpy(&time, f.bytes, 8);
                assert_true(time == 1234.5);
            } else if (f.field == 2) {
                text_add(out, "%d", (int)f.number);
            } else if (f.field == 3) {
                text_add(out, "%.*s", (int)f.number, (const char *)f.bytes);
            } else {
                assert_int_equal(f.field, 5);
                for (const uint8_t *value = f.bytes, *values_end = value + f.number; value < values_end;) {
                    Field v;
                    value = next_field(value, &v);
                    assert_int_equal(v.field, 1);
                    for (const uint8_t *part = v.bytes, *part_end = part + v.number; part < part_end;) {
                        Field p;
                        part = next_field(part, &p);
                        if (p.field == 1) {
                            text_add(out, " %.*s=", (int)p.number, (const char *)p.bytes);
                        } else if (p.field == 2) {
                            float number;
                            memcpy(&number, p.bytes, 4);
                            text_add(out, "%g", (double)number);
                        } else {
                            assert_int_equal(p.field, 4);
                            for (const uint8_t *image = p.bytes, *image_end = image + p.number; image < image_end;) {
                                Field i;
                                image = next_field(image, &i);
                                if (i.field == 4)
                                    text_add(out, "%.*s", (int)i.number, (const char *)i.bytes);
                                else
                                    text_add(out, "%d,", (int)i.number);
                            }
                        }
                    }
                }
            }
        }
        assert_ptr_equal(event, last);
        text_add(out, "\n");
    }
    memory_free(file);
}

static void expect_events(const char *expected)
{
    Text out = {0};
    list_events(&out);
    assert_string_equal(out.data, expected);
    text_free(&out);
}

static void write_steps(int64_t from, int64_t to)
{
    EventDraft draft = {0};
    int file = events_open(PATH, from - 1, 1234.5);
    if (file < 0)
        fail_msg("%s", error_text());
    for (int64_t step = from; step <= to; step++) {
        event_add_scalar(&draft, "loss", 0.5 * (double)step);
        event_add_scalar(&draft, "loss.0", -3);
        if (step == 300)
            event_add_png(&draft, "sheet", 200, 7, "PNG bytes", 9);
        assert_true(event_write(&draft, file, PATH, 1234.5, step));
    }
    event_draft_free(&draft);
    close(file);
}

static void events_are_read_back(void **state)
{
    (void)state;
    write_steps(299, 301);
    expect_events("brain.Event:2\n299 loss=149.5 loss.0=-3\n300 loss=150 loss.0=-3 sheet=200,7,3,PNG bytes\n301 loss=150.5 "
                  "loss.0=-3\n");
}

static void later_events_are_cut_off(void **state)
{
    (void)state;
    write_steps(1, 5);
    write_steps(3, 3);
    expect_events("brain.Event:2\n1 loss=0.5 loss.0=-3\n2 loss=1 loss.0=-3\n3 loss=1.5 loss.0=-3\n");
    /* A torn end, too, wherever it is torn; and what is no event file. */
    size_t size, size_now;
    char *whole = file_read(PATH, 0, &size), *now;
    for (size_t length = 0; length < size; length++) {
        assert_true(file_write(PATH, whole, length));
        write_steps(3, 2);
        now = file_read(PATH, 0, &size_now);
        assert_memory_equal(now, whole, size_now);
        memory_free(now);
    }
    expect_events("brain.Event:2\n1 loss=0.5 loss.0=-3\n2 loss=1 loss.0=-3\n");
    for (size_t i = 0; i < size; i++) {
        whole[i] ^= 4;
        assert_true(file_write(PATH, whole, size));
        whole[i] ^= 4;
        write_steps(9, 8);
        now = file_read(PATH, 0, &size_now);
        assert_true(size_now < size && !memcmp(now, whole, size_now));
        memory_free(now);
    }
    memory_free(whole);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    EventDraft draft = {0};
    int file = events_open(PATH, 0, 1234.5);
    assert_true(file >= 0);
    event_add_scalar(&draft, "loss", 1);
    file_fail_at(1);
    assert_false(event_write(&draft, file, PATH, 1234.5, 1));
    assert_non_null(strstr(error_text(), "o space left"));
    assert_true(event_write(&draft, file, PATH, 1234.5, 2));
    expect_events("brain.Event:2\n2\n");
    event_draft_free(&draft);
    close(file);
    assert_true(events_open(HOME "/nowhere/events", 0, 0) < 0);
    assert_non_null(strstr(error_text(), "nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_are_those_of_the_standard),
                                       cmocka_unit_test_setup_teardown(events_are_read_back, begin, end),
                                       cmocka_unit_test_setup_teardown(later_events_are_cut_off, begin, end),
                                       cmocka_unit_test_setup_teardown(a_full_disk_is_told, begin, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
