#include "device/kernel.h"

bool shape_fits(const Shape *s)
{
    int64_t bytes = 8;
    for (int i = 0; i < s->n; i++)
        if (s->d[i] < 0 || __builtin_mul_overflow(bytes, s->d[i], &bytes))
            return false;
    return true;
}

int64_t shape_count(const Shape *s)
{
    int64_t count = 1;
    for (int i = 0; i < s->n; i++)
        count *= s->d[i];
    return count;
}

int64_t shape_columns(const Shape *s)
{
    return s->n ? s->d[s->n - 1] : 1;
}

int64_t shape_rows(const Shape *s)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < s->n; i++)
        rows *= s->d[i];
    return rows;
}

bool shape_equal(const Shape *a, const Shape *b)
{
    if (a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++)
        if (a->d[i] != b->d[i])
            return false;
    return true;
}
