// SPDX-License-Identifier: Apache-2.0
// Puts the page together: header, views by address, keyboard, and what comes over the link.

import { api } from "./api.js";
import { setColours } from "./colours.js";
import { CountsView } from "./counts.js";
import { announce, byId, icon, toast, typeWords } from "./dom.js";
import { EventsView } from "./events.js";
import { Link } from "./link.js";
import { LiveView } from "./live.js";
import { cameraState, emit, keepEvent, loadEvents, loadSettings, readAgainSoon, store } from "./store.js";
import { SystemView } from "./system.js";

const SERVER_WORDS = { up: "server ready", down: "server unavailable, retrying", unknown: "server: no answer yet" };
const main = byId("main");
const serverPill = byId("server");
const wall = new URLSearchParams(location.search).get("wall") === "1";
document.documentElement.classList.toggle("wall", wall);

const link = new Link(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, {
  onOpen: () => setServer("unknown", "connected"),
  onText: (document_) => handlers[document_.type]?.(document_),
  onBinary: (message) => live.tiles.get(message.camera)?.onBinary(message),
  onLost: (waitMs) => {
    setServer("lost", `page disconnected, retrying in ${Math.max(1, Math.round(waitMs / 1000))} s`);
    live.onLost();
    whoAmI();
  },
});

const live = new LiveView((document_) => link.send(document_));
const views = { live, events: new EventsView(), counts: new CountsView(), system: new SystemView() };

const handlers = {
  hello({ cameras, meanings, colours, control, login }) {
    Object.assign(store, { meanings, control, login });
    setColours(colours);
    byId("logout").hidden = !login;
    setCameras(cameras);
    read();
  },
  cameras({ cameras }) {
    setCameras(cameras);
    if (store.control) loadSettings().catch(() => {});
  },
  changed: () => loadSettings().catch(() => {}),
  state: onState,
  video: (message) => live.tiles.get(message.camera)?.onVideo(message),
  result: (message) => live.onResult(message),
  event({ event }) {
    if (keepEvent(event)) announce(`${event.data?.camera ?? ""}: ${typeWords(event.type)}`);
    emit("events");
    emit("event", event);
    if (event.data?.keep) readAgainSoon();
  },
};

/** What was missed while the page was away. */
async function read() {
  try {
    await Promise.all([loadSettings(), loadEvents()]);
  } catch (error) {
    toast(error.message, "bad");
  }
}

function setCameras(cameras) {
  store.cameras = cameras;
  live.setCameras(cameras);
  if (store.state) live.onState(store.state);
  route();
}

function onState(state) {
  tellChanges(state);
  store.state = state;
  const cameras = state.cameras ?? [];
  const sum = (pick) => cameras.reduce((total, camera) => total + (pick(camera) ?? 0), 0);
  const living = sum((camera) => Number(camera.state === "live"));
  byId("model").textContent = state.model ?? "";
  byId("total-cameras").textContent = `${living}/${cameras.length} live`;
  byId("total-rate").textContent = sum((camera) => camera.answered_per_second).toFixed(1);
  byId("total-objects").textContent = sum((camera) => Object.values(camera.objects ?? {}).reduce((n, o) => n + o.count, 0));
  byId("total-answered").textContent = sum((camera) => camera.answered).toLocaleString("en");
  byId("total-dropped").textContent = sum((camera) => camera.dropped_total).toLocaleString("en");
  setServer(state.server, SERVER_WORDS[state.server] ?? state.server ?? "");
  live.onState(state);
  emit("state", state);
}

/** Cameras that went or came back are said once. */
function tellChanges(state) {
  for (const camera of state.cameras ?? []) {
    const before = cameraState(camera.name)?.state;
    if (before === "live" && camera.state === "waiting") announce(`Camera ${camera.name} is offline`);
    if (before === "waiting" && camera.state === "live") announce(`Camera ${camera.name} is back`);
  }
}

function setServer(state, text) {
  if (serverPill.textContent === text) return;
  serverPill.dataset.state = state;
  serverPill.textContent = text;
}

function route() {
  const [view, name, what] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const wanted = views[view] ? view : "live";
  const changed = main.firstChild !== views[wanted].root;
  if (changed) main.replaceChildren(views[wanted].root);
  for (const tab of document.querySelectorAll(".tabs a")) {
    if (tab.dataset.view === wanted) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (wanted === "live") live.route(name, what);
  else {
    live.showWanted();
    if (changed) views[wanted].show();
  }
  document.title = wanted === "live" ? (name ? `${name} · Sightline` : "Sightline") : `${wanted[0].toUpperCase()}${wanted.slice(1)} · Sightline`;
}

/** A session that has ended leads to the login. */
const whoAmI = () => api("/api/session").catch(() => {});

function showTheme() {
  byId("theme").replaceChildren(icon(document.documentElement.dataset.theme === "light" ? "moon" : "sun"));
}

byId("theme").addEventListener("click", () => {
  window.toggleTheme();
  showTheme();
});
byId("logout").append(icon("out"));
byId("logout").addEventListener("click", async () => {
  await api("/logout", { method: "POST" }).catch(() => {});
  location.replace("/login");
});
addEventListener("hashchange", route);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || main.firstChild !== live.root || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (typing && event.key !== "Escape") return;
  if (live.onKey(event.key)) event.preventDefault();
});
showTheme();
route();
