#include "recipe/document.h"

#include <string.h>

#include "base/error.h"

static bool syntax_error(const yaml_parser_t *parser, const char *origin)
{
    size_t line = parser->error == YAML_READER_ERROR ? parser->mark.line : parser->problem_mark.line;
    if (parser->error == YAML_MEMORY_ERROR)
        return error_set("%s: out of memory", origin);
    return error_set("%s:%zu: not valid YAML: %s%s%s", origin, line + 1, parser->problem ? parser->problem : "cannot be read",
                     parser->context ? ", " : "", parser->context ? parser->context : "");
}

/* Aliases could make a small text a huge or endless tree, so a first pass over the events refuses them before a tree exists. */
static bool check_events(const char *text, size_t size, const char *origin)
{
    yaml_parser_t parser;
    bool ok = true, more = true;
    int depth = 0, documents = 0;
    if (!yaml_parser_initialize(&parser))
        return error_set("%s: out of memory", origin);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    while (ok && more) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            ok = syntax_error(&parser, origin);
            break;
        }
        size_t line = event.start_mark.line + 1;
        switch (event.type) {
        case YAML_DOCUMENT_START_EVENT:
            if (++documents > 1)
                ok = error_set("%s:%zu: a second document begins here; a recipe is a single mapping", origin, line);
            break;
        case YAML_ALIAS_EVENT:
            ok = error_set("%s:%zu: aliases (*name) are not accepted in a recipe; write the value out", origin, line);
            break;
        case YAML_MAPPING_START_EVENT:
        case YAML_SEQUENCE_START_EVENT:
            if (++depth > DOCUMENT_DEPTH_MAX)
                ok = error_set("%s:%zu: nested deeper than the %d levels that are accepted", origin, line, DOCUMENT_DEPTH_MAX);
            break;
        case YAML_MAPPING_END_EVENT:
        case YAML_SEQUENCE_END_EVENT:
            depth--;
            break;
        case YAML_STREAM_END_EVENT:
        case YAML_NO_EVENT:
            more = false;
            break;
        default:
            break;
        }
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (ok && !documents)
        return error_set("%s: empty; a recipe is a mapping of keys to values", origin);
    return ok;
}

bool document_parse(yaml_document_t *document, const char *text, size_t size, const char *origin)
{
    if (size > DOCUMENT_BYTES_MAX)
        return error_set("%s has %zu bytes, more than the %d that are accepted for a recipe", origin, size, DOCUMENT_BYTES_MAX);
    if (!check_events(text, size, origin))
        return false;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return error_set("%s: out of memory", origin);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    bool ok = yaml_parser_load(&parser, document);
    if (!ok)
        syntax_error(&parser, origin);
    else if (!yaml_document_get_root_node(document)) {
        ok = error_set("%s: empty; a recipe is a mapping of keys to values", origin);
        yaml_document_delete(document);
    }
    yaml_parser_delete(&parser);
    return ok;
}

const char *document_scalar(const yaml_node_t *node, bool *plain)
{
    if (node->type != YAML_SCALAR_NODE)
        return NULL;
    const char *text = (const char *)node->data.scalar.value;
    if (strlen(text) != node->data.scalar.length)
        return NULL;
    *plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return text;
}

int document_line(const yaml_node_t *node)
{
    return (int)node->start_mark.line + 1;
}
