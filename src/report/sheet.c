#include "report/sheet.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "image/draw.h"

enum { CAPTION_ROOM = 128, SIDE_MOST = 100000 };

int sheet_scale(const Image *cell)
{
    int side = cell->height < cell->width ? cell->height : cell->width;
    return side < SHEET_CELL_LEAST ? (SHEET_CELL_LEAST + side - 1) / side : 1;
}

void sheet_hide(Image *image, const uint8_t *hidden, int patch)
{
    uint8_t grey[8];
    memset(grey, 176, sizeof grey);
    for (int y = 0; y < image->height / patch; y++)
        for (int x = 0; x < image->width / patch; x++)
            if (hidden[y * (image->width / patch) + x] && image->channels <= (int)sizeof grey)
                draw_rectangle(image, (ImageBox){y * patch, x * patch, patch, patch}, grey);
}

/* The caption in the middle over a column, letters that do not fit left off. */
static void draw_caption(Image *sheet, int top, int left, int width, const char *caption, int scale)
{
    static const uint8_t ink[] = {40, 40, 48};
    char text[CAPTION_ROOM];
    snprintf(text, sizeof text, "%s", caption);
    for (size_t n = strlen(text); n && draw_text_width(text, scale) > width; n--)
        text[n - 1] = 0;
    draw_text(sheet, top, left + (width - draw_text_width(text, scale)) / 2, text, ink, scale);
}

bool sheet_make(const Image *cells, int rows, int columns, const char *const *captions, Image *out)
{
    static const uint8_t ground[] = {246, 246, 243};
    *out = (Image){0};
    if (rows < 1 || columns < 1)
        return error_set("a sheet of %d x %d pictures cannot be drawn", rows, columns);
    for (int i = 1; i < rows * columns; i++)
        if (cells[i].height != cells[0].height || cells[i].width != cells[0].width)
            return error_set("the pictures of a sheet must be of one size");
    int scale = sheet_scale(cells);
    int64_t cell_height = (int64_t)cells->height * scale, cell_width = (int64_t)cells->width * scale;
    int text = cell_width >= 192 ? 2 : 1, head = TEXT_GLYPH_HEIGHT * text + SHEET_MARGIN;
    int64_t height = SHEET_MARGIN + head + rows * (cell_height + SHEET_MARGIN);
    int64_t width = SHEET_MARGIN + columns * (cell_width + SHEET_MARGIN);
    if (height > SIDE_MOST || width > SIDE_MOST)
        return error_set("a sheet of %lld x %lld pixels is too large: take fewer pictures", (long long)height,
                         (long long)width);
    if (!image_new(out, (int)height, (int)width, 3))
        return false;
    draw_rectangle(out, (ImageBox){0, 0, out->height, out->width}, ground);
    for (int column = 0; column < columns; column++) {
        int left = SHEET_MARGIN + column * ((int)cell_width + SHEET_MARGIN);
        draw_caption(out, SHEET_MARGIN, left, (int)cell_width, captions[column], text);
        for (int row = 0; row < rows; row++)
            draw_image(out, SHEET_MARGIN + head + row * ((int)cell_height + SHEET_MARGIN), left, &cells[row * columns + column],
                       scale);
    }
    return true;
}
