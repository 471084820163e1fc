// SPDX-License-Identifier: Apache-2.0
// Where a picture lies inside of its view, and small sums with points.

/** The rectangle of a picture that is shown whole (object-fit: contain), in the view's pixels. */
export function fit(viewWidth, viewHeight, width, height) {
  if (!width || !height) return { left: 0, top: 0, width: viewWidth, height: viewHeight, scale: 1 };
  const scale = Math.min(viewWidth / width, viewHeight / height);
  return {
    left: (viewWidth - width * scale) / 2, top: (viewHeight - height * scale) / 2,
    width: width * scale, height: height * scale, scale,
  };
}

export const clamp = (value, least = 0, most = 1) => Math.min(most, Math.max(least, value));

export const middle = (points) => [
  points.reduce((sum, [x]) => sum + x, 0) / points.length,
  points.reduce((sum, [, y]) => sum + y, 0) / points.length,
];

/** The place in the middle of a line's length, and the unit vector to its right, seen from the first point to the last. */
export function lineMiddle(points) {
  const lengths = points.slice(1).map(([x, y], i) => Math.hypot(x - points[i][0], y - points[i][1]));
  let left = lengths.reduce((sum, one) => sum + one, 0) / 2;
  for (let i = 0; i < lengths.length; i++) {
    if (left <= lengths[i] || i === lengths.length - 1) {
      const [[x1, y1], [x2, y2]] = [points[i], points[i + 1]];
      const part = lengths[i] ? left / lengths[i] : 0;
      const size = lengths[i] || 1;
      return { at: [x1 + (x2 - x1) * part, y1 + (y2 - y1) * part], right: [-(y2 - y1) / size, (x2 - x1) / size] };
    }
    left -= lengths[i];
  }
  return { at: points[0], right: [0, 1] };
}

export const rounded = (points) => points.map((point) => point.map((v) => Math.round(clamp(v) * 10000) / 10000));
