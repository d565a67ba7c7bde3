#include "formats/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/crc32c.h"

/* Numbers of fields in TensorFlow's event.proto and summary.proto, and how a field's bytes are laid out. */
enum { EVENT_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_NUMBER = 2, VALUE_IMAGE = 4 };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH = 2, IMAGE_COLOURS = 3, IMAGE_BYTES = 4, COLOURS_RGB = 3 };
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum { HEAD_BYTES = 12, TAIL_BYTES = 4, RECORD_MOST = 1 << 30 };

/* ---- encoding */

static void add_varint(Text *out, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    text_add_bytes(out, bytes, n);
}

static size_t varint_size(uint64_t value)
{
    size_t n = 1;
    for (; value >= 0x80; value >>= 7)
        n++;
    return n;
}

static void add_key(Text *out, int field, int wire)
{
    add_varint(out, (uint64_t)field << 3 | (uint64_t)wire);
}

static void add_bytes(Text *out, int field, const void *bytes, size_t size)
{
    add_key(out, field, WIRE_BYTES);
    add_varint(out, size);
    text_add_bytes(out, bytes, size);
}

static void add_integer(Text *out, int field, uint64_t value)
{
    add_key(out, field, WIRE_VARINT);
    add_varint(out, value);
}

/* Keys of all fields here are one byte. */
static size_t bytes_size(size_t size)
{
    return 1 + varint_size(size) + size;
}

void event_add_scalar(EventDraft *draft, const char *tag, double value)
{
    Text *out = &draft->summary;
    float number = (float)value;
    add_key(out, SUMMARY_VALUE, WIRE_BYTES);
    add_varint(out, bytes_size(strlen(tag)) + 1 + sizeof number);
    add_bytes(out, VALUE_TAG, tag, strlen(tag));
    add_key(out, VALUE_NUMBER, WIRE_32);
    text_add_bytes(out, &number, sizeof number);
}

void event_add_png(EventDraft *draft, const char *tag, int height, int width, const void *png, size_t size)
{
    Text *out = &draft->summary;
    uint64_t h = (uint64_t)height, w = (uint64_t)width;
    size_t image = 1 + varint_size(h) + 1 + varint_size(w) + 2 + bytes_size(size);
    add_key(out, SUMMARY_VALUE, WIRE_BYTES);
    add_varint(out, bytes_size(strlen(tag)) + bytes_size(image));
    add_bytes(out, VALUE_TAG, tag, strlen(tag));
    add_key(out, VALUE_IMAGE, WIRE_BYTES);
    add_varint(out, image);
    add_integer(out, IMAGE_HEIGHT, h);
    add_integer(out, IMAGE_WIDTH, w);
    add_integer(out, IMAGE_COLOURS, COLOURS_RGB);
    add_bytes(out, IMAGE_BYTES, png, size);
}

void event_draft_free(EventDraft *draft)
{
    text_free(&draft->summary);
    text_free(&draft->record);
}

