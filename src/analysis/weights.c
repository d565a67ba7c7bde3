#include "analysis/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *weights_kind(const char *name)
{
    static const char *const kinds[][2] = {{".attn.qkv.", "qkv"},   {".attn.q_bias", "qkv"}, {".attn.v_bias", "qkv"},
                                           {".attn.proj.", "proj"}, {".mlp.fc1.", "fc1"},    {".mlp.fc2.", "fc2"},
                                           {"norm", "norm"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strstr(name, kinds[i][0]))
            return kinds[i][1];
    return "other";
}

int weights_block(const char *name)
{
    int block;
    return sscanf(name, "blocks.%d.", &block) == 1 ? block + 1 : 0;
}

bool weights_compare(const ParamSet *first, const float *w, size_t i, const ParamSet *second, const float *v, WeightPair *pair)
{
    const Param *p = &first->params[i];
    int other = param_find(second, p->name);
    if (p->kind != PARAM_TRAINED || other < 0 || second->params[other].kind != PARAM_TRAINED ||
        !shape_equal(&p->shape, &second->params[other].shape))
        return false;
    w += p->offset;
    v += second->params[other].offset;
    double ww = 0, vv = 0, wv = 0, apart = 0;
    for (int64_t k = 0; k < p->count; k++) {
        double x = w[k], y = v[k];
        ww += x * x;
        vv += y * y;
        wv += x * y;
        apart += (y - x) * (y - x);
    }
    *pair = (WeightPair){.name = p->name,
                         .block = weights_block(p->name),
                         .kind = weights_kind(p->name),
                         .cosine = ww > 0 && vv > 0 ? wv / sqrt(ww * vv) : NAN,
                         .relative = ww > 0 ? sqrt(apart / ww) : NAN,
                         .ratio = ww > 0 ? sqrt(vv / ww) : NAN};
    return true;
}
