/* SPDX-License-Identifier: Apache-2.0 */
/* A small JSON reader: strict (RFC 8259), bounded in bytes, depth and values. Knows nothing of what the text means. */
#ifndef SIGHTLINE_BACKEND_JSON_H
#define SIGHTLINE_BACKEND_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_MAX_BYTES = 1 << 20, JSON_MAX_DEPTH = 32, JSON_MAX_NODES = 1 << 16 };

typedef enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
} json_kind;

/* One value, in the order of the text; an object's members are a string and a value each. */
typedef struct json_node {
    json_kind kind;
    uint32_t start;  /* first byte of the value, behind the quote of a string */
    uint32_t length; /* bytes of the value; of an array or object: how many items or members it has */
    uint32_t end;    /* index of the first node behind this value */
} json_node;

/* A read text. Keeps pointing at the text it was read from. */
typedef struct json {
    const char *text;
    size_t length;
    json_node *nodes;
    uint32_t count;
    uint32_t room;
} json;

/* Node 0 is the whole text and nobody's member, so it also says "there is none". */
enum { JSON_ROOT = 0, JSON_NONE = 0 };

/* Read a text of one value. False where it is not JSON, breaks a bound, or memory is short. json_free() in any case. */
bool json_read(json *document, const char *text, size_t length);
void json_free(json *document);

json_kind json_kind_of(const json *document, uint32_t node);
/* The value of an object's member, the last where a name comes twice; JSON_NONE where `object` has none or is none. */
uint32_t json_member(const json *document, uint32_t object, const char *name);
/* Item `index` of an array; JSON_NONE where there is none. */
uint32_t json_item(const json *document, uint32_t array, uint32_t index);
/* How many items an array has; 0 for anything else. */
uint32_t json_count(const json *document, uint32_t array);

bool json_number(const json *document, uint32_t node, double *value);
/* A number without a fraction in low..high. */
bool json_integer(const json *document, uint32_t node, int64_t low, int64_t high, int64_t *value);
/* A string's text with its escapes resolved, ended by NUL; false where it holds a NUL itself or does not fit. */
bool json_text(const json *document, uint32_t node, char *out, size_t room, size_t *length);

#endif
