// SPDX-License-Identifier: Apache-2.0
// Puts the page together: header, grid of cameras, keyboard.

import { setColours } from "./colours.js";
import { Link } from "./link.js";
import { Tile } from "./tile.js";

const byId = (id) => document.getElementById(id);
const grid = byId("grid");
const serverPill = byId("server");
let tiles = [];
let meanings = {};
let focused = null;

const link = new Link(`ws://${location.host}/ws`, {
  onOpen: () => setServer("unknown", "connected"),
  onText: (document_) => handlers[document_.type]?.(document_),
  onBinary: (message) => tiles[message.camera]?.onBinary(message),
  onLost: (waitMs) => {
    setServer("lost", `page disconnected, retrying in ${Math.max(1, Math.round(waitMs / 1000))} s`);
    tiles.forEach((tile) => tile.onLost());
  },
});

const handlers = {
  hello({ cameras, meanings: reasons, colours }) {
    meanings = reasons;
    setColours(colours);
    const known = tiles.map((tile) => tile.name).join("\n");
    if (known !== cameras.join("\n")) build(cameras);
    showWanted();
  },
  state: onState,
  video: (message) => tiles[message.camera]?.onVideo(message),
  result: (message) => tiles[message.camera]?.onResult(message),
};

function build(cameras) {
  tiles = cameras.map((name, camera) => new Tile(camera, name, { onOpen: toggleFocus, send: (text) => link.send(text) }));
  grid.replaceChildren(...tiles.map((tile) => tile.root));
  const columns = cameras.length <= 1 ? 1 : cameras.length <= 4 ? 2 : cameras.length <= 9 ? 3 : 4;
  grid.style.setProperty("--columns", columns);
  grid.style.setProperty("--rows", Math.ceil(cameras.length / columns));
  grid.classList.toggle("scrolling", cameras.length > 9);
  focused = null;
  applyOptions();
}

function onState(state) {
  const cameras = state.cameras;
  const sum = (pick) => cameras.reduce((total, camera) => total + pick(camera), 0);
  const live = sum((camera) => Number(camera.state === "live"));
  byId("model").textContent = state.model;
  byId("total-cameras").textContent = `${live}/${cameras.length} live`;
  byId("total-rate").textContent = sum((camera) => camera.answered_per_second).toFixed(1);
  byId("total-objects").textContent = sum((camera) => Object.values(camera.objects).reduce((n, o) => n + o.count, 0));
  byId("total-answered").textContent = sum((camera) => camera.answered).toLocaleString("en");
  byId("total-dropped").textContent = sum((camera) => camera.dropped_total).toLocaleString("en");
  const words = { up: "server ready", down: "server unavailable, retrying", unknown: "server: no answer yet" };
  setServer(state.server, words[state.server]);
  cameras.forEach((camera, index) => tiles[index]?.update(camera, meanings));
}

function setServer(state, text) {
  if (serverPill.textContent === text) return;
  serverPill.dataset.state = state;
  serverPill.textContent = text;
}

/** Only what is on the screen is sent: one camera in full view, nothing while the tab is hidden. */
function showWanted() {
  const all = tiles.map((tile) => tile.camera);
  link.send({ type: "show", cameras: document.hidden ? [] : focused === null ? all : [focused] });
}

function toggleFocus(camera) {
  setFocus(focused === camera || tiles.length === 1 ? null : camera);
}

function setFocus(camera) {
  focused = camera;
  grid.classList.toggle("focused", camera !== null);
  tiles.forEach((tile) => tile.root.classList.toggle("focus", tile.camera === camera));
  if (camera !== null) tiles[camera].view.focus({ preventScroll: true });
  showWanted();
}

function move(step) {
  const at = focused ?? tiles.findIndex((tile) => tile.root.contains(document.activeElement));
  const next = tiles[(at + step + tiles.length) % tiles.length];
  if (!next) return;
  if (focused !== null) setFocus(next.camera);
  else next.view.focus();
}

function applyOptions() {
  for (const tile of tiles) {
    tile.overlay.boxes = byId("toggle-boxes").ariaPressed === "true";
    tile.overlay.labels = byId("toggle-labels").ariaPressed === "true";
    tile.overlay.draw(true);
  }
}

function toggle(id) {
  const button = byId(id);
  button.ariaPressed = String(button.ariaPressed !== "true");
  applyOptions();
}

byId("toggle-boxes").addEventListener("click", () => toggle("toggle-boxes"));
byId("toggle-labels").addEventListener("click", () => toggle("toggle-labels"));
document.addEventListener("visibilitychange", showWanted);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    Escape: () => setFocus(null),
    ArrowRight: () => move(1),
    ArrowLeft: () => move(-1),
    b: () => toggle("toggle-boxes"),
    l: () => toggle("toggle-labels"),
  };
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) {
    action();
    event.preventDefault();
  }
});
