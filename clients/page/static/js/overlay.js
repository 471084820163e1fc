// SPDX-License-Identifier: Apache-2.0
// Draws boxes and labels on a canvas above the video, sharp at any pixel density.

import { colourOf } from "./colours.js";

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
const SMALL_PIXELS = 800; // narrower pictures get smaller labels
const KEEP_RESULTS = 120;
const MAX_AGE_SECONDS = 1.0;
const TOLERANCE_SECONDS = 0.004;

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.results = [];
    this.epoch = 0;
    this.pts = -1;
    this.drawn = null;
    this.boxes = true;
    this.labels = true;
    this.painted = 0;
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  /** A result of the server; it is drawn with its picture, or at once if that is already shown. */
  add(result) {
    if (result.epoch !== this.epoch) {
      if (result.epoch < this.epoch) return;
      this.restart(result.epoch);
    }
    let at = this.results.length; // answers may come in another order than their pictures
    while (at > 0 && this.results[at - 1].pts > result.pts) at--;
    this.results.splice(at, 0, result);
    if (this.results.length > KEEP_RESULTS) this.results.shift();
    if (result.pts <= this.pts + TOLERANCE_SECONDS) this.draw();
  }

  restart(epoch) {
    if (epoch === this.epoch) return;
    this.epoch = epoch;
    this.results = [];
    this.pts = -1;
  }

  /** The picture with this time is on the screen. */
  show(pts) {
    this.pts = pts;
    this.draw();
  }

  /** Newest result that is not newer than the picture. */
  current() {
    for (let i = this.results.length - 1; i >= 0; i--) {
      const result = this.results[i];
      if (result.pts <= this.pts + TOLERANCE_SECONDS) {
        return this.pts - result.pts <= MAX_AGE_SECONDS ? result : null;
      }
    }
    return null;
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    const density = window.devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * density));
    this.canvas.height = Math.max(1, Math.round(height * density));
    this.draw(true);
  }

  draw(again = false) {
    const result = this.current();
    if (!again && result === this.drawn) return;
    this.drawn = result;
    const context = this.context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.painted = 0;
    if (!result || !this.boxes) return;
    context.scale(this.canvas.width / this.width, this.canvas.height / this.height);
    const scale = Math.min(this.width / result.width, this.height / result.height);
    const left = (this.width - result.width * scale) / 2;
    const top = (this.height - result.height * scale) / 2;
    const placed = result.boxes.map(([x1, y1, x2, y2, score, label, classId]) => ({
      box: [left + x1 * scale, top + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale].map(Math.round),
      text: this.width < SMALL_PIXELS ? label : `${label} ${Math.round(score * 100)}%`,
      colour: colourOf(classId),
    }));
    for (const { box, colour } of placed.toReversed()) this.drawBox(box, colour);
    if (this.labels) this.drawLabels(placed);
    this.painted = placed.length;
  }

  drawBox([x, y, width, height], colour) {
    const context = this.context;
    context.lineJoin = "round";
    context.lineWidth = 3.5;
    context.strokeStyle = "rgb(0 0 0 / .45)";
    context.strokeRect(x, y, width, height);
    context.lineWidth = 1.75;
    context.strokeStyle = colour;
    context.strokeRect(x, y, width, height);
  }

  /** Labels, the largest objects' first; one that would hide another label is moved or left out, its box stays. */
  drawLabels(placed) {
    const small = this.width < SMALL_PIXELS;
    const height = small ? 14 : 17;
    const taken = [];
    this.context.font = `600 ${small ? 10.5 : 12}px ${FONT}`;
    this.context.textBaseline = "middle";
    for (const { box: [x, y, w, h], text, colour } of placed.toSorted((a, b) => area(b.box) - area(a.box))) {
      const shown = text.replaceAll("_", " ");
      const width = Math.ceil(this.context.measureText(shown).width) + 8;
      const labelX = Math.max(0, Math.min(x - 1, this.width - width));
      const spots = [y - height - 1, y + h + 1, y + 1].filter((top) => top >= 0 && top + height <= this.height);
      const labelY = spots.find((top) => !taken.some((other) => overlap(other, [labelX, top, width, height])));
      if (labelY === undefined) continue;
      taken.push([labelX, labelY, width, height]);
      this.drawLabel(labelX, labelY, width, height, shown, colour);
    }
  }

  drawLabel(x, y, width, height, text, colour) {
    const context = this.context;
    context.fillStyle = colour;
    context.beginPath();
    context.roundRect(x, y, width, height, 3);
    context.fill();
    context.fillStyle = "#071018";
    context.fillText(text, x + 4, y + height / 2 + 0.5);
  }
}

const area = ([, , width, height]) => width * height;
const overlap = ([ax, ay, aw, ah], [bx, by, bw, bh]) => ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah;
