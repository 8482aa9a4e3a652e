// Owns the look of the page: writes the changes in the state of `drive.js` into the document.

import * as drive from "./drive.js";
import { ago, ending, short, whatNow } from "./words.js";

const GLYPHS = { VIEW: "○", ARMED: "●", DRIVING: "▶", STOPPED: "■", FAILSAFE: "◆", OFFLINE: "✖" };
const ARROWS = ["▲", "▼", "◀", "▶"];
const NOTICE = 8000; // time for which a sentence is shown
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

export class View {
  constructor() {
    this.notice = null;
  }

  say(sentence, isMild, now) {
    this.notice = { sentence, until: now + NOTICE };
    mark($("tell"), "mild", String(!!isMild));
  }

  show(s, video) {
    const state = drive.stateOf(s);
    const who = drive.holder(s);
    const failed = drive.stopFailed(s);
    const may = drive.mayDrive(s);
    mark(document.body, "state", state);
    mark(document.body, "alarm", String(failed));
    text("state", `${GLYPHS[state]} ${state}`);
    if (s.car) for (const id of ["name", "key"]) text(id, s.car[id]);
    const driver = { nobody: "free", us: "you drive", other: `driven by ${who.name}` }[who.is];
    text("driver", state === "OFFLINE" ? "" : driver);
    this.showTimes(s, state);
    this.showStage(s, video, state);
    this.showPads(s, state);
    this.showRequest(s, who);
    this.showFacts(s, state);
    const isOurs = who.is === "us";
    const word = !isOurs || s.latch ? (who.is === "other" ? "Ask for control" : "Take control") : "Give control back";
    text("arm", word);
    mark($("arm"), "does", isOurs && !s.latch ? "disarm" : "arm");
    $("arm").disabled = !may || state === "OFFLINE";
    hide("seize", !(s.role === "admin" && who.is === "other"));
    const facts = { stopFailed: failed, mayDrive: may, settled: drive.isSettled(s), other: who.name, latched: !!s.latch };
    const now = whatNow(state, facts);
    const hasNotice = this.notice && s.now < this.notice.until;
    text("tell", failed ? "STOP FAILED: the car may still move. STOP tries again; else cut its power" : hasNotice ? this.notice.sentence : now);
    mark($("tell"), "said", String(hasNotice || failed));
  }

  showTimes(s, state) {
    const rtt = state === "OFFLINE" ? null : drive.roundTrip(s);
    const level = rtt === null || rtt < 100 ? "" : rtt <= 200 ? "slow" : "bad";
    text("rtt", `RTT ${rtt === null ? "–" : short(rtt)}${{ slow: " slow", bad: " TOO SLOW" }[level] ?? ""}`);
    mark($("rtt"), "level", level);
    const at = s.car?.router;
    // The page's own measurement goes all the way to the car's router.
    const parts = [s.rtt - s.hopRtt, s.hopRtt, s.carRtt].map(time => short(Math.max(0, time)));
    text("at", at ? `at ${at} · ${parts.join(" + ")}` : "");
    hide("at", !at);
    const age = s.videoAge;
    text("age", age === null ? "" : `picture ${short(age)}${age > GREY ? " OLD" : ""}`);
    mark($("age"), "level", age > GREY ? "bad" : "");
    hide("age", age === null);
    mark($("stage"), "picture", age === null ? "none" : age > GREY ? "old" : "live");
  }

  showStage(s, video, state) {
    const isUp = state !== "OFFLINE";
    text("moves", ARROWS[moving(s, state)] ?? "");
    const about = CAMERA[video.is] ?? "";
    text("camera", video.is === "live" ? "" : video.why ? `${about}: ${video.why}` : about);
    hide("picture", video.is === "none");
    text("picture", video.off ? "Picture on" : "Picture off");
    text("lost", isUp ? "" : hop(s));
    hide("banner", isUp);
  }

  showPads(s, state) {
    const now = moving(s, state);
    for (const pad of document.querySelectorAll("[data-direction]")) {
      const direction = Number(pad.dataset.direction);
      mark(pad, "asked", String(s.press?.direction === direction));
      mark(pad, "moving", String(now === direction));
      const isOff = state === "OFFLINE" || !drive.mayDrive(s) || direction >= s.car.motion.length;
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

  showFacts(s, state) {
    const last = s.pressed;
    const before = last ? `nothing (last ${ARROWS[last.direction]}, ${ago(s.now - last.at)} ago)` : "–";
    text("asked", s.press ? `${ARROWS[s.press.direction]} press ${s.press.id.number}` : before);
    const began = s.beganIn === null || !s.moving?.press ? "" : `, began in ${short(s.beganIn)}`;
    let acknowledged = "■ stands";
    if (drive.stopFailed(s)) acknowledged = "‼ may still move: the stop fails";
    else if (state === "OFFLINE") acknowledged = "? unknown now";
    else if (s.moving) acknowledged = `▶ ${s.moving.command}${s.moving.press ? "" : " by http or send"}${began}`;
    text("acknowledged", acknowledged);
    const ran = s.ran;
    text("ran", ran ? `${ran.command} ${ending(ran.end)}, ${short(ran.exec_us / 1000)}, ${ago(s.now - ran.at)} ago` : "–");
  }
}

/** The direction of the motion that the car has reported. */
const moving = (s, state) => (state !== "OFFLINE" && s.moving ? s.car.motion.indexOf(s.moving.command) : -1);

/** The sentence about the lost hop, and when the car has stopped itself. */
function hop(s) {
  const lease = s.car?.lease_ms ?? 400;
  const itself = since => s.now - since > lease
    ? `A driven car has stopped itself by now (lease ${lease} ms).`
    : `A driven car stops itself within ${lease} ms.`;
  const { is, since, why, retryAt } = s.connection;
  if (is === "lost") {
    const next = Math.max(0, (retryAt - s.now) / 1000);
    return `Link lost: page → router, since ${ago(s.now - since)}: ${why}. ${itself(since)} Next try ${next < 0.1 ? "now" : `in ${next.toFixed(1)} s`}.`;
  }
  if (s.session === null) return "Connecting …";
  if (!s.car) return "No car has this port now. It comes back by itself.";
  return `Link lost: router → ${s.car.router ? "router → " : ""}car, since ${ago(s.now - s.car.since)}${s.car.why ? `: ${s.car.why}` : ""}. ${itself(s.car.since)} The car dials again by itself.`;
}
