/* SPDX-License-Identifier: Apache-2.0 */
/* What float32 can do to an IoU; not installed. */
#ifndef SL_ROUNDING_H
#define SL_ROUNDING_H

/* Below these, areas lose bits or products with the threshold vanish: then only plain overlap is relied on. */
#define SL_SMALL_AREA 1e-30F
#define SL_SMALL_IOU 1e-6F
/* More than all roundings between an exact IoU and its float32 value. */
#define SL_LESS (1.0F - 1e-5F)
#define SL_MORE (1.0F + 1e-5F)
/* Times the size of coordinates: more than the rounding of sums of them. */
#define SL_SLACK 3e-7F

/* An exact IoU is above this where its float32 value is above `iou`; 0 where rounding is not bounded. */
static inline float sl_shrink(float iou) { return iou >= SL_SMALL_IOU ? iou * SL_LESS : 0.0F; }

#endif
