# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin shell over the C core. tracks.py has checked every array's dtype, shape and contiguity before it calls here."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc

from sl_common cimport SL_OK, check, scratch_of, sl_status
from sl_tracks cimport *


cdef class Block:
    """The memory of one camera's tracker."""

    cdef void *memory

    def __cinit__(self, dict options):
        cdef sl_track_options wanted
        check(sl_track_defaults(<sl_track_method> <int> options["method"], &wanted))
        wanted.max_tracks = options["max_tracks"]
        wanted.max_detections = options["max_detections"]
        wanted.high_score = options.get("high_score", wanted.high_score)
        wanted.low_score = options.get("low_score", wanted.low_score)
        wanted.new_score = options.get("new_score", wanted.new_score)
        wanted.match_cost = options.get("match_cost", wanted.match_cost)
        wanted.fuse_score = options.get("fuse_score", wanted.fuse_score)
        wanted.buffer_frames = options.get("buffer_frames", wanted.buffer_frames)
        wanted.frame_rate = options.get("frame_rate", wanted.frame_rate)
        wanted.gate = options.get("gate", wanted.gate)
        wanted.max_age = options.get("max_age", wanted.max_age)
        wanted.min_hits = options.get("min_hits", wanted.min_hits)
        wanted.iou = options.get("iou", wanted.iou)
        cdef size_t size = sl_tracker_bytes(&wanted)
        self.memory = malloc(size if size > 0 else 1)
        if self.memory == NULL:
            raise MemoryError(f"{size} bytes for a tracker")
        check(sl_tracker_init(&wanted, self.memory, size))

    def __dealloc__(self):
        free(self.memory)


def update(list blocks, list boxes, list scores, list classes, list ids):
    """One frame of each camera, without the GIL."""
    cdef size_t i, cameras = len(blocks), size
    cdef const float[:, ::1] box_view
    cdef const float[::1] score_view
    cdef const int32_t[::1] class_view
    cdef int64_t[::1] id_view
    cdef sl_status status
    cdef void *scratch = NULL
    cdef void **trackers = <void **> calloc(cameras + 1, sizeof(void *))
    cdef sl_track_frame *frames = <sl_track_frame *> calloc(cameras + 1, sizeof(sl_track_frame))
    try:
        if trackers == NULL or frames == NULL:
            raise MemoryError(f"a call for {cameras} cameras")
        for i in range(cameras):
            trackers[i] = (<Block?> blocks[i]).memory
            box_view, score_view, class_view, id_view = boxes[i], scores[i], classes[i], ids[i]
            frames[i].count = box_view.shape[0]
            if frames[i].count > 0:
                frames[i].boxes = &box_view[0, 0]
                frames[i].scores = &score_view[0]
                frames[i].classes = &class_view[0]
                frames[i].ids = &id_view[0]
        size = sl_tracks_scratch_bytes(trackers, frames, cameras)
        scratch = scratch_of(size)
        with nogil:
            status = sl_tracks_update(trackers, frames, cameras, scratch, size)
        check(status)
    finally:
        free(scratch)
        free(frames)
        free(trackers)


def read(Block block, int64_t[::1] ids, float[:, ::1] boxes, float[::1] scores, int32_t[::1] classes,
         int32_t[::1] states, int32_t[::1] detections, int64_t[::1] first_frames, int64_t[::1] last_frames) -> int:
    cdef size_t count = 0
    cdef sl_track_list out = sl_track_list(&ids[0], &boxes[0, 0], &scores[0], &classes[0], &states[0],
                                           &detections[0], &first_frames[0], &last_frames[0], ids.shape[0])
    check(sl_tracks_read(block.memory, &out, &count))
    return count


def count(Block block) -> tuple:
    cdef sl_track_counts counts
    check(sl_tracks_count(block.memory, &counts))
    return (counts.frames, counts.next_id, counts.refused_detections, counts.dropped_detections,
            counts.dropped_births, counts.tracks)


def assign(const float[:, ::1] cost, double limit, int32_t[::1] column_of_row, int32_t[::1] row_of_column):
    cdef size_t rows = cost.shape[0], columns = cost.shape[1]
    cdef size_t size = sl_assign_scratch_bytes(rows, columns)
    cdef void *scratch = scratch_of(size)
    cdef sl_status status
    with nogil:
        status = sl_assign(&cost[0, 0], rows, columns, limit, &column_of_row[0], &row_of_column[0], scratch, size)
    free(scratch)
    check(status)
