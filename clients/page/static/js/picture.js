// SPDX-License-Identifier: Apache-2.0
// Pictures and clips of events, which may still be on their way to the disk when the event is told.

import { h } from "./dom.js";

const AGAIN_MS = [400, 1000, 2500, 5000, 8000];

/** An image or a video that is asked for again a few times before `instead()` takes its place. */
export function kept(name, path, properties, instead) {
  let tries = 0;
  const again = ({ target }) => {
    if (tries === AGAIN_MS.length) return target.replaceWith(instead());
    setTimeout(() => { target.src = `${path}?again=${tries}`; }, AGAIN_MS[tries]);
    tries += 1;
  };
  return h(name, { ...properties, src: path, onerror: again });
}
