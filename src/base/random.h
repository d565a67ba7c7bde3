/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
 * 2011).
 *
 * A stream is named by what it is for, not by when it is drawn: (seed, purpose, stage, epoch, sample). So a resumed run, a run
 * cut in other micro-batches or one with another number of threads draws the same numbers. */
#ifndef LACUNA_BASE_RANDOM_H
#define LACUNA_BASE_RANDOM_H

#include <stdint.h>

/* What a stream is for. The numbers are part of what makes a run repeatable: never change one, append. */
typedef enum {
    RANDOM_INIT = 1,      /* initial weights; sample = hash of the parameter's name */
    RANDOM_SHUFFLE = 2,   /* order of an epoch */
    RANDOM_AUGMENT = 3,   /* crop, flip, jitter of a picture */
    RANDOM_MASK = 4,      /* which patches are hidden */
    RANDOM_DROP_PATH = 5, /* which branches are kept */
    RANDOM_WORLD = 6,     /* pictures the program draws itself */
    RANDOM_VALIDATE = 7,  /* masks of held-out pictures */
    RANDOM_SPLIT = 8,     /* held-out share */
    RANDOM_BENCH = 9,     /* random pictures of `bench` */
    RANDOM_TEST = 10,
    RANDOM_CODES = 11 /* what a code book is made of, and how it begins */
} RandomPurpose;

typedef struct {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    int used; /* words of `block` already given out; 4: none left */
} Random;

/* One application of Philox4x32-10. */
void random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The stream of that name, from its beginning. Streams of different names do not overlap before 2^32 draws of 128 bits. */
Random random_stream(uint64_t seed, RandomPurpose purpose, uint32_t stage, uint32_t epoch, uint64_t sample);

uint32_t random_u32(Random *r);

/* Uniform in [0, 1), 53 bits. */
double random_uniform(Random *r);

/* Uniform integer in 0..n-1, n >= 1, without bias. */
uint32_t random_below(Random *r, uint32_t n);

/* Standard normal (Box-Muller, one of the pair is dropped so that a draw is always two uniforms). */
double random_normal(Random *r);

/* A 64-bit hash of a string (FNV-1a, then mixed); stable for ever. */
uint64_t random_hash(const char *text);

#endif
