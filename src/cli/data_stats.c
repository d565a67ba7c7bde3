/* lacuna data stats: sizes, kinds and contents of the pictures of a source. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/data.h"

enum { NAMED = 10, FORMATS_MOST = 16, GROUPS_MOST = 8 };

/* Below this deviation of its liveliest channel (on 0..1) a picture shows as good as nothing. */
static const double near_empty_below = 2.0 / 255;

typedef struct {
    uint64_t hash;
    size_t sample;
    int height, width;
} Seen;

/* Samples of which the first few are named. */
typedef struct {
    size_t count, first[NAMED], twins[NAMED]; /* twins: the earlier picture that a duplicate equals */
} Named;

/* Pictures of one number of channels, grey ones among those in colour. */
typedef struct {
    size_t pictures;
    PixelSums sums;
} Group;

typedef struct {
    const DataJob *job;
    DataProgress progress;
    size_t bad, good, grey, colour, alpha, depths[IMAGE_DEPTHS];
    Seen *seen; /* of the good ones */
    struct {
        const char *name;
        size_t count;
    } formats[FORMATS_MOST];
    int format_count;
    Named duplicates, near_empty, wrong_suffix;
    Group groups[GROUPS_MOST]; /* those with the most pictures first, once all are counted */
    int group_count;
    int heights[3], widths[3]; /* smallest, median, largest */
} Stats;

static void name_sample(Named *named, size_t sample, size_t twin)
{
    if (named->count < NAMED) {
        named->first[named->count] = sample;
        named->twins[named->count] = twin;
    }
    named->count++;
}

static void count_format(Stats *s, const char *name)
{
    int f = 0;
    while (f < s->format_count && strcmp(s->formats[f].name, name) != 0)
        f++;
    if (f == FORMATS_MOST)
        return; /* more formats than the program reads */
    if (f == s->format_count)
        s->formats[s->format_count++].name = name;
    s->formats[f].count++;
}

static void add_to_group(Stats *s, const PixelSums *sums)
{
    int g = 0;
    while (g < s->group_count && s->groups[g].sums.channels != sums->channels)
        g++;
    if (g == GROUPS_MOST)
        return; /* no set of pictures for one training has so many kinds */
    s->group_count = g == s->group_count ? g + 1 : s->group_count;
    s->groups[g].pictures++;
    pixel_sums_add(&s->groups[g].sums, sums);
}

static int compare_groups(const void *a, const void *b)
{
    const Group *x = a, *y = b;
    return x->pictures != y->pictures ? (x->pictures > y->pictures ? -1 : 1) : x->sums.channels - y->sums.channels;
}

static bool add_picture(void *context, size_t i, const PictureFacts *facts)
{
    Stats *s = context;
    data_progress_step(&s->progress, i + 1);
    if (facts->why) {
        s->bad++;
        return true;
    }
    s->seen[s->good++] = (Seen){facts->hash, i, facts->height, facts->width};
    s->grey += facts->channels == 1;
    s->colour += facts->channels == 3;
    s->alpha += facts->alpha;
    s->depths[facts->depth]++;
    if (facts->format)
        count_format(s, facts->format);
    if (facts->wrong_suffix)
        name_sample(&s->wrong_suffix, i, i);
    double deviation = 0;
    for (int c = 0; c < facts->sums->channels; c++) {
        double d = pixel_sums_deviation(facts->sums, c);
        deviation = d > deviation ? d : deviation;
    }
    if (facts->depth == IMAGE_F32 ? deviation == 0 : deviation < near_empty_below) /* floats have a scale of their own */
        name_sample(&s->near_empty, i, i);
    add_to_group(s, facts->sums);
    return true;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static bool same_picture(const Seen *a, const Seen *b)
{
    return a->hash == b->hash && a->height == b->height && a->width == b->width;
}

static int compare_seen(const void *a, const void *b)
{
    const Seen *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->height != y->height)
        return x->height < y->height ? -1 : 1;
    if (x->width != y->width)
        return x->width < y->width ? -1 : 1;
    return (x->sample > y->sample) - (x->sample < y->sample);
}

