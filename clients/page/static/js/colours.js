// SPDX-License-Identifier: Apache-2.0
// One colour a class, the same as in recordings; the server says which. One colour a kind of rule.

let colours = ["#ffffff"];

export const setColours = (list) => (colours = list);
export const colourOf = (classId) => colours[((classId % colours.length) + colours.length) % colours.length];

const RULES = {
  zone: "#38bdf8", line: "#43d6b5", loitering: "#fbbf24", crowding: "#f472b6", stopped: "#fb923c",
  wrong_way: "#f87171", speed: "#a78bfa", absence: "#94a3b8", attribute: "#e879f9",
};
export const ruleColour = (kind) => RULES[kind] ?? "#43d6b5";

/** The kind of rule an event's type belongs to, for its colour. */
export const eventColour = (event) => {
  const type = event.type ?? "";
  return ruleColour(event.data?.kind ?? Object.keys(RULES).find((kind) => type.includes(kind)) ?? "zone");
};
