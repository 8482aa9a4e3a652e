// Owns driving in the page, by the console's rules. Pure: `update` is given an event and the time, and
// returns what to send and say.

import { TOO_SLOW, VIDEO_OLD, holder, isArmed, isKnown, isUp, mover, needsArming, obstacle, roundTrip, stopFailed } from "./facts.js";
import { refusals, why } from "./words.js";

export * from "./facts.js";

const HEARTBEAT = 50; // pause between two renewals of a lease: eight within the usual one
const PULSES_ONLY = 300; // above this round trip a press is one bounded pulse
export const LATE = 200; // a page that is later than this throws input away and disarms
const PULSE = 250; // long enough to see the car move
const WAIT = 500; // longest wait of a press for control and for the car's clock
const PAST = 60_000; // time of the car's past that is asked for
const PROBE = 250; // pause between two measurements of the round trip
const DRIFT = 1e4; // clocks of machines differ by less than 1 in so many
const TICK_FRESH = 1000; // an older tick is no proof that the car gets our messages
const SILENT_KEY = 5000; // a key that never repeated is released by then
const SILENCE = 200; // least time after which a key whose repeats stop is released
const SLOW_REPEAT = 1000; // a longer gap between two repeats is not measured

const BEGUN = 15; // vibration when the car has begun to move, in ms
const STOPPED = [60, 60, 60]; // and when it is stopped, or has stopped itself

// While these hold, so does a sentence.
const isOthers = s => holder(s).is === "other";
const isStanding = s => !s.press && s.waits === null;
const isReady = s => isStanding(s) && s.latch === null;
const isFailsafe = s => s.latch === "failsafe";
const isSlow = s => roundTrip(s) > PULSES_ONLY;

/**
 * Takes an event; returns effects: `{send}` a message, `{say}` a sentence and what it `holds` of, `{buzz}` a
 * vibration.
 */
export function update(s, event, now) {
  Object.assign(s, { now, isTick: event.type === "tick" });
  const out = [];
  handlers[event.type](s, event, out);
  const rtt = roundTrip(s);
  if (!isKnown(s) || rtt > TOO_SLOW) s.healthySince = null;
  else s.healthySince ??= now;
  passTime(s, out);
  return out;
}

const handlers = {
  open(s) {
    const connection = { is: "up", since: s.now };
    Object.assign(s, { connection, heard: s.now, session: null, probe: null, rtt: null, tick: null, watched: false });
  },
  closed(s, { why, retryAt }) {
    const since = s.connection.is === "lost" ? s.connection.since : s.now;
    s.connection = { is: "lost", since, why, retryAt };
    Object.assign(s, { session: null, probe: null, watched: false });
  },
  message(s, { message }, out) {
    const [kind, body] = typeof message === "string" ? [message] : Object.entries(message)[0];
    s.heard = s.now;
    messages[kind]?.(s, body, out);
  },
  visible(s, { visible }, out) {
    s.visible = visible;
    // A hidden page asks for nothing.
    s.heard = s.now;
    if (!visible) letGo(s, out);
  },
  down,
  repeat(s, { direction }) {
    const hold = s.hold;
    if (hold?.from !== "key" || hold.direction !== direction) return;
    const gap = s.now - hold.last;
    // The first gap is the keyboard's delay.
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
    out.push({ send: "stop" }, { buzz: STOPPED });
  },
  arm(s, _, out) {
    // A key whose release was lost is held as long as it would drive.
    if (s.hold && s.now < movesUntil(s, s.hold)) return out.push({ say: why.keyHeld, holds: s => s.hold });
    const no = obstacle(s);
    if (no) return out.push({ say: no, holds: obstacle });
    s.latch = null;
    const who = holder(s);
    if (who.is === "us") return;
    out.push({ send: { control: "take" } });
    if (who.is === "other") out.push({ say: why.asked(who.name), mild: true, holds: isOthers });
  },
  disarm(s, _, out) {
    leave(s, out);
    s.latch = "plain";
  },
  // Somebody types, which must not drive.
  leave: (s, _, out) => leave(s, out),
  grant(s, _, out) {
    const [asker] = s.car?.control.request ?? [];
    if (!asker) return;
    letGo(s, out);
    s.grants = asker.session;
    out.push({ send: { control: "grant" } });
  },
  deny: (s, _, out) => out.push({ send: { control: "deny" } }),
  seize: (s, _, out) => out.push({ send: { control: "seize" } }),
  record(s, _, out) {
    const recording = s.car?.control.recording;
    out.push(recording ? { send: { record: !recording.asked } } : { say: why.noRecordings });
  },
  tick: picture,
  picture,
  late: (s, { by }, out) => fail(s, why.late(by), out),
};

/** Notes the picture's age, which bounds a press that began with pictures. */
function picture(s, { videoAge = null, isLive = true }) {
  if (s.press && (isLive || videoAge === null)) s.press.sees = videoAge !== null;
  s.videoAge = isLive || s.press?.sees ? videoAge : null;
}

