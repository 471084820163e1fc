# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int32_t, int64_t

from sl_common cimport sl_status

cdef extern from "sightline_core.h" nogil:
    ctypedef enum sl_track_method:
        pass
    ctypedef struct sl_track_options:
        sl_track_method method
        int32_t max_tracks
        int32_t max_detections
        double high_score
        double low_score
        double new_score
        double match_cost
        int32_t fuse_score
        int32_t buffer_frames
        double frame_rate
        double gate
        int32_t max_age
        int32_t min_hits
        double iou
    ctypedef struct sl_track_frame:
        const float *boxes
        const float *scores
        const int32_t *classes
        size_t count
        int64_t *ids
    ctypedef struct sl_track_list:
        int64_t *ids
        float *boxes
        float *scores
        int32_t *classes
        int32_t *states
        int32_t *detections
        int64_t *first_frames
        int64_t *last_frames
        size_t capacity
    ctypedef struct sl_track_counts:
        int64_t frames
        int64_t next_id
        int64_t refused_detections
        int64_t dropped_detections
        int64_t dropped_births
        int32_t tracks
    sl_status sl_track_defaults(sl_track_method method, sl_track_options *options)
    size_t sl_tracker_bytes(const sl_track_options *options)
    sl_status sl_tracker_init(const sl_track_options *options, void *memory, size_t bytes)
    size_t sl_tracks_scratch_bytes(void *const *trackers, const sl_track_frame *frames, size_t cameras)
    sl_status sl_tracks_update(void *const *trackers, const sl_track_frame *frames, size_t cameras, void *scratch,
                               size_t scratch_bytes)
    sl_status sl_tracks_read(const void *tracker, const sl_track_list *out, size_t *count)
    sl_status sl_tracks_count(const void *tracker, sl_track_counts *counts)
    size_t sl_assign_scratch_bytes(size_t rows, size_t columns)
    sl_status sl_assign(const float *cost, size_t rows, size_t columns, double limit, int32_t *column_of_row,
                        int32_t *row_of_column, void *scratch, size_t scratch_bytes)
