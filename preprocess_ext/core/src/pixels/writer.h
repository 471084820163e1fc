/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of levels into the network's input: normalised, in its type and layout, with padding. */
#ifndef SL_WRITER_H
#define SL_WRITER_H

#include "pixels/pixels.h"

typedef struct sl_writer {
    unsigned char *out;
    sl_output_type type;
    sl_layout layout;
    int32_t width, height;
    int32_t left, shown; /* columns that show the picture */
    int32_t top, rows;   /* rows that do */
    sl_norm norm[3];     /* of R, G, B */
    int slot[3];         /* place of R, G, B among the output's channels */
    float pad[3];        /* of the output's channels */
    float *value[3];     /* scratch: a normalised row of the output's channels */
    void *item[3];       /* the same in the output's type */
} sl_writer;

size_t sl_item_bytes(sl_output_type type);
void sl_writer_take(sl_writer *writer, sl_arena *arena, int32_t network_width);
void sl_writer_set(sl_writer *writer, const sl_letterbox_options *options, const sl_geometry *fit, int32_t width,
                   int32_t height, sl_output_type type, void *out);
/* Output row y from levels of R, G, B, or of Y, U, V when matrix is not NULL. */
void sl_write_row(const sl_writer *writer, const sl_kernels *kernels, int32_t y, float *const level[3],
                  const sl_matrix *matrix);
/* Padding over whole rows first .. end - 1. */
void sl_write_padding(const sl_writer *writer, int32_t first, int32_t end);

#endif
