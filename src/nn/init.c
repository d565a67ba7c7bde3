#include "nn/init.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "nn/position.h"

Init init_weight(InitFamily family, int64_t out, int64_t in, int branch)
{
    if (family == FAMILY_BEIT)
        return (Init){INIT_CUT_NORMAL, 0.02, branch >= 0 ? sqrt(2.0 * (branch + 1)) : 1};
    if (family == FAMILY_MASKFEAT)
        return (Init){INIT_NORMAL, 0.02, 0};
    return (Init){INIT_UNIFORM, sqrt(6.0 / (double)(in + out)), 0};
}

Init init_qkv_weight(InitFamily family, int64_t width)
{
    return init_weight(family, family == FAMILY_MOCO ? width : 3 * width, width, -1);
}

Init init_head_weight(double deviation)
{
    return (Init){INIT_NORMAL, deviation, 0};
}

Init init_contrast_weight(int64_t in)
{
    return (Init){INIT_UNIFORM, 1 / sqrt((double)in), 0};
}

Init init_patch_weight(InitFamily family, int64_t width, int64_t numbers)
{
    return init_weight(family, width, numbers, -1);
}

Init init_patch_bias(InitFamily family, int64_t numbers)
{
    if (family == FAMILY_BEIT || family == FAMILY_MOCO)
        return init_constant(0);
    return (Init){INIT_UNIFORM, 1 / sqrt((double)numbers), 0};
}

Init init_token(InitFamily family)
{
    if (family == FAMILY_MOCO)
        return (Init){INIT_NORMAL, 1e-6, 0};
    return family == FAMILY_BEIT ? (Init){INIT_CUT_NORMAL, 0.02, 1} : (Init){INIT_NORMAL, 0.02, 0};
}

Init init_bias(InitFamily family)
{
    return init_constant(family == FAMILY_MASKFEAT ? 0.02 : 0);
}

Init init_pixel_head(int64_t width)
{
    return (Init){INIT_UNIFORM, 1 / sqrt((double)width), 0};
}

Init init_constant(double value)
{
    return (Init){INIT_CONSTANT, value, 0};
}

Init init_sincos(InitFamily family, int rows, int columns)
{
    return (Init){INIT_SINCOS, family == FAMILY_MOCO ? -rows : rows, columns};
}

static void draw(const Param *p, Random *random, float *to)
{
    const Init *init = &p->init;
    for (int64_t i = 0; i < p->count; i++) {
        double x = 0;
        switch (init->kind) {
        case INIT_CONSTANT:
            x = init->a;
            break;
        case INIT_UNIFORM:
            x = init->a * (2 * random_uniform(random) - 1);
            break;
        case INIT_NORMAL:
            x = init->a * random_normal(random);
            break;
        case INIT_CUT_NORMAL:
            do
                x = random_normal(random);
            while (fabs(x) > 1);
            x *= init->a / init->b;
            break;
        case INIT_SINCOS:
            return; /* drawn whole */
        }
        to[i] = (float)x;
    }
}

void init_params(const ParamSet *set, uint64_t seed, uint32_t stage, float *trained, float *fixed)
{
    memset(trained, 0, (size_t)set->trained_count * sizeof *trained);
    memset(fixed, 0, (size_t)set->fixed_count * sizeof *fixed);
    for (size_t i = 0; i < set->count; i++) {
        const Param *p = &set->params[i];
        float *to = (p->kind == PARAM_TRAINED ? trained : fixed) + p->offset;
        if (p->init.kind == INIT_SINCOS) { /* a below 0: the row's numbers come first */
            int rows = abs((int)p->init.a), columns = (int)p->init.b, width = (int)shape_columns(&p->shape);
            int64_t places = (int64_t)rows * columns * width; /* rows of class tokens stay zero */
            position_sincos(rows, columns, width, false, to + p->count - places);
            if (p->init.a < 0)
                position_swap_halves(to + p->count - places, (long)rows * columns, width);
            continue;
        }
        Random random = random_stream(seed, RANDOM_INIT, stage, 0, random_hash(p->name));
        draw(p, &random, to);
    }
}
