/* From masks to the inputs of a program: which rows are embedded, where they come back, which ones count. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "mim/model.h"
#include "mim/names.h"

/* Hidden and visible places of one picture are taken in image order: attention does not care, and results do not depend on the
 * draw's order. */

typedef struct {
    int32_t *patches, *index, *inverse, *place, *replaced, *replaced_inverse, *rows, *rows_of_one, *rows_inverse,
        *decoder_index, *decoder_inverse;
} Inputs;

static void feed_encoder(const Inputs *in, const Mim *m, int64_t i, const uint8_t *hidden)
{
    int32_t *patches = in->patches, *index = in->index, *inverse = in->inverse, *place = in->place, *replaced = in->replaced;
    int first = m->encoder.class_tokens;
    int64_t token = i * mim_embedded(m), seen = 0;
    for (int k = 0; k < first; k++) {
        index[token + k] = -1 - k;
        place[token + k] = k;
    }
    for (int l = 0; l < m->places; l++) {
        int64_t whole = i * m->places + l;
        if (replaced) {
            replaced[whole] = hidden[l] ? -1 : (int32_t)whole;
            in->replaced_inverse[whole] = hidden[l] ? -1 : (int32_t)whole;
        } else if (hidden[l]) {
            if (!patches)
                inverse[whole] = -1;
            continue;
        }
        /* The embedded row that this token reads: of all patches, or of the visible ones. */
        int64_t row = patches ? i * m->visible + seen : whole, to = token + first + seen;
        if (patches)
            patches[row] = (int32_t)whole;
        index[to] = (int32_t)row;
        inverse[row] = (int32_t)to;
        place[to] = first + l;
        seen++;
    }
}

/* All tokens of picture i, of `own` ones that are its own and of those that hidden places share: one for each position, with
 * `each`, or a single one. */
static void feed_rows(int32_t *index, int32_t *inverse, const Mim *m, int64_t i, int64_t own, bool each, const uint8_t *hidden)
{
    if (!index)
        return;
    int first = m->encoder.class_tokens;
    int64_t to = i * (first + m->places), from = i * own;
    for (int k = 0; k < first; k++) {
        index[to + k] = (int32_t)(from + k);
        inverse[from + k] = (int32_t)(to + k);
    }
    for (int l = 0, seen = 0; l < m->places; l++) {
        if (hidden[l]) {
            index[to + first + l] = each ? -1 - (first + l) : -1;
            continue;
        }
        index[to + first + l] = (int32_t)(from + first + seen);
        inverse[from + first + seen] = (int32_t)(to + first + l);
        seen++;
    }
}

static void *view_input(Program *p, MimView view, const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", mim_view_names[view], what);
    return program_input(p, name);
}

/* The same rows, when they are taken from the encoder's tokens and those that hidden places share. */
static void feed_tokens(Program *p, const Mim *m, MimView view, const uint8_t *hidden, int64_t count)
{
    int32_t *tokens = view_input(p, view, "tokens"), *inverse = view_input(p, view, "tokens_inverse");
    int first = m->encoder.class_tokens;
    for (int64_t i = 0, to = 0; tokens && i < m->batch; i++) {
        const uint8_t *mask = hidden + (i < count ? i : 0) * m->places;
        int64_t own = i * m->tokens;
        for (int k = 0; inverse && k < first; k++, own++) {
            inverse[own] = mim_view_class(view) ? (int32_t)to : -1;
            if (mim_view_class(view))
                tokens[to++] = (int32_t)own;
        }
        for (int l = 0; l < m->places; l++) {
            bool counts = mim_view_all(view);
            if (mask[l]) {
                tokens[to++] = -1 - (first + l);
            } else if (inverse) {
                inverse[own] = counts ? (int32_t)to : -1;
                if (counts)
                    tokens[to++] = (int32_t)own;
                own++;
            }
        }
    }
}

