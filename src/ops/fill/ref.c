#include "ops/ref.h"
#include "ops/fill/attr.h"

REF_DECLARE(fill);

void REF(fill)(const Call *c, Worker *w)
{
    (void)w;
    const FillAttr *attr = c->attr;
    real *out = c->out[0].data;
    for (int64_t i = 0; i < c->out[0].rows * c->out[0].columns; i++)
        out[i] = (real)attr->value;
}
