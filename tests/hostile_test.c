/* What strangers' pictures and weights may do: cut, emptied, renamed, overwritten, announcing more than they hold. Never a
 * crash; where the header tells, a refusal that costs next to nothing. The pictures are the seeds of the fuzz corpus. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "formats/zip_case.h"
#include "image/damage_case.h"
#include "nn/foreign.h"
#include "run_program.h"
#include "train/weights.h"

#define HOME   "hostile_test.tmp"
#define CORPUS LACUNA_SOURCE "/tests/fuzz/corpus"

static const char *const formats[] = {"jpeg", "png", "webp", "tiff"};
enum { FORMATS = sizeof formats / sizeof *formats };

static DamageFile read_seed(const char *path)
{
    DamageFile file;
    char whole[4096];
    snprintf(whole, sizeof whole, "%s/%s", CORPUS, path);
    file.data = (uint8_t *)file_read(whole, 0, &file.size);
    if (!file.data)
        fail_msg("%s", error_text());
    return file;
}

/* Calls `look` with every seed of a format that is a good picture; returns how many. */
static int each_good(int format, void (*look)(int format, const DamageFile *file))
{
    char folder[4096], path[300];
    int count = 0;
    snprintf(folder, sizeof folder, "%s/%s", CORPUS, formats[format]);
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.' || !strncmp(entry->d_name, "found-", 6))
            continue;
        snprintf(path, sizeof path, "%s/%s", formats[format], entry->d_name);
        DamageFile file = read_seed(path);
        if (damage_decode(file.data, file.size)) {
            look(format, &file);
            count++;
        }
        damage_file_free(&file);
    }
    closedir(entries);
    return count;
}

static void cut(int format, const DamageFile *file)
{
    (void)format;
    damage_by_cutting(file);
}

static void cut_files_are_refused(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++)
        assert_true(each_good(f, cut) >= 3);
}

/* ---- overwritten bytes: some formats have checksums, others cannot tell */

enum { TRIES = 1000 };
static int noticed[FORMATS], tried[FORMATS];

static void overwrite(int format, const DamageFile *file)
{
    noticed[format] += damage_by_overwriting(file, TRIES, (uint64_t)tried[format]);
    tried[format] += TRIES;
}

static void overwritten_files_never_crash(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++) {
        each_good(f, overwrite);
        print_message("%s: 1 to 8 overwritten bytes were noticed in %d of %d files\n", formats[f], noticed[f], tried[f]);
        assert_true(noticed[f] > 0);
    }
    /* PNG has checksums everywhere but in the chunks that are skipped. */
    assert_true(noticed[1] > 0.9 * tried[1]);
}

/* ---- what a refusal costs */

typedef struct {
    double seconds; /* of processor time */
    bool refused;
    char why[200];
} Cost;

/* Sanitizers take much more time, and addresses by the terabyte. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

/* From here on this process gets 64 MiB more and `room` bytes, and nothing beyond, however it asks. */
static void limit_memory(size_t room)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (SANITIZED)
        return;
    if (!file || fscanf(file, "%lu", &pages) != 1)
        _exit(2);
    fclose(file);
    rlim_t bytes = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20) + room;
    if (setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes}) != 0)
        _exit(2);
}

static bool decodes(const DamageFile *file)
{
    Image image;
    return image_decode(file->data, file->size, "it", 3, &image);
}

/* In a process of its own, so that its memory can be limited. */
static Cost cost_of(const DamageFile *file, size_t room, bool (*opens)(const DamageFile *file))
{
    int ends[2];
    Cost cost = {0};
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        limit_memory(room);
        double begin = clock_thread_seconds();
        cost.refused = !opens(file);
        cost.seconds = clock_thread_seconds() - begin;
        snprintf(cost.why, sizeof cost.why, "%s", error_text());
        _exit(write(ends[1], &cost, sizeof cost) == (ssize_t)sizeof cost ? 0 : 1);
    }
    int status;
    close(ends[1]);
    assert_int_equal(read(ends[0], &cost, sizeof cost), sizeof cost);
    close(ends[0]);
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    return cost;
}

