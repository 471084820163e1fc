// SPDX-License-Identifier: Apache-2.0
// The editor of a camera's rules, beside its live picture.

import { api, cameraPath } from "./api.js";
import { DrawLayer, firstArrow } from "./draw.js";
import { ruleColour } from "./colours.js";
import { announce, h, icon, iconButton, plainWords } from "./dom.js";
import { formOf, resolve } from "./form.js";
import { rounded } from "./geometry.js";
import { drawRules } from "./shapes.js";
import { loadSchema, store } from "./store.js";

const FIRST = ["name", "classes", "seconds", "count", "direction", "above_kmh", "below_kmh", "stage", "values"];
const DRAWN = ["points", "allowed", "kind"];

export class RuleEditor {
  constructor(tile, { onDone, onSave }) {
    Object.assign(this, { tile, onDone, onSave });
    this.rules = [];
    this.selected = -1;
    this.dirty = false;
    this.layer = new DrawLayer(tile.stage, tile.overlay, { onChange: () => this.changed(), onFinish: () => this.drawn() });
    this.others = h("canvas", { class: "other-rules" });
    tile.view.append(this.others);
    this.observer = new ResizeObserver(() => this.drawOthers());
    this.observer.observe(tile.view);
    this.build();
    this.load();
  }

  /** The rules as they are in the file now, not as the page may remember them: saving replaces them all. */
  async load() {
    try {
      const [schema, { rules }] = await Promise.all([loadSchema(), api(`${cameraPath(this.tile.name)}/rules`)]);
      this.rules = rules;
      this.schema = schema.rule;
      this.fillKinds();
      this.draw.disabled = false;
      this.render();
    } catch (error) {
      this.say(error.message);
    }
  }

  build() {
    this.kinds = h("select", { id: "new-kind", "aria-label": "Kind of the new rule" });
    this.draw = h("button", { type: "button", id: "new-rule", disabled: true, onclick: () => this.create() }, icon("plus"), "Draw");
    this.list = h("ul", { class: "rule-list" });
    this.fields = h("div", { class: "rule-fields" });
    this.hint = h("p", { class: "hint", role: "status" });
    this.error = h("p", { class: "error", role: "alert" });
    this.save = h("button", { type: "submit", class: "primary", id: "save-rules", disabled: true }, "Save");
    this.panel = h("form", { class: "card rules-panel", "aria-label": `Rules of ${this.tile.name}`, novalidate: true, onsubmit: (e) => { e.preventDefault(); this.submit(); }, oninput: () => this.touch(), onclick: (e) => e.target.closest(".chip") && this.touch() },
      h("div", { class: "card-head" }, h("h2", {}, `Rules of ${this.tile.name}`), iconButton("close", "Close the editor", () => this.onDone())),
      h("div", { class: "new-rule" }, this.kinds, this.draw),
      this.hint, this.list, this.fields, this.error,
      h("div", { class: "buttons" }, this.save, h("button", { type: "button", onclick: () => this.onDone() }, "Cancel")));
  }

  fillKinds() {
    this.kinds.replaceChildren(...Object.keys(this.schema.discriminator.mapping).map((kind) => h("option", { value: kind, title: this.shapeOf(kind).description ?? "" }, plainWords(kind))));
  }

  shapeOf(kind) {
    return resolve({ $ref: this.schema.discriminator.mapping[kind] }, this.schema);
  }

  needsPoints(kind) {
    return (this.shapeOf(kind).required ?? []).includes("points");
  }

  hasPoints(kind) {
    return "points" in (this.shapeOf(kind).properties ?? {});
  }

  create() {
    const kind = this.kinds.value;
    this.keep();
    const taken = new Set(this.rules.map((rule) => rule.name));
    const base = plainWords(kind);
    let name = base;
    for (let n = 2; taken.has(name); n++) name = `${base} ${n}`;
    this.rules.push({ name, kind, ...(this.hasPoints(kind) ? { points: [] } : {}) });
    this.select(this.rules.length - 1, this.hasPoints(kind));
    this.touch();
  }

  select(at, drawing = false) {
    this.keep();
    this.selected = at;
    const rule = this.rules[at];
    this.layer.edit(rule?.points ? rule : null, drawing);
    this.render();
    if (drawing) {
      const shape = rule.kind === "line" ? "line, point by point" : "zone, corner by corner";
      this.say("", `Click the ${shape}; double-click or Enter ends it, Backspace takes back. With the keyboard: arrows move, Space sets a point.`);
    }
  }

  drawn() {
    const rule = this.rules[this.selected];
    if (rule.kind === "wrong_way" && !rule.allowed) rule.allowed = firstArrow(rule.points);
    this.layer.edit(rule);
    this.say("", "Drag points to move them, the small rings to add some, the shape to move it whole.");
    announce("The shape is finished");
    this.touch();
    this.fields.querySelector("input")?.focus();
    this.fields.querySelector("input")?.select();
  }

