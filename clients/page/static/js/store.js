// SPDX-License-Identifier: Apache-2.0
// What the page knows, and who wants to hear of it.

import { api } from "./api.js";

const MAX_EVENTS = 300;
const listeners = new Map();

export const store = {
  cameras: [], // {id, name}
  state: null, // as /api/state
  settings: {}, // by camera name, as they stand in the file
  meanings: {}, // of the reasons of drops
  events: [], // newest first
  counts: new Map(), // by camera name: what its rules count now
  labels: new Set(), // classes that were seen, for suggestions
  control: false,
  login: false,
  schema: null,
};

export function on(name, listener) {
  if (!listeners.has(name)) listeners.set(name, new Set());
  listeners.get(name).add(listener);
  return () => listeners.get(name).delete(listener);
}

export const emit = (name, value) => listeners.get(name)?.forEach((listener) => listener(value));

export const cameraState = (name) => store.state?.cameras?.find((camera) => camera.name === name);
export const rulesOf = (name) => store.settings[name]?.rules ?? [];

export async function loadSettings() {
  store.settings = (await api("/api/cameras")).cameras;
  emit("settings");
}

export async function loadSchema() {
  store.schema ??= await api("/api/schema");
  return store.schema;
}

export async function loadEvents() {
  const { events } = await api("/api/events?limit=60");
  for (const event of events.toReversed()) keepEvent(event);
  emit("events");
}

let refresh = null;
const SOON_MS = 1500;

/** Events come before their pictures are kept; a moment later they are asked for once more. */
export function readAgainSoon() {
  refresh ??= setTimeout(async () => {
    refresh = null;
    await loadEvents().catch(() => {});
    for (const event of store.events.slice(0, 60)) emit("event", event);
  }, SOON_MS);
}

const keyOf = (event) => `${event.source} ${event.id}`;

/** True where the event is new; false where it only brought more (a snapshot). */
export function keepEvent(event) {
  const at = store.events.findIndex((known) => keyOf(known) === keyOf(event));
  if (at >= 0) {
    store.events[at] = { ...store.events[at], ...event };
    return false;
  }
  const before = store.events.findIndex((known) => known.time <= event.time);
  store.events.splice(before < 0 ? store.events.length : before, 0, event);
  if (store.events.length > MAX_EVENTS) store.events.pop();
  return true;
}

export const sameEvent = (a, b) => keyOf(a) === keyOf(b);
