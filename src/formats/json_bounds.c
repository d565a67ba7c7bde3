#include "formats/json_bounds.h"

#include "base/error.h"

bool json_within(const char *text, size_t length, const JsonBounds *b, const char *origin)
{
    size_t signs = 0, strings = 0;
    int depth = 0;
    bool string = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (string) {
            i += c == '\\';
            string = c != '"';
            if (++strings > b->strings)
                return error_set("%s: its JSON holds more text than such a file does (byte %zu)", origin, i);
            continue;
        }
        string = c == '"';
        bool opens = c == '{' || c == '[';
        depth += opens - (c == '}' || c == ']');
        signs += opens || c == ',' || c == ':';
        if (opens && depth > (c == '{' ? b->objects : b->depth))
            return error_set("%s: its JSON is nested deeper than such a file is, at byte %zu", origin, i);
        if (signs > b->signs)
            return error_set("%s: its JSON holds more values than such a file does (byte %zu)", origin, i);
    }
    return true;
}
