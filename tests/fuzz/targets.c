/* What each target reads, and what must hold whatever it is given. A failure must say why; a success must be usable to its last
 * byte, which sanitizers watch. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "data/kinds.h"
#include "data/listing.h"
#include "data/tar.h"
#include "formats/crc32c.h"
#include "formats/events.h"
#include "formats/pickle.h"
#include "formats/safetensors.h"
#include "formats/state.h"
#include "formats/zip.h"
#include "fuzz.h"
#include "image/image.h"
#include "nn/foreign.h"
#include "recipe/recipe.h"
#include "train/bad_names.h"
#include "train/checkpoint_parts.h"

static void expect(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz: this must hold: %s (the last error: %s)\n", what, error_text());
    abort();
}

/* A compiler must not leave out the reading. */
static volatile uint8_t sink;

static void touch(const void *bytes, size_t size)
{
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++)
        all ^= ((const uint8_t *)bytes)[i];
    sink = all;
}

/* A copy with a zero byte behind it, as file_read() gives. */
static char *text_of(const uint8_t *data, size_t size)
{
    char *text = memory_new(size + 1, 1);
    expect(text != NULL, "there is memory");
    if (size)
        memcpy(text, data, size);
    return text;
}

/* ---- pictures */

static ImageBox middle(void *context, int height, int width)
{
    (void)context;
    return (ImageBox){height / 4, width / 3, (height + 1) / 2, (width + 1) / 2};
}

/* A part has the samples of the whole and is refused when the whole is; of a file known to be good it is good, too. */
static void compare_part(const uint8_t *data, size_t size, const ImageFacts *facts, const ImageRequest *how)
{
    Image whole, part;
    ImageRequest request = *how;
    bool good = image_decode_part(data, size, "whole", how, &whole);
    expect(good || !error_is_machine(), "a bad picture is no fault of the machine");
    request.choose = middle;
    for (int known = 0; known <= good; known++) {
        request.known = known;
        bool same = image_decode_part(data, size, "part", &request, &part);
        expect(same == good, "a part is good when the whole is, and else bad");
        if (!same)
            continue;
        ImageBox box = middle(NULL, whole.height, whole.width);
        size_t pixel = (size_t)whole.channels * image_depth_bytes(whole.depth), row = (size_t)box.width * pixel;
        expect(part.channels == how->channels && part.depth == facts->depth, "a part keeps channels and depth");
        expect(part.height == box.height && part.width == box.width, "a part has the size of its box");
        for (int y = 0; y < box.height; y++)
            expect(!memcmp(part.data + (size_t)y * row,
                           whole.data + ((size_t)(box.top + y) * (size_t)whole.width + (size_t)box.left) * pixel, row),
                   "a part has the samples of the whole");
        image_free(&part);
    }
    image_free(&whole);
}

/* All codecs share this: the first bytes decide which one is asked. Announced sizes are limited, or most time would go into a
 * few large pictures. */
static void read_picture(const uint8_t *data, size_t size)
{
    ImageLimits limits = {.max_pixels = 1 << 18, .max_scans = 50, .max_seconds = 10};
    for (int channels = 1; channels <= 3; channels += 2) {
        Image image;
        error_clear();
        bool good = image_decode_within(data, size, "part", channels, &limits, &image);
        expect(good || (!image.data && !strncmp(error_text(), "part: ", 6)), "a picture is whole, or refused with a reason");
        expect(good || !error_is_machine(), "a bad picture is no fault of the machine");
        if (good) {
            expect(image.channels == channels && image.height > 0 && image.width > 0, "a picture has a size");
            touch(image.data, image_size(&image));
        }
        image_free(&image);
    }
    ImageFacts facts;
    if (!image_facts(data, size, "part", &facts))
        return;
    expect(facts.height > 0 && facts.width > 0 && facts.channels > 0 && facts.channels <= IMAGE_CHANNELS_MAX,
           "a picture looked at has a size");
    expect(facts.orientation >= 1 && facts.orientation <= 8, "its orientation is one of eight");
    limits.max_seconds = 0; /* whether a picture is good must not hang on the machine here */
    for (int reduced = 0; reduced < 2; reduced++)
        compare_part(data, size, &facts,
                     &(ImageRequest){.channels = facts.channels + (facts.alpha && reduced),
                                     .deep = true,
                                     .exif = true,
                                     .limits = &limits,
                                     .draft = {reduced ? 40 : 0, 40}});
}

