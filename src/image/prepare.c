#include "image/prepare.h"

#include "image/augment.h"

bool image_prepare(const Image *in, ImageBox crop, int height, int width, ResizeFilter filter, const ColourChange *colours,
                   bool flip, const float *mean, const float *std, ResizeScratch *scratch, void *room, float *out)
{
    if (in->depth == IMAGE_U8) {
        if (!image_resize(in, crop, height, width, filter, scratch, room))
            return false;
        /* Bytes take a quarter of the room. */
        if (colours)
            colour_apply(colours, room, height, width, in->channels,
                         (uint8_t *)room + (size_t)height * (size_t)width * (size_t)in->channels);
        image_to_tensor(room, height, width, in->channels, flip, mean, std, out);
        return true;
    }
    if (!image_resize_deep(in, crop, height, width, filter, scratch, room))
        return false;
    image_to_tensor_deep(room, height, width, in->channels, flip, mean, std, out);
    return true;
}
