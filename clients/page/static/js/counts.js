// SPDX-License-Identifier: Apache-2.0
// Counts over time as bars with axes, the same as a table, and what the rules count now.

import { api } from "./api.js";
import { ruleColour } from "./colours.js";
import { h, number, svg, typeWords } from "./dom.js";
import { on, rulesOf, store } from "./store.js";
import { countWords } from "./shapes.js";

const SPANS = { "1 hour": 1, "6 hours": 6, "24 hours": 24, "7 days": 168 };
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [1000, 300, 46, 26, 12];
const COLOURS = ["#38bdf8", "#43d6b5", "#fbbf24", "#f472b6", "#a78bfa", "#fb923c", "#4ade80", "#f87171"];
const MAX_SERIES = 8;
const BARS = 48;
const REFRESH_MS = 5000;

export class CountsView {
  constructor() {
    this.hours = 1;
    this.camera = "";
    this.build();
    on("state", () => this.root.isConnected && this.renderNow());
    on("event", () => this.soon());
  }

  build() {
    this.spans = h("div", { class: "group", role: "group", "aria-label": "Time" }, Object.entries(SPANS).map(([text, hours]) =>
      h("button", { type: "button", "aria-pressed": String(hours === this.hours), onclick: (e) => this.setHours(hours, e.target) }, text)));
    this.cameras = h("select", { id: "counts-camera", "aria-label": "Camera", onchange: (e) => { this.camera = e.target.value; this.load(); } });
    this.now = h("ul", { class: "now" });
    this.chart = h("figure", { class: "chart" });
    this.table = h("div", { class: "table-box", tabindex: 0, role: "region", "aria-label": "Counts as a table" });
    this.status = h("p", { class: "quiet", role: "status" });
    this.root = h("div", { class: "page counts-view" },
      h("div", { class: "toolbar" }, h("h2", {}, "Events over time"), h("div", { class: "group" }, this.cameras), this.spans),
      h("section", { class: "card" }, this.chart, this.status),
      h("section", { class: "card", "aria-labelledby": "now-title" }, h("h2", { id: "now-title" }, "What the rules count now"), this.now),
      h("details", { class: "card" }, h("summary", {}, "As a table"), this.table));
  }

  setHours(hours, button) {
    this.hours = hours;
    for (const one of this.spans.children) one.ariaPressed = String(one === button);
    this.load();
  }

  show() {
    this.cameras.replaceChildren(h("option", { value: "" }, "all cameras"), ...store.cameras.map(({ name }) => h("option", { value: name, selected: name === this.camera }, name)));
    this.load();
    this.renderNow();
  }

  soon() {
    if (!this.root.isConnected || this.timer) return;
    this.timer = setTimeout(() => { this.timer = null; if (this.root.isConnected) this.load(); }, REFRESH_MS);
  }

  async load() {
    try {
      const query = new URLSearchParams({ hours: this.hours, ...(this.camera ? { camera: this.camera } : {}) });
      this.render((await api(`/api/counts?${query}`)).counts);
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  renderNow() {
    const key = JSON.stringify([...store.counts]);
    if (key === this.nowKey) return;
    this.nowKey = key;
    const items = [...store.counts].flatMap(([camera, counts]) => Object.entries(counts).map(([rule, values]) => {
      const mark = h("i", { class: "mark" });
      mark.style.background = ruleColour(rulesOf(camera).find((one) => one.name === rule)?.kind);
      return h("li", {}, h("span", { class: "now-name" }, mark, rule, h("small", {}, camera)), h("b", {}, countWords(values) || "–"));
    }));
    this.now.replaceChildren(...(items.length ? items : [h("li", { class: "quiet" }, "No rule has counted anything yet.")]));
  }

  render(rows) {
    const nameOf = (row) => [this.camera ? "" : row.camera, row.rule, typeWords(row.type)].filter(Boolean).join(" · ");
    const totals = new Map();
    for (const row of rows) totals.set(nameOf(row), (totals.get(nameOf(row)) ?? 0) + row.count);
    const series = [...totals].sort((a, b) => b[1] - a[1]);
    const shown = series.slice(0, MAX_SERIES).map(([name]) => name);
    const to = Date.now(), from = to - this.hours * 3600e3, slot = (to - from) / BARS;
    const bars = Array.from({ length: BARS }, () => new Map());
    for (const row of rows) {
      const at = Math.min(BARS - 1, Math.max(0, Math.floor((new Date(row.start).getTime() - from) / slot)));
      const name = shown.includes(nameOf(row)) ? nameOf(row) : "others";
      bars[at].set(name, (bars[at].get(name) ?? 0) + row.count);
    }
    const names = series.length > MAX_SERIES ? [...shown, "others"] : shown;
    this.status.textContent = rows.length ? "" : "No events in this time.";
    this.chart.replaceChildren(this.drawn(bars, names, from, slot), this.legend(names, totals));
    this.table.replaceChildren(this.asTable(bars, names, from, slot));
  }

  colour(index) {
    return index < COLOURS.length ? COLOURS[index] : "#94a3b8";
  }

  drawn(bars, names, from, slot) {
    const most = niceCeiling(Math.max(4, ...bars.map((bar) => [...bar.values()].reduce((a, b) => a + b, 0))));
    const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
    const step = (WIDTH - LEFT) / BARS;
    const parts = [];
    for (let i = 0; i <= 4; i++) {
      const value = (most / 4) * i;
      parts.push(svg("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value), class: "gridline" }), text(LEFT - 8, y(value) + 4, number(value, value % 1 ? 1 : 0), "end"));
    }
    bars.forEach((bar, i) => {
      let base = 0;
      names.forEach((name, k) => {
        const value = bar.get(name);
        if (!value) return;
        const box = svg("rect", { x: LEFT + i * step + 1.5, width: step - 3, y: y(base + value), height: y(base) - y(base + value), fill: this.colour(k), rx: 2 });
        box.append(svg("title", {}, `${name}: ${value}, ${this.time(from + i * slot)}`));
        parts.push(box);
        base += value;
      });
      if (i % 8 === 0) parts.push(text(LEFT + i * step, HEIGHT - 7, this.time(from + i * slot), "start"));
    });
    const sum = bars.reduce((n, bar) => n + [...bar.values()].reduce((a, b) => a + b, 0), 0);
    return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${sum} events in the last ${this.hours} hours; the table below has the figures` }, ...parts);
  }

  legend(names, totals) {
    return h("figcaption", { class: "legend" }, names.map((name, k) => {
      const mark = h("i", { class: "mark" });
      mark.style.background = this.colour(k);
      return h("span", {}, mark, name, h("b", {}, name === "others" ? "" : String(totals.get(name))));
    }));
  }

  time(at) {
    const moment = new Date(at);
    return this.hours > 24 ? moment.toLocaleDateString([], { weekday: "short", hour: "2-digit" }) : moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }

  asTable(bars, names, from, slot) {
    const rows = bars.flatMap((bar, i) => bar.size ? [h("tr", {}, h("th", { scope: "row" }, this.time(from + i * slot)), names.map((name) => h("td", {}, String(bar.get(name) ?? 0))))] : []);
    return h("table", { class: "figures-table" }, h("caption", { class: "hidden-text" }, "Events by time"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "from"), names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows));
  }
}

const text = (x, y, content, anchor) => svg("text", { x, y, "text-anchor": anchor, class: "axis" }, content);

function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 8, 10].map((n) => n * power).find((n) => n >= value) ?? 10 * power;
}