/* ---- sources */

static void look_through(const Source *source)
{
    char key[64];
    expect(source_count(source) > 0 && source_summary(source), "an opened source has samples");
    for (size_t i = 0; i < source_count(source); i++) {
        int label = source_label(source, i);
        expect(label >= -1 && label < (source_class_count(source) ? source_class_count(source) : 1), "labels are classes");
        source_key(source, i, key, sizeof key);
        touch(key, strlen(key));
    }
    for (int c = 0; c < source_class_count(source); c++)
        touch(source_class_name(source, c), strlen(source_class_name(source, c)));
}

static Source *blank_source(const char *where)
{
    Source *source = memory_new(1, sizeof *source);
    expect(source && (source->where = memory_string(where)), "there is memory");
    error_clear();
    return source;
}

static void finish_source(Source *source, bool good)
{
    if (good)
        look_through(source);
    else
        expect(error_text()[0] != 0, "a refusal says why");
    source_close(source);
}

/* Labels of many digits are left to list_test.c: up to a million classes are accepted and named, which takes long. */
static bool has_large_number(const uint8_t *data, size_t size)
{
    enum { DIGITS = 5 };
    size_t digits = 0;
    for (size_t i = 0; i < size && digits < DIGITS; i++)
        digits = data[i] >= '0' && data[i] <= '9' ? digits + 1 : 0;
    return digits == DIGITS;
}

static void read_list(const uint8_t *data, size_t size)
{
    if (has_large_number(data, size))
        return;
    Source *source = blank_source("/folder/list.csv");
    finish_source(source, list_open_text(source, text_of(data, size), size));
}

/* The first byte says how many of the rest are class names. */
static void read_cifar(const uint8_t *data, size_t size)
{
    Source *source = blank_source("/folder/data.bin");
    size_t names = size ? data[0] : 0;
    names = names < size ? names : 0;
    size_t skip = size ? 1 + names : 0;
    uint8_t *bytes = (uint8_t *)text_of(data + skip, size - skip);
    bool good = cifar_open_bytes(source, bytes, size - skip, names ? text_of(data + 1, names) : NULL);
    Image image;
    if (good)
        for (size_t i = 0; i < source_count(source); i++) {
            expect(source_view(source, i, 3, &image), "records are pictures");
            touch(image.data, image_size(&image));
        }
    finish_source(source, good);
}

static void read_classes(const uint8_t *data, size_t size)
{
    Source *source = blank_source("/folder");
    char *text = text_of(data, size);
    if (source_classes_from_text(source, "classes.txt", text, size, 2))
        for (int c = 0; c < source_class_count(source); c++)
            expect(source_class_name(source, c)[0] != 0, "classes have names");
    else
        expect(error_text()[0] != 0, "a refusal says why");
    source_close(source);
    memory_free(text);
}

/* ---- archives */

static int archive_descriptor(const uint8_t *data, size_t size)
{
    static int descriptor = -1;
    if (descriptor < 0)
        descriptor = memfd_create("archive", MFD_CLOEXEC);
    expect(descriptor >= 0 && ftruncate(descriptor, 0) == 0 && pwrite(descriptor, data, size, 0) == (ssize_t)size,
           "an archive can be made");
    return descriptor;
}

/* The walk, and the index with its labels, of an archive: all but the last byte. If that is odd, the checksum of each header is
 * put right first: a mutation would seldom get past it. */