/* `room`: addresses for a picture's pixels, which cost nothing before they are written to. */
static void expect_cheap_by(bool (*opens)(const DamageFile *file), const char *what, const DamageFile *file, size_t room,
                            const char *words)
{
    Cost cost = cost_of(file, room, opens);
    print_message("%s: refused in %.2f ms: %s\n", what, 1e3 * cost.seconds, cost.why);
    assert_true(cost.refused);
    if (!strstr(cost.why, words))
        fail_msg("'%s' does not say '%s'", cost.why, words);
    assert_true(cost.seconds < (SANITIZED ? 0.5 : 0.05));
}

static void expect_cheap(const char *what, const DamageFile *file, size_t room, const char *words)
{
    expect_cheap_by(decodes, what, file, room, words);
}

/* Puts a number at each place where `old` stands, both of 2 or 4 bytes. */
static void replace(DamageFile *file, size_t at, const void *old, const void *new, size_t size)
{
    assert_true(at + size <= file->size);
    assert_memory_equal(file->data + at, old, size);
    memcpy(file->data + at, new, size);
}

static size_t find(const DamageFile *file, const void *bytes, size_t size)
{
    uint8_t *at = memmem(file->data, file->size, bytes, size);
    assert_non_null(at);
    return (size_t)(at - file->data);
}

static void huge_announcements_cost_nothing(void **state)
{
    (void)state;
    DamageFile file = read_seed("png/rgb.png");
    static const uint8_t ihdr[17] = {'I', 'H', 'D', 'R', 0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30, 8, 2}; /* 30000 x 30000 */
    uint32_t crc = ~0u;
    for (size_t i = 0; i < sizeof ihdr; i++) {
        crc ^= ihdr[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    memcpy(file.data + 12, ihdr, sizeof ihdr);
    for (int i = 0; i < 4; i++)
        file.data[29 + i] = (uint8_t)(~crc >> (24 - 8 * i));
    expect_cheap("PNG of 30000 x 30000", &file, 0, "30000 x 30000 pixels, more than the limit");
    damage_file_free(&file);

    file = read_seed("jpeg/progressive.jpg");
    size_t frame = find(&file, "\xFF\xC2\0\x11\x08", 5);
    replace(&file, frame + 5, "\0\x13\0\x17", "\x75\x30\x75\x30", 4);
    expect_cheap("JPEG of 30000 x 30000", &file, 0, "30000 x 30000 pixels, more than the limit");
    damage_file_free(&file);

    file = read_seed("tiff/planes.tif"); /* tag, kind, count, value; then rows of a strip: all */
    static const uint8_t width[] = {1, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 8}, height[] = {1, 1, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4},
                         strip[] = {1, 22, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4};
    replace(&file, find(&file, width, sizeof width) + 8, width + 8, "\0\0\x75\x30", 4);
    replace(&file, find(&file, height, sizeof height) + 8, height + 8, "\0\0\x75\x30", 4);
    replace(&file, find(&file, strip, sizeof strip) + 8, strip + 8, "\0\0\x75\x30", 4);
    expect_cheap("TIFF of 30000 x 30000", &file, 0, "30000 x 30000 pixels, more than the limit");
    damage_file_free(&file);

    file = read_seed("webp/lossless.webp"); /* 14 bits each of width - 1 and height - 1 */
    size_t head = find(&file, "VP8L", 4) + 9;
    memcpy(file.data + head, "\xFF\xFF\xFF\x0F", 4);
    expect_cheap("WebP of 16384 x 16384", &file, 0, "16384 x 16384 pixels, more than the limit");
    damage_file_free(&file);
}

/* The scans of 10000 x 10000 pixels would take 600 MB of coefficients before the first one was read. */
static void thousands_of_scans_cost_nothing(void **state)
{
    (void)state;
    enum { TIMES = 5000 };
    DamageFile file = read_seed("jpeg/progressive.jpg"), many = {0};
    replace(&file, find(&file, "\xFF\xC2\0\x11\x08", 5) + 5, "\0\x13\0\x17", "\x27\x10\x27\x10", 4);
    uint8_t *last = file.data + file.size - 2;
    while (last[0] != 0xFF || last[1] != 0xDA)
        last--;
    size_t front = (size_t)(last - file.data), scan = file.size - 2 - front;
    many.data = malloc(front + TIMES * scan + 2);
    assert_non_null(many.data);
    memcpy(many.data, file.data, front);
    many.size = front;
    for (int t = 0; t < TIMES; t++, many.size += scan)
        memcpy(many.data + many.size, last, scan);
    memcpy(many.data + many.size, "\xFF\xD9", 2);
    many.size += 2;
    expect_cheap("JPEG with 5000 scans", &many, 300000000, "more than 500 scans");
    damage_file_free(&file);
    damage_file_free(&many);
}

static void time_is_limited_in_every_format_that_can_waste_it(void **state)
{
    (void)state;
    static const char *const files[] = {"jpeg/rgb.jpg", "jpeg/progressive.jpg", "png/rgb.png", "tiff/lzw.tif",
                                        "tiff/tiles.tif"};
    ImageLimits limits = {.max_pixels = 1 << 20, .max_scans = 100, .max_seconds = 1e-9};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        DamageFile file = read_seed(files[i]);
        Image image;
        assert_false(image_decode_within(file.data, file.size, "slow", 3, &limits, &image));
        assert_non_null(strstr(error_text(), "takes more than 1e-09 seconds"));
        damage_file_free(&file);
    }
}

/* ---- the program */

static void put(const char *name, const void *bytes, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, HOME "/pictures/%s", name);
    assert_true(file_write(path, bytes, size));
}

