/* Which patches of a picture are hidden (docs/spec/pretraining.md 4). */
#ifndef LACUNA_MIM_MASK_H
#define LACUNA_MIM_MASK_H

#include <stdint.h>

#include "base/random.h"

/* 4.1: `visible` of the `places` patches stay, each choice as likely as any other; hidden[i] is 1 for the others. That is what
 * "noise a patch, the smallest stay" comes to; drawn place by place, so that no working memory is needed. 0 <= visible <=
 * places. */
void mask_random(Random *random, int places, int visible, uint8_t *hidden);

#endif