/* Where the next counted row of a view goes, and what is written there. */
typedef struct {
    int32_t *rows, *inverse, *places, *teacher, *codes;
    char *weight;
    int64_t to;
} ViewInputs;

/* Place l of picture i; l < 0: its class token l + class. code: of the place, when codes are given. */
static void feed_place(Program *p, const Mim *m, ViewInputs *in, int64_t i, int l, bool counts, bool weighs, int32_t code)
{
    int first = m->encoder.class_tokens;
    int64_t from = i * (first + m->places) + first + l;
    if (in->inverse)
        in->inverse[from] = counts ? (int32_t)in->to : -1;
    if (!counts)
        return;
    if (in->rows)
        in->rows[in->to] = (int32_t)from;
    if (in->places)
        in->places[in->to] = (int32_t)(i * m->places + l);
    if (in->teacher)
        in->teacher[in->to] = (int32_t)(i * (m->teacher.vit.class_tokens + m->places) + m->teacher.vit.class_tokens + l);
    if (in->codes)
        in->codes[in->to] = weighs ? code : -1;
    float one = weighs ? 1 : 0;
    if (in->weight)
        program_write_real(p, in->weight + (size_t)in->to * device_element(program_device(p), DTYPE_REAL), &one, 1);
    in->to++;
}

/* The rows of pictures 0.. that a loss looks at, packed; behind them, up to the program's room, rows of weight 0. */
static void feed_view(Program *p, const Mim *m, MimView view, const MimPictures *pictures, int64_t count)
{
    const uint8_t *hidden = pictures->hidden;
    ViewInputs in = {.rows = view_input(p, view, "rows"),
                     .inverse = view_input(p, view, "inverse"),
                     .places = view_input(p, view, "places"),
                     .teacher = view_input(p, view, "teacher"),
                     .codes = view_input(p, view, "codes"),
                     .weight = view_input(p, view, "weight")};
    if (!in.places && !in.teacher && !in.codes)
        return;
    feed_tokens(p, m, view, hidden, count);
    bool all = mim_view_all(view);
    int first = m->encoder.class_tokens;
    for (int64_t i = 0; i < m->batch; i++) {
        const uint8_t *mask = hidden + (i < count ? i : 0) * m->places;
        const int32_t *codes = pictures->codes ? pictures->codes + (i < count ? i : 0) * m->places : NULL;
        for (int k = 0; k < first; k++)
            feed_place(p, m, &in, i, k - first, mim_view_class(view), i < count, -1);
        for (int l = 0; l < m->places; l++)
            feed_place(p, m, &in, i, l, all || m->plain || mask[l], i < count && (all || mask[l]), codes ? codes[l] : -1);
    }
    for (int64_t room = mim_view_rows(m, view); in.to < room; in.to++) {
        const float none = 0;
        if (in.rows)
            in.rows[in.to] = first;
        if (in.places)
            in.places[in.to] = 0;
        if (in.teacher)
            in.teacher[in.to] = 0;
        if (in.codes)
            in.codes[in.to] = -1;
        program_write_real(p, in.weight + (size_t)in.to * device_element(program_device(p), DTYPE_REAL), &none, 1);
    }
}

bool mim_accepts(const Mim *m, const uint8_t *hidden, int64_t count, int64_t *batch_hidden)
{
    *batch_hidden = 0;
    for (int64_t i = 0; i < count; i++) {
        int here = 0;
        for (int l = 0; l < m->places; l++)
            here += hidden[i * m->places + l] != 0;
        if (mim_even(m) && here != m->places - m->visible)
            return error_set("the mask of picture %lld hides %d of %d patches; unless mask.kind is block, all hide as many as "
                             "mask.ratio %g says: %d",
                             (long long)i, here, m->places, m->recipe->mask.ratio, m->places - m->visible);
        *batch_hidden += here;
    }
    return *batch_hidden > 0 || error_set("no patch of the batch is hidden, so there is nothing to learn from");
}

