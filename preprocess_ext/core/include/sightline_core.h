/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sightline's C core: pixels into a network's input, a network's output into boxes.
 *
 * Rules that hold for every function
 *   ownership   the caller owns all memory; nothing is allocated, kept or freed here
 *   scratch     working memory comes from the caller: ask *_scratch_bytes() for the size (0 = sizes refused);
 *               any alignment will do; its content before and after is of no meaning
 *   overlap     input, output and scratch must not overlap
 *   bounds      sizes are checked before memory is touched; nothing is read or written outside what is stated
 *   threads     no global state: calls with different scratch and output may run at the same time
 *   status      SL_OK, or the reason; after an error outputs may be partly written
 *   results     the same bits on every CPU of an architecture (no contraction to FMA)
 */
#ifndef SIGHTLINE_CORE_H
#define SIGHTLINE_CORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SL_MAX_SIDE = 65535,         /* pixels, of a source image and of a network's input */
    SL_MAX_ANCHORS = 1 << 24,    /* columns of a raw head output */
    SL_MAX_CLASSES = 1 << 16,
    SL_MAX_CANDIDATES = 30000,   /* boxes that enter NMS: the best by score */
    SL_GEOMETRY_FLOATS = 7
};

typedef enum sl_status {
    SL_OK = 0,
    SL_ERROR_NULL,        /* a pointer is missing */
    SL_ERROR_SIZE,        /* a width, height or count is outside its bounds */
    SL_ERROR_FORMAT,      /* unknown pixel format, colour space, resize mode or channel order */
    SL_ERROR_STRIDE,      /* a row is longer than its stride */
    SL_ERROR_BYTES,       /* a plane is shorter than its rows need */
    SL_ERROR_SCRATCH,     /* the scratch is smaller than *_scratch_bytes() */
    SL_ERROR_VALUE,       /* a number is not finite or outside its range */
    SL_ERROR_GEOMETRY     /* the geometry is marked invalid or cannot be inverted */
} sl_status;

/* One English sentence for a status; static storage, never NULL. */
const char *sl_status_text(sl_status status);

/* Version of the package the core was built for, such as "0.1.0"; static storage. */
const char *sl_version(void);

/* ---- images ------------------------------------------------------------------------------------------------ */

/* The numbers of both enumerations are part of the wire contract. */
typedef enum sl_pixel_format { SL_I420 = 0, SL_NV12 = 1, SL_RGB = 2, SL_BGR = 3 } sl_pixel_format;

typedef enum sl_colour_space {
    SL_BT601_LIMITED = 0,
    SL_BT709_LIMITED = 1,
    SL_BT601_FULL = 2,
    SL_BT709_FULL = 3
} sl_colour_space;

/*
 * A picture in the caller's memory.
 * Planes: I420 has Y, U, V; NV12 has Y and interleaved UV; RGB and BGR have one packed plane.
 * Chroma planes have (width + 1) / 2 columns and (height + 1) / 2 rows; each chroma sample lies in the middle of its
 * 2x2 luma samples. stride: bytes from one row to the next; bytes: readable bytes of the plane, at least
 * (rows - 1) * stride + row length. `colour` is ignored for RGB and BGR.
 */
typedef struct sl_image {
    const uint8_t *plane[3];
    size_t stride[3];
    size_t bytes[3];
    int32_t width;
    int32_t height;
    sl_pixel_format format;
    sl_colour_space colour;
} sl_image;

/* Fill `image` for `bytes` bytes at `data` that hold the planes one after the other without row padding. */
sl_status sl_image_from_packed(const uint8_t *data, size_t bytes, int32_t width, int32_t height,
                               sl_pixel_format format, sl_colour_space colour, sl_image *image);

/* SL_OK when every plane of `image` can be read as its sizes say. */
sl_status sl_image_check(const sl_image *image);

/* ---- geometry ---------------------------------------------------------------------------------------------- */

typedef enum sl_resize { SL_LETTERBOX = 0, SL_STRETCH = 1 } sl_resize;

/*
 * How a source picture lies in a network's input; pixel edges are at whole numbers:
 *   network_x = source_x * scale_x + pad_left,  network_y = source_y * scale_y + pad_top
 * As floats (the wire's GEOMETRY): 1 (valid), source_width, source_height, scale_x, scale_y, pad_left, pad_top.
 */