static void check_and_pack_name_each(void **state)
{
    (void)state;
    assert_true(file_remove(HOME) && file_make_folder(HOME "/pictures"));
    DamageFile jpeg = read_seed("jpeg/rgb.jpg"), webp = read_seed("webp/lossy.webp");
    put("a-good.jpg", jpeg.data, jpeg.size);
    put("b-other-suffix.PNG", jpeg.data, jpeg.size);
    put("c-text.jpg", "this is text\n", 13);
    put("d-empty.png", "", 0);
    put("e-cut.webp", webp.data, webp.size / 2);
    put("f-gif.tif", "GIF89a\1\0\1\0", 10);
    Ran ran = run_program("data check " HOME "/pictures");
    assert_int_equal(ran.code, 1);
    assert_string_equal(ran.out,
                        "c-text.jpg: this is neither a JPEG, PNG, WebP nor TIFF file\n"
                        "d-empty.png: the file is empty\n"
                        "e-cut.webp: the WebP file is cut off after 79 bytes\n"
                        "f-gif.tif: this is a GIF file; only JPEG, PNG, WebP and TIFF can be read, convert it first\n");
    assert_non_null(strstr(ran.err, "4 of 6 pictures cannot be read"));
    Ran packed = run_program("data pack --threads 3 " HOME "/pictures " HOME "/shards/ --short-side 8");
    assert_int_equal(packed.code, 1);
    assert_string_equal(packed.out, ran.out);
    assert_non_null(strstr(packed.err, "2 pictures in 1 shard at " HOME "/shards; 4 that cannot be read were left out"));
    ran_free(&packed);
    packed = run_program("data check " HOME "/shards");
    assert_int_equal(packed.code, 0);
    ran_free(&packed);
    packed = run_program("data pack " HOME "/pictures " HOME "/shards");
    assert_int_equal(packed.code, 1);
    assert_non_null(strstr(packed.err, "is not empty"));
    ran_free(&packed);
    ran_free(&ran);
    damage_file_free(&jpeg);
    damage_file_free(&webp);
    assert_true(file_remove(HOME));
}

/* ---- weights */

static bool holds_weights(const DamageFile *file)
{
    Recipe *recipe = memory_new(1, sizeof *recipe);
    StateDict *state = recipe ? state_open_memory(file->data, file->size, "it") : NULL;
    Foreign *foreign = state ? foreign_open(state, recipe) : NULL;
    foreign_close(foreign);
    state_close(state);
    memory_free(recipe);
    return foreign != NULL;
}

