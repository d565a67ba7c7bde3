/* What the tests of codecs share: a file in memory, and what must hold for damaged ones. Include behind cmocka.h. */
#ifndef LACUNA_IMAGE_DAMAGE_CASE_H
#define LACUNA_IMAGE_DAMAGE_CASE_H

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "image/image.h"

typedef struct {
    uint8_t *data; /* of malloc() */
    size_t size;
} DamageFile;

static inline void damage_file_free(DamageFile *file)
{
    free(file->data);
    *file = (DamageFile){0};
}

/* Decodes a copy of exact size, so that a sanitizer sees reads beyond it. All outcomes are allowed but a crash, a success must
 * be a whole picture, a failure must say why. */
static inline bool damage_decode(const uint8_t *bytes, size_t size)
{
    ImageLimits limits = {.max_pixels = 1 << 20, .max_scans = 100}; /* damage may announce large pictures, which take long */
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size)
        memcpy(copy, bytes, size);
    Image image;
    error_clear();
    bool good = image_decode_within(copy, size, "part", 3, &limits, &image);
    if (good) {
        uint64_t sum = 0;
        for (size_t i = 0; i < image_size(&image); i++)
            sum += image.data[i];
        assert_true(sum <= 255 * (uint64_t)image_size(&image));
    } else {
        assert_null(image.data);
        assert_memory_equal(error_text(), "part: ", 6);
        assert_true(strlen(error_text()) > 6);
    }
    image_free(&image);
    image_probe(copy, size, "part", NULL, NULL, NULL);
    free(copy);
    return good;
}

/* The file is good, and refused when cut at 0 to 99 % of its bytes. */
static inline void damage_by_cutting(const DamageFile *file)
{
    if (!damage_decode(file->data, file->size))
        fail_msg("%s", error_text());
    for (size_t percent = 0; percent < 100; percent++)
        if (damage_decode(file->data, file->size * percent / 100))
            fail_msg("cut at %zu %% it was taken", percent);
}

/* Overwrites runs of random bytes, half of the time near the beginning; returns how many of `count` tries were noticed. */
static inline int damage_by_overwriting(const DamageFile *file, int count, uint64_t seed)
{
    Random random = random_stream(seed, RANDOM_TEST, 0, 0, file->size);
    uint8_t *broken = malloc(file->size);
    int noticed = 0;
    assert_non_null(broken);
    for (int i = 0; i < count; i++) {
        memcpy(broken, file->data, file->size);
        uint32_t range = i % 2 && file->size > 100 ? 100 : (uint32_t)file->size;
        size_t at = random_below(&random, range), length = 1 + random_below(&random, 8);
        for (size_t k = at; k < at + length && k < file->size; k++)
            broken[k] = (uint8_t)random_below(&random, 256);
        noticed += !damage_decode(broken, file->size);
    }
    free(broken);
    return noticed;
}

#endif
