/* Invariant: any logits and geometry: a status, or a map whose every pixel is a class, the same in 8 and 32 bits. */
/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

static float number(fuzz_input *input) {
    float value;
    uint32_t bits = fuzz_u32(input);
    memcpy(&value, &bits, sizeof value);
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    sl_semantic semantic = {.classes = fuzz_between(&input, 0, 9), .rows = fuzz_between(&input, 0, 9)};
    semantic.columns = fuzz_between(&input, 0, 20);
    semantic.network_width = fuzz_between(&input, 0, 40);
    semantic.network_height = fuzz_between(&input, 0, 40);
    uint8_t flags = fuzz_u8(&input);
    semantic.channels_last = flags & 1;
    semantic.upsample = (sl_upsample)(flags >> 1 & 3);
    float geometry[SL_GEOMETRY_FLOATS] = {1, (float)fuzz_between(&input, 0, 40), (float)fuzz_between(&input, 0, 40)};
    for (int i = 3; i < SL_GEOMETRY_FLOATS; i++) geometry[i] = flags & 16 ? number(&input) : (float)fuzz_u8(&input) / 64.0F;
    size_t values = (size_t)semantic.classes * (size_t)semantic.rows * (size_t)semantic.columns;
    size_t pixels = (size_t)geometry[1] * (size_t)geometry[2], bytes = sl_semantic_scratch_bytes(&semantic, geometry);
    float *logits = fuzz_block(values * 4);
    uint8_t *out8 = fuzz_block(pixels);
    int32_t *out32 = fuzz_block(pixels * 4);
    void *scratch = fuzz_block(bytes);
    for (size_t i = 0; i < values; i++) logits[i] = flags & 32 ? number(&input) : (float)fuzz_u8(&input);
    sl_status narrow = sl_semantic_map(&semantic, logits, geometry, out8, NULL, pixels, scratch, bytes);
    sl_status wide = sl_semantic_map(&semantic, logits, geometry, NULL, out32, pixels, scratch, bytes);
    FUZZ_CHECK(narrow == wide && (bytes > 0) == (wide == SL_OK));
    for (size_t i = 0; wide == SL_OK && i < pixels; i++) {
        FUZZ_CHECK(out32[i] >= 0 && out32[i] < (semantic.classes == 1 ? 2 : semantic.classes));
        FUZZ_CHECK(out8[i] == out32[i]);
    }
    free(logits);
    free(out8);
    free(out32);
    free(scratch);
    return 0;
}