static void expect_cheap_weights(const char *what, const void *data, size_t size, const char *words)
{
    DamageFile file = {.data = (uint8_t *)data, .size = size};
    expect_cheap_by(holds_weights, what, &file, 0, words);
}

/* A safetensors file with that header. */
static void expect_cheap_header(const char *what, const char *header, size_t data, const char *words)
{
    Text t = {0};
    uint64_t length = strlen(header);
    text_add_bytes(&t, &length, sizeof length);
    text_add(&t, "%s%*s", header, (int)data, "");
    expect_cheap_weights(what, t.data, t.length, words);
    text_free(&t);
}

/* A file of torch.save with that pickle and a storage of `bytes` zeros; `script`: a TorchScript archive. */
static void expect_cheap_pickle(const char *what, const Text *pickle, size_t bytes, bool script, const char *words)
{
    Text t = {0};
    char *zeros = memory_new(bytes, 1);
    ZipEntry entries[] = {{"a/data.pkl", pickle->data, (uint32_t)pickle->length, 0, 0},
                          {"a/data/0", zeros, (uint32_t)bytes, 0, 0},
                          {"a/constants.pkl", "N.", 2, 0, 0}};
    zip_case(&t, entries, script ? 3 : 2);
    expect_cheap_weights(what, t.data, t.length, words);
    memory_free(zeros);
    text_free(&t);
}

/* "NAME": a tensor of rows x 4 with that stride between rows, in the storage of 64 numbers. */
static void add_tensor(Text *t, const char *name, int32_t rows, int32_t stride)
{
    uint32_t length = (uint32_t)strlen(name);
    text_add(t, "X");
    text_add_bytes(t, &length, sizeof length);
    text_add(t, "%sctorch._utils\n_rebuild_tensor_v2\n(", name);
    static const char storage[] = "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
                                  "0X\3\0\0\0cpuK@tQK\0";
    text_add_bytes(t, storage, sizeof storage - 1);
    text_add(t, "J");
    text_add_bytes(t, &rows, sizeof rows);
    text_add_bytes(t, "K\4\x86J", 4);
    text_add_bytes(t, &stride, sizeof stride);
    text_add_bytes(t,
                   "K\1\x86\x89N"
                   "tR",
                   7);
}

/* The tensor of memo 0 once more, under a number of so many digits. */
static void add_again(Text *t, uint32_t digits, int number)
{
    text_add(t, "X");
    text_add_bytes(t, &digits, sizeof digits);
    text_add(t, "%0*d", (int)digits, number);
    text_add_bytes(t, "h\0", 2);
}

