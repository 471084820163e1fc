// SPDX-License-Identifier: Apache-2.0
// Draws masks, boxes, tracks and labels on a canvas above the video, sharp at any pixel density.

import { colourOf } from "./colours.js";
import { fit } from "./geometry.js";
import { FONT, drawRules } from "./shapes.js";

const SMALL_PIXELS = 800; // narrower pictures get smaller labels
const TINY_PIXELS = 420; // and still narrower ones labels of tracks only
const KEEP_RESULTS = 120;
const MAX_AGE_SECONDS = 1.0;
const TOLERANCE_SECONDS = 0.004;
const TRAIL_SECONDS = 2.5;
const TRAIL_GAP_SECONDS = 1.0;

export class Overlay {
  /** canvas: for what changes with each picture. ground: below it, for zones and lines. */
  constructor(canvas, ground) {
    this.canvas = canvas;
    this.ground = ground;
    this.context = canvas.getContext("2d");
    this.results = [];
    this.epoch = 0;
    this.pts = -1;
    this.drawn = null;
    this.options = { boxes: true, labels: true, masks: true, trails: true, zones: true };
    this.rules = [];
    this.counts = {};
    this.picture = [16, 9];
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  setOptions(options) {
    this.options = options;
    this.draw(true);
    this.drawGround();
  }

  setRules(rules) {
    this.rules = rules;
    this.drawGround();
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
    this.note(result);
  }

  /** The picture's size and the counters move the ground. */
  note(result) {
    const moved = result.width !== this.picture[0] || result.height !== this.picture[1];
    const counted = result.counts && JSON.stringify(result.counts) !== JSON.stringify(this.counts);
    if (moved) this.picture = [result.width, result.height];
    if (counted) this.counts = result.counts;
    if (moved || counted) this.drawGround();
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

  /** Position of the newest result that is not newer than the picture; -1: none. */
  currentAt() {
    for (let i = this.results.length - 1; i >= 0; i--) {
      if (this.results[i].pts <= this.pts + TOLERANCE_SECONDS) {
        return this.pts - this.results[i].pts <= MAX_AGE_SECONDS ? i : -1;
      }
    }
    return -1;
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const density = window.devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    for (const canvas of [this.canvas, this.ground]) {
      canvas.width = Math.max(1, Math.round(width * density));
      canvas.height = Math.max(1, Math.round(height * density));
    }
    this.draw(true);
    this.drawGround();
  }

  place() {
    return fit(this.width, this.height, ...this.picture);
  }

  drawGround() {
    const context = this.ground.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.ground.width, this.ground.height);
    if (!this.options.zones || !this.rules.length || !this.width) return;
    context.scale(this.ground.width / this.width, this.ground.height / this.height);
    drawRules(context, this.place(), this.rules, this.counts, this.width < SMALL_PIXELS);
  }

  draw(again = false) {
    const at = this.currentAt();
    const result = at < 0 ? null : this.results[at];
    if (!again && result === this.drawn) return;
    this.drawn = result;
    const context = this.context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!result || !this.width) return;
    context.scale(this.canvas.width / this.width, this.canvas.height / this.height);
    const place = fit(this.width, this.height, result.width, result.height);
    if (this.options.masks && result.masks) this.drawMasks(result, place);
    if (this.options.trails) this.drawTrails(at, place);
    if (this.options.boxes) this.drawObjects(result, place);
  }

  drawObjects(result, place) {
    const { left, top, scale } = place;
    const outlined = this.options.masks && result.masks;
    const placed = result.boxes.map(([x1, y1, x2, y2, score, label, classId], i) => ({
      box: [left + x1 * scale, top + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale].map(Math.round),
      text: this.text(label, score, result.info?.[i]),
      colour: colourOf(classId),
      outlined: outlined && result.masks[i]?.length,
    }));
    for (const { box, colour, outlined: skip } of placed.toReversed()) if (!skip) this.drawBox(box, colour);
    if (this.options.labels) this.drawLabels(placed);
  }