MimPictures mim_pictures_from(const Mim *m, const MimPictures *p, int64_t first)
{
    const Recipe *r = m->recipe;
    size_t at = (size_t)first, places = at * (size_t)m->places, channels = (size_t)r->image.channels;
    size_t own = channels * (size_t)r->image.size[0] * (size_t)r->image.size[1],
           its = channels * (size_t)mim_teacher_rows(&m->teacher) * (size_t)mim_teacher_columns(&m->teacher);
    return (MimPictures){.images = p->images + at * own,
                         .teacher_images = p->teacher_images ? p->teacher_images + at * its : NULL,
                         .hidden = p->hidden + places,
                         .codes = p->codes ? p->codes + places : NULL,
                         .epoch = p->epoch};
}

/* A picture of `planes` channels of `plane` numbers, x scale + shift. */
static void feed_scaled(Program *p, const float *picture, size_t planes, size_t plane, const float *scale, const float *shift,
                        char *to)
{
    size_t real = device_element(program_device(p), DTYPE_REAL);
    float line[256];
    const size_t most = sizeof line / sizeof *line;
    for (size_t k = 0; k < planes; k++)
        for (size_t i = 0; i < plane; i += most) {
            size_t count = plane - i < most ? plane - i : most;
            for (size_t j = 0; j < count; j++)
                line[j] = picture[k * plane + i + j] * scale[k] + shift[k];
            program_write_real(p, to + (k * plane + i) * real, line, count);
        }
}

/* A picture as the teacher, and as target.hybrid's model, sees it. */
static void feed_teachers(Program *p, const Mim *m, const MimPictures *one, int64_t i, char *teacher_image, char *hybrid_image)
{
    const MimTeacher *teacher = &m->teacher;
    const Recipe *r = m->recipe;
    size_t channels = (size_t)r->image.channels, real = device_element(program_device(p), DTYPE_REAL);
    size_t plane = (size_t)r->image.size[0] * (size_t)r->image.size[1],
           its_plane = (size_t)mim_teacher_rows(teacher) * (size_t)mim_teacher_columns(teacher);
    const float *its = one->teacher_images ? one->teacher_images : one->images;
    if (teacher_image && teacher->renormalise)
        feed_scaled(p, its, channels, its_plane, teacher->scale, teacher->shift,
                    teacher_image + (size_t)i * channels * its_plane * real);
    else if (teacher_image)
        program_write_real(p, teacher_image + (size_t)i * channels * its_plane * real, its, channels * its_plane);
    if (hybrid_image)
        feed_scaled(p, one->images, channels, plane, teacher->hybrid.scale, teacher->hybrid.shift,
                    hybrid_image + (size_t)i * channels * plane * real);
}

/* The shares of mixed targets. */
static void feed_mixes(Program *p, const Mim *m, double epoch)
{
    for (int k = 0; k < m->recipe->decoder_count; k++) {
        char name[32];
        float alpha = (float)recipe_mix(m->recipe, k, epoch), rest = 1 - alpha;
        if (!recipe_is_mixed(m->recipe, k))
            continue;
        snprintf(name, sizeof name, "hybrid.alpha.%d", k);
        program_write_real(p, program_input(p, name), &alpha, 1);
        snprintf(name, sizeof name, "hybrid.rest.%d", k);
        program_write_real(p, program_input(p, name), &rest, 1);
    }
}

