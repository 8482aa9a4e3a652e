// Owns the look of the page: writes changes of the state into the document.

import * as drive from "./drive.js";
import { Timeline } from "./timeline.js";
import { ago, ending, seconds, short, whatNow } from "./words.js";

const GLYPHS = { VIEW: "○", ARMED: "●", DRIVING: "»", STOPPED: "■", FAILSAFE: "◆", "NO ANSWER": "?", OFFLINE: "✖" };
const ARROWS = ["▲", "▼", "◀", "▶"];
const COLOURS = { VIEW: "#56636f", ARMED: "#0b6fb0", DRIVING: "#12803a" };
const STOP = "#c8141a";
const NOTICE = 8000; // longest time for which a sentence is shown that is no state's reason
const GREY = 500; // an older picture is shown as old

const $ = id => document.getElementById(id);
const CAMERA = { none: "No camera", starting: "The camera starts …", failed: "The camera failed", away: "No picture", off: "Picture off" };

function text(id, value) {
  const it = $(id);
  if (it.textContent !== value) it.textContent = value;
}

function mark(it, name, value) {
  if (it.dataset[name] !== value) it.dataset[name] = value;
}

const hide = (id, isHidden) => ($(id).hidden = isHidden);

/** The icon of the page in this colour, with this glyph. */
const icon = (colour, glyph) =>
  `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="${colour}"/><text x="16" y="24" font-size="22" text-anchor="middle" fill="#fff">${glyph}</text></svg>`)}`;

export class View {
  constructor() {
    Object.assign(this, { notice: null, reason: null, noted: [], line: new Timeline($("line")) });
  }

  /** Shows a sentence until its time is over or what it `holds` of has changed; a `reason` is shown as long as it holds. */
  say({ say, mild, holds = () => true, isReason }, now) {
    const sentence = { say, mild, holds, until: now + NOTICE };
    this.notice = sentence;
    this.noted = [...this.noted.slice(-99), { at: now, say }];
    if (isReason) this.reason = sentence;
  }

  /** The sentence to show now, if any. */
  said(s) {
    if (this.notice && (s.now >= this.notice.until || !this.notice.holds(s))) this.notice = null;
    if (this.reason && !this.reason.holds(s)) this.reason = null;
    return this.notice ?? this.reason;
  }

  show(s, video) {
    const state = drive.stateOf(s);
    const isKnown = drive.isKnown(s);
    const who = drive.holder(s);
    const failed = drive.stopFailed(s);
    const may = drive.mayDrive(s);
    mark(document.body, "state", state);
    mark(document.body, "alarm", String(failed));
    const hasPicture = video.is !== "none" && video.is !== "off";
    mark(document.body, "camera", hasPicture ? "on" : "none");
    text("state", `${GLYPHS[state]} ${state}`);
    if (s.car) for (const id of ["name", "key"]) text(id, s.car[id]);
    const driver = { nobody: "free", us: "you drive", other: `driven by ${who.name}` }[who.is];
    text("driver", isKnown ? who.is === "other" && s.moving?.press ? `${driver}: » ${s.moving.command}` : movesElsewhere(s) ?? driver : "");
    this.showOutside(s, state, failed);
    this.showRing(drive.left(s));
    this.line.show(s, isKnown);
    this.showTimes(s, isKnown);
    this.showStage(s, video, isKnown);
    this.showPads(s, isKnown);
    this.showRequest(s, who);
    this.showFacts(s, isKnown);
    const recording = s.car?.control.recording;
    hide("rec", !isKnown || !recording?.file);
    hide("record", !may);
    text("record", recording?.asked ? "End recording" : "Record 15 min");
    const isOurs = who.is === "us";
    const word = !isOurs || s.latch ? (who.is === "other" ? "Ask for control" : "Take control") : "Give control back";
    text("arm", word);
    mark($("arm"), "does", isOurs && !s.latch ? "disarm" : "arm");
    $("arm").disabled = !may || !isKnown;
    if (s.session !== null && !may) text("arm", "Your key watches and stops");
    hide("seize", !(s.role === "admin" && who.is === "other"));
    const facts = { stopFailed: failed, mayDrive: may, settled: drive.isSettled(s), other: who.name, latched: !!s.latch };
    const now = whatNow(state, facts);
    const said = this.said(s);
    text("tell", failed ? "STOP FAILED: the car may still move. STOP tries again; else cut its power" : said?.say ?? now);
    mark($("tell"), "said", String(!!said || failed));
    mark($("tell"), "mild", String(!failed && !!said?.mild));
  }

  /** Shows in the ring around STOP which part of its time a motion has left. */
  showRing(left) {
    // A full one says nothing of an end.
    const part = Math.round((left ?? 1) * 20) / 20;
    if (part === this.part) return;
    this.part = part;
    $("stop").style.setProperty("--left", part);
  }

  /** Shows the state where the page itself is not seen: in its title and icon. */
  showOutside(s, state, failed) {
    const title = `${failed ? "‼ STOP FAILED" : `${GLYPHS[state]} ${state}`} · ${s.car?.name ?? $("name").textContent}`;
    if (document.title === title) return;
    document.title = title;
    document.querySelector("link[rel=icon]").href = icon(failed ? STOP : COLOURS[state] ?? STOP, failed ? "!" : GLYPHS[state]);
  }

  showTimes(s, isKnown) {
    const silence = drive.silence(s);
    const rtt = isKnown ? drive.roundTrip(s) : null;
    const level = silence || rtt > 200 ? "bad" : rtt < 100 ? "" : "slow";
    const time = `RTT ${rtt === null ? "–" : short(rtt)}${{ slow: " slow", bad: " TOO SLOW" }[level] ?? ""}`;
    text("rtt", silence ? `NO ANSWER ${seconds(silence.time)}` : time);
    mark($("rtt"), "level", level);
    const at = s.car?.router;
    // The page measures all the way to the car's router.
    const parts = [s.rtt - s.hopRtt, s.hopRtt, s.carRtt].map(time => short(Math.max(0, time)));
    text("at", at ? `at ${at} · ${parts.join(" + ")}` : "");
    hide("at", !at);
    const age = s.videoAge;
    text("age", age === null ? "" : `picture ${short(age)}${age > GREY ? " OLD" : ""}`);
    mark($("age"), "level", age > GREY ? "bad" : "");
    hide("age", age === null);
    mark($("stage"), "picture", age === null ? "none" : age > GREY ? "old" : "live");
  }

  showStage(s, video, isKnown) {
    text("moves", ARROWS[moving(s, isKnown)] ?? "");
    const about = CAMERA[video.is] ?? "";
    hide("hint", video.is !== "none");
    text("camera", video.is === "live" ? "" : video.why ? `${about}: ${video.why}` : about);
    hide("picture", video.is === "none");
    text("picture", video.off ? "Picture on" : "Picture off");
    text("lost", isKnown ? "" : hop(s));
    hide("banner", isKnown);
  }

  showPads(s, isKnown) {
    const now = moving(s, isKnown);
    for (const pad of document.querySelectorAll("[data-direction]")) {
      const direction = Number(pad.dataset.direction);
      mark(pad, "asked", String(s.press?.direction === direction));
      mark(pad, "moving", String(now === direction));
      const isOff = !isKnown || !drive.mayDrive(s) || direction >= s.car.motion.length;
      if (pad.ariaDisabled !== String(isOff)) pad.ariaDisabled = String(isOff);
    }
  }

  showRequest(s, who) {
    const [asker] = s.car?.control.request ?? [];
    const left = s.requestUntil ? Math.max(0, Math.ceil((s.requestUntil - s.now) / 1000)) : 0;
    const ours = asker && who.is === "us";
    const asked = asker && who.is === "other" && asker.session === s.session;
    hide("request", !(ours || asked));
    hide("grant", !ours);
    hide("deny", !ours);
    if (ours) text("asks", `${asker.name} asks for control (${left} s)`);
    if (asked) text("asks", `You asked ${who.name} for control (${left} s): silence means no`);
  }

  showFacts(s, isKnown) {
    const last = s.pressed;
    const before = last ? `nothing (last ${ARROWS[last.direction]}, ${ago(s.now - last.at)} ago)` : "–";
    text("asked", s.press ? `${ARROWS[s.press.direction]} press ${s.press.id.number}` : before);
    const began = s.beganIn === null || !s.moving?.press ? "" : `, began in ${short(s.beganIn)}`;
    let acknowledged = "■ stands";
    if (drive.stopFailed(s)) acknowledged = "‼ may still move: the stop fails";
    else if (!isKnown) acknowledged = "? unknown now";
    else if (s.moving) acknowledged = `» ${s.moving.command}${drive.mover(s) ? ` by ${drive.mover(s)}` : began}`;
    text("acknowledged", acknowledged);
    const ran = s.ran;
    text("ran", ran ? `${ran.command} ${ending(ran.end)}, ${short(ran.exec_us / 1000)}, ${ago(s.now - ran.at)} ago` : "–");
  }
}

const moving = (s, isKnown) => (isKnown && s.moving ? s.car.motion.indexOf(s.moving.command) : -1);

/** What moves the car without us, and how long still; null: nothing does. */
function movesElsewhere(s) {
  const by = drive.mover(s);
  if (!by) return null;
  const left = s.moving.press || !s.movingSince ? 0 : s.car.motion_limit_ms - (s.now - s.movingSince);
  return `» MOVES ${s.moving.command}, by ${by}${left > 0 ? `, at most ${seconds(left)} left` : ""}`;
}

/** The sentence about the lost or silent hop. */
function hop(s) {
  const itself = `${drive.holder(s).is === "us" ? "The car" : "A driven car"} stops itself ${s.car?.lease_ms ?? 400} ms after it last heard ${drive.holder(s).is === "us" ? "you" : "its driver"}.`;
  const silent = drive.silence(s);
  if (silent) return `No answer: ${silent.hop} is silent. ${itself}`;
  const { is, since, why, retryAt } = s.connection;
  if (is === "lost") {
    return `Link lost: page → router, since ${ago(s.now - since)}: ${why}. ${itself} Next try in ${seconds(Math.max(0, retryAt - s.now))}.`;
  }
  if (s.session === null) return "Connecting …";
  if (!s.car) return "No car has this port now. It comes back by itself.";
  return `Link lost: router → ${s.car.router ? "router → " : ""}car, since ${ago(s.now - s.car.since)}${s.car.why ? `: ${s.car.why}` : ""}. ${itself} The car dials again by itself.`;
}
