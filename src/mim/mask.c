#include "mim/mask.h"

void mask_random(Random *random, int places, int visible, uint8_t *hidden)
{
    /* Of the places that are left, so many still stay: each has that chance. */
    for (int i = 0; i < places; i++) {
        int left = places - i;
        hidden[i] = random_below(random, (uint32_t)left) >= (uint32_t)visible;
        visible -= !hidden[i];
    }
}
