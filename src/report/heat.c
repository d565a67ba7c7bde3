#include "report/heat.h"

#include <math.h>

#include "report/chart.h"

/* Of the drawing, in its own units. */
enum { WIDTH = 640, LEFT = 40, RIGHT = 12, TOP = 6, BOTTOM = 36, CELL_MOST = 46, NUMBERS_MOST = 16, TICKS_MOST = 26 };

/* Opacity of 1: numbers in the cells stay readable, in the light and in the dark. */
static const double CELL_INK = 0.5;

static void add_cell(const Heat *h, int r, int c, double size, Text *out)
{
    double v = h->values[r * h->columns + c], x = LEFT + c * size, y = TOP + (h->rows - 1 - r) * size;
    if (!isfinite(v)) {
        text_add(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">-</text>", x + size / 2, y + size / 2 + 4);
        return;
    }
    text_add(out, "<rect class=\"cell\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill-opacity=\"%.3f\"><title>", x,
             y, size - 1, size - 1, CELL_INK * fmin(fmax(v, 0), 1));
    html_text(out, h->row_name);
    text_add(out, " %d, ", r);
    html_text(out, h->column_name);
    text_add(out, " %d: %.4g</title></rect>", c, v);
    if (h->columns <= NUMBERS_MOST && h->rows <= NUMBERS_MOST)
        text_add(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.2f</text>", x + size / 2 - 0.5, y + size / 2 + 4,
                 v);
}

void heat_draw(const Heat *h, Text *out)
{
    double size = fmin(CELL_MOST, (double)(WIDTH - LEFT - RIGHT) / (h->columns > h->rows ? h->columns : h->rows));
    double height = TOP + BOTTOM + size * h->rows;
    text_add(out, "<figure class=\"chart\"><figcaption>");
    html_text(out, h->title);
    text_add(out, "</figcaption>\n<div class=\"legend\"><span>0");
    for (int i = 0; i <= 4; i++)
        text_add(out, "<i class=\"stroke c0\" style=\"opacity:%.2f;margin:0 0 0 4px\"></i>", CELL_INK * fmax(0.06, 0.25 * i));
    text_add(out, " 1</span></div>\n<svg viewBox=\"0 0 %d %.0f\" role=\"img\"><title>", WIDTH, height);
    html_text(out, h->title);
    text_add(out, "</title>");
    for (int r = 0; r < h->rows; r++)
        for (int c = 0; c < h->columns; c++)
            add_cell(h, r, c, size, out);
    int step = h->rows > TICKS_MOST || h->columns > TICKS_MOST ? 4 : 1;
    for (int r = 0; r < h->rows; r += step)
        text_add(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%d</text>", LEFT - 6, TOP + (h->rows - 0.5 - r) * size + 4,
                 r);
    for (int c = 0; c < h->columns; c += step)
        text_add(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%d</text>", LEFT + (c + 0.5) * size,
                 TOP + h->rows * size + 15, c);
    text_add(out, "<text x=\"%d\" y=\"%.1f\">", LEFT, height - 4);
    html_text(out, h->column_name);
    text_add(out, " across, ");
    html_text(out, h->row_name);
    text_add(out, " upwards</text></svg>");
    chart_note(h->note, out);
    text_add(out, "</figure>\n");
}
