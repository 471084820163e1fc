// SPDX-License-Identifier: Apache-2.0
// The page's one WebSocket: reconnects with a capped, jittered backoff and sorts what arrives.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const HEADER_BYTES = 24;
export const KIND = { HEADER: 0, FRAGMENT: 1, JPEG: 2 };

export class Link {
  /** onText(document), onBinary({kind, camera, epoch, pts, data}), onOpen(), onLost(waitMs) */
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    this.failures = 0;
    this.connect();
  }

  connect() {
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.handlers.onOpen();
    socket.onmessage = (event) => {
      this.failures = 0;
      if (typeof event.data === "string") this.handlers.onText(JSON.parse(event.data));
      else this.handlers.onBinary(parse(event.data));
    };
    socket.onclose = () => {
      const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures++);
      const wait = longest * (0.5 + Math.random() / 2);
      this.handlers.onLost(wait);
      setTimeout(() => this.connect(), wait);
    };
    this.socket = socket;
  }

  send(document) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(document));
  }
}

function parse(buffer) {
  const view = new DataView(buffer);
  return {
    kind: view.getUint8(0),
    camera: view.getUint32(4),
    epoch: view.getFloat64(8),
    pts: view.getFloat64(16),
    data: new Uint8Array(buffer, HEADER_BYTES),
  };
}
