// Owns the picture and its age. Asks for the next when the last was drawn, so that none waits.

import { Link } from "./link.js";

const BUCKET = 30000; // clocks drift: the least delay of the last half to whole minute counts
const RETRY = 10000; // pause where WebSockets don't work at all
const LOST = 1500; // a picture without a connection for this long counts as none

/** This page's clock against the car's, from arriving stamps. */
export class Clock {
  constructor() {
    this.reset();
  }

  /** Begins anew: the car may be another. */
  reset() {
    Object.assign(this, { least: Infinity, before: Infinity, since: 0 });
  }

  arrived(stamp, now) {
    if (now - this.since > BUCKET) Object.assign(this, { before: this.least, least: Infinity, since: now });
    this.least = Math.min(this.least, now - stamp);
  }

  /** The age of a picture with this stamp: the fastest picture so far counts as half a round trip old. */
  age(stamp, now, rtt) {
    return Math.max(0, now - stamp - Math.min(this.least, this.before) + (rtt ?? 0) / 2);
  }
}

export class Video {
  constructor(canvas, clock, changed) {
    Object.assign(this, { canvas, clock, changed, is: "starting", why: "", off: false, waiting: null, busy: false });
    Object.assign(this, { stamp: null, lostAt: null, drawn: 0, news: 0, kept: [] });
    this.link = new Link("frames", {
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
    const { waiting: data, news } = this;
    this.waiting = null;
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" })).catch(() => null);
    if (picture && !this.off && this.news === news) {
      const { canvas } = this;
      const { width, height } = picture;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
      Object.assign(this, { stamp: stampOf(data), drawn: this.drawn + 1 });
      if (this.is !== "live") this.say("live", "");
      this.keep(data, performance.now());
    }
    picture?.close();
    this.busy = false;
    if (this.waiting) return this.draw();
    this.link.send("next");
  }

  /** Keeps two pictures a second, of 30 s and 8 MB at most. */
  keep(data, at) {
    if (at - this.kept[0]?.at < 500) return;
    let size = 0;
    this.kept = [{ at, data }, ...this.kept].filter(it => at - it.at < 3e4 && (size += it.data.byteLength) < 8e6);
  }

  say(is, why) {
    if (is !== "live") this.waiting = null;
    Object.assign(this, { is, why, news: this.news + 1 });
    this.changed();
  }

  /** The age of the last picture in ms; null: none. */
  age(now, rtt) {
    if (this.is === "live" && this.lostAt !== null && now - this.lostAt > LOST) this.say("away", "");
    return this.stamp === null ? null : this.clock.age(this.stamp, now, rtt);
  }

  /** Switches the picture off or on. */
  switchOff(off) {
    this.off = off;
    this.stamp = null;
    this.show(!off);
    this.say(off ? "off" : "starting");
  }

  /** Ends the pictures of a hidden page. */
  show(isSeen) {
    if (isSeen && !this.off) this.link.wake();
    else this.link.sleep();
  }
}

const stampOf = data => Number(new DataView(data).getBigUint64(0));
