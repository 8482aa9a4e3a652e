// Owns the page's WebSocket for driving: dials by itself, with a pause that doubles from 0.2 s to
// 1 s and full jitter, and finds out why, where it can't be had.

const LEAST = 200;
const MOST = 1000;
const PATIENCE = 5000; // for a connection to come about
const STABLE = 10000; // after so long the pause begins anew
const TRIES = 3; // without a WebSocket although the router answers: something between cuts them off

/** `on` is told `open`, `closed` (with why and when the next try is), `message`, `signedOut` and
 *  `noWebSocket`. */
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

  async closed(reason, wasOpen) {
    if (this.asleep) return;
    const after = this.comeBack ?? Math.random() * this.pause;
    this.comeBack = null;
    this.pause = Math.min(this.pause * 2, MOST);
    this.timer = setTimeout(() => this.dial(), after);
    const retryAt = performance.now() + after;
    this.on.closed?.(reason || (wasOpen ? "the connection was lost" : this.full || "no connection"), retryAt);
    // Why a WebSocket was refused is told without one.
    const answer = await fetch(this.path, { cache: "no-store" }).catch(() => null);
    const said = (await answer?.text().catch(() => null))?.trim();
    if (this.socket?.readyState === WebSocket.OPEN || this.asleep) return;
    const is = status => answer?.status === status;
    this.full = is(429) ? said : "";
    if (this.full) this.on.closed?.(said, retryAt);
    else if (is(401) || is(403)) {
      this.sleep();
      this.on.signedOut?.(said);
    } else if (answer && this.failed >= TRIES) {
      this.on.noWebSocket?.();
    }
  }

  /** Sends it now (true) or never: what waits is old when it comes. */
  send(text) {
    const isOpen = this.socket?.readyState === WebSocket.OPEN;
    if (isOpen) this.socket.send(text);
    return isOpen;
  }

  /** Nobody looks: the connection, which costs the car a ping every 2 s, is given up. */
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
