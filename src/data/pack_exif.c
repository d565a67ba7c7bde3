#include "data/pack_exif.h"

#include <stdint.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"

enum { TIFF = 26, PNG_CHUNK = 4 + 4 + TIFF + 4, JPEG_SEGMENT = 4 + 6 + TIFF, MOST = PNG_CHUNK };

/* Behind the header of PNG, and behind the first segment that libjpeg writes. */
enum { PNG_PLACE = 8 + 25, JPEG_PLACE = 2 + 18 };

static void put_number(uint8_t *at, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(number >> (24 - 8 * i));
}

bool pack_orientation(char **bytes, size_t *size, bool png, int orientation)
{
    /* Laid out like a TIFF file: a directory at byte 8 with one entry, the tag 0x112, a number of 16 bits. */
    const uint8_t tiff[TIFF] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, (uint8_t)orientation};
    static const uint8_t png_head[] = {0, 0, 0, TIFF, 'e', 'X', 'I', 'f'};
    static const uint8_t jpeg_head[] = {0xFF, 0xE1, 0, JPEG_SEGMENT - 2, 'E', 'x', 'i', 'f', 0, 0};
    const uint8_t *head = png ? png_head : jpeg_head;
    size_t place = png ? PNG_PLACE : JPEG_PLACE, length = png ? PNG_CHUNK : JPEG_SEGMENT;
    size_t front = png ? sizeof png_head : sizeof jpeg_head;
    uint8_t block[MOST];
    memcpy(block, head, front);
    memcpy(block + front, tiff, TIFF);
    if (png)
        put_number(block + front + TIFF, (uint32_t)crc32(0, block + 4, 4 + TIFF));
    char *longer = memory_new(*size + length, 1);
    if (!longer)
        return false;
    memcpy(longer, *bytes, place);
    memcpy(longer + place, block, length);
    memcpy(longer + place + length, *bytes + place, *size - place);
    memory_free(*bytes);
    *bytes = longer;
    *size += length;
    return true;
}
