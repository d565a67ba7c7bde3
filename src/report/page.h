/* What stands around every page: its style, and the script that reads values off the curves. */
#ifndef LACUNA_REPORT_PAGE_H
#define LACUNA_REPORT_PAGE_H

#include "base/text.h"

void page_begin(Text *out, const char *title);
void page_end(Text *out);

/* Bytes as a data: URI in an <img>. */
void page_image(Text *out, const char *alt, const void *png, size_t size);

#endif
