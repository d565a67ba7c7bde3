/* Looking at every picture of a source: whether it can be read, and what it is. */
#ifndef LACUNA_DATA_SURVEY_H
#define LACUNA_DATA_SURVEY_H

#include "data/source.h"
#include "data/sums.h"

typedef struct {
    const char *why;             /* NULL: a good picture; else why it cannot be read, and all else is zero */
    const char *format;          /* "JPEG", ..; NULL where samples are not files of their own */
    bool wrong_suffix;           /* the name's suffix stands for another format */
    int height, width, channels; /* as stored: 1 grey, 3 colour, or what a TIFF file has; without alpha */
    bool alpha;
    ImageDepth depth;
    uint64_t hash;         /* of the size and the samples, grey ones as three channels */
    const PixelSums *sums; /* of those samples; valid during the visit; NULL when not measured */
} PictureFacts;

/* Called for every sample in the source's order, on the thread that called source_survey(). False stops the survey. */
typedef bool SurveyVisit(void *context, size_t i, const PictureFacts *facts);

/* Decodes every picture on `threads` threads (at least 1) and visits each. What is visited, and in which order, does not depend
 * on the number of threads. `measure` false leaves hash and sums out. False after error_set() when memory runs out or
 * the disk fails, which says nothing about a picture; also when a visit returned false. */
bool source_survey(const Source *source, int threads, bool measure, SurveyVisit *visit, void *context);

#endif
