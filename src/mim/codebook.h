/* A code book made of many rows of numbers, by k-means (docs/spec/pretraining.md 12): k-means++ chooses the first codes, then
 * rounds of nearest codes and means. */
#ifndef LACUNA_MIM_CODEBOOK_H
#define LACUNA_MIM_CODEBOOK_H

#include "device/device.h"

enum { CODEBOOK_ROUNDS = 20 };

typedef struct {
    const float *rows; /* (count, width) */
    int64_t count, width;
    int codes; /* at most `count` */
    uint64_t seed;
    bool (*stop)(void *context); /* asked often whether to give up; NULL: never */
    void *context;
    void (*tell)(void *context, const char *what, int64_t done, int64_t all); /* told often how far it is; NULL: nobody */
    void *listener;                                                           /* tell()'s context */
} CodebookArgs;

/* Fills `book` (codes, width), the caller's. Draws come from `seed`; products are the device's. *left: the share of the rows'
 * variance that their codes do not explain. *stopped: stop() said so, and the book is of no use. False after error_set(). */
bool codebook_make(const Device *device, const CodebookArgs *args, float *book, double *left, bool *stopped);

/* Bytes that this takes beside rows and book: of the host, and of the device for its products. False after error_set(). */
bool codebook_bytes(const Device *device, int64_t count, int64_t width, int codes, int64_t *host, int64_t *products);

/* What the search for the nearest code adds to each product: -|c|^2 / 2. */
void codebook_bias(const float *book, int codes, int64_t width, float *bias);

#endif
