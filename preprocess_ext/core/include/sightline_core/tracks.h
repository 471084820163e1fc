/* SPDX-License-Identifier: Apache-2.0 */
/* Tracks: the same object, the same id, from frame to frame. ByteTrack and SORT. */
#ifndef SIGHTLINE_CORE_TRACKS_H
#define SIGHTLINE_CORE_TRACKS_H

#include "sightline_core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SL_MAX_TRACKS = 1024,              /* of one camera: seen, unconfirmed and lost ones together */
    SL_MAX_TRACK_DETECTIONS = 1024,    /* of one frame that are looked at */
    SL_MAX_TRACK_COORDINATE = 1 << 24, /* pixels; boxes beyond it are refused */
    SL_MAX_CAMERAS = 1 << 16           /* of one call */
};

/*
 * SL_BYTETRACK: Zhang et al., "ByteTrack" (2022), as Ultralytics' BYTETracker decides it.
 * Where two assignments cost exactly the same it may choose another than the reference.
 * SL_SORT: Bewley et al., "Simple online and realtime tracking" (2016), as the authors' sort.py decides it, with lap.
 */
typedef enum sl_track_method { SL_BYTETRACK = 0, SL_SORT = 1 } sl_track_method;

typedef struct sl_track_options {
    sl_track_method method;
    int32_t max_tracks;     /* 1..SL_MAX_TRACKS */
    int32_t max_detections; /* 1..SL_MAX_TRACK_DETECTIONS */
    /* ByteTrack; scores are compared as float32 */
    double high_score;     /* first association from this score on (>=), 0..1 */
    double low_score;      /* second association above this score (>), 0..high_score */
    double new_score;      /* a new track from this score on (>=), 0..1 */
    double match_cost;     /* first association: cost 1 - IoU (times score) below this, 0..1 */
    int32_t fuse_score;    /* 1: IoU times the detection's score */
    int32_t buffer_frames; /* a lost track lives so many frames at 30 frames a second, 0..1,000,000 */
    double frame_rate;     /* frames a second: the buffer becomes floor(frame_rate / 30 * buffer_frames), 0..1000 */
    double gate;           /* largest squared Mahalanobis distance of a pair (9.4877: 95 % of chi-square with 4); 0: no gate */
    /* SORT */
    int32_t max_age;  /* frames that a track lives without a detection, 0..1,000,000 */
    int32_t min_hits; /* detections in a row before a track is told, 0..1,000,000 */
    double iou;       /* least IoU of a pair, above 0, up to 1 */
} sl_track_options;

/* The references' own values; 512 tracks and 512 detections. SL_ERROR_NULL, SL_ERROR_FORMAT. */
sl_status sl_track_defaults(sl_track_method method, sl_track_options *options);

/* Bytes of one camera's tracker; 0 where an option is outside its bounds. */
size_t sl_tracker_bytes(const sl_track_options *options);

/*
 * Make `memory` (at least sl_tracker_bytes, aligned to 8 bytes) a tracker without tracks. The caller owns it; it holds
 * no pointers, so it may be copied or moved with memcpy, and needs no end. Calls on one tracker must not overlap in time.
 * SL_ERROR_NULL, SL_ERROR_VALUE (an option, the alignment), SL_ERROR_BYTES.
 */
sl_status sl_tracker_init(const sl_track_options *options, void *memory, size_t bytes);

/* One camera's detections of one frame, and where their track ids go. */
typedef struct sl_track_frame {
    const float *boxes;     /* (count, 4) xyxy */
    const float *scores;    /* (count,) */
    const int32_t *classes; /* (count,); NULL: all 0 */
    size_t count;           /* up to SL_MAX_ANCHORS */
    int64_t *ids;           /* (count,) out: the track's id (from 1 on); 0 no track told; -1 the detection is refused */
} sl_track_frame;

/* Scratch for sl_tracks_update with the same arguments: that of the largest camera. 0 where they are refused. */
size_t sl_tracks_scratch_bytes(void *const *trackers, const sl_track_frame *frames, size_t cameras);

/*
 * One frame of each camera: trackers[i] takes frames[i], one after the other. All arguments are checked first: after an
 * error no tracker has changed.
 * A detection is refused (-1) when a coordinate is not finite or beyond SL_MAX_TRACK_COORDINATE, the box has no width
 * or height, or the score is not in 0..1. Where more than max_detections take part, the best by score do (on equal
 * scores the lower index). Where more tracks would be born than have room, the best by score are. What is left out is
 * counted. Ids start at 1 and ascend; each is given once.
 * Work of one camera: time O(T D + m^3), T tracks, D detections, m the largest group of tracks and detections that all
 * hang together by pairs below the cost limit (SORT: m = max(T, D)). 100 objects in a scene: 30 us; 512 tracks and
 * detections all in one place: some 0.1 s, 1024: some 0.7 s.
 * SL_ERROR_NULL, SL_ERROR_SIZE, SL_ERROR_FORMAT (not an initialised tracker), SL_ERROR_SCRATCH.
 */
sl_status sl_tracks_update(void *const *trackers, const sl_track_frame *frames, size_t cameras, void *scratch,
                           size_t scratch_bytes);

typedef enum sl_track_state {
    SL_TRACK_SEEN = 0,        /* told: its id was given to a detection of the latest frame */
    SL_TRACK_UNCONFIRMED = 1, /* born, not told yet */
    SL_TRACK_LOST = 2         /* without a detection; its box is predicted */
} sl_track_state;

/* Arrays of `capacity` entries; each may be NULL. */
typedef struct sl_track_list {
    int64_t *ids;
    float *boxes; /* (capacity, 4) xyxy, the filter's estimate for the latest frame */
    float *scores;
    int32_t *classes;
    int32_t *states;     /* sl_track_state */
    int32_t *detections; /* index in the latest frame; -1 without */
    int64_t *first_frames; /* number of the frame (from 1) in which the track was born */
    int64_t *last_frames;  /* and in which it had its last detection */
    size_t capacity;
} sl_track_list;

/* Write the tracker's tracks, seen and unconfirmed in the order of their birth or return, then the lost ones. */
sl_status sl_tracks_read(const void *tracker, const sl_track_list *out, size_t *count);

typedef struct sl_track_counts {
    int64_t frames;
    int64_t next_id;
    int64_t refused_detections; /* not finite, empty, score outside 0..1 */
    int64_t dropped_detections; /* more than max_detections */
    int64_t dropped_births;     /* more than max_tracks */
    int32_t tracks;             /* now */
} sl_track_counts;

sl_status sl_tracks_count(const void *tracker, sl_track_counts *counts);

size_t sl_assign_scratch_bytes(size_t rows, size_t columns);

/*
 * Exact linear assignment with a cost limit: the pairs whose sum of (cost - limit) is least, which are the pairs of
 * lap.lapjv(cost, extend_cost=True, cost_limit=limit) wherever that optimum is the only one. cost: (rows, columns),
 * +infinity or NaN forbid a pair, -infinity is refused; limit finite. column_of_row: (rows,) and row_of_column:
 * (columns,) get the partner or -1. rows, columns up to SL_MAX_TRACKS. Shortest augmenting paths within each group
 * that hangs together by pairs below the limit: O(m^3) for the largest group.
 */
sl_status sl_assign(const float *cost, size_t rows, size_t columns, double limit, int32_t *column_of_row,
                    int32_t *row_of_column, void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