static void hostile_weights_cost_nothing(void **state)
{
    (void)state;
    static const uint64_t four_gb = (uint64_t)4 << 30;
    char announced[16] = "";
    memcpy(announced, &four_gb, sizeof four_gb);
    announced[8] = '{';
    expect_cheap_weights("safetensors with a header of 4 GB", announced, sizeof announced, "a header of 4294967296 bytes");
    expect_cheap_header("safetensors with a name twice",
                        "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                        "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                        2, "duplicate");
    expect_cheap_header("safetensors with tensors that overlap",
                        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                        "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
                        3, "overlap");
    /* Forty times its bytes and more, once it is built. */
    Text lists = {0};
    text_add(&lists, "{\"a\":[");
    for (int i = 0; i < 1000000; i++)
        text_add(&lists, "[],");
    text_add(&lists, "1]}");
    expect_cheap_header("safetensors with a million lists", lists.data, 0, "more values than such a file does");
    lists.length = 0;
    text_add(&lists, "{\"a\":{\"shape\":[");
    for (int i = 0; i < 1000000; i++)
        text_add(&lists, "1,");
    text_add(&lists, "1]}}");
    expect_cheap_header("safetensors with a million sizes", lists.data, 0, "more values than such a file does");
    lists.length = 0;
    text_add(&lists, "{");
    for (int i = 0; i < 20000; i++)
        text_add(&lists, "\"%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},", i);
    lists.data[lists.length - 1] = '}';
    expect_cheap_header("safetensors with 20,000 tensors", lists.data, 0, "more values than such a file does");
    lists.length = 0;
    text_add(&lists, "{\"__metadata__\":{\"a\":\"%*s\"}}", 40 << 20, "");
    expect_cheap_header("safetensors with a text of 40 MB", lists.data, 0, "at most 16777216 are accepted");
    lists.length = 0;
    text_add(&lists, "{\"%*s\":1}", (16 << 20) - 6, "");
    expect_cheap_header("safetensors with a text of 16 MB", lists.data, 0, "more text than such a file does");
    text_free(&lists);
    expect_cheap_header("safetensors with a tensor outside", "{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}",
                        3, "do not lie in the 3 bytes");

    Text t = {0};
    zip_case(&t, (ZipEntry[]){{"a/data.pkl", "bomb", 4, 8, 0}}, 1);
    uint32_t much = UINT32_MAX - 1; /* as if the four bytes became 4 GB */
    memcpy((char *)memmem(t.data, t.length, "PK\1\2", 4) + 24, &much, sizeof much);
    expect_cheap_weights("a zip bomb", t.data, t.length, "compressed");
    text_free(&t);
    zip_case(&t, (ZipEntry[]){{"a/data.pkl", "N.", 2, 0, 0}, {"a/data.pkl", "N.", 2, 0, 0}}, 2);
    expect_cheap_weights("a zip with a name twice", t.data, t.length, "occurs twice");
    text_free(&t);
    zip_case(&t, (ZipEntry[]){{"a/data.pkl", "N.", 2, 0, 0}, {"a/data/0", "N.", 2, 0, -42}}, 2);
    expect_cheap_weights("a zip with records that overlap", t.data, t.length, "overlap");
    text_free(&t);

    /* Directory entries of one record: as many as there may be, and more. */
    enum { RECORDS = 40000 };
    ZipEntry *records = memory_new(RECORDS, sizeof *records);
    char(*names)[16] = memory_new(RECORDS, sizeof *names);
    assert_true(records && names);
    for (int i = 0; i < RECORDS; i++) {
        snprintf(names[i], sizeof names[i], "a/%d", (int)(i * 7919LL % RECORDS));
        records[i] = (ZipEntry){names[i], "", 0, 0, 0};
    }
    zip_case(&t, records, RECORDS);
    expect_cheap_weights("a zip with 40,000 records", t.data, t.length, "at most 30000 are accepted");
    text_free(&t);
    zip_case(&t, records, 30000);
    expect_cheap_weights("a zip with 30,000 records", t.data, t.length, "");
    text_free(&t);
    memory_free(names);
    memory_free(records);

    Text p = {0};
    for (int i = 0; i < 4 << 20; i++)
        text_add_bytes(&p, "N", 1);
    expect_cheap_pickle("a pickle of four million values", &p, 0, false, "more than 524288 opcodes");
    p.length = 0;
    for (int i = 0; i < 2 << 20; i++)
        text_add_bytes(&p, i % 2 ? "]" : "(", 1);
    expect_cheap_pickle("a pickle of marks and lists", &p, 0, false, "more than 524288 opcodes");
    p.length = 0;
    text_add(&p, "]q%c", 1);
    for (int i = 0; i < 1 << 20; i++)
        text_add_bytes(&p, "h\1a", 3);
    expect_cheap_pickle("a pickle with a list in itself", &p, 0, false, "more than 524288 opcodes");
    p.length = 0;
    text_add(&p, "N");
    text_add_bytes(&p, "r\xff\xff\xff\xff.", 6);
    expect_cheap_pickle("a pickle with a memo of 4 billion", &p, 0, false, "of the memo is too large");
    p.length = 0;
    text_add_bytes(&p, "\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", 9);
    expect_cheap_pickle("a pickle with a text of 8 EB", &p, 0, false, "ends in the middle");
    p.length = 0;
    text_add(&p, "cos\nsystem\nX");
    text_add_bytes(&p, "\2\0\0\0id\x85R.", 9);
    expect_cheap_pickle("a pickle that calls os.system", &p, 0, false, "nothing was run");
    p.length = 0;
    text_add(&p, "}(");
    add_tensor(&p, "a", 1 << 30, 0);
    text_add(&p, "u.");
    expect_cheap_pickle("a tensor of 4 billion times 64 numbers", &p, 256, false, "repeats the 64 numbers");
    p.length = 0;
    text_add(&p, "}(");
    add_tensor(&p, "a", 17, 4);
    text_add(&p, "u.");
    expect_cheap_pickle("a tensor outside of its storage", &p, 256, false, "reaches outside of its storage");
    p.length = 0;
    text_add(&p, "}(");
    add_tensor(&p, "a", 4, 4);
    add_tensor(&p, "a", 4, 4);
    text_add(&p, "u.");
    expect_cheap_pickle("tensors of one name", &p, 256, false, "its name occurs twice");
    char name[1026] = "";
    memset(name, 'a', sizeof name - 1);
    p.length = 0;
    text_add(&p, "}(");
    add_tensor(&p, name, 4, 4);
    text_add(&p, "u.");
    expect_cheap_pickle("a tensor with a name of 1025 bytes", &p, 256, false, "is longer than 1024 bytes");
    /* Many names of one tensor, as many as there may be and more; and as much of names. */
    for (int many = 9999; many <= 30000; many += 20001) {
        p.length = 0;
        text_add(&p, "}(");
        add_tensor(&p, "a", 4, 4);
        text_add_bytes(&p, "q\0", 2);
        for (int i = 1; i < many; i++) {
            add_again(&p, 5, i);
        }
        text_add(&p, "u.");
        expect_cheap_pickle(many < 10000 ? "a tensor under 9,999 names" : "a tensor under 30,000 names", &p, 256, false,
                            many < 10000 ? "" : "more than 10000 tensors");
    }
    p.length = 0;
    text_add(&p, "}(");
    add_tensor(&p, "a", 4, 4);
    text_add_bytes(&p, "q\0", 2);
    for (int i = 0; i < 9000; i++) {
        add_again(&p, 1000, i);
    }
    text_add(&p, "u.");
    expect_cheap_pickle("names of nine million bytes", &p, 256, false, "longer than 1048576 bytes together");
    /* A file of the old format, whose four pickles are as large as one may be. */
    p.length = 0;
    text_add_bytes(&p, "\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20j\xa8P\x19.", 15);
    for (int k = 0; k < 4; k++) {
        text_add(&p, "(");
        for (int i = 0; i < 524200; i++)
            text_add(&p, "c\n\n");
        text_add(&p, "t.");
    }
    expect_cheap_weights("four large pickles of the old format", p.data, p.length, "more than 64 opcodes");
    /* Modules that hold one another twice: to look at all of them would be to look at 2^60. */
    p.length = 0;
    for (int i = 0; i < 60; i++)
        text_add_bytes(&p, "c__torch__\nM\n)\x81}(X\1\0\0\0a", 23);
    text_add(&p, "c__torch__\nM\n)\x81");
    for (int i = 0; i < 60; i++) {
        text_add_bytes(&p, (char[]){'q', (char)i}, 2);
        text_add_bytes(&p, "X\1\0\0\0b", 6);
        text_add_bytes(&p, (char[]){'h', (char)i, 'u', 'b'}, 4);
    }
    text_add(&p, ".");
    expect_cheap_pickle("modules that hold one another", &p, 0, true, "modules lie too deep");
    /* Many names of one large mapping, in one that names itself: each level would be their product. */
    p.length = 0;
    text_add_bytes(&p, "}q\2(X\1\0\0\0aq", 11);
    text_add_bytes(&p, "\0}q\1(", 5);
    for (int i = 0; i < 100000; i++)
        text_add_bytes(&p, "h\0N", 3);
    text_add(&p, "u");
    for (int i = 0; i < 100000; i++)
        text_add_bytes(&p, "h\0h\1", 4);
    text_add_bytes(&p, "X\5\0\0\0modelh\2u.", 14);
    expect_cheap_pickle("a mapping under many names that holds itself", &p, 0, false, "lie too deep in each other");
    /* A large mapping that is its own network: each level would look through it for every name a network may have. */
    p.length = 0;
    text_add_bytes(&p, "}q\0(X\1\0\0\0aq\1N", 13);
    for (int i = 0; i < 170000; i++)
        text_add_bytes(&p, "h\1N", 3);
    text_add_bytes(&p, "X\3\0\0\0neth\0u.", 12);
    expect_cheap_pickle("a large mapping that is its own network", &p, 0, false, "lie too deep in each other");
    text_free(&p);
}

