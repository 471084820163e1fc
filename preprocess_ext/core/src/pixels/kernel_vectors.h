/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row kernels over vectors of LANES floats: included by kernels_avx2.c, kernels_avx512.c and kernels_neon.c after they
 * define, for their instructions,
 *   vec, raw                          LANES floats; LANES 32-bit integers, or the bytes of LANES / 4 windows
 *   v_set v_load v_store v_add v_sub v_mul
 *   v_level(x)                        x < 0 ? 0 : x, then x > 255 ? 255 : x
 *   r_windows(row, window)            the 16-byte windows of LANES outputs
 *   r_load(picks) r_repeat(picks of one window) r_pick(windows, picks) r_sub(a, b) v_from(integers)
 *   r_widen(at)                       LANES bytes as integers
 *   v_store_bytes(at, x)              LANES numbers 0..255, rounded to nearest even
 * The order of operations is that of kernels.c; differences of bytes are exact in integers as in floats.
 */
#ifndef SL_KERNEL_VECTORS_H
#define SL_KERNEL_VECTORS_H

#include "pixels/kernel_loops.h"

static inline vec v_mixed(vec from, vec to, vec weight) { return v_add(from, v_mul(v_sub(to, from), weight)); }

static inline vec r_mixed(raw from, raw to, vec weight) {
    return v_add(v_from(from), v_mul(v_from(r_sub(to, from)), weight));
}

static void sample_both(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns,
                        float *out) {
    const sl_columns c = *columns;
    const vec down = v_set(weight);
    for (int32_t i = 0; i < c.padded; i += LANES) {
        raw upper = r_windows(top, c.window + i / 4), lower = r_windows(bottom, c.window + i / 4);
        raw lo = r_load(c.pick_lo + 4 * i), hi = r_load(c.pick_hi + 4 * i);
        vec left = r_mixed(r_pick(upper, lo), r_pick(lower, lo), down);
        vec right = r_mixed(r_pick(upper, hi), r_pick(lower, hi), down);
        v_store(out + i, v_mixed(left, right, v_load(c.weight + i)));
    }
}

/* All column weights are 0: x + (y - x) * 0 is x. */
static void sample_down(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns,
                        float *out) {
    const sl_columns c = *columns;
    const vec down = v_set(weight);
    int32_t i = 0;
    if (c.contiguous)
        for (; i + LANES <= c.count; i += LANES)
            v_store(out + i, r_mixed(r_widen(top + c.lo[i]), r_widen(bottom + c.lo[i]), down));
    for (; i < c.padded; i += LANES) {
        raw upper = r_windows(top, c.window + i / 4), lower = r_windows(bottom, c.window + i / 4);
        raw lo = r_load(c.pick_lo + 4 * i);
        v_store(out + i, r_mixed(r_pick(upper, lo), r_pick(lower, lo), down));
    }
}

static void sample_across(const uint8_t *row, const sl_columns *columns, float *out) {
    const sl_columns c = *columns;
    for (int32_t i = 0; i < c.padded; i += LANES) {
        raw bytes = r_windows(row, c.window + i / 4);
        raw left = r_pick(bytes, r_load(c.pick_lo + 4 * i)), right = r_pick(bytes, r_load(c.pick_hi + 4 * i));
        v_store(out + i, r_mixed(left, right, v_load(c.weight + i)));
    }
}

static void sample_nearest(const uint8_t *row, const sl_columns *columns, float *out) {
    const sl_columns c = *columns;
    int32_t i = 0;
    if (c.contiguous)
        for (; i + LANES <= c.count; i += LANES) v_store(out + i, v_from(r_widen(row + c.lo[i])));
    for (; i < c.padded; i += LANES)
        v_store(out + i, v_from(r_pick(r_windows(row, c.window + i / 4), r_load(c.pick_lo + 4 * i))));
}

/* Four bytes from output i's left sample on; never past the row's end, where fewer are left. */
static inline uint32_t four_bytes(const uint8_t *row, const sl_columns *columns, int32_t i) {
    int32_t at = columns->lo[i], last = columns->row_bytes - 4;
    uint32_t bytes;
    memcpy(&bytes, row + (at < last ? at : last), sizeof bytes);
    return at <= last ? bytes : bytes >> 8 * (at - last);
}

