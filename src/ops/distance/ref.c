#include "ops/ref.h"
#include "ops/distance/attr.h"

REF_DECLARE(distance);
REF_DECLARE(distance_grad);

static double one(double e, const DistanceAttr *attr)
{
    switch (attr->kind) {
    case DISTANCE_L1:
        return fabs(e);
    case DISTANCE_SMOOTH_L1:
        return fabs(e) < attr->beta ? e * e / (2 * attr->beta) : fabs(e) - attr->beta / 2;
    default:
        return e * e;
    }
}

static double slope(double e, const DistanceAttr *attr)
{
    switch (attr->kind) {
    case DISTANCE_L1:
        return (e > 0) - (e < 0);
    case DISTANCE_SMOOTH_L1:
        return fabs(e) < attr->beta ? e / attr->beta : (e > 0) - (e < 0);
    default:
        return 2 * e;
    }
}

void REF(distance)(const Call *c, Worker *w)
{
    (void)w;
    const real *pred = c->in[0].data, *target = c->in[1].data, *weight = c->in[2].data, *scale = c->in[3].data;
    int64_t n = c->in[0].columns;
    double sum = 0;
    for (int64_t row = 0; row < c->in[0].rows; row++)
        for (int64_t i = 0; i < n && !(weight && weight[row] == 0); i++) /* whatever is predicted where nothing counts */
            sum += (weight ? weight[row] : 1) * one((double)pred[row * n + i] - target[row * n + i], c->attr);
    *(real *)c->out[0].data = (real)(sum / (double)n * *scale);
}

void REF(distance_grad)(const Call *c, Worker *w)
{
    (void)w;
    const real *pred = c->in[0].data, *target = c->in[1].data, *weight = c->in[2].data, *scale = c->in[3].data,
               *dloss = c->in[4].data;
    real *dpred = c->out[0].data;
    int64_t n = c->in[0].columns;
    for (int64_t row = 0; row < c->in[0].rows; row++) {
        double factor = (weight ? weight[row] : 1) * (double)*scale * *dloss / (double)n;
        for (int64_t i = 0; i < n; i++)
            ref_put(&dpred[row * n + i],
                    factor == 0 ? 0 : factor * slope((double)pred[row * n + i] - target[row * n + i], c->attr),
                    call_accumulates(c, 0));
    }
}
