// SPDX-License-Identifier: Apache-2.0
// A form made from a JSON schema, as pydantic writes it: no field is known here by name.

import { h, iconButton, plainWords } from "./dom.js";

let numbers = 0;

/** The schema behind a reference. */
export function resolve(schema, root) {
  const name = schema.$ref?.split("/").at(-1);
  return name ? { ...root.$defs[name], ...schema, $ref: undefined } : schema;
}

/** fields of an object: { element, read() → object, problem(field, text), clear() }. Values at their default are left out. */
export function formOf(schema, root, value, { skip = [], first = [], more = null, suggestions } = {}) {
  const properties = Object.entries(schema.properties ?? {}).filter(([name, one]) => !skip.includes(name) && one.const === undefined);
  const fields = new Map(properties.map(([name, one]) => [name, fieldOf(name, resolve(one, root), root, value?.[name], (schema.required ?? []).includes(name), suggestions)]));
  const isFirst = (name) => !first.length || first.includes(name) || (schema.required ?? []).includes(name);
  const order = [...fields.keys()].sort((a, b) => place(first, a) - place(first, b));
  const element = h("div", { class: "form" }, order.filter(isFirst).map((name) => fields.get(name).element));
  const others = order.filter((name) => !isFirst(name));
  const details = others.length ? h("details", { class: "more-fields" }, h("summary", {}, more ?? "More"), others.map((name) => fields.get(name).element)) : null;
  if (details) element.append(details);
  return {
    element,
    read() {
      const read = {};
      for (const [name, field] of fields) {
        const one = field.read();
        if (one !== undefined) read[name] = one;
      }
      return read;
    },
    problem(path, text) {
      const field = fields.get(path.split(".")[0]);
      if (!field) return false;
      if (details?.contains(field.element)) details.open = true;
      field.problem(text);
      return true;
    },
    clear: () => fields.forEach((field) => field.problem("")),
    focus: () => element.querySelector("input, select, textarea")?.focus(),
  };
}

const place = (first, name) => (first.includes(name) ? first.indexOf(name) : 1000);

