#include "image/colour.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "image/image.h"

enum { BRIGHTNESS, CONTRAST, SATURATION, HUE, JITTERS };

static const double SIGMA_LEAST = 0.1, SIGMA_MOST = 2;

bool colour_changes(const ColourOptions *o)
{
    bool any = false;
    for (int i = 0; i < JITTERS; i++)
        any = any || (o->jitter[i] > 0 && o->jitter_prob > 0);
    for (int v = 0; v < COLOUR_VIEWS; v++)
        any = any || o->grey[v] > 0 || o->blur[v] > 0 || o->solarise[v] > 0;
    return any;
}

/* ---- draws */

static void draw_jitter(Random *random, const ColourOptions *o, ColourChange *c)
{
    for (int i = 0; i < JITTERS; i++)
        if (o->jitter[i] > 0)
            c->order[c->jitters++] = i;
    for (int i = c->jitters - 1; i > 0; i--) {
        int j = (int)random_below(random, (uint32_t)i + 1), kept = c->order[i];
        c->order[i] = c->order[j];
        c->order[j] = kept;
    }
    for (int i = 0; i < HUE; i++) {
        double low = fmax(0, 1 - o->jitter[i]), high = 1 + o->jitter[i];
        c->factor[i] = (float)(low + (high - low) * random_uniform(random));
    }
    c->turn = (int)trunc(255 * o->jitter[HUE] * (2 * random_uniform(random) - 1));
}

ColourChange colour_draw(Random *random, const ColourOptions *o, int view)
{
    ColourChange c = {0};
    if (!colour_changes(o))
        return c;
    if (random_uniform(random) < o->jitter_prob)
        draw_jitter(random, o, &c);
    c.grey = random_uniform(random) < o->grey[view];
    bool blurs = random_uniform(random) < o->blur[view];
    double sigma = SIGMA_LEAST + (SIGMA_MOST - SIGMA_LEAST) * random_uniform(random);
    c.sigma = blurs ? sigma : 0;
    c.solarise = random_uniform(random) < o->solarise[view];
    return c;
}

/* ---- jitter */

static uint8_t blend(int from, int to, float factor)
{
    float x = (float)from + factor * (float)(to - from);
    return (uint8_t)(x <= 0 ? 0 : x >= 255 ? 255 : x);
}

static int mean_luma(const uint8_t *pixels, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += image_luma(pixels + 3 * i);
    return (int)((double)sum / (double)count + 0.5);
}

/* Hue, saturation and value as bytes; hue is a share of 255. */
static void to_hsv(const uint8_t *rgb, uint8_t hsv[3])
{
    int r = rgb[0], g = rgb[1], b = rgb[2], most = r > g ? r : g, least = r < g ? r : g;
    most = b > most ? b : most;
    least = b < least ? b : least;
    hsv[0] = hsv[1] = 0;
    hsv[2] = (uint8_t)most;
    if (most == least)
        return;
    float range = (float)(most - least), red = (float)(most - r) / range, green = (float)(most - g) / range,
          blue = (float)(most - b) / range;
    float sixths = r == most ? blue - green : g == most ? 2 + red - blue : 4 + green - red;
    float hue = (float)fmod((double)sixths / 6.0 + 1.0, 1.0);
    hsv[0] = (uint8_t)((double)hue * 255.0);
    hsv[1] = (uint8_t)((double)(range / (float)most) * 255.0);
}

static void from_hsv(const uint8_t hsv[3], uint8_t *rgb)
{
    int v = hsv[2];
    if (hsv[1] == 0) {
        rgb[0] = rgb[1] = rgb[2] = (uint8_t)v;
        return;
    }
    float at = (float)((double)hsv[0] * 6.0 / 255.0), s = (float)((double)hsv[1] / 255.0);
    int sixth = (int)at;
    float rest = at - (float)sixth;
    int p = (int)round(v * (1.0 - (double)s)), q = (int)round(v * (1.0 - (double)(s * rest))),
        t = (int)round(v * (1.0 - (double)s * (1.0 - (double)rest)));
    const int of[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
    for (int k = 0; k < 3; k++)
        rgb[k] = (uint8_t)of[sixth % 6][k];
}

static void jitter(int kind, const ColourChange *c, uint8_t *pixels, size_t count)
{
    int middle = kind == CONTRAST ? mean_luma(pixels, count) : 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t *rgb = pixels + 3 * i, hsv[3];
        if (kind == HUE) {
            to_hsv(rgb, hsv);
            hsv[0] = (uint8_t)(hsv[0] + c->turn);
            from_hsv(hsv, rgb);
            continue;
        }
        int from = kind == SATURATION ? image_luma(rgb) : middle;
        for (int k = 0; k < 3; k++)
            rgb[k] = blend(from, rgb[k], c->factor[kind]);
    }
}

/* ---- blur */

enum { REACH_MOST = 8, ONE = 1 << 16 };

/* Weights of the pixels at distance 0, 1, ... on either side, which make ONE in all. */
static int make_weights(double sigma, int weights[REACH_MOST + 1])
{
    int reach = (int)(4 * sigma + 0.5), rest = ONE;
    double sum = 1, shares[REACH_MOST + 1];
    reach = reach > REACH_MOST ? REACH_MOST : reach;
    for (int i = 1; i <= reach; i++) {
        shares[i] = exp(-0.5 * i * i / (sigma * sigma));
        sum += 2 * shares[i];
    }
    for (int i = 1; i <= reach; i++) {
        weights[i] = (int)(shares[i] / sum * ONE + 0.5);
        rest -= 2 * weights[i];
    }
    weights[0] = rest;
    return reach;
}

/* Along lines of `count` numbers, `step` apart; edges are repeated. */
static void blur_line(const uint8_t *from, uint8_t *to, int count, size_t step, const int *weights, int reach)
{
    for (int x = 0; x < count; x++) {
        int sum = ONE / 2 + weights[0] * from[(size_t)x * step];
        for (int i = 1; i <= reach; i++) {
            int left = x - i < 0 ? 0 : x - i, right = x + i >= count ? count - 1 : x + i;
            sum += weights[i] * (from[(size_t)left * step] + from[(size_t)right * step]);
        }
        to[(size_t)x * step] = (uint8_t)(sum >> 16);
    }
}

static void blur(double sigma, uint8_t *pixels, int height, int width, int channels, uint8_t *room)
{
    int weights[REACH_MOST + 1], reach = make_weights(sigma, weights);
    size_t pixel = (size_t)channels, row = (size_t)width * pixel;
    for (int y = 0; y < height; y++)
        for (size_t k = 0; k < pixel; k++)
            blur_line(pixels + (size_t)y * row + k, room + (size_t)y * row + k, width, pixel, weights, reach);
    for (size_t x = 0; x < row; x++)
        blur_line(room + x, pixels + x, height, row, weights, reach);
}

/* ---- all */

void colour_apply(const ColourChange *c, uint8_t *pixels, int height, int width, int channels, uint8_t *room)
{
    size_t count = (size_t)height * (size_t)width, numbers = count * (size_t)channels;
    for (int i = 0; i < c->jitters; i++)
        jitter(c->order[i], c, pixels, count);
    for (size_t i = 0; c->grey && i < count; i++)
        memset(pixels + 3 * i, image_luma(pixels + 3 * i), 3);
    if (c->sigma > 0)
        blur(c->sigma, pixels, height, width, channels, room);
    for (size_t i = 0; c->solarise && i < numbers; i++)
        pixels[i] = pixels[i] >= 128 ? (uint8_t)(255 - pixels[i]) : pixels[i];
}
