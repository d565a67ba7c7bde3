/* The bitmap font of draw_text(). Not for use outside this folder. */
#ifndef LACUNA_IMAGE_FONT_H
#define LACUNA_IMAGE_FONT_H

enum { FONT_FIRST = 32, FONT_COUNT = 95, FONT_ROW = 6, FONT_GLYPH_SIZE = 7 * FONT_ROW };

/* Character FONT_FIRST + i: dot (y, x) of 7 x 5 is set where FONT_GLYPHS[i][y * FONT_ROW + x] is '#'. */
extern const char FONT_GLYPHS[FONT_COUNT][FONT_GLYPH_SIZE];

#endif