const messages = {
  car(s, { session, key, role, car }, out) {
    Object.assign(s, { session, key, role });
    setCar(s, car);
    askForPast(s, out);
  },
  up(s, car, out) {
    setCar(s, car);
    askForPast(s, out);
  },
  past,
  down(s, { why }) {
    if (s.car) Object.assign(s.car, { is_up: false, since: s.now, why });
    s.tick = s.moving = null;
  },
  asked: (s, asked) => (s.asked = asked),
  gone: s => (s.car = s.tick = s.moving = null),
  tick(s, ms) {
    // Of all ticks the one with the shortest way tells: a frozen router passes on late what it held up. Clocks drift.
    const before = s.tick ? s.behind + (s.now - s.tick.at) / DRIFT : s.behind ?? Infinity;
    Object.assign(s, { tick: { ms, at: s.now }, behind: Math.min(before, s.now - ms), silentSince: null });
  },
  rtt: (s, us) => Object.assign(s, { carRtt: us / 1000, silentSince: null }),
  silent: (s, ms) => (s.silentSince = s.now - ms),
  hop: (s, us) => (s.hopRtt = us / 1000),
  probe(s, number) {
    if (s.probe?.number !== number) return;
    s.rtt = s.now - s.probe.at;
    s.probe = null;
  },
  control(s, control, out) {
    const was = s.car?.control.driver;
    const failed = control.recording?.failure;
    if (failed && failed !== s.car?.control.recording?.failure) out.push({ say: why.notRecorded(failed) });
    setControl(s, control);
    const is = control.driver;
    // Of our own control `followControl` tells.
    if (s.epoch !== null || was?.session === is?.session || [was, is].some(it => it?.session === s.session)) return;
    const [say, session] = is ? [why.drives(is.name), is.session] : [why.drivesNoMore(was.name), undefined];
    out.push({ say, mild: true, holds: s => s.car?.control.driver?.session === session });
  },
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
  go_away(s, _, out) {
    const { session } = s;
    out.push({ say: why.restarts, mild: true, holds: s => s.session === session || s.session === null });
  },
};

/** Asks why the car stopped while it was not heard. */
function askForPast(s, out) {
  if (!s.car?.is_up || !s.car.past || !isFailsafe(s) || !s.last) return;
  s.past = "";
  out.push({ send: { past: PAST } });
}

/** Tells why, once the answer is whole. */
function past(s, { lines, more }, out) {
  s.past = (s.past ?? "") + lines;
  if (more) return;
  const entries = s.past.split("\n").flatMap(line => {
    try {
      const entry = JSON.parse(line);
      return entry?.event ? [entry] : [];
    } catch {
      return []; // cut off, or empty
    }
  });
  s.past = "";
  const now = entries.find(entry => entry.event === "now");
  const over = entries.findLast(({ event }) => same(event.motion?.over?.press, s.last))?.event.motion.over;
  const guardian = entries.findLast(({ event }) => same(event.guardian?.press, s.last))?.event.guardian;
  const at = over?.clock_ms ?? guardian?.clock_ms;
  if (!now || at === undefined || !isFailsafe(s)) return;
  const ago = Math.max(0, now.clock_ms - at);
  const say = over?.cause === "asked" ? why.stoppedBy(over.by, ago) : why.lease(s.car.lease_ms, over?.cause, ago, guardian);
  out.push({ say: `${say}. Take control`, holds: isFailsafe, isReason: true });
}

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
  // When it began is not said.
  Object.assign(s, { moving: car?.moving ?? null, movingSince: null });
  s.tick = s.behind = null;
  s.silentSince = car?.silent_ms ? s.now - car.silent_ms : null;
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
  const no = [
    [obstacle(s), obstacle],
    [who.is === "other" && why.held(who.name), isOthers],
    [s.latch && why.needsArming, needsArming],
    [hold.direction >= s.car?.motion.length && why.noCommand],
  ].find(([say]) => say);
  s.hold = { ...hold, last: s.now };
  if (no) {
    release(s, out);
    cut(s);
    return out.push({ say: no[0], holds: no[1] });
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
      if (wasDriving) out.push({ say: why.lost(s.car?.lease_ms ?? 400), holds: isFailsafe, isReason: true }, { buzz: STOPPED });
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
    if (s.epoch !== who.epoch) s.grants = null;
    if (s.epoch !== null && s.epoch !== who.epoch) endPress(s);
    s.epoch = who.epoch;
  } else if (s.epoch !== null) {
    endPress(s);
    s.epoch = null;
    s.latch ??= "plain";
    const isGiven = s.car?.control.driver?.session === s.grants;
    out.push({
      say: who.is === "other" ? why[isGiven ? "gave" : "took"](who.name) : why.controlGone,
      holds: who.is === "other" ? isOthers : needsArming,
    });
  }
}

