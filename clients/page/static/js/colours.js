// SPDX-License-Identifier: Apache-2.0
// One colour a class, the same as in recordings; the server says which.

let colours = ["#ffffff"];

export const setColours = (list) => (colours = list);
export const colourOf = (classId) => colours[((classId % colours.length) + colours.length) % colours.length];
