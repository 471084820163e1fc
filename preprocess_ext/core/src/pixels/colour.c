/* SPDX-License-Identifier: Apache-2.0 */
/* YUV to RGB after ITU-R BT.601-7 and BT.709-6 (limited range) and JFIF (full range), on float levels. */
#include "pixels/pixels.h"

sl_matrix sl_matrix_of(sl_colour_space colour) {
    bool bt709 = colour == SL_BT709_LIMITED || colour == SL_BT709_FULL;
    bool limited = colour == SL_BT601_LIMITED || colour == SL_BT709_LIMITED;
    double red = bt709 ? 0.2126 : 0.299, blue = bt709 ? 0.0722 : 0.114, green = 1.0 - red - blue;
    double chroma = limited ? 255.0 / 224.0 : 1.0;
    return (sl_matrix){
        .luma_offset = limited ? 16.0F : 0.0F,
        .luma_scale = limited ? (float)(255.0 / 219.0) : 1.0F,
        .red_v = (float)(2.0 * (1.0 - red) * chroma),
        .green_u = (float)(2.0 * blue * (1.0 - blue) / green * chroma),
        .green_v = (float)(2.0 * red * (1.0 - red) / green * chroma),
        .blue_u = (float)(2.0 * (1.0 - blue) * chroma),
    };
}
