// Owns driving in the page: turns held keys and pads into presses, renewals, releases and stops, by
// the console's rules. Pure: `update` is given an event and the time, and returns what to send and say.
// The car's lease decides when the car stops by itself.

import { TOO_SLOW, VIDEO_OLD, holder, isArmed, isUp, obstacle, roundTrip } from "./facts.js";
import { refusals, why } from "./words.js";

export * from "./facts.js";

const HEARTBEAT = 50; // pause between two renewals of a lease: eight within the usual one
const PULSES_ONLY = 300; // above this round trip a press is one bounded pulse
export const LATE = 200; // a page that is later than this throws input away and disarms
const PULSE = 250; // long enough to see the car move
const WAIT = 500; // longest wait of a press for control and for the car's clock
const PROBE = 250; // pause between two measurements of the round trip
const TICK_FRESH = 1000; // an older tick is no proof that the car gets our messages
const SILENT_KEY = 5000; // a key that never repeated is released by then
const SILENCE = 200; // least time after which a key whose repeats stop is released
const SLOW_REPEAT = 1000; // a longer gap between two repeats is not measured

/** Takes in an event, and returns effects: `{send}` a message, `{say}` a sentence. */
export function update(s, event, now) {
  Object.assign(s, { now, isTick: event.type === "tick" });
  const out = [];
  handlers[event.type](s, event, out);
  const rtt = roundTrip(s);
  if (!isUp(s) || (rtt !== null && rtt > TOO_SLOW)) s.healthySince = null;
  else s.healthySince ??= now;
  passTime(s, out);
  return out;
}

const handlers = {
  open(s) {
    const connection = { is: "up", since: s.now };
    Object.assign(s, { connection, session: null, probe: null, rtt: null, tick: null, watched: false });
  },
  closed(s, { why, retryAt }) {
    const since = s.connection.is === "lost" ? s.connection.since : s.now;
    s.connection = { is: "lost", since, why, retryAt };
    Object.assign(s, { session: null, probe: null, watched: false });
  },
  message(s, { message }, out) {
    const [kind, body] = typeof message === "string" ? [message] : Object.entries(message)[0];
    messages[kind]?.(s, body, out);
  },
  visible(s, { visible }, out) {
    s.visible = visible;
    if (!visible) letGo(s, out);
  },
  down,
  repeat(s, { direction }) {
    const hold = s.hold;
    if (hold?.from !== "key" || hold.direction !== direction) return;
    const gap = s.now - hold.last;
    // The first gap is the keyboard's delay; later ones are between repeats.
    if (!hold.heard) s.delays[hold.key] = Math.max(s.delays[hold.key] ?? 0, gap);
    hold.last = s.now;
    if (gap < SLOW_REPEAT) hold.repeat = hold.repeat && hold.measured ? Math.max((hold.repeat + gap) / 2, gap) : gap;
    hold.measured = hold.repeat !== undefined && hold.heard;
    hold.heard = true;
  },
  up(s, { from, direction }, out) {
    if (s.hold?.from !== from || (direction !== undefined && s.hold.direction !== direction)) return;
    s.hold = s.waits = null;
    release(s, out);
  },
  // The focus, the pointer or the gamepad is gone.
  letGo: (s, _, out) => letGo(s, out),
  // A click on a pad that has no release.
  pulse: (s, { direction }, out) => down(s, { from: "click", direction, pulse: true }, out),
  stop(s, _, out) {
    endPress(s);
    s.latch = "stopped";
    out.push({ send: "stop" });
  },
  arm(s, _, out) {
    // A key whose release was lost counts as held for as long as it would drive.
    if (s.hold && s.now < movesUntil(s, s.hold)) return out.push({ say: why.keyHeld });
    const no = obstacle(s);
    if (no) return out.push({ say: no });
    s.latch = null;
    const who = holder(s);
    if (who.is === "us") return;
    out.push({ send: { control: "take" } });
    if (who.is === "other") out.push({ say: why.asked(who.name), mild: true });
  },
  disarm(s, _, out) {
    leave(s, out);
    s.latch = "plain";
  },
  // Somebody types, which must not drive.
  leave: (s, _, out) => leave(s, out),
  grant(s, _, out) {
    letGo(s, out);
    out.push({ send: { control: "grant" } });
  },
  deny: (s, _, out) => out.push({ send: { control: "deny" } }),
  seize: (s, _, out) => out.push({ send: { control: "seize" } }),
  tick: picture,
  picture,
  late: (s, { by }, out) => fail(s, why.late(by), out),
};

/** Notes the picture's age, which bounds a press that began with pictures, even if the pictures stop. */
function picture(s, { videoAge = null, isLive = true }) {
  if (s.press && (isLive || videoAge === null)) s.press.sees = videoAge !== null;
  s.videoAge = isLive || s.press?.sees ? videoAge : null;
}

