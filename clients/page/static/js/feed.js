// SPDX-License-Identifier: Apache-2.0
// The newest events beside the cameras, and one event as a card.

import { mediaPath } from "./api.js";
import { eventColour } from "./colours.js";
import { dayAndClock, h, icon, plainWords, typeWords } from "./dom.js";
import { showEvent } from "./event_dialog.js";
import { kept } from "./picture.js";
import { on, store } from "./store.js";

const SHOWN = 40;

/** "pedestrian #7 line crossed" — what happened, in words. */
export function eventTitle(event) {
  const { label, track_id: track } = event.data ?? {};
  const what = label ? `${plainWords(label)}${track === undefined || track === null ? "" : ` #${track}`} · ` : "";
  return `${what}${typeWords(event.type)}`;
}

export function eventCard(event, { large = false } = {}) {
  const data = event.data ?? {};
  const picture = data.snapshot
    ? kept("img", mediaPath(data.snapshot), { alt: "", loading: "lazy", decoding: "async" }, placeholder)
    : placeholder();
  const mark = h("i", { class: "mark" });
  mark.style.background = eventColour(event);
  return h("li", {}, h("button", { type: "button", class: large ? "event large" : "event", onclick: () => showEvent(event), dataset: { id: event.id } },
    h("span", { class: "thumb" }, picture, data.clip && h("span", { class: "clip-mark" }, icon("play"))),
    h("span", { class: "event-text" },
      h("span", { class: "event-title" }, mark, eventTitle(event)),
      h("span", { class: "event-where" }, [data.camera, data.rule].filter(Boolean).join(" · ")),
      h("time", { datetime: event.time }, dayAndClock(event.time)))));
}

const placeholder = () => icon("bell", "no-picture");

export class Feed {
  constructor() {
    this.camera = null;
    this.list = h("ol", { class: "feed" });
    this.none = h("p", { class: "quiet" }, "Nothing happened yet. Rules make events of what is seen.");
    this.root = h("section", { class: "feed-box", "aria-label": "Newest events" },
      h("div", { class: "card-head" }, h("h2", {}, "Events"), h("a", { class: "more", href: "#events" }, "All")), this.none, this.list);
    on("events", () => this.render());
    this.render();
  }

  setCamera(camera) {
    this.camera = camera;
    this.render();
  }

  render() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const events = store.events.filter((event) => !this.camera || event.data?.camera === this.camera).slice(0, SHOWN);
      const key = JSON.stringify(events);
      if (key === this.key) return;
      this.key = key;
      const old = new Map([...this.list.children].map((item) => [item.dataset.key, item]));
      this.list.replaceChildren(...events.map((event) => {
        const name = JSON.stringify(event);
        const item = old.get(name) ?? eventCard(event);
        item.dataset.key = name;
        return item;
      }));
      this.none.hidden = events.length > 0;
    });
  }
}