void mim_feed(Program *p, const Mim *m, const MimPictures *pictures, int64_t count, const uint8_t *kept, int64_t stride,
              int64_t batch_pictures, int64_t batch_hidden)
{
    const VitConfig *c = &m->encoder;
    size_t size = (size_t)c->channels * (size_t)(c->rows * c->patch) * (size_t)(c->columns * c->patch);
    size_t real = device_element(program_device(p), DTYPE_REAL);
    char *image = program_input(p, "image"), *teacher_image = program_input(p, "teacher.image"),
         *hybrid_image = program_input(p, "hybrid.image");
    Inputs in = {.patches = program_input(p, "encoder.patches"),
                 .index = program_input(p, "encoder.index"),
                 .inverse = program_input(p, "encoder.inverse"),
                 .place = program_input(p, "encoder.place"),
                 .replaced = program_input(p, "encoder.replaced"),
                 .replaced_inverse = program_input(p, "encoder.replaced_inverse"),
                 .rows = program_input(p, "encoder.rows"),
                 .rows_of_one = program_input(p, "encoder.rows_of_one"),
                 .rows_inverse = program_input(p, "encoder.rows_inverse"),
                 .decoder_index = program_input(p, "decoder.index"),
                 .decoder_inverse = program_input(p, "decoder.inverse")};
    for (int64_t i = 0; i < m->batch; i++) {
        int64_t from = i < count ? i : 0;
        MimPictures one = mim_pictures_from(m, pictures, from);
        const uint8_t *mask = one.hidden;
        program_write_real(p, image + (size_t)i * size * real, one.images, size);
        feed_teachers(p, m, &one, i, teacher_image, hybrid_image);
        feed_encoder(&in, m, i, mask);
        feed_rows(in.rows, in.rows_inverse, m, i, mim_embedded(m), true, mask);
        feed_rows(in.rows_of_one, in.rows_inverse, m, i, mim_embedded(m), false, mask);
        feed_rows(in.decoder_index, in.decoder_inverse, m, i, m->tokens, mim_shares_tokens(m), mask);
    }
    feed_mixes(p, m, pictures->epoch);
    for (int view = 0; view < MIM_VIEWS; view++) {
        feed_view(p, m, (MimView)view, pictures, count);
        void *scale = view_input(p, (MimView)view, "scale");
        double counted = mim_view_all((MimView)view) ? (double)m->places * (double)batch_pictures : (double)batch_hidden;
        counted += mim_view_class((MimView)view) ? (double)c->class_tokens * (double)batch_pictures : 0;
        float value = (float)(1.0 / counted);
        if (scale)
            program_write_real(p, scale, &value, 1);
    }
    drop_path_feed(p, &m->drop, m->batch, count, kept, stride);
}

void mim_read_places(Program *p, Segment segment, const Mim *m, int decoder, bool target, float *out)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%d", target ? "target" : "pred", decoder);
    MimView view = mim_view_of(m, decoder);
    /* Rows of (N, class + L), in this view's order: of each picture those of its places. */
    const int32_t *places = view_input(p, view, "places"), *teacher = view_input(p, view, "teacher");
    const char *from = program_kept(p, segment, name);
    bool codes = target && m->recipe->decoders[decoder].target.kind == TARGET_TOKENS;
    size_t outputs = (size_t)(target ? mim_target_numbers(m, decoder) : mim_outputs(m, decoder));
    size_t real = device_element(program_device(p), DTYPE_REAL);
    int64_t all = mim_target_places(m, decoder), its_class = m->teacher.vit.class_tokens, skipped = its_class + m->places - all;
    memset(out, 0, (size_t)(m->batch * all) * outputs * sizeof *out);
    const char *weight = view_input(p, view, "weight");
    for (int64_t row = 0; from && row < mim_view_rows(m, view); row++) {
        float counts = 1;
        if (weight && !m->plain)
            program_read_real(p, weight + (size_t)row * real, &counts, 1);
        if (counts == 0)
            continue; /* room that was not used */
        int64_t to = places ? places[row]
                            : teacher[row] / (its_class + m->places) * all + teacher[row] % (its_class + m->places) - skipped;
        if (codes)
            out[to] = (float)((const int32_t *)(const void *)from)[row];
        else
            program_read_real(p, from + (size_t)row * outputs * real, out + (size_t)to * outputs, outputs);
    }
}