typedef struct sl_geometry {
    int32_t source_width;
    int32_t source_height;
    int32_t resized_width; /* pixels of the network's input that show the picture */
    int32_t resized_height;
    int32_t pad_left;
    int32_t pad_top;
    double scale_x; /* resized_width / source_width */
    double scale_y;
} sl_geometry;

/*
 * Letterbox as Ultralytics does it: r = min(W / w, H / h), the picture becomes round(w r) x round(h r) (at least 1),
 * centred, left and top padding round(half - 0.1). Stretch fills the whole input.
 */
sl_status sl_geometry_fit(int32_t source_width, int32_t source_height, int32_t network_width, int32_t network_height,
                          sl_resize resize, sl_geometry *geometry);

/* Write SL_GEOMETRY_FLOATS floats. */
void sl_geometry_to_floats(const sl_geometry *geometry, float *floats);

/* SL_OK when SL_GEOMETRY_FLOATS floats are valid and can be inverted. */
sl_status sl_geometry_check(const float *floats);

/* Box xyxy from network to source pixels, clipped to the picture. `floats` must have passed sl_geometry_check. */
void sl_box_to_source(const float *floats, const float *network_box, float *source_box);

/* ---- letterbox --------------------------------------------------------------------------------------------- */

typedef enum sl_channel_order { SL_ORDER_RGB = 0, SL_ORDER_BGR = 1 } sl_channel_order;

/* Output = (level - mean) / std, levels 0..255; mean and std follow the order of the output's channels; std > 0. */
typedef struct sl_letterbox_options {
    float mean[3];
    float std[3];
    float pad_value; /* level of the padding, 0..255, before mean and std */
    sl_resize resize;
    sl_channel_order order;
} sl_letterbox_options;

size_t sl_letterbox_scratch_bytes(int32_t source_width, int32_t network_width);

/*
 * Write the network's input: float32 planes (3, network_height, network_width) at `out`, every value of it.
 * Bilinear with half-pixel centres and replicated edges, as cv2.INTER_LINEAR; YUV is interpolated plane by plane and
 * converted at the network's resolution (ITU-R BT.601 / BT.709), then clamped to 0..255. `geometry` gets the fit.
 */
sl_status sl_letterbox(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                       int32_t network_height, float *out, sl_geometry *geometry, void *scratch, size_t scratch_bytes);

/* ---- boxes ------------------------------------------------------------------------------------------------- */

size_t sl_nms_scratch_bytes(size_t count, size_t capacity);

/*
 * Non-maximum suppression per class. boxes: (count, 4) xyxy; scores: (count,); classes: (count,); iou in 0..1.
 * A box is dropped when its IoU with a better kept box of its class is > iou. Equal scores: the lower index is better.
 * The kept set is that of torchvision.ops.batched_nms with exact per-class comparison. Boxes or scores that are NaN or
 * infinite are dropped first; then at most SL_MAX_CANDIDATES, the best by score, are looked at.
 * keep: room for `capacity` indices; *kept: how many were written, best score first; the work ends at `capacity`.
 */
sl_status sl_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count, double iou,
                 int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes);

typedef struct sl_detect_limits {
    double score; /* an anchor counts from this score on (>=), 0..1 */
    double iou;   /* as in sl_nms */
} sl_detect_limits;

/* Where detections go, best score first: room for `capacity` rows in each array. */
typedef struct sl_detections {
    float *boxes;     /* (capacity, 4) xyxy, source pixels */
    float *scores;    /* (capacity,) */
    int32_t *classes; /* (capacity,) */
    size_t capacity;
} sl_detections;

size_t sl_yolov8_scratch_bytes(size_t anchors, size_t capacity);

/*
 * Decode the head of YOLOv8 and its kin. raw: (4 + classes, anchors) row by row: centre x, centre y, width, height in
 * network pixels, then one row of scores per class (sigmoid already applied). Each anchor counts for its best class
 * (the lowest on equal scores; NaN never wins); anchors whose best score or box is not finite are dropped. NMS in
 * network pixels as sl_nms, then sl_box_to_source with the SL_GEOMETRY_FLOATS floats of `geometry`.
 */
sl_status sl_yolov8_decode(const float *raw, size_t classes, size_t anchors, const float *geometry,
                           const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                           size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
