/* Reading meta.json of a checkpoint. */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include <jansson.h>

#include "base/error.h"
#include "train/checkpoint_parts.h"

static bool meta_number(const json_t *root, const char *path, const char *key, int64_t least, int64_t *value)
{
    const json_t *number = json_object_get(root, key);
    if (!json_is_integer(number) || json_integer_value(number) < least)
        return error_set("%s: \"%s\" is not a whole number of at least %" PRId64, path, key, least);
    *value = json_integer_value(number);
    return true;
}

static bool meta_floats(const json_t *root, const char *path, const char *key, int *count, float *values)
{
    const json_t *list = json_object_get(root, key);
    size_t size = json_array_size(list);
    if (size < 1 || size > RECIPE_CHANNELS_MAX || (*count && size != (size_t)*count))
        return error_set("%s: \"%s\" is not a list with a number for each channel", path, key);
    for (size_t i = 0; i < size; i++) {
        double value = json_number_value(json_array_get(list, i));
        if (!json_is_number(json_array_get(list, i)) || !(fabs(value) <= FLT_MAX))
            return error_set("%s: \"%s\" is not a list of numbers", path, key);
        values[i] = (float)value;
    }
    *count = (int)size;
    return true;
}

bool checkpoint_meta_parse(const char *text, size_t size, const char *path, CheckpointMeta *meta)
{
    json_error_t error;
    int64_t seed;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    bool ok = false;
    *meta = (CheckpointMeta){0};
    if (!json_is_object(root)) {
        error_set("%s is not a JSON object: %s", path, root ? "something else stands there" : error.text);
        goto done;
    }
    ok = meta_number(root, path, "step", 0, &meta->step) &&
         meta_number(root, path, "optimizer_steps", 0, &meta->optimizer_steps) &&
         meta_number(root, path, "steps_per_epoch", 1, &meta->steps_per_epoch) &&
         meta_number(root, path, "pictures", 1, &meta->pictures) && meta_number(root, path, "seed", 0, &seed) &&
         meta_floats(root, path, "mean", &meta->channels, meta->mean) &&
         meta_floats(root, path, "std", &meta->channels, meta->std);
    if (ok)
        meta->seed = (uint64_t)seed;
done:
    json_decref(root);
    return ok;
}
