/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 256, LONGEST_NUMBER = 64, LONGEST_NAME = 128 };

typedef struct reader {
    json *document;
    size_t at;
} reader;

static bool read_value(reader *r, unsigned depth);

static bool at_end(const reader *r) { return r->at >= r->document->length; }

static unsigned char peek(const reader *r) {
    return at_end(r) ? 0 : (unsigned char)r->document->text[r->at];
}

static bool take(reader *r, char wanted) {
    if (at_end(r) || r->document->text[r->at] != wanted) return false;
    r->at++;
    return true;
}

static void skip_space(reader *r) {
    while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r') r->at++;
}

/* Index of a new node, UINT32_MAX where there may be no more. */
static uint32_t add_node(json *document, json_kind kind, size_t start) {
    if (document->count == document->room) {
        uint32_t room = document->room == 0 ? FIRST_ROOM : document->room * 2;
        if (room > JSON_MAX_NODES) return UINT32_MAX;
        json_node *nodes = realloc(document->nodes, room * sizeof *nodes);
        if (nodes == NULL) return UINT32_MAX;
        document->nodes = nodes;
        document->room = room;
    }
    document->nodes[document->count] = (json_node){kind, (uint32_t)start, 0, 0};
    return document->count++;
}

static void close_node(json *document, uint32_t node, size_t length) {
    document->nodes[node].length = (uint32_t)length;
    document->nodes[node].end = document->count;
}

static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }

static bool skip_digits(reader *r) {
    size_t start = r->at;
    while (is_digit(peek(r))) r->at++;
    return r->at > start;
}

static bool read_number(reader *r) {
    uint32_t node = add_node(r->document, JSON_NUMBER, r->at);
    size_t start = r->at;
    if (node == UINT32_MAX) return false;
    (void)take(r, '-');
    if (!take(r, '0') && !skip_digits(r)) return false;
    if (take(r, '.') && !skip_digits(r)) return false;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+')) (void)take(r, '-');
        if (!skip_digits(r)) return false;
    }
    close_node(r->document, node, r->at - start);
    return r->at - start < LONGEST_NUMBER;
}

static int hex_digit(unsigned char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool skip_escape(reader *r) {
    unsigned char c = peek(r);
    r->at++;
    if (c != 'u') return c != 0 && strchr("\"\\/bfnrt", c) != NULL;
    for (int i = 0; i < 4; i++, r->at++)
        if (hex_digit(peek(r)) < 0) return false;
    return true;
}

/* Bytes of the UTF-8 character at the reader, 0 where there is none (RFC 3629: shortest form, no surrogates). */
static size_t utf8_length(const reader *r) {
    const unsigned char *c = (const unsigned char *)r->document->text + r->at;
    size_t left = r->document->length - r->at;
    if (c[0] < 0x80) return 1;
    size_t need = c[0] >= 0xF0 ? 4 : c[0] >= 0xE0 ? 3 : 2;
    if (c[0] < 0xC2 || c[0] > 0xF4 || left < need) return 0;
    for (size_t i = 1; i < need; i++)
        if ((c[i] & 0xC0) != 0x80) return 0;
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] > 0x9F)) return 0;
    return (c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] > 0x8F) ? 0 : need;
}

static bool read_string(reader *r) {
    if (!take(r, '"')) return false;
    uint32_t node = add_node(r->document, JSON_STRING, r->at);
    size_t start = r->at;
    if (node == UINT32_MAX) return false;
    while (!at_end(r)) {
        if (take(r, '"')) {
            close_node(r->document, node, r->at - 1 - start);
            return true;
        }
        if (take(r, '\\')) {
            if (!skip_escape(r)) return false;
            continue;
        }
        size_t bytes = peek(r) < 0x20 ? 0 : utf8_length(r);
        if (bytes == 0) return false;
        r->at += bytes;
    }
    return false;
}

static bool read_member(reader *r, unsigned depth) {
    skip_space(r);
    if (!read_string(r)) return false;
    skip_space(r);
    return take(r, ':') && read_value(r, depth);
}

static bool read_list(reader *r, json_kind kind, unsigned depth) {
    char closing = kind == JSON_ARRAY ? ']' : '}';
    uint32_t node = add_node(r->document, kind, r->at);
    size_t items = 0;
    if (node == UINT32_MAX || depth >= JSON_MAX_DEPTH) return false;
    r->at++;
    skip_space(r);
    if (!take(r, closing)) {
        do {
            if (!(kind == JSON_ARRAY ? read_value(r, depth + 1) : read_member(r, depth + 1))) return false;
            items++;
        } while (take(r, ','));
        if (!take(r, closing)) return false;
    }
    close_node(r->document, node, items);
    return true;
}

static bool read_word(reader *r, json_kind kind, const char *word) {
    size_t length = strlen(word);
    uint32_t node = add_node(r->document, kind, r->at);
    if (node == UINT32_MAX || r->document->length - r->at < length) return false;
    if (memcmp(r->document->text + r->at, word, length) != 0) return false;
    r->at += length;
    close_node(r->document, node, length);
    return true;
}

