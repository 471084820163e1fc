/* SPDX-License-Identifier: Apache-2.0 */
/* Why an item has no answer. On the wire a string is its length, four bytes, little-endian as this processor, and text. */
#include <string.h>

#include "items.h"

enum { LENGTH_BYTES = 4, CONTINUED = 0x80, CONTINUED_MASK = 0xC0 }; /* the latter of a character in UTF-8 */

bool notes_take(instance *self, size_t items, notes *out, failure *why) {
    out->items = items;
    out->text = scratch_take(&self->memory, BLOCK_TEXT, items * sizeof *out->text, why);
    for (size_t i = 0; out->text != NULL && i < items; i++) out->text[i][0] = '\0';
    return out->text != NULL;
}

/* `length` bytes of UTF-8 into item `index`, cut to its room between two characters. */
static void put(const notes *into, size_t index, const unsigned char *text, size_t length) {
    size_t room = sizeof *into->text - 1, kept = length < room ? length : room;
    while (kept < length && kept > 0 && (text[kept] & CONTINUED_MASK) == CONTINUED) kept--;
    memcpy(into->text[index], text, kept);
    into->text[index][kept] = '\0';
}

/* The strings of an input into the notes, each cut to their room; false where they do not fill it exactly. */
static bool copy_texts(const tensor *from, const notes *into) {
    const unsigned char *at = from->data;
    size_t left = from->bytes;
    for (size_t i = 0; i < into->items; i++) {
        uint32_t length;
        if (left < LENGTH_BYTES) return false;
        memcpy(&length, at, LENGTH_BYTES);
        at += LENGTH_BYTES;
        left -= LENGTH_BYTES;
        if (length > left) return false;
        put(into, i, at, length);
        at += length;
        left -= length;
    }
    return left == 0;
}

bool notes_take_over(instance *self, call *request, size_t items, notes *out, failure *why) {
    tensor said;
    if (!notes_take(self, items, out, why)) return false;
    if (!request->has_input(request, "ERROR")) return true;
    if (!request->input(request, "ERROR", ELEMENT_TEXT, &said, why)) return false;
    bool fits = said.rank == 2 && said.shape[0] == (int64_t)items && said.shape[1] == 1;
    return (fits && copy_texts(&said, out)) ||
           fail(why, FAILURE_BAD_INPUT, "ERROR must be strings [items, 1], with items as in GEOMETRY");
}

void notes_say(const notes *into, size_t index, const char *text) {
    if (into->text[index][0] == '\0') put(into, index, (const unsigned char *)text, strlen(text));
}

bool notes_send(call *request, const notes *from, failure *why) {
    int64_t form[2] = {(int64_t)from->items, 1};
    size_t bytes = 0;
    void *data;
    for (size_t i = 0; i < from->items; i++) bytes += LENGTH_BYTES + strlen(from->text[i]);
    if (!request->output(request, "ERROR", ELEMENT_TEXT, form, 2, bytes, &data, why)) return false;
    unsigned char *at = data;
    for (size_t i = 0; at != NULL && i < from->items; i++) {
        uint32_t length = (uint32_t)strlen(from->text[i]);
        memcpy(at, &length, LENGTH_BYTES);
        memcpy(at + LENGTH_BYTES, from->text[i], length);
        at += LENGTH_BYTES + length;
    }
    return true;
}