static void read_tar(const uint8_t *data, size_t size)
{
    enum { BLOCK = 512, SUM = 148 };
    bool mend = size && data[size - 1] % 2;
    size -= size > 0;
    char *copy = text_of(data, size), path[32];
    for (size_t at = 0; mend && size - at >= BLOCK; at += BLOCK) {
        unsigned sum = 8 * ' ';
        for (size_t i = 0; i < BLOCK; i++)
            sum += i >= SUM && i < SUM + 8 ? 0 : (uint8_t)copy[at + i];
        if (sum != 8 * ' ')
            snprintf(copy + at + SUM, 8, "%06o", sum);
    }
    int descriptor = archive_descriptor((uint8_t *)copy, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    TarIndex index;
    error_clear();
    if (tar_index_make(&index, path, NULL)) {
        for (size_t i = 0; i < index.count; i++) {
            const TarPicture *p = &index.pictures[i];
            expect(p->name < index.text_size && p->size <= size && p->offset <= size - p->size, "members lie in the archive");
            expect(p->label >= -1 && p->label < MOST_CLASSES, "labels are classes");
            touch(index.text + p->name, strlen(index.text + p->name));
        }
        tar_index_free(&index);
    } else {
        expect(error_text()[0] != 0, "a refusal says why");
    }
    memory_free(copy);
}

/* ---- what was stored about an archive and a folder; their hashes are put right, or no mutation would get past them */

static void put_hash(char *text, size_t size, size_t from)
{
    enum { HASH = 16 };
    if (size < from)
        return;
    uint64_t hash = hash_bytes(HASH_START, text + from, size - from);
    memcpy(text + HASH, &hash, sizeof hash);
}

static void read_tar_index(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size);
    TarIndex index = {.size = 4096, .seconds = 1, .nanoseconds = 2};
    put_hash(text, size, 24);
    if (tar_index_parse(&index, "/a.tar", text, size))
        for (size_t i = 0; i < index.count; i++) {
            const TarPicture *p = &index.pictures[i];
            expect(p->size <= index.size && p->offset <= index.size - p->size, "members lie in the archive");
            touch(index.text + p->name, strlen(index.text + p->name));
        }
    tar_index_free(&index);
    memory_free(text);
}

static void read_listing(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size);
    Listing listing;
    put_hash(text, size, 56);
    if (listing_parse(&listing, "/pictures", text, size)) {
        Text words = {0};
        listing_tell_foreign(&listing, &words);
        text_free(&words);
        for (size_t i = 0; i < listing.count; i++)
            touch(listing.text + listing.names[i], strlen(listing.text + listing.names[i]));
        for (size_t f = 0; f < listing.folder_count; f++)
            touch(listing.text + listing.folders[f].name, strlen(listing.text + listing.folders[f].name));
    }
    listing_free(&listing);
    memory_free(text);
}

/* ---- recipes */

/* What is accepted is written, read and written again to the same bytes. */
static void read_recipe(const uint8_t *data, size_t size)
{
    static Recipe recipe[2]; /* large: memory of its own for each input would take most of the time */
    char *text = text_of(data, size);
    Text first = {0}, second = {0};
    error_clear();
    if (!recipe_parse(recipe, text, size, "part")) {
        expect(error_text()[0] != 0, "a refusal says why");
    } else {
        recipe_check(recipe);
        recipe_write(recipe, &first);
        expect(recipe_parse(&recipe[1], first.data, first.length, "again"), "what was written can be read");
        recipe_write(&recipe[1], &second);
        expect(first.length == second.length && !memcmp(first.data, second.data, first.length), "it is the same recipe");
    }
    text_free(&first);
    text_free(&second);
    memory_free(text);
}

/* Lines `key=value`, the first few of them, each set over what those before left. */
static void read_settings(const uint8_t *data, size_t size)
{
    static Recipe recipe[2], defaults;
    static bool known;
    char *text = text_of(data, size), *line = text, *end;
    if (!known)
        recipe_defaults(&defaults);
    known = true;
    recipe[0] = defaults;
    for (int lines = 0; lines < 3 && line < text + size; lines++, line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + size - line));
        end = end ? end : text + size;
        *end = 0;
        recipe[1] = recipe[0];
        error_clear();
        if (!recipe_set(recipe, line)) {
            expect(error_text()[0] != 0, "a refusal says why");
            expect(!memcmp(&recipe[0], &recipe[1], sizeof *recipe), "a refused setting changes nothing");
        }
    }
    recipe_check(recipe);
    memory_free(text);
}

