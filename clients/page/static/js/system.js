// SPDX-License-Identifier: Apache-2.0
// Model, server, transport, sinks, spool, and the health of every camera.

import { bytes, duration, h, number, plainWords } from "./dom.js";
import { on, store } from "./store.js";

const COLUMNS = { name: "camera", state: "state", answered_per_second: "fps", age_ms: "age", behind_ms: "behind", p50_ms: "p50", p99_ms: "p99", received: "received", answered: "answered", dropped: "dropped", connections: "connections" };

export class SystemView {
  constructor() {
    this.cards = h("div", { class: "system-cards" });
    this.table = h("div", { class: "table-box", tabindex: 0, role: "region", "aria-label": "Health of the cameras" });
    this.root = h("div", { class: "page system-view" }, h("h2", { class: "hidden-text" }, "System"), this.cards, h("section", { class: "card" }, h("h2", {}, "Cameras"), this.table));
    on("state", () => this.root.isConnected && this.render());
  }

  show() {
    this.render();
  }

  render() {
    const state = store.state;
    if (!state) return;
    const key = JSON.stringify(state);
    if (key === this.key || this.root.contains(getSelection()?.anchorNode) && !getSelection().isCollapsed) return;
    this.key = key;
    this.cards.replaceChildren(...[
      card("Server", { state: state.server_text ?? state.server, model: state.model, address: state.address, ...latency(state), "up for": state.uptime_seconds === undefined ? undefined : duration(state.uptime_seconds) }),
      card("Transport", plain(state.transport)),
      state.spool && card("Spool", plain(state.spool)),
      state.media && card("Pictures and clips", plain(state.media)),
      card("This page", { viewers: state.viewers, "pictures lost by slow browsers": state.viewer_pictures_lost }),
      Object.keys(state.output_errors ?? {}).length ? card("Outputs that fail", state.output_errors) : null,
      state.sinks && sinks(state.sinks),
    ].filter(Boolean));
    this.table.replaceChildren(cameras(state.cameras ?? []));
  }
}

function latency(state) {
  const best = (name) => {
    const values = (state.cameras ?? []).map((camera) => camera[name]).filter((value) => typeof value === "number");
    return values.length ? `${Math.round(Math.max(...values))} ms` : undefined;
  };
  return { "p50 (slowest camera)": best("p50_ms"), "p99 (slowest camera)": best("p99_ms") };
}

/** Only what can be shown in one line. */
const plain = (values) => Object.fromEntries(Object.entries(values ?? {}).filter(([, value]) => value === null || typeof value !== "object"));

function card(title, values) {
  const lines = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  if (!lines.length) return null;
  return h("section", { class: "card" }, h("h2", {}, title), h("dl", { class: "lines" }, lines.map(([name, value]) => h("div", {}, h("dt", {}, plainWords(name)), h("dd", {}, shown(value, name))))));
}

function sinks(list) {
  const all = Array.isArray(list) ? list : Object.entries(list).map(([name, values]) => ({ name, ...values }));
  if (!all.length) return null;
  const columns = [...new Set(all.flatMap((sink) => Object.keys(plain(sink))))].slice(0, 8);
  return h("section", { class: "card wide" }, h("h2", {}, "Sinks"), h("div", { class: "table-box", tabindex: 0, role: "region", "aria-label": "Sinks" }, h("table", { class: "figures-table" },
    h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, plainWords(name))))),
    h("tbody", {}, all.map((sink) => h("tr", {}, columns.map((name) => h(name === "name" ? "th" : "td", name === "name" ? { scope: "row" } : {}, shown(sink[name], name)))))))));
}

function shown(value, name) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value).replace(/^_/, "");
  return /(^|_)bytes$/.test(name) ? bytes(value) : number(value, value % 1 ? 1 : 0);
}

function cameras(list) {
  const value = (camera, name) => {
    if (name === "dropped") {
      const reasons = Object.entries(camera.dropped ?? {}).filter(([, count]) => count).map(([reason, count]) => `${plainWords(reason)} ${number(count)}`);
      return h("td", { title: reasons.join(", ") }, `${number(camera.dropped_total ?? 0)}`, reasons.length > 0 && h("small", {}, ` ${reasons.join(", ")}`));
    }
    if (name === "state") return h("td", {}, h("span", { class: "pill", dataset: { state: camera.state === "live" ? "up" : "lost" } }, camera.state));
    if (name === "name") return h("th", { scope: "row" }, h("a", { href: `#live/${encodeURIComponent(camera.name)}` }, camera.name));
    const text = name.endsWith("_ms") ? (camera[name] === null || camera[name] === undefined ? "–" : `${Math.round(camera[name])} ms`) : number(camera[name], name === "answered_per_second" ? 1 : 0);
    return h("td", {}, text);
  };
  return h("table", { class: "figures-table" }, h("thead", {}, h("tr", {}, Object.values(COLUMNS).map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, list.map((camera) => h("tr", {}, Object.keys(COLUMNS).map((name) => value(camera, name))))));
}