const messages = {
  car(s, { session, key, role, car }) {
    Object.assign(s, { session, key, role });
    setCar(s, car);
  },
  up: (s, car) => setCar(s, car),
  down(s, { why }) {
    if (s.car) Object.assign(s.car, { is_up: false, since: s.now, why });
    s.tick = s.moving = null;
  },
  gone: s => (s.car = s.tick = s.moving = null),
  tick: (s, ms) => (s.tick = { ms, at: s.now }),
  rtt: (s, us) => (s.carRtt = us / 1000),
  hop: (s, us) => (s.hopRtt = us / 1000),
  probe(s, number) {
    if (s.probe?.number !== number) return;
    s.rtt = s.now - s.probe.at;
    s.probe = null;
  },
  control: (s, control) => setControl(s, control),
  motion: (s, event, out) => motion(s, event, out),
  refused(s, { press, message }, out) {
    if (press && same(s.press?.id, press)) endPress(s);
    else if (press && !s.press && same(s.last, press)) cut(s);
    else if (!press && s.waits !== null) {
      s.waits = null;
      cut(s);
    }
    out.push({ say: message });
  },
  go_away: (s, _, out) => out.push({ say: why.restarts }),
};

function setCar(s, car) {
  const isOther = s.car && car && s.car.name !== car.name;
  if (isOther) s.ran = null;
  // Another car on this port moves only after a new press.
  if (isOther && isArmed(s)) {
    endPress(s);
    s.epoch = null;
    s.latch ??= "plain";
  }
  s.car = car && { ...car, since: s.now - car.since_ms, why: isOther ? "" : s.car?.why ?? "" };
  s.hopRtt = null;
  s.carRtt = car?.rtts_us.length ? car.rtts_us.at(-1) / 1000 : null;
  s.moving = car?.moving ?? null;
  s.tick = null;
  setControl(s, car?.control ?? null);
}

function setControl(s, control) {
  if (s.car) s.car.control = control;
  s.requestUntil = control?.request ? s.now + control.request[1] : null;
}

const same = (a, b) => !!a && !!b && a.epoch === b.epoch && a.number === b.number;

function down(s, hold, out) {
  s.waits = null;
  const who = holder(s);
  const no = obstacle(s)
    ?? (who.is === "other" ? why.held(who.name) : null)
    ?? (s.latch ? why.needsArming : null)
    ?? (hold.direction >= s.car.motion.length ? why.noCommand : null);
  s.hold = { ...hold, last: s.now };
  if (no) {
    release(s, out);
    cut(s);
    return out.push({ say: no });
  }
  s.waits = s.now;
  if (who.is === "nobody") out.push({ send: { control: "take" } });
  followControl(s, out);
  beginIfPossible(s, out);
}

function passTime(s, out) {
  const isConnected = s.connection.is === "up" && s.session !== null;
  const wants = isConnected && s.visible;
  if (isConnected && s.watched !== wants) {
    s.watched = wants;
    out.push({ send: { watch: wants } });
    s.tick = null;
  }
  if (wants && !s.probe && s.now >= s.probed + PROBE) {
    s.probe = { number: ++s.probes, at: s.now };
    s.probed = s.now;
    out.push({ send: { probe: s.probes } });
  }
  if (!isUp(s)) {
    if (s.press || s.epoch !== null || s.waits !== null) {
      const wasDriving = s.press || s.unanswered;
      endPress(s);
      Object.assign(s, { unanswered: false, epoch: null, latch: wasDriving ? "failsafe" : "plain" });
    }
    return;
  }
  followControl(s, out);
  if (s.waits !== null) beginIfPossible(s, out);
  if (s.press) keepMoving(s, out);
}

function followControl(s, out) {
  const who = holder(s);
  if (who.is === "us") {
    if (s.epoch !== null && s.epoch !== who.epoch) endPress(s);
    s.epoch = who.epoch;
  } else if (s.epoch !== null) {
    endPress(s);
    s.epoch = null;
    s.latch ??= "plain";
    out.push({ say: why.controlGone });
  }
}

function beginIfPossible(s, out) {
  if (!s.hold) return void (s.waits = null);
  const who = holder(s);
  if (who.is !== "us" || !s.tick || s.now - s.tick.at >= TICK_FRESH) {
    if (s.now >= s.waits + WAIT) {
      s.waits = null;
      cut(s);
      out.push({ say: why.noAnswer });
    }
    return;
  }
  const rtt = roundTrip(s);
  const isSlow = rtt > PULSES_ONLY;
  const hold = s.hold;
  Object.assign(hold, { since: s.now, last: Math.max(hold.last, s.now), pulse: hold.pulse || isSlow });
  s.waits = null;
  const id = { epoch: who.epoch, number: ++s.number };
  s.press = { id, direction: hold.direction, sent: s.now };
  s.last = id;
  s.unanswered = true;
  s.pressed = { id, direction: hold.direction, at: s.now };
  const command = s.car.motion[hold.direction];
  out.push({ send: { press: { press: id, command, tick_ms: s.tick.ms } } });
  if (isSlow) out.push({ say: why.pulseOnly(rtt) });
}