  changed() {
    this.touch();
  }

  touch() {
    this.dirty = true;
    this.save.disabled = false;
  }

  /** What stands in the form goes into the rule. */
  keep() {
    const rule = this.rules[this.selected];
    if (!rule || !this.form) return;
    const drawn = Object.fromEntries(DRAWN.filter((name) => rule[name] !== undefined).map((name) => [name, rule[name]]));
    this.rules[this.selected] = { ...this.form.read(), ...drawn };
    if (this.layer.rule === rule) this.layer.rule = this.rules[this.selected];
  }

  remove(at) {
    this.keep();
    this.form = null;
    this.rules.splice(at, 1);
    this.selected = -1;
    this.layer.edit(null);
    this.touch();
    this.render();
  }

  render() {
    if (!this.schema) return;
    this.list.replaceChildren(...this.rules.map((rule, at) => {
      const mark = h("i", { class: "mark" });
      mark.style.background = ruleColour(rule.kind);
      return h("li", { class: at === this.selected ? "chosen" : "" },
        h("button", { type: "button", class: "rule", "aria-pressed": String(at === this.selected), onclick: () => this.select(at === this.selected ? -1 : at) }, mark, h("span", {}, rule.name), h("small", {}, plainWords(rule.kind))),
        iconButton("trash", `Remove rule ${rule.name}`, () => this.remove(at)));
    }));
    if (!this.rules.length) this.list.replaceChildren(h("li", { class: "quiet" }, "No rules yet. Choose a kind and draw it on the picture."));
    const rule = this.rules[this.selected];
    this.form = null;
    if (rule) {
      const shape = this.shapeOf(rule.kind);
      this.form = formOf(shape, this.schema, rule, { skip: DRAWN, first: FIRST, suggestions: store.labels });
      const redraw = this.hasPoints(rule.kind) && h("button", { type: "button", class: "small", onclick: () => this.redraw() }, rule.points?.length ? "Draw anew" : "Draw a zone");
      this.fields.replaceChildren(h("p", { class: "quiet" }, shape.description ?? ""), this.form.element, redraw || "");
    } else this.fields.replaceChildren();
    this.drawOthers();
  }

  redraw() {
    this.keep();
    const rule = this.rules[this.selected];
    rule.points = [];
    delete rule.allowed;
    this.select(this.selected, true);
    this.touch();
  }

  /** The rules that are not being edited, as they are drawn in the live view. */
  drawOthers() {
    const overlay = this.tile.overlay, canvas = this.others;
    canvas.width = overlay.ground.width;
    canvas.height = overlay.ground.height;
    if (!overlay.width) return;
    const context = canvas.getContext("2d");
    context.scale(canvas.width / overlay.width, canvas.height / overlay.height);
    drawRules(context, overlay.place(), this.rules.filter((_, at) => at !== this.selected), {}, false);
  }

  async submit() {
    this.keep();
    const unfinished = this.rules.findIndex((rule) => rule.points && rule.points.length < (rule.kind === "line" ? 2 : 3) && (rule.points.length || this.needsPoints(rule.kind)));
    if (unfinished >= 0) {
      if (unfinished !== this.selected) this.select(unfinished);
      return this.say(`rule '${this.rules[unfinished].name}': draw it on the picture first`);
    }
    const rules = this.rules.map((rule) => ({ ...rule, ...(rule.points ? { points: rounded(rule.points) } : {}), ...(rule.allowed ? { allowed: rounded(rule.allowed) } : {}) }))
      .map(({ points, ...rule }) => (points?.length ? { ...rule, points } : rule));
    this.save.disabled = true;
    try {
      await this.onSave(rules);
      this.dirty = false;
      this.say("", "Saved.");
      this.render();
    } catch (error) {
      this.save.disabled = false;
      this.showProblems(error);
    }
  }

  showProblems(error) {
    const [first] = error.problems ?? [];
    const at = first ? this.rules.findIndex((rule) => rule.name === first.rule) : -1;
    if (at >= 0 && at !== this.selected) this.select(at);
    this.form?.clear();
    const placed = first && this.form?.problem(first.field, first.text);
    this.say(placed ? "Something is wrong; see above." : error.message);
  }

  say(error, hint = "") {
    this.error.textContent = error;
    this.hint.textContent = hint;
  }

  onKey(key) {
    if (key !== "Escape") return false;
    if (this.layer.drawing) {
      const rule = this.rules[this.selected];
      if (rule.points.length < this.layer.least) this.remove(this.selected);
      else this.layer.finish();
      this.say("");
    } else if (this.selected >= 0) this.select(-1);
    else this.onDone();
    return true;
  }

  close() {
    this.observer.disconnect();
    this.layer.close();
    this.others.remove();
  }
}
