/* A YAML text as a tree, held to what a recipe needs. Only for src/recipe. */
#ifndef LACUNA_RECIPE_DOCUMENT_H
#define LACUNA_RECIPE_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

#include <yaml.h>

enum { DOCUMENT_BYTES_MAX = 1 << 17, DOCUMENT_DEPTH_MAX = 16 };

/* Parses one document. Refused: more than one document, aliases, nesting deeper than DOCUMENT_DEPTH_MAX, an empty text.
 * `origin` names it in errors. On true the document is to be freed with yaml_document_delete(). */
bool document_parse(yaml_document_t *document, const char *text, size_t size, const char *origin);

/* The text of a scalar node (plain: not quoted); NULL for other nodes and for text with a zero byte in it. */
const char *document_scalar(const yaml_node_t *node, bool *plain);

/* Counting from 1. */
int document_line(const yaml_node_t *node);

#endif