/* ---- runs */

static void read_safetensors(const uint8_t *data, size_t size)
{
    uint8_t *copy = (uint8_t *)text_of(data, size);
    error_clear();
    SafeTensors *file = safetensors_open_memory(copy, size, "part");
    expect(file || error_text()[0], "a refusal says why");
    for (size_t i = 0; file && i < safetensors_count(file); i++) {
        const SafeTensor *t = safetensors_at(file, i);
        float *numbers = memory_new(safetensor_count(t), sizeof *numbers);
        expect(safetensors_find(file, t->name) == t, "each tensor is found by its name");
        touch(t->data, t->bytes);
        expect(numbers && safetensor_to_f32(t, numbers), "each tensor becomes numbers");
        memory_free(numbers);
    }
    for (size_t i = 0; file && i < safetensors_metadata_count(file); i++) {
        SafeMetadata pair = safetensors_metadata_at(file, i);
        expect(safetensors_metadata(file, pair.key) != NULL, "each value is found by its key");
        touch(pair.value, strlen(pair.value));
    }
    safetensors_close(file);
    memory_free(copy);
}

/* ---- weights of other projects */

static void read_zip(const uint8_t *data, size_t size)
{
    error_clear();
    Zip *zip = zip_open(data, size, "part");
    expect(zip || error_text()[0], "a refusal says why");
    for (size_t i = 0; zip && i < zip_count(zip); i++) {
        const ZipRecord *r = zip_at(zip, i);
        const uint8_t *from = r->data;
        expect(from >= data && r->bytes <= size && from <= data + size - r->bytes, "records lie in the archive");
        touch(r->data, (size_t)r->bytes);
        touch(r->name, r->name_bytes);
    }
    zip_close(zip);
}

/* Values can contain each other, so a walk has a limit. */
static void look_at(const PickleValue *v, int *left)
{
    if (--*left < 0)
        return;
    switch (v->kind) {
    case PICKLE_TEXT:
    case PICKLE_LONG:
        touch(v->bytes, v->count);
        break;
    case PICKLE_NAME:
        touch(v->name->module, v->name->module_bytes);
        touch(v->name->name, v->name->name_bytes);
        break;
    case PICKLE_RECORD:
        look_at(v->record->callee, left);
        look_at(v->record->arguments, left);
        if (v->record->added)
            look_at(v->record->added, left);
        if (v->record->state)
            look_at(v->record->state, left);
        break;
    case PICKLE_TUPLE:
    case PICKLE_LIST:
    case PICKLE_SET:
    case PICKLE_DICT:
    case PICKLE_PERSISTENT:
        for (uint32_t i = 0; i<v->count && * left> 0; i++)
            look_at(v->items[i], left);
        break;
    default:
        break;
    }
}

static void read_pickle(const uint8_t *data, size_t size)
{
    error_clear();
    Pickle *pickle = pickle_read(data, size, 0, PICKLE_OPCODES_MAX, "part");
    expect(pickle || error_text()[0], "a refusal says why");
    if (!pickle)
        return;
    int left = 10000;
    expect(pickle_end(pickle) <= size, "a pickle ends in its bytes");
    look_at(pickle_root(pickle), &left);
    pickle_get(pickle_root(pickle), "model");
    pickle_free(pickle);
}

