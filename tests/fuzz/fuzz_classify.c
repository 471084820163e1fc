/* Invariant: any values: a status, or different classes whose scores never rise, as the full sort has them. */
/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    size_t count = (size_t)fuzz_between(&input, 0, 64), top = (size_t)fuzz_between(&input, 0, 70), written = 0;
    sl_activation activation = (sl_activation)(fuzz_u8(&input) % 4);
    float *values = fuzz_block(count * 4), *scores = fuzz_block(top * 4), *out = fuzz_block(count * 4);
    int32_t *classes = fuzz_block(top * 4);
    uint8_t rough = fuzz_u8(&input) & 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = rough ? fuzz_u32(&input) : 0;
        memcpy(&values[i], &bits, sizeof bits);
        if (!rough) values[i] = (float)(fuzz_u8(&input) % 16) - 8.0F;
    }
    sl_status status = sl_classify(values, count, activation, top, scores, classes, &written);
    FUZZ_CHECK(written <= top && (status == SL_OK || written == 0));
    for (size_t i = 0; i < written; i++) {
        size_t better = 0;
        for (size_t k = 0; k < count; k++)
            better += values[k] > values[classes[i]] || (values[k] == values[classes[i]] && k < (size_t)classes[i]);
        FUZZ_CHECK(better == i && !isnan(scores[i]) && (i == 0 || scores[i] <= scores[i - 1]));
    }
    if (sl_embedding(values, count, out) == SL_OK)
        for (size_t i = 0; i < count; i++) FUZZ_CHECK(fabsf(out[i]) <= 1.0001F);
    free(values);
    free(scores);
    free(out);
    free(classes);
    return 0;
}
