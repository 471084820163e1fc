// SPDX-License-Identifier: Apache-2.0
// One camera on the page: picture, boxes, name and figures.

import { colourOf } from "./colours.js";
import { h, icon, iconButton, plainWords } from "./dom.js";
import { KIND } from "./link.js";
import { Overlay } from "./overlay.js";
import { Player, canPlay } from "./player.js";

const SLOW_AGE_MS = 1000;

export class Tile {
  /** onOpen(name), onRules(name) and onSettings(name) (null where nothing can be changed), send(document). */
  constructor(camera, name, { onOpen, onRules, onSettings, send }) {
    this.camera = camera;
    this.name = name;
    this.send = send;
    this.build(onOpen, onRules, onSettings);
    this.overlay = new Overlay(this.canvas, this.ground);
    this.player = new Player(this.video, {
      onPicture: (pts) => this.overlay.show(pts),
      onBroken: () => setTimeout(() => send({ type: "restart", camera: this.camera }), 500),
      beforeReset: () => this.keepPicture(),
    });
    this.setState("connecting", "Connecting", "");
  }

  build(onOpen, onRules, onSettings) {
    const name = this.name;
    this.still = h("canvas", { class: "still", width: 0, height: 0 });
    this.video = h("video", { playsInline: true, tabIndex: -1, muted: true, "aria-hidden": "true" });
    this.ground = h("canvas", { class: "zones" });
    this.canvas = h("canvas", { class: "boxes" });
    this.title = h("strong");
    this.detail = h("span");
    const notice = h("div", { class: "notice" }, icon("camera"), this.title, this.detail);
    this.view = h("button", { type: "button", class: "view", "aria-label": `Camera ${name}: open or close full view`, onclick: () => onOpen(name) },
      this.still, this.video, this.ground, this.canvas, notice);
    this.actions = h("div", { class: "actions" },
      onRules && iconButton("rules", `Rules of ${name}`, () => onRules(name)),
      onSettings && iconButton("settings", `Settings of ${name}`, () => onSettings(name)));
    this.objects = h("ul", { class: "objects", "aria-label": `Objects on ${name}` });
    this.rate = h("b");
    this.age = h("b");
    this.dropped = h("b");
    this.tip = h("div", { class: "tip", role: "tooltip" });
    this.ageBox = h("span", { class: "age" }, h("span", { class: "word" }, "age "), this.age);
    this.drops = h("button", { type: "button", class: "drops", "aria-label": `Frames of ${name} by fate` }, "drops ", this.dropped, this.tip);
    const figures = h("div", { class: "figures" }, h("span", {}, this.rate, " fps"), this.ageBox, this.drops);
    const strip = h("div", { class: "strip" }, h("span", { class: "dot" }), h("h2", { class: "name" }, name), this.objects, figures);
    this.stage = h("div", { class: "stage" }, this.view, this.actions);
    this.root = h("section", { class: "tile", "aria-label": `Camera ${name}`, dataset: { camera: name } }, this.stage, strip);
  }

  /** The last picture stays beneath the video while that starts anew. */
  keepPicture() {
    const { video, still } = this;
    if (video.readyState < 2 || !video.videoWidth) return;
    still.width = video.videoWidth;
    still.height = video.videoHeight;
    still.getContext("2d").drawImage(video, 0, 0);
  }

  close() {
    this.player.end();
    this.root.remove();
  }

  onVideo({ epoch, codec }) {
    this.codec = codec;
    this.playable = canPlay(codec);
    this.video.hidden = !this.playable;
    this.overlay.restart(epoch);
    if (!this.playable) this.send({ type: "jpeg", camera: this.camera });
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
    this.video.hidden = true;
    this.still.width = picture.width;
    this.still.height = picture.height;
    this.still.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    this.overlay.restart(epoch);
    this.overlay.show(pts);
  }

  setState(state, title, detail) {
    this.root.dataset.state = state;
    if (this.title.textContent !== title) this.title.textContent = title;
    if (this.detail.textContent !== detail) this.detail.textContent = detail;
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
    else if (camera.state === "disabled") this.setState("disabled", "Switched off", "Its settings say enabled: false.");
    else if (this.root.dataset.state === "waiting") this.setState("waiting", "Camera offline, retrying now", camera.reason ?? "");
    else this.setState("connecting", "Connecting", camera.reason ?? "");
    this.updateFigures(camera, meanings);
  }

  updateFigures(camera, meanings) {
    const live = camera.state === "live";
    const old = !live || camera.age_ms === null || camera.age_ms === undefined;
    this.rate.textContent = live ? Number(camera.answered_per_second ?? 0).toFixed(1) : "–";
    this.age.textContent = old ? "–" : `${Math.round(camera.age_ms)} ms`;
    this.ageBox.classList.toggle("slow", !old && camera.age_ms > SLOW_AGE_MS);
    this.dropped.textContent = String(camera.dropped_total ?? 0);
    this.replace("tip", this.tip, camera, () => tipLines(camera, meanings));
    this.replace("objects", this.objects, camera.objects, () => Object.entries(camera.objects ?? {}).map(([label, { count, class_id: id }]) => {
      const mark = h("i");
      mark.style.background = colourOf(id);
      return h("li", { title: `${count} ${plainWords(label)}` }, mark, String(count), h("span", {}, plainWords(label)));
    }));
  }

  /** Only what changed is built anew. */
  replace(slot, element, value, build) {
    const key = JSON.stringify(value);
    this.keys ??= {};
    if (this.keys[slot] === key) return;
    this.keys[slot] = key;
    element.replaceChildren(...build());
  }
}

export function tipLines(camera, meanings) {
  const line = (text, count, className = "") => h("div", { class: className }, h("span", {}, text), h("b", {}, String(count)));
  const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);
  const reasons = Object.entries(camera.dropped ?? {}).map(([reason, count]) => line(meanings[reason] ?? plainWords(reason), count));
  return [
    line("received", camera.received ?? 0), line("answered", camera.answered ?? 0), ...reasons,
    line("under way", camera.pending ?? 0), line(camera.adds_up === false ? "does not add up" : "adds up", camera.adds_up === false ? "✗" : "✓", "sum"),
    line("latency p50", ms(camera.p50_ms)), line("latency p99", ms(camera.p99_ms)), line("waited to be decoded", ms(camera.behind_ms)), line("connections", camera.connections ?? 0),
  ];
}
