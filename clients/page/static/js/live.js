// SPDX-License-Identifier: Apache-2.0
// The live view: the grid of cameras, one of them in full, and what happens beside it.

import { api, cameraPath } from "./api.js";
import { editCamera } from "./camera_dialog.js";
import { byId, h, icon, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { RuleEditor } from "./rules.js";
import { cameraState, emit, on, rulesOf, store } from "./store.js";
import { Tile, tipLines } from "./tile.js";

const OPTIONS = { boxes: ["Boxes", "B"], labels: ["Labels", "L"], masks: ["Masks", "M"], trails: ["Tracks", "T"], zones: ["Rules", "R"] };
const STRIP_PIXELS = 40;
const GAP_PIXELS = 10;
const LEAST_TILE_PIXELS = 170;

export class LiveView {
  constructor(send) {
    this.send = send;
    this.tiles = new Map();
    this.focused = null;
    this.options = { boxes: true, labels: true, masks: true, trails: true, zones: true };
    this.visible = new Set();
    this.build();
    this.watcher = new IntersectionObserver((entries) => this.onVisible(entries), { rootMargin: "80px" });
    new ResizeObserver(() => this.layout()).observe(this.gridBox);
    on("settings", () => this.applyRules());
    document.addEventListener("visibilitychange", () => this.showWanted());
  }

  build() {
    this.grid = h("div", { class: "grid", id: "grid", role: "group", "aria-label": "Cameras" });
    this.empty = h("div", { class: "empty", hidden: true }, icon("camera"), h("strong", {}, "No camera yet"), h("span", {}, "Add one to begin."));
    this.gridBox = h("div", { class: "grid-box" }, this.grid, this.empty);
    this.back = h("button", { type: "button", class: "back", hidden: true, onclick: () => this.go(null) }, icon("back"), "All cameras");
    this.search = h("input", { type: "search", placeholder: "Find camera", "aria-label": "Find camera", oninput: () => this.filter() });
    this.problems = h("button", { type: "button", id: "only-problems", "aria-pressed": "false", onclick: () => this.toggleProblems() }, "Problems");
    this.toggles = Object.entries(OPTIONS).map(([name, [label, key]]) =>
      h("button", { type: "button", id: `toggle-${name}`, "aria-pressed": "true", title: `Show or hide (${key})`, onclick: () => this.toggle(name) }, label));
    this.add = h("button", { type: "button", id: "add-camera", class: "primary", hidden: true, onclick: () => editCamera(null) }, icon("plus"), "Camera");
    const toolbar = h("div", { class: "toolbar" },
      h("div", { class: "group" }, this.back, this.search, this.problems),
      h("div", { class: "group", role: "group", "aria-label": "What is drawn" }, this.toggles),
      h("div", { class: "group" }, this.add));
    this.side = h("aside", { class: "side", "aria-label": "What happens" });
    this.feed = new Feed();
    this.root = h("div", { class: "live" }, h("div", { class: "stage-column" }, toolbar, this.gridBox), this.side);
    this.side.append(this.feed.root);
  }

  get order() {
    return [...this.tiles.values()].filter((tile) => !tile.root.hidden);
  }

  setCameras(cameras) {
    const wanted = new Map(cameras.map((camera) => [camera.id, camera]));
    for (const [id, tile] of this.tiles) {
      if (wanted.get(id)?.name === tile.name) continue;
      this.watcher.unobserve(tile.root);
      this.visible.delete(id);
      tile.close();
      this.tiles.delete(id);
    }
    for (const { id, name } of cameras) if (!this.tiles.has(id)) this.addTile(id, name);
    this.add.hidden = !store.control;
    this.empty.hidden = cameras.length > 0;
    if (this.focused && !cameras.some((camera) => camera.name === this.focused)) this.go(null);
    this.applyRules();
    this.filter();
  }

  addTile(id, name) {
    const tile = new Tile(id, name, {
      onOpen: (one) => this.go(this.focused === one ? null : one),
      onRules: store.control ? (one) => this.go(one, "rules") : null,
      onSettings: store.control ? (one) => editCamera(one) : null,
      send: this.send,
    });
    tile.overlay.setOptions(this.options);
    this.tiles.set(id, tile);
    this.visible.add(id);
    this.grid.append(tile.root);
    this.watcher.observe(tile.root);
  }

  onVisible(entries) {
    for (const { target, isIntersecting } of entries) {
      const tile = [...this.tiles.values()].find((one) => one.root === target);
      if (tile) this.visible[isIntersecting ? "add" : "delete"](tile.camera);
    }
    this.showWanted();
  }

  /** Only what is on the screen is sent: nothing while the tab or this view is hidden. */
  showWanted() {
    const hidden = document.hidden || !this.root.isConnected;
    const shown = hidden ? [] : this.order.filter((tile) => this.visible.has(tile.camera) && (!this.focused || tile.name === this.focused));
    this.send({ type: "show", cameras: shown.map((tile) => tile.camera) });
  }

  filter() {
    const text = this.search.value.trim().toLowerCase();
    const bad = this.problems.ariaPressed === "true";
    for (const tile of this.tiles.values()) {
      tile.root.hidden = !tile.name.toLowerCase().includes(text) || (bad && tile.root.dataset.state === "live");
    }
    this.layout();
    this.showWanted();
  }

  toggleProblems() {
    this.problems.ariaPressed = String(this.problems.ariaPressed !== "true");
    this.filter();
  }

  /** The number of columns with the largest pictures; scrolls where they would be too small. */
  layout() {
    const count = this.order.length;
    const { clientWidth: width, clientHeight: height } = this.gridBox;
    if (!count || !width) return;
    let best = { columns: 1, wide: 0 };
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const byWidth = (width - GAP_PIXELS * (columns - 1)) / columns;
      const byHeight = ((height - GAP_PIXELS * (rows - 1)) / rows - STRIP_PIXELS) * 16 / 9;
      const wide = Math.min(byWidth, byHeight);
      if (wide > best.wide) best = { columns, wide, rows };
    }
    const scrolling = best.wide < LEAST_TILE_PIXELS || innerWidth < 760;
    if (scrolling) best = { columns: Math.max(1, Math.floor((width + GAP_PIXELS) / (340 + GAP_PIXELS))) };
    this.gridBox.classList.toggle("scrolling", scrolling);
    this.grid.style.setProperty("--columns", best.columns);
    this.grid.style.setProperty("--widest", scrolling ? "1fr" : `${Math.floor(best.wide)}px`);
  }

  go(name, what) {
    location.hash = name ? `#live/${encodeURIComponent(name)}${what ? `/${what}` : ""}` : "#live";
  }

  /** As the address says: all cameras, one, or one with its rules being edited. */
  route(name, what) {
    if (name && ![...this.tiles.values()].some((tile) => tile.name === name)) name = null;
    const before = this.focused;
    this.focused = name;
    this.grid.classList.toggle("focused", Boolean(name));
    this.gridBox.classList.toggle("focused", Boolean(name));
    this.back.hidden = !name;
    this.search.hidden = this.problems.hidden = Boolean(name);
    for (const tile of this.tiles.values()) tile.root.classList.toggle("focus", tile.name === name);
    const tile = [...this.tiles.values()].find((one) => one.name === (name ?? before));
    const editing = name && what === "rules" && store.control;
    if (!(editing && this.editor?.tile === tile)) { // else what was drawn so far stays
      this.editor?.close();
      this.editor = null;
      if (editing) this.edit(tile);
      else this.showSide(name);
    }
    if (this.routed && name !== before) tile?.view.focus({ preventScroll: true });
    this.routed = this.tiles.size > 0;
    this.layout();
    this.showWanted();
  }

  edit(tile) {
    this.editor = new RuleEditor(tile, {
      onDone: () => this.go(tile.name),
      onSave: async (rules) => {
        await api(`${cameraPath(tile.name)}/rules`, { method: "PUT", body: { rules } });
        store.settings[tile.name] = { ...store.settings[tile.name], rules };
        emit("settings");
        toast(`Rules of ${tile.name} are saved`);
      },
    });
    tile.overlay.setOptions({ ...this.options, zones: false });
    this.side.replaceChildren(this.editor.panel);
    this.root.classList.add("editing");
  }

  showSide(name) {
    this.root.classList.remove("editing");
    for (const tile of this.tiles.values()) tile.overlay.setOptions(this.options);
    this.health = name ? h("section", { class: "card health", "aria-label": `Health of ${name}` }) : null;
    this.feed.setCamera(name);
    this.side.replaceChildren(...[this.health, this.feed.root].filter(Boolean));
    this.updateHealth();
  }

  updateHealth() {
    const camera = this.focused && cameraState(this.focused);
    if (!this.health || !camera) return;
    const title = h("div", { class: "card-head" }, h("h2", {}, camera.name), h("span", { class: "pill", dataset: { state: camera.state === "live" ? "up" : "lost" } }, camera.state),
      store.control && h("a", { class: "button", href: `#live/${encodeURIComponent(camera.name)}/rules` }, icon("rules"), "Rules"));
    this.health.replaceChildren(title, h("div", { class: "tip-lines" }, tipLines(camera, store.meanings)));
  }

  onState(state) {
    for (const camera of state.cameras ?? []) {
      const tile = [...this.tiles.values()].find((one) => one.name === camera.name);
      tile?.update(camera, store.meanings);
      if (camera.counts && Object.keys(camera.counts).length) store.counts.set(camera.name, camera.counts);
    }
    if (this.problems.ariaPressed === "true") this.filter();
    this.updateHealth();
  }

  onLost() {
    for (const tile of this.tiles.values()) tile.onLost();
  }

  onResult(result) {
    const tile = this.tiles.get(result.camera);
    if (!tile) return;
    for (const [, , , , , label] of result.boxes) store.labels.add(label);
    if (result.counts) store.counts.set(tile.name, result.counts);
    tile.onResult(result);
  }

  applyRules() {
    for (const tile of this.tiles.values()) tile.overlay.setRules(rulesOf(tile.name));
  }

  toggle(name) {
    const button = byId(`toggle-${name}`);
    button.ariaPressed = String(button.ariaPressed !== "true");
    this.options = { ...this.options, [name]: button.ariaPressed === "true" };
    for (const tile of this.tiles.values()) tile.overlay.setOptions(this.options);
  }

  move(step) {
    const tiles = this.order;
    const at = tiles.findIndex((tile) => (this.focused ? tile.name === this.focused : tile.root.contains(document.activeElement)));
    const next = tiles[(at + step + tiles.length) % tiles.length];
    if (!next) return;
    if (this.focused) this.go(next.name);
    else next.view.focus();
  }

  /** True where the key meant something. */
  onKey(key) {
    if (this.editor) return this.editor.onKey(key);
    const toggled = Object.keys(OPTIONS).find((name) => OPTIONS[name][1].toLowerCase() === key.toLowerCase());
    if (toggled) this.toggle(toggled);
    else if (key === "Escape" && this.focused) this.go(null);
    else if (key === "ArrowRight") this.move(1);
    else if (key === "ArrowLeft") this.move(-1);
    else return false;
    return true;
  }
}
