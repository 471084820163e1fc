// SPDX-License-Identifier: Apache-2.0
// The layer on which a rule's points are drawn and moved, with the mouse, a finger or the keyboard.

import { ruleColour } from "./colours.js";
import { clamp, middle } from "./geometry.js";
import { announce, svg } from "./dom.js";

const STEP = 0.01;
const LARGE_STEP = 0.05;
const CLOSE_PIXELS = 14;
const MOST_POINTS = 64;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class DrawLayer {
  /** overlay: the tile's, for the place of the picture. onChange(): points were moved. onFinish(): drawing is over. */
  constructor(stage, overlay, { onChange, onFinish }) {
    Object.assign(this, { stage, overlay, onChange, onFinish });
    this.root = svg("svg", { class: "draw-layer", role: "application", tabindex: "0", "aria-label": "Drawing on the picture" });
    this.rule = null;
    this.drawing = false;
    this.cursor = [0.5, 0.5];
    this.root.addEventListener("pointerdown", (event) => this.onDown(event));
    this.root.addEventListener("pointermove", (event) => this.onMove(event));
    this.root.addEventListener("pointerup", () => (this.dragged = null));
    this.root.addEventListener("dblclick", () => this.drawing && this.finish());
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.observer = new ResizeObserver(() => this.render());
    this.observer.observe(stage);
    stage.append(this.root);
  }

  close() {
    this.observer.disconnect();
    this.root.remove();
  }

  /** Show this rule's points; with `drawing` new ones are added until that is finished. */
  edit(rule, drawing = false) {
    this.rule = rule;
    this.drawing = drawing;
    this.cursor = [0.5, 0.5];
    this.render();
    if (drawing) this.root.focus();
  }

  get closed() {
    return this.rule?.kind !== "line";
  }

  get least() {
    return this.closed ? 3 : 2;
  }

  at(event) {
    const box = this.root.getBoundingClientRect();
    return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
  }

  onDown(event) {
    if (!this.rule || event.button) return;
    const handle = event.target.dataset.handle;
    const point = this.at(event);
    event.preventDefault();
    if (this.drawing) return this.addPoint(point);
    this.root.setPointerCapture(event.pointerId);
    if (handle === undefined) return;
    if (handle === "body") this.dragged = { all: true, last: point };
    else if (handle.startsWith("middle")) {
      const at = Number(handle.slice(6)) + 1;
      this.rule.points = this.rule.points.toSpliced(at, 0, point);
      this.dragged = { list: "points", at };
    } else {
      const [list, at] = handle.split(":");
      this.dragged = { list, at: Number(at) };
      this.focusHandle(handle);
    }
    this.changed();
  }

  addPoint(point) {
    const points = this.rule.points;
    const near = points.length >= this.least && this.closed && this.distance(points[0], point) < CLOSE_PIXELS;
    const twice = points.length && this.distance(points.at(-1), point) < 3;
    if (near) return this.finish();
    if (twice || points.length >= MOST_POINTS) return;
    this.rule.points = [...points, point];
    this.changed();
  }

  distance([ax, ay], [bx, by]) {
    const { width, height } = this.overlay.place();
    return Math.hypot((ax - bx) * width, (ay - by) * height);
  }

  onMove(event) {
    if (!this.rule) return;
    const point = this.at(event);
    if (this.drawing) {
      this.cursor = point;
      return this.render();
    }
    if (!this.dragged) return;
    if (this.dragged.all) {
      this.shift(point[0] - this.dragged.last[0], point[1] - this.dragged.last[1]);
      this.dragged.last = point;
    } else this.rule[this.dragged.list] = this.rule[this.dragged.list].with(this.dragged.at, point);
    this.changed();
  }

  shift(dx, dy) {
    const points = [...this.rule.points, ...(this.rule.allowed ?? [])];
    const within = (values, step) => clamp(step, -Math.min(...values), 1 - Math.max(...values));
    const x = within(points.map((p) => p[0]), dx), y = within(points.map((p) => p[1]), dy);
    for (const list of ["points", "allowed"]) if (this.rule[list]) this.rule[list] = this.rule[list].map(([a, b]) => [a + x, b + y]);
  }

  finish() {
    if (this.rule.points.length < this.least) return announce(`At least ${this.least} points are needed`);
    this.drawing = false;
    this.render();
    this.onFinish();
  }

  changed() {
    this.render();
    this.onChange();
  }

  onKey(event) {
    if (!this.rule) return;
    const arrow = ARROWS[event.key];
    const handle = document.activeElement?.dataset?.handle;
    const size = event.shiftKey ? LARGE_STEP : STEP;
    if (arrow && this.drawing) this.moveCursor(arrow, size);
    else if (arrow && handle?.includes(":")) this.moveHandle(handle, arrow, size);
    else if (this.drawing && event.key === " ") this.addPoint(this.cursor);
    else if (this.drawing && event.key === "Enter") this.finish();
    else if (this.drawing && event.key === "Backspace") {
      this.rule.points = this.rule.points.slice(0, -1);
      this.changed();
    } else if (["Delete", "Backspace"].includes(event.key) && handle?.startsWith("points:")) this.removePoint(Number(handle.slice(7)));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  moveCursor([dx, dy], size) {
    this.cursor = [clamp(this.cursor[0] + dx * size), clamp(this.cursor[1] + dy * size)];
    announce(`${Math.round(this.cursor[0] * 100)} % from the left, ${Math.round(this.cursor[1] * 100)} % from the top`);
    this.render();
  }

  moveHandle(handle, [dx, dy], size) {
    const [list, at] = handle.split(":");
    const [x, y] = this.rule[list][at];
    this.rule[list] = this.rule[list].with(Number(at), [clamp(x + dx * size), clamp(y + dy * size)]);
    this.changed();
    this.focusHandle(handle);
  }

  removePoint(at) {
    if (this.rule.points.length <= this.least) return announce(`At least ${this.least} points are needed`);
    this.rule.points = this.rule.points.toSpliced(at, 1);
    this.changed();
    this.focusHandle(`points:${Math.max(0, at - 1)}`);
  }

  focusHandle(handle) {
    this.root.querySelector(`[data-handle="${handle}"]`)?.focus();
  }

  render() {
    const { left, top, width, height } = this.overlay.place();
    Object.assign(this.root.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    this.root.setAttribute("viewBox", `0 0 ${Math.max(1, width)} ${Math.max(1, height)}`);
    this.root.classList.toggle("drawing", this.drawing);
    const focused = document.activeElement?.dataset?.handle;
    const rule = this.rule;
    if (!rule) return this.root.replaceChildren();
    const colour = ruleColour(rule.kind);
    const pixels = (points) => points.map(([x, y]) => [x * width, y * height]);
    const points = pixels(rule.points);
    const flat = (list) => list.map((point) => point.join(",")).join(" ");
    const line = this.drawing ? [...points, pixels([this.cursor])[0]] : points;
    const shape = svg(this.closed && !this.drawing ? "polygon" : "polyline", { points: flat(line), class: "shape", stroke: colour, fill: this.closed ? colour : "none", "data-handle": this.drawing ? null : "body" });
    const parts = [svg("polyline", { points: flat(this.closed && !this.drawing ? [...line, line[0] ?? [0, 0]] : line), class: "shape-edge" }), shape];
    if (!this.drawing) parts.push(...this.middles(points, colour));
    points.forEach(([x, y], i) => parts.push(...this.handle(x, y, `points:${i}`, `Point ${i + 1} of ${points.length}`, colour)));
    if (rule.allowed && !this.drawing) parts.push(...this.arrow(pixels(rule.allowed), colour));
    if (this.drawing) parts.push(svg("path", { d: crosshair(...pixels([this.cursor])[0]), class: "cursor" }));
    this.root.replaceChildren(...parts);
    if (focused) this.focusHandle(focused);
  }

  handle(x, y, name, label, colour) {
    return [svg("circle", { cx: x, cy: y, r: 6, class: "dot-handle", fill: colour }),
      svg("circle", { cx: x, cy: y, r: 14, class: "handle", "data-handle": name, tabindex: this.drawing ? null : "0", role: "button", "aria-label": `${label}: arrow keys move it, Delete removes it` })];
  }

  middles(points, colour) {
    const pairs = this.closed ? points.map((point, i) => [point, points[(i + 1) % points.length]]) : points.slice(1).map((point, i) => [points[i], point]);
    if (points.length < 2) return [];
    return pairs.map(([a, b], i) => svg("circle", { cx: (a[0] + b[0]) / 2, cy: (a[1] + b[1]) / 2, r: 5, class: "between", stroke: colour, "data-handle": `middle${i}` }));
  }

  arrow([from, to], colour) {
    return [svg("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], class: "shape", stroke: colour, "stroke-dasharray": "2 6" }),
      ...this.handle(...from, "allowed:0", "Start of the allowed direction", colour), ...this.handle(...to, "allowed:1", "Tip of the allowed direction", colour),
      svg("path", { d: tip(from, to), class: "shape", stroke: colour, fill: "none" })];
  }
}

const crosshair = (x, y) => `M${x - 10} ${y}h20M${x} ${y - 10}v20`;

function tip(from, to) {
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
  const at = (turn) => `${to[0] + 18 * Math.cos(angle + turn)} ${to[1] + 18 * Math.sin(angle + turn)}`;
  return `M${at(2.6)}L${to[0]} ${to[1]}L${at(-2.6)}`;
}

/** An arrow upwards through the middle of a zone, to begin with. */
export function firstArrow(points) {
  const [x, y] = middle(points);
  return [[x, clamp(y + 0.12)], [x, clamp(y - 0.12)]];
}