/* A file of torch.save or TorchScript, and the network that it holds. */
static void read_torch(const uint8_t *data, size_t size)
{
    Recipe *recipe = memory_new(1, sizeof *recipe);
    expect(recipe != NULL, "there is memory");
    error_clear();
    StateDict *state = state_open_memory(data, size, "part");
    expect(state || error_text()[0], "a refusal says why");
    for (size_t i = 0; state && i < state_count(state); i++) {
        const StridedTensor *t = state_at(state, i);
        float *numbers = memory_new((size_t)strided_count(t), sizeof *numbers);
        expect(numbers && state_find(state, t->name) == t, "each tensor is found by its name");
        strided_to_f32(t, numbers);
        memory_free(numbers);
    }
    error_clear();
    Foreign *foreign = state ? foreign_open(state, recipe) : NULL;
    expect(!state || foreign || error_text()[0], "a refusal says why");
    if (foreign)
        expect(recipe_check(recipe) && foreign_kind(foreign)[0], "a network that is recognised is sound");
    for (size_t i = 0; foreign && i < foreign_count(foreign); i++) {
        const Weight *w = foreign_at(foreign, i);
        float *numbers = memory_new((size_t)weight_count(w), sizeof *numbers);
        expect(numbers && foreign_find(foreign, w->name) == w, "each weight is found by its name");
        weight_to_f32(w, numbers);
        memory_free(numbers);
    }
    foreign_close(foreign);
    state_close(state);
    memory_free(recipe);
}

/* ---- what runs leave */

static void read_meta(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size);
    CheckpointMeta meta;
    error_clear();
    if (checkpoint_meta_parse(text, size, "part", &meta))
        expect(meta.steps_per_epoch > 0 && meta.step >= 0 && meta.channels > 0 && meta.channels <= RECIPE_CHANNELS_MAX,
               "numbers are within their limits");
    else
        expect(error_text()[0] != 0, "a refusal says why");
    FileHash hashes[CHECKPOINT_FILES];
    error_clear();
    if (!checkpoint_meta_hashes(text, size, "part", hashes))
        expect(error_text()[0] != 0, "a refusal says why");
    memory_free(text);
}

/* A TensorBoard file of one record that holds the input, with right checksums. */
static void read_events(const uint8_t *data, size_t size)
{
    Text file = {0};
    uint64_t length = size;
    const void *parts[] = {&length, data};
    size_t sizes[] = {sizeof length, size};
    for (int p = 0; p < 2; p++) {
        uint32_t crc = crc32c(parts[p], sizes[p]);
        crc = (crc >> 15 | crc << 17) + 0xa282ead8u;
        text_add_bytes(&file, parts[p], sizes[p]);
        text_add_bytes(&file, &crc, sizeof crc);
    }
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", archive_descriptor((const uint8_t *)file.data, file.length));
    error_clear();
    int descriptor = events_open(path, 5, 1);
    expect(descriptor >= 0, "what cannot be read is cut off");
    close(descriptor);
    text_free(&file);
}

static void read_bad_files(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size);
    BadNames names = {0};
    size_t whole;
    expect(bad_names_parse(&names, text, &whole) && whole <= size, "complete records lie in the file");
    for (size_t i = 0; i < names.count; i++)
        touch(names.names[i], strlen(names.names[i]));
    bad_names_free(&names);
    memory_free(text);
}

const FuzzTarget FUZZ_TARGETS[] = {{"jpeg", read_picture, true},
                                   {"png", read_picture, true},
                                   {"webp", read_picture, true},
                                   {"tiff", read_picture, true},
                                   {"list", read_list, false},
                                   {"cifar", read_cifar, false},
                                   {"classes", read_classes, false},
                                   {"tar", read_tar, false},
                                   {"tar_index", read_tar_index, false},
                                   {"listing", read_listing, false},
                                   {"recipe", read_recipe, false},
                                   {"settings", read_settings, false},
                                   {"safetensors", read_safetensors, false},
                                   {"zip", read_zip, false},
                                   {"pickle", read_pickle, false},
                                   {"torch", read_torch, false},
                                   {"meta", read_meta, false},
                                   {"bad_files", read_bad_files, false},
                                   {"events", read_events, false},
                                   {0}};

const FuzzTarget *fuzz_target(const char *name)
{
    for (const FuzzTarget *t = FUZZ_TARGETS; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}