static bool read_plain(reader *r, unsigned depth) {
    switch (peek(r)) {
    case '{': return read_list(r, JSON_OBJECT, depth);
    case '[': return read_list(r, JSON_ARRAY, depth);
    case '"': return read_string(r);
    case 't': return read_word(r, JSON_TRUE, "true");
    case 'f': return read_word(r, JSON_FALSE, "false");
    case 'n': return read_word(r, JSON_NULL, "null");
    default: return read_number(r);
    }
}

/* One value with the space around it. */
static bool read_value(reader *r, unsigned depth) {
    skip_space(r);
    if (!read_plain(r, depth)) return false;
    skip_space(r);
    return true;
}

bool json_read(json *document, const char *text, size_t length) {
    *document = (json){.text = text, .length = length};
    if (text == NULL || length > JSON_MAX_BYTES) return false;
    reader r = {document, 0};
    return read_value(&r, 0) && at_end(&r);
}

void json_free(json *document) {
    free(document->nodes);
    *document = (json){0};
}

json_kind json_kind_of(const json *document, uint32_t node) {
    return node < document->count ? document->nodes[node].kind : JSON_NULL;
}

uint32_t json_member(const json *document, uint32_t object, const char *name) {
    char found[LONGEST_NAME];
    size_t length;
    uint32_t value = JSON_NONE;
    if (json_kind_of(document, object) != JSON_OBJECT || document->count == 0) return JSON_NONE;
    for (uint32_t key = object + 1; key < document->nodes[object].end; key = document->nodes[key + 1].end)
        if (json_text(document, key, found, sizeof found, &length) && strcmp(found, name) == 0) value = key + 1;
    return value;
}

uint32_t json_count(const json *document, uint32_t array) {
    return json_kind_of(document, array) == JSON_ARRAY ? document->nodes[array].length : 0;
}

uint32_t json_item(const json *document, uint32_t array, uint32_t index) {
    if (index >= json_count(document, array)) return JSON_NONE;
    uint32_t node = array + 1;
    for (; index > 0; index--) node = document->nodes[node].end;
    return node;
}

bool json_number(const json *document, uint32_t node, double *value) {
    char copy[LONGEST_NUMBER];
    if (json_kind_of(document, node) != JSON_NUMBER || document->nodes[node].length >= sizeof copy) return false;
    memcpy(copy, document->text + document->nodes[node].start, document->nodes[node].length);
    copy[document->nodes[node].length] = '\0';
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* the point is a point whatever the server's locale */
    if (plain == (locale_t)0) return false;
    *value = strtod_l(copy, NULL, plain);
    freelocale(plain);
    return isfinite(*value);
}

bool json_integer(const json *document, uint32_t node, int64_t low, int64_t high, int64_t *value) {
    double number;
    if (!json_number(document, node, &number) || number != floor(number)) return false;
    if (fabs(number) > 9007199254740992.0) return false; /* 2^53: up to here a double is exact */
    *value = (int64_t)number;
    return *value >= low && *value <= high;
}

static uint32_t hex4(const char *digits) {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) code = code << 4 | (uint32_t)hex_digit((unsigned char)digits[i]);
    return code;
}

/* The character of a \u escape (its four digits at `at`); *used gets the bytes read, 0 where it is half a pair. */
static uint32_t unescape(const char *at, size_t left, size_t *used) {
    uint32_t code = hex4(at);
    *used = 4;
    if (code < 0xD800 || code > 0xDFFF) return code;
    *used = 0;
    if (code > 0xDBFF || left < 10 || at[4] != '\\' || at[5] != 'u') return 0;
    uint32_t low = hex4(at + 6);
    if (low < 0xDC00 || low > 0xDFFF) return 0;
    *used = 10;
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
}

static size_t put_utf8(uint32_t code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(lead[more] | code >> (6 * more));
    for (size_t i = 1; i <= more; i++) out[i] = (char)(0x80 | (code >> (6 * (more - i)) & 0x3F));
    return more + 1;
}

static char plain_escape(char c) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *at = strchr(from, c);
    return at != NULL ? to[at - from] : c;
}

/* The escape behind a backslash as UTF-8; bytes written, 0 where it stands for no character. */
static size_t resolve(const char *at, size_t left, char *out, size_t *used) {
    *used = 1;
    if (at[0] != 'u') {
        out[0] = plain_escape(at[0]);
        return 1;
    }
    uint32_t code = unescape(at + 1, left - 1, used);
    if (*used == 0 || code == 0) return 0;
    *used += 1;
    return put_utf8(code, out);
}

bool json_text(const json *document, uint32_t node, char *out, size_t room, size_t *length) {
    if (json_kind_of(document, node) != JSON_STRING || document->count == 0) return false;
    const char *at = document->text + document->nodes[node].start;
    const char *end = at + document->nodes[node].length;
    size_t written = 0;
    while (at < end) {
        char piece[4];
        size_t bytes = 1, used = 1;
        piece[0] = *at;
        if (*at == '\\') {
            bytes = resolve(at + 1, (size_t)(end - at) - 1, piece, &used);
            used += 1;
        }
        if (bytes == 0 || room - written <= bytes || written >= room) return false;
        memcpy(out + written, piece, bytes);
        written += bytes;
        at += used;
    }
    if (written >= room) return false;
    out[written] = '\0';
    *length = written;
    return true;
}
