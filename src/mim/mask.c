#include "mim/mask.h"

#include <math.h>
#include <string.h>

void mask_random(Random *random, int places, int visible, uint8_t *hidden)
{
    /* Of the places that are left, so many still stay: each has that chance. */
    for (int i = 0; i < places; i++) {
        int left = places - i;
        hidden[i] = random_below(random, (uint32_t)left) >= (uint32_t)visible;
        visible -= !hidden[i];
    }
}

void mask_units(Random *random, int rows, int columns, int side, int count, uint8_t *hidden)
{
    int left = rows / side * (columns / side);
    for (int top = 0; top < rows; top += side)
        for (int start = 0; start < columns; start += side, left--) {
            bool hides = random_below(random, (uint32_t)left) < (uint32_t)count;
            count -= hides;
            for (int y = 0; y < side; y++)
                memset(hidden + (top + y) * columns + start, hides, (size_t)side);
        }
}

/* A rectangle within the grid; false when it is as high or as wide as the grid, or higher. */
typedef struct {
    int top, left, height, width;
} Block;

static bool draw_block(Random *random, int rows, int columns, double area, Block *b)
{
    const double widest = log(1 / 0.3); /* of height to width, and of width to height */
    double ratio = exp(widest * (2 * random_uniform(random) - 1));
    double height = nearbyint(sqrt(area * ratio)), width = nearbyint(sqrt(area / ratio));
    if (height >= rows || width >= columns)
        return false;
    *b = (Block){.height = (int)height, .width = (int)width};
    b->top = (int)random_below(random, (uint32_t)(rows - b->height + 1));
    b->left = (int)random_below(random, (uint32_t)(columns - b->width + 1));
    return true;
}

/* Hides what is not hidden yet in the block, if that is something and at most `most`. Returns how much. */
static int hide_block(const Block *b, int columns, int most, uint8_t *hidden)
{
    int fresh = 0;
    for (int y = b->top; y < b->top + b->height; y++)
        for (int x = b->left; x < b->left + b->width; x++)
            fresh += !hidden[y * columns + x];
    if (fresh > most)
        return 0;
    for (int y = b->top; fresh && y < b->top + b->height; y++)
        memset(hidden + y * columns + b->left, 1, (size_t)b->width);
    return fresh;
}

int mask_blocks(Random *random, int rows, int columns, int wanted, int least, uint8_t *hidden)
{
    enum { TRIES = 10 };
    int count = 0;
    memset(hidden, 0, (size_t)rows * (size_t)columns);
    while (count < wanted) {
        int most = wanted - count, fresh = 0;
        for (int t = 0; t < TRIES && !fresh; t++) {
            Block b;
            double area = least + (most - least) * random_uniform(random); /* meant, also when most < least */
            if (draw_block(random, rows, columns, area, &b))
                fresh = hide_block(&b, columns, most, hidden);
        }
        if (!fresh)
            break;
        count += fresh;
    }
    if (!count) { /* ten tries found no place: a picture of which nothing is hidden teaches nothing (docs/decisions.md) */
        hidden[random_below(random, (uint32_t)(rows * columns))] = 1;
        count = 1;
    }
    return count;
}

void mask_grid(int rows, int columns, int step, uint8_t *hidden)
{
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++)
            hidden[y * columns + x] = y % step || x % step;
}

void mask_draw(const Recipe *r, Random *random, uint8_t *hidden)
{
    int rows, columns, places = recipe_patches(r), visible = recipe_visible(r), side;
    recipe_grid(r, &rows, &columns);
    switch (r->mask.kind) {
    case MASK_BLOCK:
        mask_blocks(random, rows, columns, places - visible, recipe_least_block(r), hidden);
        break;
    case MASK_UNIT:
        side = r->mask.unit / r->encoder.patch;
        mask_units(random, rows, columns, side, (places - visible) / (side * side), hidden);
        break;
    case MASK_GRID:
        mask_grid(rows, columns, recipe_grid_step(r), hidden);
        break;
    default:
        mask_random(random, places, visible, hidden);
    }
}
