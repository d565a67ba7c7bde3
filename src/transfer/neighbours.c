#include "transfer/neighbours.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "graph/program.h"
#include "nn/layers.h"

enum { KEYS = 4096, QUERIES = 256 }; /* of a product */

typedef struct {
    Tape *tape;
    Program *program;
} Products;

static void products_close(Products *p)
{
    program_free(p->program);
    tape_free(p->tape);
}

static bool products_open(Products *p, const Device *device, size_t width)
{
    *p = (Products){.tape = tape_new()};
    if (!p->tape)
        return false;
    tape_segment(p->tape, SEGMENT_EVALUATE);
    LinearArgs map = layer_none();
    map.w = tape_input(p->tape, "keys", DTYPE_REAL, shape_2(KEYS, (int64_t)width));
    tape_keep(p->tape, layer_apply(p->tape, map, tape_input(p->tape, "queries", DTYPE_REAL, shape_2(QUERIES, (int64_t)width))),
              "products");
    p->program = tape_failed(p->tape) ? NULL : program_make(p->tape, device, NULL, 0);
    if (!p->program) {
        products_close(p);
        return false;
    }
    return true;
}

/* The products of these queries with the keys that were given last, (QUERIES, KEYS). NULL after error_set(), on a GPU alone. */
static const float *products_run(Products *p, const float *queries, size_t numbers)
{
    memcpy(program_input(p->program, "queries"), queries, numbers * sizeof *queries);
    return program_run(p->program, SEGMENT_EVALUATE) ? program_kept(p->program, SEGMENT_EVALUATE, "products") : NULL;
}

/* A list of the k best so far, best first. */
static void offer(Neighbour *list, int k, int32_t key, float similarity)
{
    int at = k - 1;
    for (; at > 0 && similarity > list[at - 1].similarity; at--)
        list[at] = list[at - 1];
    list[at] = (Neighbour){key, similarity};
}

static void take(const float *products, size_t first_key, size_t key_count, size_t query_count, int k, Neighbour *out)
{
    for (size_t q = 0; q < query_count; q++) {
        const float *row = products + q * KEYS;
        Neighbour *list = out + q * (size_t)k;
        for (size_t i = 0; i < key_count; i++)
            if (row[i] > list[k - 1].similarity)
                offer(list, k, (int32_t)(first_key + i), row[i]);
    }
}

bool neighbours_find(const Device *device, const float *keys, size_t key_count, const float *queries, size_t query_count,
                     size_t width, int k, Neighbour *out)
{
    Products p;
    if (k < 1 || (size_t)k > key_count || key_count > INT32_MAX)
        return error_set("%d neighbours cannot be found among %zu pictures", k, key_count);
    if (!products_open(&p, device, width))
        return false;
    for (size_t i = 0; i < query_count * (size_t)k; i++)
        out[i] = (Neighbour){-1, -INFINITY};
    bool ok = true;
    for (size_t key = 0; ok && key < key_count; key += KEYS) {
        size_t some_keys = key_count - key < KEYS ? key_count - key : KEYS;
        memcpy(program_input(p.program, "keys"), keys + key * width, some_keys * width * sizeof *keys);
        for (size_t query = 0; ok && query < query_count; query += QUERIES) {
            size_t some = query_count - query < QUERIES ? query_count - query : QUERIES;
            const float *products = products_run(&p, queries + query * width, some * width);
            if ((ok = products != NULL))
                take(products, key, some_keys, some, k, out + query * (size_t)k);
        }
    }
    products_close(&p);
    for (size_t i = 0; ok && i < query_count * (size_t)k; i++)
        if (out[i].key < 0)
            return error_set("features are not finite, so they have no neighbours");
    return ok;
}

void rows_normalise(float *rows, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) {
        float *row = rows + i * width;
        double sum = 0;
        for (size_t k = 0; k < width; k++)
            sum += (double)row[k] * (double)row[k];
        double scale = sum > 0 ? 1 / sqrt(sum) : 0;
        for (size_t k = 0; k < width; k++)
            row[k] = (float)((double)row[k] * scale);
    }
}

void knn_votes(const Neighbour *near, int k, double temperature, const int32_t *labels, int classes, double *votes)
{
    memset(votes, 0, (size_t)classes * sizeof *votes);
    for (int i = 0; i < k; i++)
        votes[labels[near[i].key]] += exp(((double)near[i].similarity - (double)near[0].similarity) / temperature);
}

int votes_rank(const double *votes, int classes, int label)
{
    int before = 0;
    for (int c = 0; c < classes; c++)
        before += votes[c] > votes[label] || (votes[c] == votes[label] && c < label);
    return before;
}
