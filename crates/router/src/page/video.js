// Owns the picture: one is asked for when one was drawn, so that none waits here; and how old the
// one is that is shown.

import { Link } from "./link.js";

const BUCKET = 30000; // clocks drift: the least delay counts of the last half to whole minute
const RETRY = 10000; // where there is no such WebSocket at all
const LOST = 1500; // without a connection for so long nobody drives by the picture any more

/** How far this page's clock is from the car's, from when stamps of the latter arrive. */
export class Clock {
  constructor() {
    this.reset();
  }

  /** The car, and so its clock, may be another. */
  reset() {
    Object.assign(this, { least: Infinity, before: Infinity, since: 0 });
  }

  arrived(stamp, now) {
    if (now - this.since > BUCKET) Object.assign(this, { before: this.least, least: Infinity, since: now });
    this.least = Math.min(this.least, now - stamp);
  }

  /** How old something of this stamp is; what came fastest took half the round trip. */
  age(stamp, now, rtt) {
    return Math.max(0, now - stamp - Math.min(this.least, this.before) + (rtt ?? 0) / 2);
  }
}

export class Video {
  constructor(canvas, clock, changed) {
    Object.assign(this, { canvas, clock, changed, is: "starting", why: "", off: false, waiting: null, busy: false });
    Object.assign(this, { stamp: null, lostAt: null, drawn: 0, said: 0 });
    this.link = new Link("/frames", {
      open: () => {
        this.lostAt = null;
        this.link.send("next");
      },
      closed: () => this.lostAt ??= performance.now(),
      message: data => this.message(data),
      noWebSocket: () => {
        this.say("none");
        this.link.sleep();
        setTimeout(() => this.off || document.hidden || this.link.wake(), RETRY);
      },
    });
  }

  message(data) {
    if (typeof data === "string") {
      const { camera, why } = JSON.parse(data);
      return this.say(camera, why);
    }
    this.clock.arrived(stampOf(data), performance.now());
    this.waiting = data;
    if (!this.busy) this.draw();
  }

  async draw() {
    this.busy = true;
    const { waiting: data, said } = this;
    this.waiting = null;
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" })).catch(() => null);
    if (picture && !this.off && this.said === said) {
      const { canvas } = this;
      const { width, height } = picture;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
      Object.assign(this, { stamp: stampOf(data), drawn: this.drawn + 1 });
      if (this.is !== "live") this.say("live", "");
    }
    picture?.close();
    this.busy = false;
    if (this.waiting) return this.draw();
    this.link.send("next");
  }

  say(is, why) {
    if (is !== "live") this.waiting = null;
    Object.assign(this, { is, why, said: this.said + 1 });
    this.changed();
  }

  /** How old the last picture is, in milliseconds; null: there is none. */
  age(now, rtt) {
    if (this.is === "live" && this.lostAt !== null && now - this.lostAt > LOST) this.say("away", "");
    return this.stamp === null ? null : this.clock.age(this.stamp, now, rtt);
  }

  /** To spare the network, or to drive without. */
  switchOff(off) {
    this.off = off;
    this.stamp = null;
    this.show(!off);
    this.say(off ? "off" : "starting");
  }

  /** Nobody sees it while the page is hidden. */
  show(isSeen) {
    if (isSeen && !this.off) this.link.wake();
    else this.link.sleep();
  }
}

const stampOf = data => Number(new DataView(data).getBigUint64(0));