function fieldOf(name, schema, root, value, required, suggestions) {
  const nullable = schema.anyOf?.some((one) => one.type === "null");
  const inner = schema.anyOf ? { ...resolve(schema.anyOf.find((one) => one.type !== "null") ?? {}, root), description: schema.description, default: schema.default } : schema;
  const id = `field-${name}-${++numbers}`;
  const current = value === undefined ? inner.default : value;
  const control = controlOf(id, inner, root, current, { required: required && !nullable, nullable, suggestions: name === "classes" ? suggestions : null });
  const error = h("p", { class: "error", id: `${id}-error` });
  const note = h("small", { id: `${id}-note` }, inner.description ?? "");
  control.focusable?.setAttribute("aria-describedby", `${id}-note ${id}-error`);
  const label = plainWords(name);
  const element = control.group
    ? h("fieldset", { class: "field group-field" }, h("legend", {}, label), note, control.element, error)
    : control.inline
      ? h("div", { class: "field inline" }, control.element, h("label", { for: id }, label), note, error)
      : h("div", { class: "field" }, h("label", { for: id }, label), control.element, note, error);
  return {
    element,
    read() {
      const read = control.read();
      return read === undefined || (!required && same(read, inner.default ?? null)) ? undefined : read;
    },
    problem(text) {
      error.textContent = text;
      control.focusable?.setAttribute("aria-invalid", String(Boolean(text)));
    },
  };
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function controlOf(id, schema, root, value, options) {
  if (schema.enum) return choice(id, schema.enum, value, options);
  if (schema.type === "boolean") return flag(id, value);
  if (schema.type === "number" || schema.type === "integer") return numeric(id, schema, value);
  if (schema.type === "string") return textual(id, schema, value, options);
  if (schema.type === "array") return listed(id, schema, root, value, options);
  if (schema.type === "object" && schema.properties) return nested(id, schema, root, value, options);
  return raw(id, value);
}

function choice(id, values, value) {
  const select = h("select", { id }, values.map((one) => h("option", { value: one, selected: one === value }, plainWords(one))));
  return { element: select, focusable: select, read: () => select.value };
}

function flag(id, value) {
  const box = h("input", { id, type: "checkbox", checked: Boolean(value) });
  return { element: box, focusable: box, inline: true, read: () => box.checked };
}

function numeric(id, schema, value) {
  const input = h("input", {
    id, type: "number", step: schema.type === "integer" ? "1" : "any", value: value === null || value === undefined ? "" : String(value),
    min: schema.minimum ?? schema.exclusiveMinimum, max: schema.maximum ?? schema.exclusiveMaximum, inputmode: "decimal",
  });
  return { element: input, focusable: input, read: () => (input.value === "" ? undefined : Number(input.value)) };
}

function textual(id, schema, value, { required }) {
  const input = h("input", { id, type: "text", value: value ?? "", required, spellcheck: "false", autocomplete: "off" });
  return { element: input, focusable: input, read: () => (input.value === "" && !required ? undefined : input.value) };
}

function listed(id, schema, root, value, options) {
  const items = resolve(schema.items ?? {}, root);
  if (items.enum) return several(items.enum, value);
  if (items.type === "string") return words(id, value, options.suggestions);
  if (items.type === "object" && items.properties) return rows(items, root, value);
  if (schema.prefixItems?.every((one) => ["integer", "number"].includes(one.type))) return tuple(id, schema.prefixItems, value, options);
  return raw(id, value);
}

function several(values, value) {
  const boxes = values.map((one) => h("input", { type: "checkbox", value: one, checked: (value ?? []).includes(one) }));
  const element = h("div", { class: "choices" }, boxes.map((box) => h("label", {}, box, plainWords(box.value))));
  return { element, group: true, read: () => boxes.filter((box) => box.checked).map((box) => box.value) };
}

/** Texts with commas between them; known ones are offered as buttons. */
function words(id, value, suggestions) {
  const input = h("input", { id, type: "text", value: (value ?? []).join(", "), placeholder: "all", autocomplete: "off" });
  const read = () => input.value.split(",").map((one) => one.trim()).filter(Boolean);
  const offered = [...(suggestions ?? [])].sort().map((word) => h("button", {
    type: "button", class: "chip", "aria-pressed": String(read().includes(word)), onclick: (e) => {
      const now = read();
      const next = now.includes(word) ? now.filter((one) => one !== word) : [...now, word];
      input.value = next.join(", ");
      e.target.ariaPressed = String(next.includes(word));
    },
  }, plainWords(word)));
  const element = offered.length ? h("div", {}, input, h("div", { class: "chips" }, offered)) : input;
  return { element, focusable: input, read };
}

function tuple(id, kinds, value, { nullable }) {
  const inputs = kinds.map((kind, i) => h("input", { id: i ? null : id, type: "number", step: kind.type === "integer" ? "1" : "any", min: kind.minimum, max: kind.maximum, value: value?.[i] === undefined ? "" : String(value[i]), "aria-label": `number ${i + 1} of ${kinds.length}` }));
  const read = () => {
    const all = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
    return all.every((one) => one === null) ? (nullable ? undefined : undefined) : all;
  };
  return { element: h("div", { class: "tuple" }, inputs), focusable: inputs[0], read };
}

function rows(items, root, value) {
  const forms = [];
  const list = h("div", { class: "rows" });
  const add = (one) => {
    const form = formOf(items, root, one);
    const row = h("div", { class: "row" }, form.element, iconButton("trash", "Remove", () => { row.remove(); forms.splice(forms.indexOf(form), 1); }));
    forms.push(form);
    list.append(row);
  };
  (value ?? []).forEach(add);
  const element = h("div", {}, list, h("button", { type: "button", class: "small", onclick: () => { add({}); forms.at(-1).focus(); } }, "Add"));
  return { element, group: true, read: () => forms.map((form) => form.read()) };
}

function nested(id, schema, root, value, { nullable, required }) {
  const form = formOf(schema, root, value ?? {});
  if (!nullable) {
    return { element: h("details", { class: "nested" }, h("summary", {}, "Show"), form.element), group: true, read: () => { const read = form.read(); return required || Object.keys(read).length ? read : undefined; } };
  }
  const used = h("input", { type: "checkbox", id, checked: Boolean(value) });
  form.element.hidden = !value;
  used.addEventListener("change", () => (form.element.hidden = !used.checked));
  return { element: h("div", {}, h("label", { class: "use" }, used, "use"), form.element), group: true, read: () => (used.checked ? form.read() : undefined) };
}

/** What no control is made for: JSON as text. */
function raw(id, value) {
  const area = h("textarea", { id, rows: "3", spellcheck: "false" }, value === undefined || value === null ? "" : JSON.stringify(value));
  return {
    element: area, focusable: area, read() {
      if (!area.value.trim()) return undefined;
      try {
        return JSON.parse(area.value);
      } catch {
        return area.value; // the server says what is wrong with it
      }
    },
  };
}
