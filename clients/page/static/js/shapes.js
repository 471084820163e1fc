// SPDX-License-Identifier: Apache-2.0
// Draws a camera's zones, lines and arrows on a canvas, with what they count.

import { ruleColour } from "./colours.js";
import { lineMiddle, middle } from "./geometry.js";
import { plainWords } from "./dom.js";

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
const ARROW = 15;

/** What a rule counts, in few words; `small`: only the most important. */
export function countWords(counts, small = false) {
  if (!counts) return "";
  const { forward, backward, ...others } = counts;
  const parts = [];
  if (forward !== undefined || backward !== undefined) parts.push(`→ ${forward ?? 0}  ← ${backward ?? 0}`);
  for (const [name, value] of Object.entries(others)) {
    if (small && counts.inside !== undefined) return String(counts.inside);
    if (typeof value === "number" && parts.length < (small ? 1 : 2)) parts.push(`${plainWords(name)} ${Math.round(value * 10) / 10}`);
  }
  return parts.join("  ");
}

/** Draw the rules; `place` is where the picture lies, in the canvas's units. */
export function drawRules(context, place, rules, counts, small) {
  for (const rule of rules) {
    if (!rule.points?.length) continue;
    const points = rule.points.map(([x, y]) => [place.left + x * place.width, place.top + y * place.height]);
    const colour = ruleColour(rule.kind);
    if (rule.kind === "line") drawLine(context, points, colour, rule.direction ?? "both");
    else drawZone(context, points, colour);
    if (rule.allowed) {
      drawArrow(context, ...rule.allowed.map(([x, y]) => [place.left + x * place.width, place.top + y * place.height]), colour);
    }
  }
  for (const rule of rules) {
    if (rule.points?.length) drawName(context, place, rule, countWords(counts?.[rule.name], small), small);
  }
}

function path(context, points, closed) {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (closed) context.closePath();
}

function twice(context, colour, width) {
  context.lineJoin = context.lineCap = "round";
  context.lineWidth = width + 2;
  context.strokeStyle = "rgb(0 0 0 / .5)";
  context.stroke();
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke();
}

function drawZone(context, points, colour) {
  path(context, points, true);
  context.globalAlpha = 0.13;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
  context.setLineDash([7, 5]);
  twice(context, colour, 1.5);
  context.setLineDash([]);
}

function drawLine(context, points, colour, direction) {
  path(context, points, false);
  twice(context, colour, 2.5);
  const { at, right } = lineMiddle(points);
  if (direction !== "backward") drawArrow(context, at, [at[0] + right[0] * ARROW, at[1] + right[1] * ARROW], colour);
  if (direction !== "forward") drawArrow(context, at, [at[0] - right[0] * ARROW, at[1] - right[1] * ARROW], colour);
}

function drawArrow(context, from, to, colour) {
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  for (const turn of [2.6, -2.6]) {
    context.moveTo(...to);
    context.lineTo(to[0] + 7 * Math.cos(angle + turn), to[1] + 7 * Math.sin(angle + turn));
  }
  twice(context, colour, 2);
}

function drawName(context, place, rule, count, small) {
  const points = rule.points.map(([x, y]) => [place.left + x * place.width, place.top + y * place.height]);
  const text = [rule.name, count].filter(Boolean).join("  ");
  context.font = `600 ${small ? 10 : 12}px ${FONT}`;
  const width = context.measureText(text).width + 12, height = small ? 15 : 19;
  let [x, y] = rule.kind === "line" ? points[0] : middle(points);
  if (rule.kind !== "line") y = Math.max(...points.map((p) => p[1])) - 4 - height / 2; // where least labels are
  else y += 12;
  x = Math.max(place.left + 2, Math.min(rule.kind === "line" ? x : x - width / 2, place.left + place.width - width - 2));
  y = Math.max(place.top + height / 2 + 2, Math.min(y, place.top + place.height - height / 2 - 2));
  context.fillStyle = "rgb(8 12 17 / .78)";
  context.beginPath();
  context.roundRect(x, y - height / 2, width, height, height / 2);
  context.fill();
  context.fillStyle = ruleColour(rule.kind);
  context.textBaseline = "middle";
  context.fillText(text, x + 6, y + 0.5);
}