/* Pairs of samples: a duplicate and the first picture that it equals. */
static int compare_pairs(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

static bool find_duplicates(Stats *s)
{
    size_t(*pairs)[2] = memory_new(s->good, sizeof *pairs), count = 0;
    if (!pairs)
        return false;
    qsort(s->seen, s->good, sizeof *s->seen, compare_seen);
    for (size_t i = 1, first = 0; i < s->good; i++) {
        if (!same_picture(&s->seen[i], &s->seen[first])) {
            first = i;
            continue;
        }
        pairs[count][0] = s->seen[i].sample;
        pairs[count++][1] = s->seen[first].sample;
    }
    qsort(pairs, count, sizeof *pairs, compare_pairs); /* by the source's order, not by hashes */
    for (size_t p = 0; p < count; p++)
        name_sample(&s->duplicates, pairs[p][0], pairs[p][1]);
    memory_free(pairs);
    return true;
}

/* Of an even number of sides the median is the lower one of the two in the middle: a side that a picture has. */
static bool find_sizes(Stats *s)
{
    int *sides = memory_new(s->good, sizeof *sides);
    if (!sides)
        return false;
    for (int axis = 0; axis < 2; axis++) {
        int *into = axis ? s->widths : s->heights;
        for (size_t i = 0; i < s->good; i++)
            sides[i] = axis ? s->seen[i].width : s->seen[i].height;
        qsort(sides, s->good, sizeof *sides, compare_ints);
        into[0] = sides[0];
        into[1] = sides[(s->good - 1) / 2];
        into[2] = sides[s->good - 1];
    }
    memory_free(sides);
    return true;
}

/* ---- output */

static void print_key(const Stats *s, size_t sample, char *key)
{
    cli_print_safely(stdout, source_key(s->job->source, sample, key, SOURCE_KEY_SIZE), false);
}

static void print_named(const Stats *s, const char *what, const Named *named, bool twins, char *key)
{
    printf("%-13s %zu\n", what, named->count);
    for (size_t i = 0; i < named->count && i < NAMED; i++) {
        printf("%-13s ", "");
        print_key(s, named->first[i], key);
        if (twins) {
            printf(" = ");
            print_key(s, named->twins[i], key);
        }
        putchar('\n');
    }
    if (named->count > NAMED)
        printf("%-13s ..\n", "");
}

static void print_lines(const Stats *s, char *key)
{
    printf("%-13s %zu\n", "pictures", s->good);
    if (s->bad)
        printf("%-13s %zu, left out here: `lacuna data check` names them\n", "bad", s->bad);
    if (source_left_out(s->job->source, NULL))
        printf("%-13s %s\n", "not read", source_left_out(s->job->source, NULL));
    printf("%-13s %d smallest, %d median, %d largest\n", "height", s->heights[0], s->heights[1], s->heights[2]);
    printf("%-13s %d smallest, %d median, %d largest\n", "width", s->widths[0], s->widths[1], s->widths[2]);
    printf("%-13s %zu grey, %zu colour", "channels", s->grey, s->colour);
    for (int g = 0; g < s->group_count; g++)
        if (s->groups[g].sums.channels != 3)
            printf(", %zu of %d channels", s->groups[g].pictures, s->groups[g].sums.channels);
    if (s->alpha)
        printf("; %zu with alpha beside", s->alpha);
    printf("\n%-13s %zu of 8 bits, %zu of 16, %zu float\n", "depth", s->depths[IMAGE_U8], s->depths[IMAGE_U16],
           s->depths[IMAGE_F32]);
    if (s->format_count)
        printf("%-13s ", "formats");
    for (int f = 0; f < s->format_count; f++)
        printf("%zu %s%s", s->formats[f].count, s->formats[f].name, f + 1 < s->format_count ? ", " : "\n");
    print_named(s, "duplicates", &s->duplicates, true, key);
    print_named(s, "near-empty", &s->near_empty, false, key);
    print_named(s, "wrong suffix", &s->wrong_suffix, false, key);
    for (int g = 0; g < s->group_count; g++) {
        const Group *group = &s->groups[g];
        if (s->group_count > 1)
            printf("%zu picture%s of %d channels\n", group->pictures, group->pictures == 1 ? "" : "s", group->sums.channels);
        printf("%-13s", "mean");
        for (int c = 0; c < group->sums.channels; c++)
            printf(" %.4f", pixel_sums_mean(&group->sums, c));
        printf("\n%-13s", "deviation");
        for (int c = 0; c < group->sums.channels; c++)
            printf(" %.4f", pixel_sums_deviation(&group->sums, c));
        printf("\n");
    }
}

static void add_key(Text *t, const Stats *s, size_t sample, char *key)
{
    text_add_json_string(t, source_key(s->job->source, sample, key, SOURCE_KEY_SIZE));
}

/* "NAME": count, "NAME_named": [..], a twin as a pair. */
static void add_named(Text *t, const Stats *s, const char *what, const Named *named, bool twins, char *key)
{
    text_add(t, ", \"%s\": %zu, \"%s_named\": [", what, named->count, what);
    for (size_t i = 0; i < named->count && i < NAMED; i++) {
        text_add(t, i ? ", " : "");
        if (twins) {
            text_add(t, "[");
            add_key(t, s, named->twins[i], key);
            text_add(t, ", ");
        }
        add_key(t, s, named->first[i], key);
        text_add(t, twins ? "]" : "");
    }
    text_add(t, "]");
}

static void add_statistics(Text *t, const PixelSums *sums)
{
    text_add(t, ", \"mean\": [");
    for (int c = 0; c < sums->channels; c++)
        text_add(t, "%s%.9g", c ? ", " : "", pixel_sums_mean(sums, c));
    text_add(t, "], \"deviation\": [");
    for (int c = 0; c < sums->channels; c++)
        text_add(t, "%s%.9g", c ? ", " : "", pixel_sums_deviation(sums, c));
    text_add(t, "]");
}

static bool print_json(const Stats *s, char *key)
{
    Text t = {0};
    size_t not_read;
    source_left_out(s->job->source, &not_read);
    text_add(&t, "{\"pictures\": %zu, \"bad\": %zu, \"not_read\": %zu", s->good, s->bad, not_read);
    text_add(&t, ", \"height\": {\"smallest\": %d, \"median\": %d, \"largest\": %d}", s->heights[0], s->heights[1],
             s->heights[2]);
    text_add(&t, ", \"width\": {\"smallest\": %d, \"median\": %d, \"largest\": %d}", s->widths[0], s->widths[1], s->widths[2]);
    text_add(&t, ", \"channels\": {\"grey\": %zu, \"colour\": %zu, \"others\": %zu, \"alpha\": %zu}", s->grey, s->colour,
             s->good - s->grey - s->colour, s->alpha);
    text_add(&t, ", \"depth\": {\"8\": %zu, \"16\": %zu, \"float\": %zu}, \"formats\": {", s->depths[IMAGE_U8],
             s->depths[IMAGE_U16], s->depths[IMAGE_F32]);
    for (int f = 0; f < s->format_count; f++)
        text_add(&t, "%s\"%s\": %zu", f ? ", " : "", s->formats[f].name, s->formats[f].count);
    text_add(&t, "}");
    add_named(&t, s, "duplicates", &s->duplicates, true, key);
    add_named(&t, s, "near_empty", &s->near_empty, false, key);
    add_named(&t, s, "wrong_suffix", &s->wrong_suffix, false, key);
    add_statistics(&t, &s->groups[0].sums);
    text_add(&t, ", \"groups\": [");
    for (int g = 0; g < s->group_count; g++) {
        text_add(&t, "%s{\"channels\": %d, \"pictures\": %zu", g ? ", " : "", s->groups[g].sums.channels,
                 s->groups[g].pictures);
        add_statistics(&t, &s->groups[g].sums);
        text_add(&t, "}");
    }
    text_add(&t, "]}\n");
    bool ok = !t.failed;
    if (ok)
        fputs(t.data, stdout);
    text_free(&t);
    return ok;
}

int data_stats(const DataJob *job)
{
    Stats s = {.job = job, .progress = data_progress(job), .seen = memory_new(source_count(job->source), sizeof(Seen))};
    char *key = memory_new(SOURCE_KEY_SIZE, 1);
    bool ok = s.seen && key && source_survey(job->source, job->threads, true, add_picture, &s);
    data_progress_clear(&s.progress);
    if (ok && s.good == 0)
        ok = error_set("not one of the %zu pictures at %s can be read: `lacuna data check` says why", s.bad, job->where);
    qsort(s.groups, (size_t)s.group_count, sizeof *s.groups, compare_groups);
    ok = ok && find_sizes(&s) && find_duplicates(&s);
    if (ok && job->json)
        ok = print_json(&s, key);
    else if (ok)
        print_lines(&s, key);
    memory_free(s.seen);
    memory_free(key);
    return ok ? EXIT_DONE : cli_failed();
}
