// SPDX-License-Identifier: Apache-2.0
// The timeline of events: filters, live updates, older ones on demand.

import { api } from "./api.js";
import { eventColour } from "./colours.js";
import { clock, h, plainWords, svg, typeWords } from "./dom.js";
import { eventCard } from "./feed.js";
import { on, rulesOf, sameEvent, store } from "./store.js";

const PAGE = 60;
const STRIP_SLOTS = 96;
const SPANS = { "1 hour": 1, "24 hours": 24, "7 days": 168, "30 days": 720, "any time": 0 };

export class EventsView {
  constructor() {
    this.events = [];
    this.filters = { camera: "", type: "", rule: "", label: "", since: "", until: "", span: "24 hours" };
    this.build();
    on("event", (event) => this.onEvent(event));
  }

  build() {
    const pick = (name, label) => h("p", { class: "field" }, h("label", { for: `filter-${name}` }, label),
      h("select", { id: `filter-${name}`, onchange: (e) => this.set(name, e.target.value) }));
    const input = (name, label, type) => h("p", { class: "field" }, h("label", { for: `filter-${name}` }, label),
      h("input", { id: `filter-${name}`, type, list: name === "label" ? "label-list" : undefined, onchange: (e) => this.set(name, e.target.value) }));
    this.labels = h("datalist", { id: "label-list" });
    this.form = h("form", { class: "filters", role: "search", "aria-label": "Filter events", onsubmit: (e) => e.preventDefault() },
      pick("camera", "Camera"), pick("type", "What"), pick("rule", "Rule"), input("label", "Object", "search"), pick("span", "Time"),
      input("since", "From", "datetime-local"), input("until", "Until", "datetime-local"),
      h("button", { type: "button", onclick: () => this.reset() }, "Clear"), this.labels);
    this.strip = h("div", { class: "time-strip" });
    this.status = h("p", { class: "quiet", role: "status" });
    this.list = h("ol", { class: "cards" });
    this.more = h("button", { type: "button", class: "more-button", onclick: () => this.load(true) }, "Older events");
    this.root = h("div", { class: "page events-view" }, h("h2", { class: "hidden-text" }, "Events"), this.form, this.strip, this.status, this.list, this.more);
  }

  field(name) {
    return this.form.querySelector(`#filter-${name}`);
  }

  show() {
    this.fillChoices();
    this.load();
  }

  fillChoices() {
    const choose = (name, values, all) => this.field(name).replaceChildren(
      ...(all ? [h("option", { value: "" }, all)] : []), ...values.map(([value, text]) => h("option", { value, selected: value === this.filters[name] }, text)));
    const names = store.cameras.map((camera) => camera.name);
    const cameras = this.filters.camera ? [this.filters.camera] : names;
    const known = [...store.events, ...this.events];
    const types = [...new Set([...known.map((event) => event.type), this.filters.type])].filter(Boolean).sort();
    const rules = [...new Set([...cameras.flatMap((name) => rulesOf(name).map((rule) => rule.name)), ...known.map((event) => event.data?.rule), this.filters.rule])].filter(Boolean).sort();
    choose("camera", names.map((name) => [name, name]), "all cameras");
    choose("type", types.map((type) => [type, typeWords(type)]), "everything");
    choose("rule", rules.map((rule) => [rule, rule]), "all rules");
    choose("span", Object.keys(SPANS).map((span) => [span, span]));
    this.labels.replaceChildren(...[...store.labels].sort().map((label) => h("option", { value: label }, plainWords(label))));
  }

  set(name, value) {
    this.filters[name] = value;
    this.load();
  }

  reset() {
    this.filters = { camera: "", type: "", rule: "", label: "", since: "", until: "", span: "24 hours" };
    this.form.reset();
    this.show();
  }

  since() {
    if (this.filters.since) return new Date(this.filters.since);
    const hours = SPANS[this.filters.span];
    return hours ? new Date(Date.now() - hours * 3600e3) : null;
  }

  query() {
    const query = new URLSearchParams();
    for (const name of ["camera", "type", "rule", "label"]) if (this.filters[name]) query.set(name, this.filters[name]);
    const since = this.since();
    if (since) query.set("since", since.toISOString());
    if (this.filters.until) query.set("until", new Date(this.filters.until).toISOString());
    query.set("limit", PAGE);
    return query;
  }

  async load(older = false) {
    const query = this.query();
    const last = this.events.at(-1);
    if (older && last?.position !== undefined) query.set("before", last.position);
    const asked = (this.asked = (this.asked ?? 0) + 1);
    try {
      const { events } = await api(`/api/events?${query}`);
      if (asked !== this.asked) return;
      this.events = older ? [...this.events, ...events] : events;
      this.more.hidden = events.length < PAGE;
      this.render();
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  fits(event) {
    const { camera, type, rule, label, until } = this.filters;
    const data = event.data ?? {};
    const since = this.since();
    return (!camera || data.camera === camera) && (!type || event.type === type) && (!rule || data.rule === rule) && (!label || data.label === label)
      && (!since || new Date(event.time) >= since) && (!until || new Date(event.time) < new Date(until));
  }

  onEvent(event) {
    if (!this.root.isConnected || !this.fits(event)) return;
    const at = this.events.findIndex((known) => sameEvent(known, event));
    if (at >= 0) this.events[at] = { ...this.events[at], ...event };
    else {
      const before = this.events.findIndex((known) => known.time <= event.time);
      if (before < 0 && !this.more.hidden) return; // older than what is shown so far
      this.events.splice(before < 0 ? this.events.length : before, 0, event);
    }
    this.render();
  }

  render() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const old = new Map([...this.list.children].map((item) => [item.dataset.key, item]));
      this.list.replaceChildren(...this.events.map((event) => {
        const key = JSON.stringify({ ...event, position: 0 });
        const item = old.get(key) ?? eventCard(event, { large: true });
        item.dataset.key = key;
        return item;
      }));
      const count = this.events.length;
      this.status.textContent = count ? `${count}${this.more.hidden ? "" : " newest"} event${count === 1 ? "" : "s"}` : "No event fits. Choose a longer time or fewer filters.";
      this.drawStrip();
    });
  }

  /** Each event as a mark in time, newest at the right. */
  drawStrip() {
    if (!this.events.length) return this.strip.replaceChildren();
    const times = this.events.map((event) => new Date(event.time).getTime());
    const from = Math.min(...times), to = Math.max(Date.now(), ...times);
    const slots = Array.from({ length: STRIP_SLOTS }, () => []);
    this.events.forEach((event, i) => slots[Math.min(STRIP_SLOTS - 1, Math.floor(((times[i] - from) / (to - from || 1)) * STRIP_SLOTS))].push(event));
    const most = Math.max(...slots.map((slot) => slot.length));
    const bars = slots.flatMap((slot, i) => slot.length
      ? [svg("rect", { x: i * 10 + 1, width: 8, y: 40 - Math.max(4, (slot.length / most) * 38), height: Math.max(4, (slot.length / most) * 38), rx: 2, fill: eventColour(slot[0]) })] : []);
    this.strip.replaceChildren(
      svg("svg", { viewBox: `0 0 ${STRIP_SLOTS * 10} 41`, preserveAspectRatio: "none", role: "img", "aria-label": `${this.events.length} events from ${clock(new Date(from))} until now` }, ...bars),
      h("div", { class: "strip-ends" }, h("span", {}, new Date(from).toLocaleString([], { dateStyle: "short", timeStyle: "short" })), h("span", {}, "now")));
  }
}
