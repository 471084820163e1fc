// SPDX-License-Identifier: Apache-2.0
// One event in full: its picture or clip, and all it says.

import { mediaPath } from "./api.js";
import { h, iconButton, plainWords } from "./dom.js";
import { eventTitle } from "./feed.js";
import { kept } from "./picture.js";

const SHOWN_ELSEWHERE = new Set(["snapshot", "clip", "camera", "rule", "keep"]);

export function showEvent(event) {
  const data = event.data ?? {};
  const dialog = h("dialog", { class: "sheet event-dialog", "aria-labelledby": "event-title", onclose: () => dialog.remove() });
  const rows = [["camera", data.camera], ["rule", data.rule], ["time", new Date(event.time).toLocaleString()], ["type", event.type],
    ...Object.entries(data).filter(([name]) => !SHOWN_ELSEWHERE.has(name)), ["id", event.id]].filter(([, value]) => value !== undefined && value !== null && value !== "");
  dialog.append(
    h("div", { class: "sheet-head" }, h("h2", { id: "event-title" }, eventTitle(event)), iconButton("close", "Close", () => dialog.close())),
    h("div", { class: "event-body" },
      h("div", { class: "event-media" }, media(data)),
      h("div", {}, h("table", { class: "fields" }, h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, plainWords(name)), h("td", {}, show(value)))))),
        h("p", { class: "links" },
          data.camera && h("a", { class: "button", href: `#live/${encodeURIComponent(data.camera)}`, onclick: () => dialog.close() }, "Live picture"),
          data.snapshot && h("a", { class: "button", href: mediaPath(data.snapshot), download: "" }, "Save picture"),
          data.clip && h("a", { class: "button", href: mediaPath(data.clip), download: "" }, "Save clip")))));
  dialog.addEventListener("click", (click) => click.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}

function media(data) {
  const gone = (what) => () => h("p", { class: "quiet" }, `The ${what} is not there: it is still being made, or was deleted to make room.`);
  if (data.clip) {
    const poster = data.snapshot ? mediaPath(data.snapshot) : undefined;
    return kept("video", mediaPath(data.clip), { controls: true, autoplay: true, muted: true, loop: true, playsInline: true, poster }, gone("clip"));
  }
  if (data.snapshot) return kept("img", mediaPath(data.snapshot), { alt: "Picture of the event" }, gone("picture"));
  return h("p", { class: "quiet" }, "No picture was kept of this event.");
}

const show = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