/* Outputs too far apart for windows: left and right sample come with one load each of four bytes. */
static void sample_far(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns, float *out) {
    const sl_columns c = *columns;
    const vec down = v_set(weight);
    uint8_t left_picks[SL_WINDOW_BYTES], right_picks[SL_WINDOW_BYTES];
    for (int k = 0; k < SL_WINDOW_BYTES; k++) {
        left_picks[k] = (uint8_t)(k % 4 == 0 ? k : 128);
        right_picks[k] = (uint8_t)(k % 4 == 0 ? k + c.step : 128);
    }
    const raw lo = r_repeat(left_picks), hi = r_repeat(right_picks);
    for (int32_t i = 0; i < c.padded; i += LANES) {
        uint32_t above[LANES], below[LANES];
        for (int32_t k = 0; k < LANES; k++) above[k] = four_bytes(top, &c, i + k);
        for (int32_t k = 0; k < LANES; k++) below[k] = four_bytes(bottom, &c, i + k);
        raw upper = r_load((const uint8_t *)above), lower = r_load((const uint8_t *)below);
        vec left = r_mixed(r_pick(upper, lo), r_pick(lower, lo), down);
        vec right = r_mixed(r_pick(upper, hi), r_pick(lower, hi), down);
        v_store(out + i, v_mixed(left, right, v_load(c.weight + i)));
    }
}

static void sample(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns, float *out) {
    if (!columns->windowed && columns->row_bytes < 4) sl_kernels_scalar.sample(top, bottom, weight, columns, out);
    else if (!columns->windowed) sample_far(top, bottom, weight, columns, out);
    else if (weight == 0.0F && columns->weighted) sample_across(top, columns, out);
    else if (weight == 0.0F) sample_nearest(top, columns, out);
    else if (columns->weighted) sample_both(top, bottom, weight, columns, out);
    else sample_down(top, bottom, weight, columns, out);
}

/* With means of 0 the subtraction is left out: x - 0 is x. */
static inline vec v_normal(vec level, sl_norm norm, bool centred) {
    return v_mul(centred ? v_sub(level, v_set(norm.mean)) : level, v_set(norm.scale));
}

/* Y, U, V to normalised R, G, B; returns how many values were written. */
static inline int32_t normalise_yuv(float *const level[3], int32_t count, const sl_matrix *matrix,
                                    const sl_norm norm[3], float *const out[3], bool centred) {
    const sl_matrix m = *matrix;
    const sl_norm red = norm[0], green = norm[1], blue = norm[2];
    const float *y = level[0], *u = level[1], *v = level[2];
    float *r = out[0], *g = out[1], *b = out[2];
    const vec grey = v_set(128.0F);
    int32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        vec luma = v_mul(v_sub(v_load(y + i), v_set(m.luma_offset)), v_set(m.luma_scale));
        vec cb = v_sub(v_load(u + i), grey), cr = v_sub(v_load(v + i), grey);
        vec green_level = v_sub(v_sub(luma, v_mul(v_set(m.green_u), cb)), v_mul(v_set(m.green_v), cr));
        v_store(r + i, v_normal(v_level(v_add(luma, v_mul(v_set(m.red_v), cr))), red, centred));
        v_store(g + i, v_normal(v_level(green_level), green, centred));
        v_store(b + i, v_normal(v_level(v_add(luma, v_mul(v_set(m.blue_u), cb))), blue, centred));
    }
    return i;
}

static int32_t normalise_blocks(float *const level[3], int32_t count, const sl_matrix *matrix, const sl_norm norm[3],
                                float *const out[3]) {
    bool centred = norm[0].mean != 0.0F || norm[1].mean != 0.0F || norm[2].mean != 0.0F;
    return centred ? normalise_yuv(level, count, matrix, norm, out, true)
                   : normalise_yuv(level, count, matrix, norm, out, false);
}

static void normalise(float *const level[3], int32_t count, const sl_matrix *matrix, const sl_norm norm[3],
                      float *const out[3]) {
    int32_t done = matrix == NULL ? 0 : normalise_blocks(level, count, matrix, norm, out);
    float *const rest[3] = {level[0] + done, level[1] + done, level[2] + done};
    float *const tail[3] = {out[0] + done, out[1] + done, out[2] + done};
    loop_normalise(rest, count - done, matrix, norm, tail);
}

static void to_bytes(const float *values, uint8_t *out, int32_t count) {
    int32_t i = 0;
    for (; i + LANES <= count; i += LANES) v_store_bytes(out + i, v_level(v_load(values + i)));
    loop_to_bytes(values + i, out + i, count - i);
}

#endif