static bool opens_weights(const DamageFile *file)
{
    Recipe *recipe = memory_new(1, sizeof *recipe);
    Weights *weights = recipe ? weights_open((const char *)file->data, recipe, NULL) : NULL;
    weights_close(weights);
    memory_free(recipe);
    return weights != NULL;
}

/* A file of this program with one block of width 64 and a decoder's end, whose recipe says that it holds much more. */
static void expect_cheap_recipe(const char *recipe, bool block, const char *words)
{
    static const char path[] = HOME "/small.safetensors";
    static const float numbers[4 * 64 * 64];
    SafeTensor tensors[] = {{.name = "blocks.0.norm1.weight", .ndim = 1, .shape = {64}},
                            {.name = "blocks.0.attn.qkv.weight", .ndim = 2, .shape = {192, 64}},
                            {.name = "blocks.0.mlp.fc1.weight", .ndim = 2, .shape = {256, 64}},
                            {.name = "blocks.0.mlp.fc2.weight", .ndim = 2, .shape = {64, 256}},
                            {.name = "decoders.0.pred.bias", .ndim = 1, .shape = {48}}};
    enum { TENSORS = sizeof tensors / sizeof *tensors };
    SafeMetadata metadata[] = {{"format", "lacuna"}, {"recipe", recipe}};
    for (int i = 0; i < TENSORS; i++) {
        tensors[i].dtype = SAFETENSORS_F32;
        tensors[i].data = numbers;
    }
    if (!file_make_folder(HOME) || !safetensors_write(path, block ? tensors : tensors + 4, block ? TENSORS : 1, metadata, 2))
        fail_msg("%s", error_text());
    DamageFile file = {.data = (uint8_t *)path, .size = sizeof path};
    expect_cheap_by(opens_weights, recipe, &file, 0, words);
    assert_true(file_remove(HOME));
}