static uint32_t masked(const void *bytes, size_t size)
{
    uint32_t crc = crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* The record around the event that lies behind room for the head: written as one, so that a torn one is the last. */
static bool write_record(Text *record, int descriptor, const char *path)
{
    if (record->failed)
        return false;
    uint64_t length = record->length - HEAD_BYTES;
    if (length > RECORD_MOST)
        return error_set("an event of %llu bytes is too large for %s", (unsigned long long)length, path);
    uint32_t crc = masked(&length, sizeof length), tail = masked(record->data + HEAD_BYTES, length);
    memcpy(record->data, &length, sizeof length);
    memcpy(record->data + sizeof length, &crc, sizeof crc);
    text_add_bytes(record, &tail, sizeof tail);
    return !record->failed && file_write_all(descriptor, path, record->data, record->length);
}

static void begin_record(Text *record, double wall_time)
{
    static const char room[HEAD_BYTES];
    record->length = 0;
    text_add_bytes(record, room, sizeof room);
    add_key(record, EVENT_TIME, WIRE_64);
    text_add_bytes(record, &wall_time, sizeof wall_time);
}

bool event_write(EventDraft *draft, int descriptor, const char *path, double wall_time, int64_t step)
{
    Text *record = &draft->record;
    begin_record(record, wall_time);
    add_integer(record, EVENT_STEP, (uint64_t)step);
    if (draft->summary.length)
        add_bytes(record, EVENT_SUMMARY, draft->summary.data, draft->summary.length);
    bool ok = !draft->summary.failed && write_record(record, descriptor, path);
    draft->summary.length = 0;
    return ok;
}

/* ---- what is there already */

static bool read_varint(const uint8_t *bytes, size_t size, size_t *at, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && *at < size; shift += 7) {
        uint8_t byte = bytes[(*at)++];
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* The step of an event, 0 when it names none. False: it cannot be read. */
static bool read_step(const uint8_t *event, size_t size, int64_t *step)
{
    *step = 0;
    for (size_t at = 0; at < size;) {
        uint64_t key, value;
        if (!read_varint(event, size, &at, &key))
            return false;
        switch (key & 7) {
        case WIRE_VARINT:
            if (!read_varint(event, size, &at, &value))
                return false;
            if (key >> 3 == EVENT_STEP)
                *step = (int64_t)value;
            break;
        case WIRE_BYTES:
            if (!read_varint(event, size, &at, &value) || value > size - at)
                return false;
            at += value;
            break;
        case WIRE_64:
        case WIRE_32:
            value = (key & 7) == WIRE_64 ? 8 : 4;
            if (value > size - at)
                return false;
            at += value;
            break;
        default:
            return false;
        }
    }
    return true;
}

/* Reads one record into *event. False at the end, or where nothing sound follows; *failed: it could not be read at all. */
static bool read_record(FILE *file, uint8_t **event, size_t *capacity, uint64_t *length, bool *failed)
{
    uint8_t head[HEAD_BYTES];
    uint32_t crc;
    if (fread(head, 1, HEAD_BYTES, file) != HEAD_BYTES)
        return false;
    memcpy(length, head, sizeof *length);
    memcpy(&crc, head + sizeof *length, sizeof crc);
    if (crc != masked(head, sizeof *length) || *length > RECORD_MOST)
        return false;
    if (*length + TAIL_BYTES > *capacity) {
        uint8_t *moved = memory_resize(*event, *length + TAIL_BYTES, 1);
        *failed = !moved;
        if (!moved)
            return false;
        *event = moved;
        *capacity = *length + TAIL_BYTES;
    }
    if (fread(*event, 1, *length + TAIL_BYTES, file) != *length + TAIL_BYTES)
        return false;
    memcpy(&crc, *event + *length, sizeof crc);
    return crc == masked(*event, *length);
}

/* Where the events up to `step` end; 0: the file holds none, or is no event file. False after error_set(). */
static bool find_cut(const char *path, int64_t step, off_t *cut)
{
    uint8_t *event = NULL;
    size_t capacity = 0;
    uint64_t length;
    int64_t at;
    bool failed = false;
    *cut = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT || error_set("cannot open %s: %s", path, strerror(errno));
    while (read_record(file, &event, &capacity, &length, &failed) && read_step(event, length, &at) && at <= step)
        *cut += (off_t)(HEAD_BYTES + length + TAIL_BYTES);
    if (!failed && ferror(file))
        failed = !error_set("cannot read %s: %s", path, strerror(errno));
    fclose(file);
    memory_free(event);
    return !failed;
}

int events_open(const char *path, int64_t step, double wall_time)
{
    static const char version[] = "brain.Event:2";
    off_t cut = 0;
    Text record = {0};
    if (!find_cut(path, step, &cut))
        return -1;
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        error_set("cannot open %s: %s", path, strerror(errno));
        return -1;
    }
    bool ok = ftruncate(descriptor, cut) == 0 || error_set("cannot shorten %s: %s", path, strerror(errno));
    if (ok && cut == 0) {
        begin_record(&record, wall_time);
        add_bytes(&record, EVENT_VERSION, version, sizeof version - 1);
        ok = write_record(&record, descriptor, path);
    }
    text_free(&record);
    if (ok)
        return descriptor;
    close(descriptor);
    return -1;
}
