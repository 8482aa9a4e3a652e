// Owns what driving goes by: the state of the page, and what follows from it. Pure.

import { why } from "./words.js";

export const HEALTHY = 500; // how long a link must have been healthy before anything moves
export const TOO_SLOW = 1000; // above this one the car would drop all that we send
export const VIDEO_OLD = 1000; // who drives by an older picture is stopped
const TICK_DUE = 300; // ticks come ten times a second to a driver: more silence is a slow link

/** How a page begins. */
export const start = now => ({
  now,
  connection: { is: "connecting", since: now, why: "", retryAt: null },
  session: null, key: "", role: "view",
  car: null, // LinkInfo of the router, with `since` and `why`
  requestUntil: null,
  moving: null, ran: null,
  tick: null, rtt: null, carRtt: null, probe: null, probed: -Infinity, probes: 0,
  healthySince: null, visible: true, watched: false,
  videoAge: null, // of the picture that is driven by; null: none is
  latch: null, // stopped, failsafe or plain: nothing moves before control is taken anew
  epoch: null, number: 0, hold: null, waits: null, press: null, last: null,
  unanswered: false, givenBack: null, pressed: null, beganIn: null,
});

export const mayDrive = s => s.role === "drive" || s.role === "admin";
export const isUp = s => s.connection.is === "up" && s.session !== null && !!s.car?.is_up;
export const stopFailed = s => !!s.car?.stop_failed;
export const isArmed = s => s.epoch !== null || s.waits !== null;

/** Who has control, but for what we have given back already. */
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

/** Whether nothing moves before control was taken by a wish of its own: A, or the button. */
export const needsArming = s => s.latch !== null || holder(s).is === "other";

/** The round trip to the car over both hops, or how long we wait for one by now. */
export function roundTrip(s) {
  const waiting = s.probe ? s.now - s.probe.at : 0;
  if (s.rtt === null && !s.probe) return null;
  const both = Math.max(s.rtt ?? 0, waiting) + (s.carRtt ?? 0);
  const silence = s.tick && isArmed(s) ? s.now - s.tick.at : 0;
  return silence > TICK_DUE ? Math.max(both, silence) : both;
}

export const isSettled = s => s.healthySince !== null && s.now - s.healthySince >= HEALTHY;

/** Why nothing may move now, whoever asks. */
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
