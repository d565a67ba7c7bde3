#include "image/orientation.h"

#include <string.h>

enum { TAG_ORIENTATION = 274, TYPE_SHORT = 3, ENTRY = 12, HEADER = 8 };

static uint32_t number(const uint8_t *at, int bytes, bool big)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint32_t)at[i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

int orientation_find(const uint8_t *block, size_t size)
{
    if (size < HEADER || (memcmp(block, "II*\0", 4) && memcmp(block, "MM\0*", 4)))
        return 0;
    bool big = block[0] == 'M';
    size_t at = number(block + 4, 4, big);
    if (at > size || size - at < 2)
        return 0;
    size_t count = number(block + at, 2, big), room = (size - at - 2) / ENTRY;
    const uint8_t *entry = block + at + 2;
    for (size_t i = 0; i < count && i < room; i++, entry += ENTRY)
        if (number(entry, 2, big) == TAG_ORIENTATION)
            return number(entry + 2, 2, big) == TYPE_SHORT && number(entry + 4, 4, big) == 1 ? (int)number(entry + 8, 2, big)
                                                                                             : 0;
    return 0;
}

bool orientation_lies(int orientation)
{
    return orientation >= 5;
}

/* Whether the stored rows run upwards, the stored columns leftwards in the upright picture. */
static bool rows_turn(int orientation)
{
    return orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
}

static bool columns_turn(int orientation)
{
    return orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
}

ImageBox orientation_box(int orientation, ImageBox box, int height, int width)
{
    if (orientation_lies(orientation))
        box = (ImageBox){box.left, box.top, box.width, box.height};
    if (rows_turn(orientation))
        box.top = height - box.top - box.height;
    if (columns_turn(orientation))
        box.left = width - box.left - box.width;
    return box;
}

bool orientation_turn(int orientation, Image *image)
{
    if (orientation <= 1)
        return true;
    Image upright;
    bool lies = orientation_lies(orientation);
    size_t pixel = (size_t)image->channels * image_depth_bytes(image->depth);
    if (!image_new_deep(&upright, lies ? image->width : image->height, lies ? image->height : image->width, image->channels,
                        image->depth))
        return false;
    uint8_t *to = upright.data;
    for (int y = 0; y < upright.height; y++)
        for (int x = 0; x < upright.width; x++, to += pixel) {
            int row = lies ? x : y, column = lies ? y : x;
            row = rows_turn(orientation) ? image->height - 1 - row : row;
            column = columns_turn(orientation) ? image->width - 1 - column : column;
            memcpy(to, image->data + ((size_t)row * (size_t)image->width + (size_t)column) * pixel, pixel);
        }
    image_free(image);
    *image = upright;
    return true;
}
