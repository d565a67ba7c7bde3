/* Which pictures a shard holds, with their labels; kept from one start to the next. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/kinds.h"
#include "data/tar.h"

enum { COARSEST_CLOCK = 2 }; /* seconds; a file changed this short a time ago may change again without its time telling */
enum { LONGEST_LABEL = 64 }; /* bytes of a .cls member */

/* A member that counts, a picture or a label, while the archive is walked. */
typedef struct {
    uint64_t name, header; /* the name: an offset in the text of all names */
    size_t picture;        /* its place among the pictures; SIZE_MAX: a label */
    int64_t label;
} Met;

typedef struct {
    const char *path;
    Text names;
    Met *met;
    TarPicture *pictures;
    size_t met_count, met_capacity, count, capacity;
} Making;

void tar_index_free(TarIndex *index)
{
    memory_free(index->text);
    memory_free(index->pictures);
    *index = (TarIndex){0};
}

/* The suffix of a member's name with its dot; "" without one. */
static const char *suffix_of(const char *name)
{
    const char *dot = strrchr(file_name(name), '.');
    return dot ? dot : name + strlen(name);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* WebDataset's key of a member: its name up to the first dot behind the folders. */
static size_t key_size(const char *name)
{
    const char *file = file_name(name);
    return (size_t)(file - name) + strcspn(file, ".");
}

/* A whole number with white space around it; -1 when it is none. */
static int64_t read_label(const char *text, size_t size)
{
    while (size && is_blank(text[size - 1]))
        size--;
    while (size && is_blank(*text)) {
        text++;
        size--;
    }
    return class_number_read(text, size);
}

bool tar_is_note(const char *part, size_t size)
{
    return size >= 4 && !memcmp(part, "__", 2) && !memcmp(part + size - 2, "__", 2);
}

static bool meet(void *self, int descriptor, const TarMember *member)
{
    Making *m = self;
    const char *suffix = suffix_of(member->name);
    bool label = !strcasecmp(suffix, ".cls");
    bool picture = image_suffix_format(member->name) != NULL;
    unsigned long long header = member->header;
    /* As in folders; Macs put ._NAME beside each NAME. */
    if (file_name(member->name)[0] == '.' || tar_is_note(member->name, strcspn(member->name, "/")))
        return true;
    if ((!label && !picture) || (member->type != '0' && member->type != '1' && member->type != '2'))
        return true;
    if (member->type != '0')
        return error_set("%s: the member %s at byte %llu is a link; make the archive with --dereference --hard-dereference",
                         m->path, member->name, header);
    Met met = {.name = m->names.length, .header = member->header, .picture = SIZE_MAX, .label = -1};
    if (label) {
        char text[LONGEST_LABEL];
        if (member->size <= sizeof text) {
            if (!tar_read(descriptor, m->path, text, (size_t)member->size, member->offset))
                return false;
            met.label = read_label(text, (size_t)member->size);
        }
        if (met.label < 0)
            return error_set("%s: the label %s at byte %llu is no whole number from 0 to %d", m->path, member->name, header,
                             MOST_CLASSES - 1);
    } else {
        if (!memory_grow((void **)&m->pictures, m->count, &m->capacity, sizeof *m->pictures))
            return false;
        met.picture = m->count;
        m->pictures[m->count++] = (TarPicture){met.name, member->offset, member->size, -1};
    }
    text_add_bytes(&m->names, member->name, strlen(member->name) + 1);
    if (m->names.failed || !memory_grow((void **)&m->met, m->met_count, &m->met_capacity, sizeof *m->met))
        return false;
    m->met[m->met_count++] = met;
    return true;
}

static int compare_met(const void *a, const void *b, void *names)
{
    const Met *x = a, *y = b;
    int order = strcmp((const char *)names + x->name, (const char *)names + y->name);
    return order ? order : x->header < y->header ? -1 : x->header > y->header;
}

/* A name without its suffix, so that it is found by the stem of another. */
static int compare_stem(const char *name, const char *stem, size_t size)
{
    size_t n = (size_t)(suffix_of(name) - name);
    int order = memcmp(name, stem, n < size ? n : size);
    return order ? order : n < size ? -1 : n > size;
}

static int compare_stems(const void *a, const void *b, void *names)
{
    const Met *x = a, *y = b;
    const char *stem = (const char *)names + y->name;
    int order = compare_stem((const char *)names + x->name, stem, (size_t)(suffix_of(stem) - stem));
    return order ? order : x->header < y->header ? -1 : x->header > y->header;
}

static const Met *find_stem(const Making *m, const Met *sorted, size_t count, const char *stem, size_t size)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_stem(m->names.data + sorted[middle].name, stem, size);
        if (order == 0)
            return &sorted[middle];
        if (order > 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Two members of one name would be two samples of one key, of which unpacking keeps the last. */
static bool names_differ(Making *m)
{
    qsort_r(m->met, m->met_count, sizeof *m->met, compare_met, m->names.data);
    for (size_t i = 1; i < m->met_count; i++) {
        const char *name = m->names.data + m->met[i].name;
        if (!strcmp(name, m->names.data + m->met[i - 1].name))
            return error_set("%s: the name %s occurs twice, at bytes %llu and %llu", m->path, name,
                             (unsigned long long)m->met[i - 1].header, (unsigned long long)m->met[i].header);
    }
    return true;
}

/* Suffixes tell a sample's parts apart in any case: a.jpg and a.JPG would be one part twice. */
static bool suffixes_differ(const Making *m, const Met *sorted, size_t count)
{
    for (size_t first = 0, i = 1; i < count; i++) {
        const char *name = m->names.data + sorted[i].name;
        size_t stem = (size_t)(suffix_of(name) - name);
        if (compare_stem(m->names.data + sorted[first].name, name, stem))
            first = i;
        for (size_t k = first; k < i; k++) {
            const char *other = m->names.data + sorted[k].name;
            if (!strcasecmp(suffix_of(other), suffix_of(name)))
                return error_set("%s: %s and %s are the same part of a sample twice", m->path, other, name);
        }
    }
    return true;
}

/* Takes out what belongs to a picture without being one to train on: beside K.jpg a K.seg.png is of the same sample. */
static bool leave_companions_out(Making *m)
{
    size_t wholes = 0, kept = 0;
    Met *whole = memory_new(m->met_count, sizeof *whole);
    if (!whole)
        return false;
    for (size_t i = 0; i < m->met_count; i++) {
        const char *name = m->names.data + m->met[i].name;
        if (m->met[i].picture != SIZE_MAX && key_size(name) == (size_t)(suffix_of(name) - name))
            whole[wholes++] = m->met[i];
    }
    if (wholes)
        qsort_r(whole, wholes, sizeof *whole, compare_stems, m->names.data);
    if (!suffixes_differ(m, whole, wholes)) {
        memory_free(whole);
        return false;
    }
    for (size_t p = 0; p < m->count; p++) {
        const char *name = m->names.data + m->pictures[p].name;
        size_t key = key_size(name);
        if (key == (size_t)(suffix_of(name) - name) || !find_stem(m, whole, wholes, name, key))
            m->pictures[kept++] = m->pictures[p];
    }
    m->count = kept;
    memory_free(whole);
    return true;
}

static bool give_labels(Making *m)
{
    size_t count = 0;
    Met *labels = memory_new(m->met_count, sizeof *labels);
    bool ok = labels != NULL;
    for (size_t i = 0; ok && i < m->met_count; i++)
        if (m->met[i].picture == SIZE_MAX)
            labels[count++] = m->met[i];
    if (ok && count)
        qsort_r(labels, count, sizeof *labels, compare_stems, m->names.data);
    for (size_t i = 1; ok && i < count; i++) {
        const char *name = m->names.data + labels[i].name, *last = m->names.data + labels[i - 1].name;
        if (!compare_stem(last, name, (size_t)(suffix_of(name) - name)))
            ok = error_set("%s: %s and %s are labels of the same picture", m->path, last, name);
    }
    for (size_t p = 0; ok && count && p < m->count; p++) {
        const char *name = m->names.data + m->pictures[p].name;
        const Met *label = find_stem(m, labels, count, name, (size_t)(suffix_of(name) - name));
        if (!label)
            label = find_stem(m, labels, count, name, key_size(name));
        if (label)
            m->pictures[p].label = label->label;
    }
    memory_free(labels);
    return ok;
}

/* The file: this header, the path, the pictures, the text. Of use to this machine only, so the layout is the compiler's; a file
 * that is damaged or of another layout fails the hash or the sizes. */
typedef struct {
    char magic[16];
    uint64_t hash; /* of all behind it */
    uint64_t path_size, text_size, count, size;
    int64_t seconds, nanoseconds;
} StoredHeader;

/* The number is raised when other members count: see `magic` in listing.c. */
static const char magic[16] = "lacuna shard 3";

bool tar_index_parse(TarIndex *index, const char *path, const char *data, size_t size)
{
    size_t bytes;
    StoredHeader header;
    bool ok = false;
    if (size < sizeof header)
        return false;
    memcpy(&header, data, sizeof header);
    const char *at = data + sizeof header;
    size_t left = size - sizeof header, hashed = offsetof(StoredHeader, path_size);
    if (memcmp(header.magic, magic, sizeof magic) || hash_bytes(HASH_START, data + hashed, size - hashed) != header.hash ||
        header.size != index->size || header.seconds != index->seconds || header.nanoseconds != index->nanoseconds)
        goto done;
    if (header.path_size != strlen(path) || header.path_size > left || memcmp(at, path, header.path_size))
        goto done;
    at += header.path_size;
    left -= header.path_size;
    if (!size_multiply(header.count, sizeof(TarPicture), &bytes) || bytes > left || left - bytes != header.text_size)
        goto done;
    index->pictures = memory_new(header.count, sizeof(TarPicture));
    index->text = memory_new(header.text_size + 1, 1);
    if (!index->pictures || !index->text)
        goto done;
    memcpy(index->pictures, at, bytes);
    memcpy(index->text, at + bytes, header.text_size);
    for (size_t i = 0; i < header.count; i++) {
        const TarPicture *p = &index->pictures[i];
        if (p->name >= header.text_size || p->size > index->size || p->offset > index->size - p->size || p->label < -1 ||
            p->label >= MOST_CLASSES)
            goto done;
    }
    index->count = header.count;
    index->text_size = header.text_size;
    ok = true;
done:
    if (!ok) {
        memory_free(index->pictures);
        memory_free(index->text);
        index->pictures = NULL;
        index->text = NULL;
    }
    return ok;
}

static bool take_stored(TarIndex *index, const char *path, const char *stored)
{
    size_t size = 0;
    char *data = file_exists(stored) ? file_read(stored, 0, &size) : NULL;
    bool ok = data && tar_index_parse(index, path, data, size);
    memory_free(data);
    error_clear();
    return ok;
}

/* Best effort: without the file the next start walks the archive again. */
static void store(const TarIndex *index, const char *path, const char *stored, time_t started)
{
    StoredHeader header = {.path_size = strlen(path),
                           .text_size = index->text_size,
                           .count = index->count,
                           .size = index->size,
                           .seconds = index->seconds,
                           .nanoseconds = index->nanoseconds};
    Text t = {0};
    if (index->seconds >= started - COARSEST_CLOCK)
        return;
    memcpy(header.magic, magic, sizeof magic);
    text_add_bytes(&t, &header, sizeof header);
    text_add_bytes(&t, path, header.path_size);
    text_add_bytes(&t, index->pictures, index->count * sizeof *index->pictures);
    text_add_bytes(&t, index->text, index->text_size);
    if (!t.failed) {
        size_t hashed = offsetof(StoredHeader, path_size);
        header.hash = hash_bytes(HASH_START, t.data + hashed, t.length - hashed);
        memcpy(t.data, &header, sizeof header);
        file_write(stored, t.data, t.length);
    }
    text_free(&t);
    error_clear();
}

bool tar_index_make(TarIndex *index, const char *path, const char *stored)
{
    *index = (TarIndex){0};
    Making m = {.path = path};
    struct stat info;
    time_t started = time(NULL);
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) < 0) {
        error_set("cannot open %s: %s", path, strerror(errno));
        goto done;
    }
    index->size = (uint64_t)info.st_size;
    index->seconds = info.st_mtim.tv_sec;
    index->nanoseconds = info.st_mtim.tv_nsec;
    if (stored && take_stored(index, path, stored)) {
        index->stored = ok = true;
        goto done;
    }
    ok = tar_walk(fd, path, meet, &m) && (!m.met_count || (names_differ(&m) && leave_companions_out(&m) && give_labels(&m)));
    if (!ok)
        goto done;
    index->text = m.names.data;
    index->text_size = m.names.length;
    index->pictures = m.pictures;
    index->count = m.count;
    m.names = (Text){0};
    m.pictures = NULL;
    if (stored && index->count)
        store(index, path, stored, started);
done:
    if (fd >= 0)
        close(fd);
    text_free(&m.names);
    memory_free(m.met);
    memory_free(m.pictures);
    if (!ok)
        tar_index_free(index);
    return ok;
}
