// Owns the sentences of the page.

const digits = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 1 };
/** The time of day so long ago. */
const clock = ago => new Date(Date.now() - ago).toLocaleTimeString([], digits);
const ms = time => `${Math.round(time)} ms`;
export const seconds = time => `${(time / 1000).toFixed(1)} s`;

/** The reasons why a motion doesn't begin, or has ended. */
export const why = {
  mayNot: "this key may watch and stop, and not drive: use a drive key",
  offline: "the car is offline: nothing moves until it is back and you press anew",
  stopFailed(failure) {
    if (!failure) return "STOP FAILED: nothing moves until a stop has succeeded (STOP tries again)";
    const { said, tries, again_ms: again } = failure;
    const next = typeof again === "number" ? `; next try at ${clock(-again)}` : "";
    return `STOP FAILED ${tries} times${said ? `: ${said}` : ""}${next}. STOP tries at once`;
  },
  noStop: said => `nothing was run to stop the car, which has no stop command that works: ${said}`,
  needsArming: "take control again first: the button, or A",
  unsettled: "the link must be healthy for half a second first: press again",
  tooSlow: rtt => `refused: the round trip is ${ms(rtt)}; above 1 s the car drops what we send`,
  pulseOnly: rtt => `one short pulse only: the round trip is ${ms(rtt)} (above 300)`,
  videoOld: age => `refused: the picture is ${seconds(age)} old; wait, or switch it off`,
  videoStopped: age => `stopped: the picture is ${seconds(age)} old. Take control to go on`,
  keyHeld: "let go of all directions first, then take control",
  held: name => `${name} drives: ask for control; STOP stops the car all the same`,
  asked: name => `asked ${name} for control: no answer within 10 s means no`,
  noAnswer: "control or the car's clock did not come within half a second: press again",
  noCommand: "this car has no command for that direction",
  stoppedBy: (by, ago) => `${by ?? "somebody"} stopped the car at ${clock(ago)}`,
  lease(time, cause, ago, guardian) {
    const reason = cause === "lease" ? `: it heard nothing for ${ms(time)}` : guardian ? "" : ": a process there died or hung";
    const by = guardian && (guardian.has_stopped ? "; by its guardian" : "; its guardian could not stop it");
    return `the car stopped itself at ${clock(ago)}${reason}${by ? `${by} (${guardian.cause})` : ""}`;
  },
  lost: time => `the link was lost at ${clock(0)}: the car stops itself ${ms(time)} after it last heard you. Take control`,
  refused: reason => `the car refused: ${reason}`,
  took: name => `${name} took control: you may ask for it`,
  drives: name => `${name} took control`,
  noRecordings: "This router makes no recordings: start it with --record DIR",
  notRecorded: why => `Not recorded: ${why}`,
  drivesNoMore: name => `${name} drives no more`,
  gave: name => `you gave control to ${name}`,
  controlGone: "control is gone: take it again with the button, or A",
  late: by => `this page was ${ms(by)} late: stopped, waiting input thrown away. Take control`,
  stopped: "the car has stopped",
  notStopped: reason => `the stop failed: ${reason}`,
  noWay: "no link to the router; the lease stops the car",
  noReport: "No report: the router does not answer",
  restarts: "the router restarts: back in a moment",
};

/** The car's reasons for refusing a press. */
export const refusals = {
  old: "the press came too late, over a slow link",
  over: "that press had been ended before",
  replaced: "a newer motion took its place",
  stop_failed: "its stop command is missing or fails, and nothing moves without",
  not_started: "the command could not be started (see the log)",
};

/** The end of a process, for people. */
export function ending(end) {
  if (end === null || end === undefined) return "did not run";
  if (end.exit !== undefined) return `exit ${end.exit}`;
  if (end.signal !== undefined) return `signal ${end.signal}`;
  return String(end).replace("_", " ");
}

export function short(time) {
  if (time < 10) return `${time.toFixed(1)} ms`;
  return time < 1000 ? ms(time) : seconds(time);
}

export function ago(time) {
  const s = Math.max(0, Math.round(time / 1000));
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
}

/** The next possible step. */
export function whatNow(state, { stopFailed, mayDrive, settled, other, latched }) {
  if (stopFailed) return "STOP tries to stop again";
  if (state === "OFFLINE") return "nothing can be sent now";
  if (state === "NO ANSWER") return "no answer: STOP is sent all the same";
  if (!mayDrive) return "watching; STOP stops the car";
  if (!settled) return "one moment: the link settles";
  if (state === "STOPPED") return "stopped: take control to go on";
  if (state === "FAILSAFE") return "failsafe: take control to go on";
  if (state === "DRIVING") return "let go to stop";
  if (state === "ARMED") return "hold a direction to drive";
  if (other) return `${other} drives: you may ask for control`;
  return latched ? "take control to drive" : "press a direction: that takes control and drives";
}