function keepMoving(s, out) {
  if (s.videoAge > VIDEO_OLD) return fail(s, why.videoStopped(s.videoAge), out);
  const rtt = roundTrip(s);
  const hold = s.hold;
  if (rtt > PULSES_ONLY && hold && !hold.pulse) {
    hold.pulse = true;
    out.push({ say: rtt > TOO_SLOW ? why.tooSlow(rtt) : why.pulseOnly(rtt) });
  }
  if (!hold || hold.cut || s.now >= movesUntil(s, hold)) {
    release(s, out);
    return cut(s);
  }
  // An event that waited for a stalled page renews nothing.
  if (s.isTick && s.now >= s.press.sent + HEARTBEAT) {
    s.press.sent = s.now;
    out.push({ send: { renew: { press: s.press.id, tick_ms: s.tick?.ms ?? 0 } } });
  }
}

/** The time at which this hold ends by itself. Pointers and gamepads report their releases. */
function movesUntil(s, hold) {
  if (hold.pulse) return hold.since + PULSE;
  if (hold.from !== "key") return Infinity;
  // A key that repeats is silent for longer only if its release was lost.
  const longest = 2 * (s.delays[hold.key] ?? Infinity);
  if (!hold.measured) return hold.last + Math.min(Math.max(longest, SLOW_REPEAT), SILENT_KEY);
  return hold.last + Math.max(3 * hold.repeat, SILENCE);
}

function motion(s, event, out) {
  const [kind, body] = typeof event === "string" ? [event] : Object.entries(event)[0];
  const ours = !!body?.press && same(body.press, s.last);
  const reports = {
    started() {
      s.moving = body;
      if (s.pressed && same(s.pressed.id, body.press)) s.beganIn = s.now - s.pressed.at;
    },
    over() {
      if (s.moving) s.lastMoved = s.moving.command;
      s.moving = null;
      if (!ours) return;
      s.unanswered = false;
      if (body.cause === "lease" || body.cause === "watchdog") ended(s, why.lease, "failsafe", out);
      else if (body.cause === "released" && !s.press) return;
      else if (s.press && body.cause === "asked") ended(s, why.stoppedByAnother, null, out);
      else endPress(s);
    },
    refused() {
      if (!ours) return;
      s.unanswered = false;
      // Of our own presses only the newest counts.
      if (body.why !== "replaced") ended(s, why.refused(refusals[body.why] ?? body.why), null, out);
    },
    ended() {
      s.ran = { command: s.moving?.command ?? s.lastMoved ?? "motion", ...body, at: s.now };
    },
    stopped() {
      s.ran = { command: s.car?.stop ?? "stop", ...body, at: s.now };
      if (body.cause === "asked" && !s.press && s.waits === null) cut(s);
    },
    stands() {
      s.moving = null;
      if (s.car) s.car.stop_failed = false;
      s.unanswered = !!s.press;
    },
    stop_failed() {
      if (s.car) s.car.stop_failed = true;
      ended(s, why.stopFailed, "failsafe", out);
    },
  };
  reports[kind]?.();
}

function ended(s, sentence, latch, out) {
  endPress(s);
  if (latch) s.latch = latch;
  out.push({ say: sentence });
}

/** Stops and disarms: the page was late, or its picture is old. */
function fail(s, sentence, out) {
  cut(s);
  if (!s.press && s.epoch === null && s.waits === null) return;
  const wasDriving = !!s.press;
  endPress(s);
  out.push({ send: "stop" });
  leave(s, out);
  s.latch = wasDriving ? "failsafe" : "plain";
  out.push({ say: sentence });
}

/** Lets go, and gives control back. */
function leave(s, out) {
  letGo(s, out);
  s.epoch = null;
  const who = holder(s);
  if (who.is === "us") {
    s.givenBack = who.epoch;
    out.push({ send: { control: "release" } });
  }
}

function letGo(s, out) {
  s.waits = s.hold = null;
  release(s, out);
}

function release(s, out) {
  if (s.press) out.push({ send: { release: s.press.id } });
  s.press = null;
}

/** Ends the press; the held key moves nothing any more. */
function endPress(s) {
  s.press = s.waits = null;
  cut(s);
}

function cut(s) {
  if (s.hold) s.hold.cut = true;
}