function beginIfPossible(s, out) {
  if (!s.hold) return void (s.waits = null);
  const who = holder(s);
  if (who.is !== "us" || !s.tick || s.now - s.tick.at >= TICK_FRESH) {
    if (s.now >= s.waits + WAIT) {
      s.waits = null;
      cut(s);
      out.push({ say: why.noAnswer, holds: isStanding });
    }
    return;
  }
  const rtt = roundTrip(s);
  const hold = s.hold;
  Object.assign(hold, { since: s.now, last: Math.max(hold.last, s.now), pulse: hold.pulse || isSlow(s) });
  s.waits = null;
  const id = { epoch: who.epoch, number: ++s.number };
  s.press = { id, direction: hold.direction, sent: s.now };
  s.last = id;
  s.unanswered = true;
  s.pressed = { id, direction: hold.direction, at: s.now };
  const command = s.car.motion[hold.direction];
  out.push({ send: { press: { press: id, command, tick_ms: s.tick.ms } } });
  if (isSlow(s)) out.push({ say: why.pulseOnly(rtt), holds: isSlow });
}

function keepMoving(s, out) {
  if (s.videoAge > VIDEO_OLD) return fail(s, why.videoStopped(s.videoAge), out);
  const rtt = roundTrip(s);
  const hold = s.hold;
  if (rtt > PULSES_ONLY && hold && !hold.pulse) {
    hold.pulse = true;
    out.push({ say: rtt > TOO_SLOW ? why.tooSlow(rtt) : why.pulseOnly(rtt), holds: isSlow });
  }
  if (!hold || hold.cut || s.now >= movesUntil(s, hold)) {
    release(s, out);
    return cut(s);
  }
  // What waited for a stalled page renews nothing.
  if (s.isTick && s.now >= s.press.sent + HEARTBEAT) {
    s.press.sent = s.now;
    out.push({ send: { renew: { press: s.press.id, tick_ms: s.tick?.ms ?? 0 } } });
  }
}

/** When this hold ends by itself. */
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
      Object.assign(s, { moving: body, movingSince: s.now, lastMoved: body.command });
      if (!s.pressed || !same(s.pressed.id, body.press)) return;
      s.beganIn = s.now - s.pressed.at;
      out.push({ buzz: BEGUN });
    },
    over() {
      const { cause } = body;
      const say = cause === "lease" || cause === "watchdog" ? why.lease(s.car.lease_ms, cause, since(s, body.clock_ms))
        : cause === "asked" ? why.stoppedBy(body.by, since(s, body.clock_ms)) : null;
      if (!ours) return void (say && mover(s) && out.push({ say, mild: true, holds: isStanding }));
      s.unanswered = false;
      if (say && cause !== "asked") ended(s, `${say}. Take control`, "failsafe", out);
      else if (cause === "released" && !s.press) return;
      else if (s.press && say) ended(s, `${say}: press again to drive`, null, out);
      else endPress(s);
    },
    refused() {
      if (!ours) return;
      s.unanswered = false;
      // Of our own presses only the newest counts.
      if (body.why !== "replaced") ended(s, why.refused(refusals[body.why] ?? body.why), null, out);
    },
    ended() {
      s.ran = { command: s.lastMoved ?? "motion", ...body, at: s.now };
    },
    stopped() {
      s.ran = { command: s.car?.stop ?? "stop", ...body, at: s.now };
      if (body.cause === "asked" && !s.press && s.waits === null) cut(s);
      if (s.car) s.car.stop_failure = body.failure;
      // Nothing was tried: there is no stop command, and the car stands.
      if (body.failure?.tries === 0 && s.latch === "stopped") {
        s.latch = "plain";
        out.push({ say: why.noStop(body.failure.said), holds: s => s.latch !== null, isReason: true });
      } else if (body.failure && stopFailed(s)) out.push({ say: why.stopFailed(body.failure), holds: stopFailed, isReason: true });
    },
    stands() {
      s.moving = null;
      if (s.car) s.car.stop_failed = false;
      s.unanswered = !!s.press;
    },
    stop_failed() {
      if (s.car) s.car.stop_failed = true;
      ended(s, why.stopFailed(s.car?.stop_failure), "failsafe", out);
    },
  };
  reports[kind]?.();
}

function ended(s, say, latch, out) {
  endPress(s);
  if (latch) s.latch = latch;
  out.push({ say, holds: latch ? isFailsafe : isReady, isReason: true }, { buzz: STOPPED });
}

/** The time that has gone by since the car's clock was at `ms`. */
export const since = (s, ms) => (s.behind !== null && ms !== undefined ? Math.max(0, s.now - ms - s.behind) : 0);

/** Stops and disarms. */
function fail(s, sentence, out) {
  cut(s);
  if (!s.press && s.epoch === null && s.waits === null) return;
  const wasDriving = !!s.press;
  endPress(s);
  out.push({ send: "stop" });
  leave(s, out);
  s.latch = wasDriving ? "failsafe" : "plain";
  out.push({ say: sentence, holds: s => s.latch !== null, isReason: true }, { buzz: STOPPED });
}

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

/** Ends the press; the held key moves nothing. */
function endPress(s) {
  s.press = s.waits = null;
  cut(s);
}

function cut(s) {
  if (s.hold) s.hold.cut = true;
}
