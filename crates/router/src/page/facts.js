// Owns the state of the page, and the facts that follow from it. Pure.

import { why } from "./words.js";

export const HEALTHY = 500; // time for which a link must have been healthy before anything moves
export const TOO_SLOW = 1000; // above this round trip the car would drop everything that we send
export const VIDEO_OLD = 1000; // a driver with an older picture is stopped
const TICK_DUE = 300; // ticks come ten times a second to a driver: more silence is a slow link

/** The state of a new page. */
export const start = now => ({
  now,
  connection: { is: "connecting", since: now, why: "", retryAt: null },
  session: null, key: "", role: "view",
  car: null, // LinkInfo of the router, with `since` and `why`
  requestUntil: null,
  moving: null, ran: null,
  tick: null, rtt: null, hopRtt: null, carRtt: null, probe: null, probed: -Infinity, probes: 0,
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

/** The holder of control; nobody, once we have given it back. */
export function holder(s) {
  const { driver, epoch } = s.car?.control ?? {};
  if (!driver) return { is: "nobody" };
  if (driver.session !== s.session) return { is: "other", name: driver.name };
  return s.givenBack === epoch ? { is: "nobody" } : { is: "us", epoch };
}

/** The state to show: one of the six words. */
export function stateOf(s) {
  if (!isUp(s)) return "OFFLINE";
  if (s.press) return "DRIVING";
  if (s.latch === "stopped") return "STOPPED";
  if (s.latch === "failsafe") return "FAILSAFE";
  return !s.latch && holder(s).is === "us" ? "ARMED" : "VIEW";
}

/** True if control must be taken expressly: with A, or the button. */
export const needsArming = s => s.latch !== null || holder(s).is === "other";

/** The round trip to the car over all hops, or our wait for one so far. */
export function roundTrip(s) {
  const waiting = s.probe ? s.now - s.probe.at : 0;
  if (s.rtt === null && !s.probe) return null;
  const both = Math.max(s.rtt ?? 0, waiting) + (s.carRtt ?? 0);
  const silence = s.tick && isArmed(s) ? s.now - s.tick.at : 0;
  return silence > TICK_DUE ? Math.max(both, silence) : both;
}

export const isSettled = s => s.healthySince !== null && s.now - s.healthySince >= HEALTHY;

/** The reason why nothing may move now; null: there is none. */
export function obstacle(s) {
  const rtt = roundTrip(s);
  if (s.session !== null && !mayDrive(s)) return why.mayNot;
  if (!isUp(s)) return why.offline;
  if (stopFailed(s)) return why.stopFailed;
  if (rtt !== null && rtt > TOO_SLOW) return why.tooSlow(rtt);
  if (!isSettled(s)) return why.unsettled;
  if (s.videoAge > VIDEO_OLD) return why.videoOld(s.videoAge);
  return null;
}
