// SPDX-License-Identifier: Apache-2.0
// Plays one camera's fragmented MP4 through MediaSource, close to the live edge.

// Seconds behind the newest picture: long enough for the boxes to arrive before their picture is shown.
const LEAST_LAG = 0.25;
const MOST_LAG = 1.0;
const LAG_MARGIN = 0.06;
const LAG_TOLERANCE = 0.12;
const SEEK_TOLERANCE = 0.4;
const REMEMBERED_RESULTS = 20;
const SEEK_AFTER_CHECKS = 2; // a single late check is not a reason to jump
const KEEP_SECONDS = 6;
const TRIM_AFTER_SECONDS = 14;
const CHECK_MS = 250;
const MAX_QUEUE = 400;

export const canPlay = (codec) =>
  "MediaSource" in window && MediaSource.isTypeSupported(`video/mp4; codecs="${codec}"`);

export class Player {
  /** onPicture(pts) for each shown picture; onBroken() when the video must start anew; beforeReset() while the old picture is still there */
  constructor(video, { onPicture, onBroken, beforeReset }) {
    this.video = video;
    this.onPicture = onPicture;
    this.onBroken = onBroken;
    this.beforeReset = beforeReset;
    this.queue = [];
    this.lateChecks = 0;
    this.wantedLag = LEAST_LAG;
    this.resultLags = [];
    video.muted = true;
    video.disablePictureInPicture = true;
    video.addEventListener("error", () => this.buffer && this.broken());
    this.watchPictures();
    this.timer = setInterval(() => this.check(), CHECK_MS);
  }

  watchPictures() {
    const shown = (_, picture) => {
      if (this.buffer) this.onPicture(picture.mediaTime);
      this.video.requestVideoFrameCallback(shown);
    };
    this.video.requestVideoFrameCallback(shown);
  }

  start(codec, header) {
    this.beforeReset();
    this.close();
    const source = new MediaSource();
    this.source = source;
    this.url = URL.createObjectURL(source);
    this.queue = [header];
    this.started = false;
    source.addEventListener("sourceopen", () => {
      if (source !== this.source) return;
      source.duration = Infinity;
      this.buffer = source.addSourceBuffer(`video/mp4; codecs="${codec}"`);
      this.buffer.mode = "segments";
      this.buffer.addEventListener("updateend", () => source === this.source && this.pump());
      this.pump();
    }, { once: true });
    this.video.src = this.url;
  }

  /** The camera is gone. */
  end() {
    clearInterval(this.timer);
    this.close();
    this.video.removeAttribute("src");
    this.video.load();
  }

  close() {
    this.buffer = null;
    this.source = null;
    this.queue = [];
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
  }

  append(fragment) {
    if (!this.source) return;
    if (this.queue.length > MAX_QUEUE) return this.broken();
    this.queue.push(fragment);
    this.pump();
  }

  pump() {
    const buffer = this.buffer;
    if (!buffer || buffer.updating || this.source.readyState !== "open") return;
    if (!this.started && this.edge() > 0) this.begin();
    try {
      const ranges = this.video.buffered;
      if (ranges.length && ranges.start(0) < this.video.currentTime - TRIM_AFTER_SECONDS) {
        buffer.remove(0, this.video.currentTime - KEEP_SECONDS);
      } else if (this.queue.length) {
        buffer.appendBuffer(join(this.queue));
        this.queue = [];
      }
    } catch {
      this.broken();
    }
  }

  begin() {
    this.started = true;
    this.toLiveEdge();
    this.video.play().catch(() => {});
  }

  edge() {
    const ranges = this.video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) : 0;
  }

  lag() {
    return this.edge() - this.video.currentTime;
  }

  /** A result for the picture with this time arrived just now: how far behind must we stay for it? */
  noteResult(pts) {
    const behind = this.edge() - pts;
    if (!this.started || behind > 3 * MOST_LAG) return;
    this.resultLags.push(behind);
    if (this.resultLags.length > REMEMBERED_RESULTS) this.resultLags.shift();
    const usual = this.resultLags.toSorted((a, b) => a - b)[Math.floor(this.resultLags.length * 0.9)];
    this.wantedLag = Math.min(MOST_LAG, Math.max(LEAST_LAG, usual + LAG_MARGIN));
  }

  toLiveEdge() {
    const ranges = this.video.buffered;
    const last = ranges.length - 1;
    this.video.currentTime = Math.max(ranges.start(last), ranges.end(last) - this.wantedLag);
  }

  check() {
    const video = this.video;
    if (!this.started || !video.buffered.length || video.seeking) return;
    const lag = this.lag();
    this.lateChecks = lag > this.wantedLag + SEEK_TOLERANCE || lag < 0 ? this.lateChecks + 1 : 0;
    if (this.lateChecks >= SEEK_AFTER_CHECKS) {
      this.lateChecks = 0;
      this.toLiveEdge();
    }
    const surplus = lag - this.wantedLag;
    video.playbackRate = surplus > LAG_TOLERANCE ? 1.1 : surplus < -LAG_TOLERANCE ? 0.9 : 1;
    if (video.paused && !document.hidden) video.play().catch(() => {});
  }

  broken() {
    this.beforeReset();
    this.close();
    this.onBroken();
  }
}

function join(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
