// SPDX-License-Identifier: Apache-2.0
// One camera on the page: picture, boxes, name and figures.

import { colourOf } from "./colours.js";
import { KIND } from "./link.js";
import { Overlay } from "./overlay.js";
import { Player, canPlay } from "./player.js";

const SLOW_AGE_MS = 500;
const CAMERA_GLYPH =
  "M15 10.500 20 7.500v9l-5-3M4.500 6.500h9a1.500 1.500 0 0 1 1.500 1.500v8a1.500 1.500 0 0 1-1.500 1.500h-9A1.500 1.500 0 0 1 3 16V8a1.500 1.500 0 0 1 1.500-1.500Z";

const element = (name, className, ...children) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
};

function glyph() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "1.5", class: "glyph", "aria-hidden": "true" })) {
    svg.setAttribute(key, value);
  }
  path.setAttribute("d", CAMERA_GLYPH);
  svg.append(path);
  return svg;
}

export class Tile {
  constructor(camera, name, { onOpen, send }) {
    this.camera = camera;
    this.name = name;
    this.send = send;
    this.build(onOpen);
    this.overlay = new Overlay(this.canvas);
    this.player = new Player(this.video, {
      onPicture: (pts) => this.overlay.show(pts),
      onBroken: () => setTimeout(() => send({ type: "restart", camera }), 500),
      beforeReset: () => this.keepPicture(),
    });
    this.setState("connecting", "Connecting", "");
  }

  build(onOpen) {
    this.still = element("canvas", "still");
    this.still.width = this.still.height = 0;
    this.video = element("video");
    this.video.playsInline = true;
    this.video.tabIndex = -1;
    this.canvas = element("canvas", "boxes");
    this.title = element("strong");
    this.detail = element("span");
    const notice = element("div", "notice", glyph(), this.title, this.detail);
    this.view = element("button", "view", this.still, this.video, this.canvas, notice);
    this.view.type = "button";
    this.view.setAttribute("aria-label", `Camera ${this.name}: open or close full view`);
    this.view.addEventListener("click", () => onOpen(this.camera));
    this.objects = element("ul", "objects");
    this.rate = element("b");
    this.age = element("b");
    this.dropped = element("b");
    this.tip = element("div", "tip");
    this.ageBox = element("span", "", "age ", this.age);
    const drops = element("button", "drops", "drops ", this.dropped, this.tip);
    drops.type = "button";
    drops.setAttribute("aria-label", `Dropped frames of ${this.name} by reason`);
    const figures = element("div", "figures", element("span", "", this.rate, " fps"), this.ageBox, drops);
    const strip = element("div", "strip", element("span", "dot"), element("span", "name", this.name), this.objects, figures);
    this.root = element("section", "tile", this.view, strip);
    this.root.dataset.camera = this.name;
  }

  /** The last picture stays beneath the video while that starts anew. */
  keepPicture() {
    const { video, still } = this;
    if (video.readyState < 2 || !video.videoWidth) return;
    still.width = video.videoWidth;
    still.height = video.videoHeight;
    still.getContext("2d").drawImage(video, 0, 0);
  }

  onVideo({ epoch, codec }) {
    this.codec = codec;
    this.playable = canPlay(codec);
    this.overlay.restart(epoch);
    if (!this.playable) this.send({ type: "jpeg" });
  }

  onResult(result) {
    if (result.epoch === this.overlay.epoch) this.player.noteResult(result.pts);
    this.overlay.add(result);
  }

  onBinary(message) {
    if (message.kind === KIND.JPEG) this.onJpeg(message);
    else if (!this.playable) return;
    else if (message.kind === KIND.HEADER) this.player.start(this.codec, message.data);
    else if (message.epoch === this.overlay.epoch) this.player.append(message.data);
  }

  async onJpeg({ epoch, pts, data }) {
    const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    this.still.width = picture.width;
    this.still.height = picture.height;
    this.still.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    this.overlay.restart(epoch);
    this.overlay.show(pts);
  }

  setState(state, title, detail) {
    this.root.dataset.state = state;
    this.title.textContent = title;
    this.detail.textContent = detail;
  }

  onLost() {
    this.setState("lost", "No connection to Sightline", "The page reconnects by itself.");
  }

  update(camera, meanings) {
    const wait = camera.retry_in_seconds;
    const retry = wait > 0.5 ? `retrying in ${Math.round(wait)} s` : "retrying now";
    if (camera.state === "live") this.setState("live", "", "");
    else if (camera.state === "waiting") this.setState("waiting", `Camera offline, ${retry}`, camera.reason ?? "");
    else if (camera.state === "ended") this.setState("ended", "The video has ended", "");
    else if (camera.state === "stopped") this.setState("stopped", "Stopped", "");
    else if (this.root.dataset.state === "waiting") this.setState("waiting", "Camera offline, retrying now", camera.reason ?? "");
    else this.setState("connecting", "Connecting", camera.reason ?? "");
    this.updateFigures(camera, meanings);
  }

  updateFigures(camera, meanings) {
    const live = camera.state === "live";
    const old = !live || camera.age_ms === null;
    this.rate.textContent = live ? camera.answered_per_second.toFixed(1) : "–";
    this.age.textContent = old ? "–" : `${Math.round(camera.age_ms)} ms`;
    this.ageBox.classList.toggle("slow", !old && camera.age_ms > SLOW_AGE_MS);
    this.dropped.textContent = String(camera.dropped_total);
    const line = (text, count, className = "") =>
      element("div", className, element("span", "", text), element("b", "", String(count)));
    const reasons = Object.entries(camera.dropped).map(([reason, count]) => line(meanings[reason] ?? reason, count));
    this.tip.replaceChildren(
      line("received", camera.received), line("answered", camera.answered), ...reasons,
      line("under way", camera.pending), line(camera.adds_up ? "adds up" : "does not add up", camera.adds_up ? "✓" : "✗", "sum"),
    );
    this.objects.replaceChildren(...Object.entries(camera.objects).map(([label, { count, class_id: id }]) => {
      const mark = element("i");
      mark.style.background = colourOf(id);
      const words = label.replaceAll("_", " ");
      const item = element("li", "", mark, String(count), element("span", "", words));
      item.title = `${count} ${words}`;
      return item;
    }));
  }
}
