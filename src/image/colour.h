/* Random changes of a picture's colours: jitter, grey, blur, inverted highlights. docs/spec/pretraining.md 1.6 and 14. All work
 * on bytes, whose results are the same on every machine. */
#ifndef LACUNA_IMAGE_COLOUR_H
#define LACUNA_IMAGE_COLOUR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"

enum { COLOUR_VIEWS = 2 };

/* How strong and how likely changes are. All zero: none. */
typedef struct {
    double jitter[4];                                                      /* of brightness, contrast, saturation, hue */
    double jitter_prob;                                                    /* that a picture is jittered at all */
    double grey[COLOUR_VIEWS], blur[COLOUR_VIEWS], solarise[COLOUR_VIEWS]; /* probabilities, view by view */
} ColourOptions;

bool colour_changes(const ColourOptions *options);

/* The changes of one picture. */
typedef struct {
    int jitters, order[4]; /* so many of brightness 0, contrast 1, saturation 2, hue 3, in that order */
    float factor[3];       /* of the first three */
    int turn;              /* of the hue, in 256ths of a circle */
    bool grey, solarise;
    double sigma; /* of the blur in pixels; 0: none */
} ColourChange;

ColourChange colour_draw(Random *random, const ColourOptions *options, int view);

/* Carries them out in place: jitter, grey, blur (a Gaussian), then solarise (from 128 on x becomes 255 - x). pixels: height x
 * width x channels bytes; jitter and grey want three channels. room: as many bytes again. */
void colour_apply(const ColourChange *change, uint8_t *pixels, int height, int width, int channels, uint8_t *room);

#endif
