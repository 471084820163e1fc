/* SPDX-License-Identifier: Apache-2.0 */
/* Kalman filters of constant velocity: ByteTrack's and DeepSORT's (noise grows with the height), and SORT's. */
#include "tracks/tracks.h"

enum { X, Y, ASPECT, HEIGHT, QUANTITIES };
enum { AREA = 2, RATIO = 3 };

static const double POSITION_WEIGHT = 1.0 / 20.0, VELOCITY_WEIGHT = 1.0 / 160.0;

static inline double square(double value) { return value * value; }

void sl_byte_start(sl_track *track, const float *xyah) {
    const double height = (double)xyah[HEIGHT];
    const double position = square(2.0 * POSITION_WEIGHT * height), velocity = square(10.0 * VELOCITY_WEIGHT * height);
    for (int q = 0; q < QUANTITIES; q++) {
        track->mean[q] = (double)xyah[q];
        track->mean[QUANTITIES + q] = 0.0;
        track->covariance[q] = (sl_block){position, 0.0, velocity};
    }
    track->covariance[ASPECT] = (sl_block){square(1e-2), 0.0, square(1e-5)};
}

void sl_byte_predict(sl_track *track) {
    if (track->state != STATE_TRACKED) track->mean[QUANTITIES + HEIGHT] = 0.0;
    const double position = square(POSITION_WEIGHT * track->mean[HEIGHT]);
    const double velocity = square(VELOCITY_WEIGHT * track->mean[HEIGHT]);
    for (int q = 0; q < QUANTITIES; q++) {
        sl_block *block = &track->covariance[q];
        track->mean[q] += track->mean[QUANTITIES + q];
        double left = block->cross + block->velocity;
        block->position = block->position + block->cross + left + (q == ASPECT ? square(1e-2) : position);
        block->cross = left;
        block->velocity += q == ASPECT ? square(1e-5) : velocity;
    }
}

static inline double byte_noise(const sl_track *track, int q) {
    return q == ASPECT ? square(1e-1) : square(POSITION_WEIGHT * track->mean[HEIGHT]);
}

void sl_byte_correct(sl_track *track, const float *xyah) {
    double noise[QUANTITIES];
    for (int q = 0; q < QUANTITIES; q++) noise[q] = byte_noise(track, q);
    for (int q = 0; q < QUANTITIES; q++) {
        sl_block *block = &track->covariance[q];
        const double spread = block->position + noise[q];
        if (!(spread > 0.0)) continue; /* a height so small that its square is zero */
        const double gain = block->position / spread, velocity_gain = block->cross / spread;
        const double error = (double)xyah[q] - track->mean[q];
        track->mean[q] += error * gain;
        track->mean[QUANTITIES + q] += error * velocity_gain;
        block->position -= gain * spread * gain;
        block->cross -= gain * spread * velocity_gain;
        block->velocity -= velocity_gain * spread * velocity_gain;
    }
}

void sl_byte_box(const sl_track *track, float *xyxy) {
    const double height = track->mean[HEIGHT], width = track->mean[ASPECT] * height;
    const double left = track->mean[X] - width / 2.0, top = track->mean[Y] - height / 2.0;
    xyxy[0] = (float)left;
    xyxy[1] = (float)top;
    xyxy[2] = (float)(width + left);
    xyxy[3] = (float)(height + top);
}

double sl_byte_distance(const sl_track *track, const float *xyah) {
    double sum = 0.0;
    for (int q = 0; q < QUANTITIES; q++) {
        const double spread = track->covariance[q].position + byte_noise(track, q);
        sum += square((double)xyah[q] - track->mean[q]) / spread;
    }
    return sum;
}

/* ---- SORT: the ratio has no velocity ---- */

static void sort_measure(const float *xyxy, double *xyar) {
    const double width = (double)xyxy[2] - (double)xyxy[0], height = (double)xyxy[3] - (double)xyxy[1];
    xyar[X] = (double)xyxy[0] + width / 2.0;
    xyar[Y] = (double)xyxy[1] + height / 2.0;
    xyar[AREA] = width * height;
    xyar[RATIO] = width / height;
}

void sl_sort_start(sl_track *track, const float *xyxy) {
    sort_measure(xyxy, track->mean);
    for (int q = 0; q < QUANTITIES; q++) {
        track->mean[QUANTITIES + q] = 0.0;
        track->covariance[q] = (sl_block){10.0, 0.0, q == RATIO ? 0.0 : 10000.0};
    }
}

void sl_sort_predict(sl_track *track) {
    static const double velocity_noise[QUANTITIES] = {1e-2, 1e-2, 1e-2 * 1e-2, 0.0};
    if (track->mean[QUANTITIES + AREA] + track->mean[AREA] <= 0.0) track->mean[QUANTITIES + AREA] = 0.0;
    for (int q = 0; q < QUANTITIES; q++) {
        sl_block *block = &track->covariance[q];
        track->mean[q] += track->mean[QUANTITIES + q];
        double left = block->cross + block->velocity;
        block->position = block->position + block->cross + left + 1.0;
        block->cross = left;
        block->velocity += velocity_noise[q];
    }
}

/* Joseph's form, as the reference's filter library does it. */
void sl_sort_correct(sl_track *track, const float *xyxy) {
    static const double noise[QUANTITIES] = {1.0, 1.0, 10.0, 10.0};
    double measure[QUANTITIES];
    sort_measure(xyxy, measure);
    for (int q = 0; q < QUANTITIES; q++) {
        sl_block *block = &track->covariance[q];
        const double inverse = 1.0 / (block->position + noise[q]), error = measure[q] - track->mean[q];
        const double gain = block->position * inverse, velocity_gain = block->cross * inverse, rest = 1.0 - gain;
        const double cross = block->cross - velocity_gain * block->position;
        const double velocity = block->velocity - velocity_gain * block->cross;
        track->mean[q] += gain * error;
        track->mean[QUANTITIES + q] += velocity_gain * error;
        block->velocity = cross * -velocity_gain + velocity + velocity_gain * noise[q] * velocity_gain;
        block->cross = cross * rest + velocity_gain * noise[q] * gain;
        block->position = rest * block->position * rest + gain * noise[q] * gain;
    }
}

bool sl_sort_box(const sl_track *track, double *xyxy) {
    const double width = sqrt(track->mean[AREA] * track->mean[RATIO]), height = track->mean[AREA] / width;
    xyxy[0] = track->mean[X] - width / 2.0;
    xyxy[1] = track->mean[Y] - height / 2.0;
    xyxy[2] = track->mean[X] + width / 2.0;
    xyxy[3] = track->mean[Y] + height / 2.0;
    return isfinite(xyxy[0]) && isfinite(xyxy[1]) && isfinite(xyxy[2]) && isfinite(xyxy[3]);
}