  text(label, score, info) {
    if (this.width < TINY_PIXELS && info) return info.id === undefined ? "" : `#${info.id}`;
    const words = [label.replaceAll("_", " ")];
    if (info?.id !== undefined) words.push(`#${info.id}`);
    else if (this.width >= SMALL_PIXELS) words.push(`${Math.round(score * 100)}%`);
    if (info?.speed !== undefined && this.width >= TINY_PIXELS) words.push(`${Math.round(info.speed)} km/h`);
    if (this.width >= SMALL_PIXELS) {
      if (info?.identity) words.push(`· ${info.identity}`);
      words.push(...Object.values(info?.attributes ?? {}).map((value) => `· ${value}`));
    }
    return words.join(" ");
  }

  drawMasks(result, { left, top, scale }) {
    const context = this.context;
    context.lineJoin = "round";
    result.masks.forEach((outlines, i) => {
      if (!outlines.length) return;
      context.beginPath();
      for (const flat of outlines) {
        for (let k = 0; k < flat.length; k += 2) {
          context[k ? "lineTo" : "moveTo"](left + (flat[k] + 0.5) * scale, top + (flat[k + 1] + 0.5) * scale);
        }
        context.closePath();
      }
      const colour = colourOf(result.boxes[i][6]);
      context.globalAlpha = 0.35;
      context.fillStyle = colour;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = 3;
      context.strokeStyle = "rgb(0 0 0 / .4)";
      context.stroke();
      context.lineWidth = 1.5;
      context.strokeStyle = colour;
      context.stroke();
    });
  }

  /** Where the tracked objects came from: the middle of the lower side of their boxes over the last seconds. */
  drawTrails(at, { left, top, scale }) {
    const now = this.results[at];
    if (!now.info) return;
    const context = this.context;
    context.lineCap = context.lineJoin = "round";
    now.info.forEach((info, i) => {
      if (info.id === undefined) return;
      const points = this.trail(at, info.id);
      if (points.length < 2) return;
      context.strokeStyle = colourOf(now.boxes[i][6]);
      for (let k = 1; k < points.length; k++) {
        const [[x1, y1], [x2, y2, age]] = [points[k - 1], points[k]];
        context.globalAlpha = Math.max(0.08, 0.85 * (1 - age / TRAIL_SECONDS));
        context.lineWidth = 2.5;
        context.beginPath();
        context.moveTo(left + x1 * scale, top + y1 * scale);
        context.lineTo(left + x2 * scale, top + y2 * scale);
        context.stroke();
      }
    });
    context.globalAlpha = 1;
  }

  trail(at, id) {
    const points = [];
    const newest = this.results[at].pts;
    let last = newest;
    for (let i = at; i >= 0; i--) {
      const result = this.results[i];
      const age = newest - result.pts;
      if (age > TRAIL_SECONDS || last - result.pts > TRAIL_GAP_SECONDS) break;
      const found = result.info?.findIndex((info) => info.id === id) ?? -1;
      if (found < 0) continue;
      const [x1, , x2, y2] = result.boxes[found];
      points.push([(x1 + x2) / 2, y2, age]);
      last = result.pts;
    }
    return points;
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
      if (!text || (small && w < 14 && h < 14)) continue;
      const width = Math.ceil(this.context.measureText(text).width) + 8;
      const labelX = Math.max(0, Math.min(x - 1, this.width - width));
      const spots = [y - height - 1, y + h + 1, y + 1].filter((top) => top >= 0 && top + height <= this.height);
      const labelY = spots.find((top) => !taken.some((other) => overlap(other, [labelX, top, width, height])));
      if (labelY === undefined) continue;
      taken.push([labelX, labelY, width, height]);
      this.drawLabel(labelX, labelY, width, height, text, colour);
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
