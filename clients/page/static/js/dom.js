// SPDX-License-Identifier: Apache-2.0
// Making elements, icons and texts.

/** An element: h("button", { class: "x", onclick: f, dataset: {...}, "aria-label": "…" }, child, …). */
export function h(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "dataset") Object.assign(made.dataset, value);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key === "class" ? "class" : key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const ICONS = {
  camera: "M15 10.500 20 7.500v9l-5-3M4.500 6.500h9a1.500 1.500 0 0 1 1.500 1.500v8a1.500 1.500 0 0 1-1.500 1.500h-9A1.500 1.500 0 0 1 3 16V8a1.500 1.500 0 0 1 1.500-1.500Z",
  rules: "M4 17 9 5l11 4-3 11ZM9 5h.01M20 9h.01M17 20h.01M4 17h.01",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  plus: "M12 5v14M5 12h14",
  close: "m6 6 12 12M18 6 6 18",
  trash: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12",
  sun: "M12 7.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9ZM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M5.300 18.700l1.400-1.400M17.300 6.700l1.400-1.400",
  moon: "M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10Z",
  out: "M14 5H6v14h8M10.500 12H21M17.500 8.500 21 12l-3.500 3.500",
  back: "M19 12H5M11 6l-6 6 6 6",
  play: "M8 5.500v13l11-6.500Z",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l1.500 2h-15ZM10 20.500h4",
  image: "M4 5.500h16v13H4ZM4 16l5-5 4 4 2.500-2.500L20 17M15.500 9.500h.01",
};

export const icon = (name, className = "glyph") =>
  svg("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 1.7, "stroke-linecap": "round", "stroke-linejoin": "round", class: className, "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }));

export const iconButton = (name, label, onclick, className = "icon") =>
  h("button", { type: "button", class: className, "aria-label": label, title: label, onclick }, icon(name));

export const byId = (id) => document.getElementById(id);

const announcer = byId("announcer");
/** Say it to screen readers. */
export function announce(text) {
  announcer.textContent = text;
}

/** A short message that goes by itself. */
export function toast(text, kind = "good") {
  const made = h("div", { class: `toast ${kind}` }, text);
  byId("toasts").append(made);
  setTimeout(() => made.remove(), kind === "bad" ? 9000 : 4000);
}

export const plainWords = (text) => String(text ?? "").replaceAll("_", " ");

/** Event types as people say them: sightline.line.crossed → line crossed. */
export const typeWords = (type) => type.replace(/^sightline\./, "").replaceAll(".", " ").replaceAll("_", " ");

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value > 0 ? Math.min(4, Math.floor(Math.log2(value) / 10)) : 0;
  return `${number(value / 1024 ** power, power ? 1 : 0)} ${units[power]}`;
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24, minutes = Math.floor(whole / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function dayAndClock(iso) {
  const moment = new Date(iso);
  const today = moment.toDateString() === new Date().toDateString();
  return today ? clock(iso) : `${moment.toLocaleDateString([], { day: "2-digit", month: "short" })} ${clock(iso)}`;
}
