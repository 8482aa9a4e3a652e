// Owns the state of the page, and what follows from it. Pure.

import { why } from "./words.js";

export const HEALTHY = 500; // time for which a link must have been healthy before anything moves
export const TOO_SLOW = 1000; // above this round trip the car would drop everything that we send
export const VIDEO_OLD = 1000; // a driver with an older picture is stopped
const SILENT = 500; // after this silence nothing is shown as if it were so
const TICK_DUE = 300; // ticks come ten times a second to a driver: more silence is a slow link

/** The state of a new page. */
export const start = now => ({
  now,
  connection: { is: "connecting", since: now, why: "", retryAt: null },
  session: null, key: "", role: "view",
  car: null, // LinkInfo of the router, with `since` and `why`
  requestUntil: null,
  moving: null, movingSince: null, asked: null, ran: null, // `asked`: who asked for the motion of a run
  heard: now, silentSince: null, tick: null, behind: null, rtt: null, hopRtt: null, carRtt: null, probe: null, probed: -Infinity, probes: 0,
  healthySince: null, visible: true, watched: false,
  videoAge: null, // age of the picture that the driver sees; null: no picture
  latch: null, // stopped, failsafe or plain: nothing moves before control is taken anew
  epoch: null, number: 0, hold: null, waits: null, press: null, last: null,
  unanswered: false, givenBack: null, pressed: null, beganIn: null,
  delays: {}, // longest wait for a repeat, for each key
});

export const mayDrive = s => s.role === "drive" || s.role === "admin";
export const isUp = s => s.connection.is === "up" && s.session !== null && !!s.car?.is_up;
export const stopFailed = s => !!s.car?.stop_failed;
export const isArmed = s => s.epoch !== null || s.waits !== null;

/** Who has control; nobody, once we gave it back. */
export function holder(s) {
  const { driver, epoch } = s.car?.control ?? {};
  if (!driver) return { is: "nobody" };
  if (driver.session !== s.session) return { is: "other", name: driver.name };
  return s.givenBack === epoch ? { is: "nobody" } : { is: "us", epoch };
}

/** The hop that gives no answer, and for how long; null: none. */
export function silence(s) {
  const late = (at, longest = SILENT) => at !== undefined && s.now - at >= longest ? at : null;
  // A hidden page asks for nothing.
  if (!isUp(s) || !s.visible) return null;
  // An answer of the router is due a round trip after a probe.
  const router = late(s.heard, s.rtt === null ? TOO_SLOW : Math.max(SILENT, s.rtt + SILENT / 2 + 100));
  const since = router ?? s.silentSince ?? late(s.tick?.at);
  if (since === null) return null;
  return { hop: router ? "page → router" : s.car.router ? "router → router → car" : "router → car", time: s.now - since };
}

/** Who moves the car, if not we. */
export function mover(s) {
  const { press, run } = s.moving ?? {};
  if (!s.moving || (press && s.last?.epoch === press.epoch && press.number <= s.last.number)) return null;
  const { driver, epoch } = s.car.control;
  if (press) return driver && press.epoch === epoch ? driver.name : "another driver";
  return s.asked?.run === run ? s.asked.by : "http or send";
}

/** The part of its time after which the car, if it moves, stops unless it hears more; null: not known. */
export function left(s) {
  if (!s.moving && !s.press) return 0;
  const isTimed = s.moving && !s.moving.press;
  const [time, since] = isTimed ? [s.car.motion_limit_ms, s.movingSince] : [s.car.lease_ms, s.tick?.at];
  if (!time || since === null || since === undefined) return null;
  // A tick that is not due yet takes nothing of it.
  const due = isTimed ? 0 : Math.min(TICK_DUE, time / 2);
  return Math.min(1, Math.max(0, (time - (s.now - since)) / (time - due)));
}

export const isKnown = s => isUp(s) && s.visible && !silence(s);

/** The state to show, a word. */
export function stateOf(s) {
  if (!isUp(s)) return "OFFLINE";
  if (silence(s)) return "NO ANSWER";
  if (s.press) return "DRIVING";
  if (s.latch === "stopped") return "STOPPED";
  if (s.latch === "failsafe") return "FAILSAFE";
  return !s.latch && holder(s).is === "us" ? "ARMED" : "VIEW";
}

/** True if only A or the button takes control. */
export const needsArming = s => s.latch !== null || holder(s).is === "other";

/** The round trip to the car, or our wait for one so far. */
export function roundTrip(s) {
  const waiting = s.probe ? s.now - s.probe.at : 0;
  if (s.rtt === null && !s.probe) return null;
  const both = Math.max(s.rtt ?? 0, waiting) + (s.carRtt ?? 0);
  const silence = s.tick && isArmed(s) ? s.now - s.tick.at : 0;
  return silence > TICK_DUE ? Math.max(both, silence) : both;
}

export const isSettled = s => s.healthySince !== null && s.now - s.healthySince >= HEALTHY;

/** Why nothing may move now, or null. */
export function obstacle(s) {
  const rtt = roundTrip(s);
  if (s.session !== null && !mayDrive(s)) return why.mayNot;
  if (!isUp(s)) return why.offline;
  if (stopFailed(s)) return why.stopFailed(s.car.stop_failure);
  if (rtt > TOO_SLOW) return why.tooSlow(rtt);
  if (!isSettled(s)) return why.unsettled;
  if (s.videoAge > VIDEO_OLD) return why.videoOld(s.videoAge);
  return null;
}