static void a_recipe_does_not_make_weights(void **state)
{
    (void)state;
    expect_cheap_recipe("encoder: {width: 8192, depth: 16, heads: 64}", true, "does not hold the blocks.0");
    expect_cheap_recipe("encoder: {width: 64, depth: 512, heads: 2}", true, "does not hold the blocks.1");
    expect_cheap_recipe("encoder: {width: 64, depth: 1, heads: 2}", false, "holds no encoder");
    expect_cheap_recipe("{image: {size: 4096}, encoder: {patch: 2, width: 64, depth: 1, heads: 2}}", true,
                        "4194304 patches of a picture, more than is accepted");
    expect_cheap_recipe("{encoder: {width: 64, depth: 1, heads: 2}, decoders: [{width: 65536, depth: 64, heads: 1024}]}", true,
                        "does not hold the decoders.0.blocks.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(overwritten_files_never_crash),
        cmocka_unit_test(huge_announcements_cost_nothing),
        cmocka_unit_test(thousands_of_scans_cost_nothing),
        cmocka_unit_test(time_is_limited_in_every_format_that_can_waste_it),
        cmocka_unit_test(check_and_pack_name_each),
        cmocka_unit_test(hostile_weights_cost_nothing),
        cmocka_unit_test(a_recipe_does_not_make_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
