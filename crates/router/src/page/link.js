// Owns a WebSocket of the page: dials by itself, and finds out why where there is none.

const LEAST = 200;
const MOST = 1000;
const PATIENCE = 5000; // longest wait for a connection
const STABLE = 10000; // after a connection of this length the pause begins anew
const TRIES = 3; // then, if the router answers, something in between blocks WebSockets

/** Calls `on` for `open`, `closed` (why, and when the next try is), `message`, `signedOut` (why, status), `noWebSocket`. */
export class Link {
  constructor(path, on) {
    Object.assign(this, { path, on, socket: null, timer: null, pause: LEAST, failed: 0, asleep: false });
    this.dial();
  }

  dial() {
    clearTimeout(this.timer);
    const address = new URL(this.path, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, "p2p.v1");
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    let openedAt = null;
    const patience = setTimeout(() => socket.close(), PATIENCE);
    socket.onopen = () => {
      clearTimeout(patience);
      openedAt = performance.now();
      this.failed = 0;
      this.on.open?.();
    };
    socket.onmessage = ({ data }) => this.on.message(data);
    socket.onclose = ({ reason }) => {
      clearTimeout(patience);
      if (this.socket !== socket) return;
      this.socket = null;
      if (openedAt !== null && performance.now() - openedAt > STABLE) this.pause = LEAST;
      if (openedAt === null) this.failed += 1;
      this.closed(reason, openedAt !== null);
    };
  }

  async closed(why, wasOpen) {
    if (this.asleep) return;
    const after = this.comeBack ?? Math.random() * this.pause;
    this.comeBack = null;
    this.pause = Math.min(this.pause * 2, MOST);
    this.timer = setTimeout(() => this.dial(), after);
    const retryAt = performance.now() + after;
    this.on.closed?.(why || (wasOpen ? "the connection was lost" : this.full || "no connection"), retryAt);
    // Only a plain request tells a page why it was refused.
    const answer = await fetch(this.path, { cache: "no-store" }).catch(() => null);
    const reason = (await answer?.text().catch(() => null))?.trim();
    if (this.socket?.readyState === WebSocket.OPEN || this.asleep) return;
    const is = status => answer?.status === status;
    this.full = is(429) ? reason : "";
    if (this.full) this.on.closed?.(reason, retryAt);
    else if (is(401) || is(403)) {
      this.sleep();
      this.on.signedOut?.(reason, answer.status);
    } else if (answer && this.failed >= TRIES) {
      this.on.noWebSocket?.();
    }
  }

  /** Sends a text now (true) or never: later it would be old. */
  send(text) {
    const isOpen = this.socket?.readyState === WebSocket.OPEN;
    if (isOpen) this.socket.send(text);
    return isOpen;
  }

  /** Gives the connection up while nobody looks: it costs the car pings. */
  sleep() {
    this.asleep = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  wake() {
    if (!this.asleep && this.socket) return;
    this.asleep = false;
    this.pause = LEAST;
    this.dial();
  }
}
