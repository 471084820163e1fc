// SPDX-License-Identifier: Apache-2.0
// Add a camera, change its settings, or take it away.

import { api, cameraPath } from "./api.js";
import { h, iconButton, toast } from "./dom.js";
import { formOf } from "./form.js";
import { loadSchema, loadSettings, store } from "./store.js";

const FIRST = ["url", "enabled", "model", "rate"];
const ELSEWHERE = ["rules"];

/** name: null for a new camera. */
export async function editCamera(name) {
  let schema;
  try {
    schema = (await loadSchema()).camera;
    if (name) store.settings[name] = await api(cameraPath(name));
  } catch (error) {
    return toast(error.message, "bad");
  }
  const settings = name ? store.settings[name] : {};
  const form = formOf(schema, schema, settings, { skip: ELSEWHERE, first: FIRST, more: "More settings", suggestions: store.labels });
  const nameInput = h("input", { id: "camera-name", type: "text", value: name ?? "", required: true, disabled: Boolean(name), autocomplete: "off", maxlength: "64" });
  const error = h("p", { class: "error", role: "alert" });
  const dialog = h("dialog", { class: "sheet", "aria-labelledby": "camera-title", onclose: () => dialog.remove() });
  const save = async (event) => {
    event.preventDefault();
    form.clear();
    error.textContent = "";
    const wanted = nameInput.value.trim();
    if (!wanted) {
      error.textContent = "Give the camera a name.";
      return nameInput.focus();
    }
    try {
      const kept = Object.fromEntries(ELSEWHERE.filter((one) => settings[one] !== undefined).map((one) => [one, settings[one]]));
      await api(cameraPath(wanted), { method: "PUT", body: { ...form.read(), ...kept } });
      toast(`${wanted} is saved`);
      dialog.close();
      await loadSettings();
    } catch (problem) {
      const [first] = problem.problems ?? [];
      if (!first || !form.problem(first.field, first.text)) error.textContent = problem.message;
    }
  };
  const remove = async (event) => {
    const button = event.target;
    if (!button.dataset.sure) {
      button.dataset.sure = "1";
      button.textContent = "Really remove it?";
      return;
    }
    try {
      await api(cameraPath(name), { method: "DELETE" });
      toast(`${name} is removed`);
      dialog.close();
    } catch (problem) {
      error.textContent = problem.message;
    }
  };
  dialog.append(h("form", { class: "sheet-form", novalidate: true, onsubmit: save },
    h("div", { class: "sheet-head" }, h("h2", { id: "camera-title" }, name ? `Settings of ${name}` : "New camera"), iconButton("close", "Close", () => dialog.close())),
    h("div", { class: "sheet-body" }, h("div", { class: "field" }, h("label", { for: "camera-name" }, "name"), nameInput, h("small", {}, "how it is called here, in events and in the file")), form.element, error),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, name ? "Save" : "Add"), h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      name && h("button", { type: "button", class: "danger", onclick: remove }, "Remove camera"))));
  document.body.append(dialog);
  dialog.showModal();
}
