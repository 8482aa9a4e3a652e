// Owns the page: passes events and the time to `drive.js`, and carries out its effects.

import { Commands } from "./commands.js";
import * as drive from "./drive.js";
import { Gamepads, listen } from "./input.js";
import { Link } from "./link.js";
import { Clock, Video } from "./video.js";
import { View } from "./view.js";
import { why } from "./words.js";

const QUICK = 50; // while something may move: a heartbeat
const CALM = 125; // otherwise
const HIDDEN = 60000; // hidden for this long, a page gives up its connection

const $ = id => document.getElementById(id);
const now = () => performance.now();

const state = drive.start(now());
const view = new View();
const clock = new Clock();
const commands = new Commands();
const video = new Video($("canvas"), clock, () => emit(seen("picture")));
const gamepads = new Gamepads(emit);
const link = new Link("drive", {
  open: () => emit({ type: "open" }),
  closed: (why, retryAt) => emit({ type: "closed", why, retryAt }),
  message: data => receive(JSON.parse(data)),
  signedOut: why => {
    $("out").hidden = false;
    $("why-out").textContent = why;
  },
  noWebSocket: () => isLive(false),
});

function isLive(is) {
  document.body.classList.toggle("live", is);
  document.body.classList.toggle("plain", !is);
}
isLive(true);

function emit(event) {
  for (const effect of drive.update(state, event, now())) {
    const { send, say, buzz } = effect;
    if (send !== undefined && !link.send(JSON.stringify(send)) && send === "stop") stopByHttp();
    if (say) view.say(effect, now());
    if (buzz) navigator.vibrate?.(buzz);
  }
  view.show(state, video);
  keepAwake(drive.isArmed(state) && !document.hidden);
}

/** Keeps the screen on for a driver, where the browser lets a page do so. */
let awake = null;
function keepAwake(isWanted) {
  if (!navigator.wakeLock || !!awake === isWanted) return;
  if (!isWanted) {
    awake.then(lock => lock?.release());
    awake = null;
    return;
  }
  // The system may take it back.
  const asked = awake = navigator.wakeLock.request("screen").catch(() => null);
  asked.then(lock => lock?.addEventListener("release", () => awake === asked && (awake = null)));
}

const seen = type => ({ type, videoAge: video.age(now(), drive.roundTrip(state)), isLive: video.is === "live" });

async function stopByHttp() {
  const command = encodeURIComponent(state.car?.stop ?? $("stop").value);
  const sentence = await fetch(`cgi?command=${command}`, { method: "POST", keepalive: true })
    .then(async answer => answer.ok ? why.stopped : why.notStopped(await answer.text()))
    .catch(() => why.noWay);
  view.say({ say: sentence }, now());
}

function receive(message) {
  if (message.tick !== undefined) clock.arrived(message.tick, now());
  if (message.car !== undefined || message.up) clock.reset();
  link.comeBack = message.go_away?.reconnect_after_ms;
  const wasUp = drive.isUp(state);
  emit({ type: "message", message });
  if (message.car !== undefined) isLive(true);
  if (drive.isUp(state) && (!wasUp || message.up)) commands.load(state.car, drive.mayDrive(state));
}

listen(emit, () => drive.needsArming(state));
for (const id of ["grant", "deny", "seize", "record"]) $(id).addEventListener("click", () => emit({ type: id }));
$("arm").addEventListener("click", () => emit({ type: $("arm").dataset.does }));
// Browsers keep failures by address.
$("incident").onclick = () => import(`./incident.js?${now()}`)
  .then(it => it.save(state, view, video), () => ({ say: why.noReport })).then(it => view.say(it, now()));
$("picture").addEventListener("click", () => video.switchOff(!video.off));
$("menu").addEventListener("click", () => {
  const isOpen = document.body.dataset.menu !== "open";
  document.body.dataset.menu = isOpen ? "open" : "";
  $("menu").ariaExpanded = String(isOpen);
});
const root = document.documentElement;
$("full").hidden = !root.requestFullscreen;
$("full").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()).catch(() => {}));

// Heartbeats come from here alone: who beats handles releases, too.
let due = now();
let date = Date.now();
function beat() {
  // A suspended machine's monotonic clock may stand still.
  const by = Math.max(now() - due, Date.now() - date - (due - last));
  if (by > drive.LATE) emit({ type: "late", by });
  gamepads.look();
  emit(seen("tick"));
  const isQuick = drive.isArmed(state) || state.hold || navigator.getGamepads?.().some(pad => pad);
  last = now();
  date = Date.now();
  due = last + (isQuick ? QUICK : CALM);
  setTimeout(beat, due - last);
}
let last = now();
beat();

let hiding = null;
document.addEventListener("visibilitychange", () => {
  const visible = !document.hidden;
  emit({ type: "visible", visible });
  video.show(visible);
  clearTimeout(hiding);
  if (visible) link.wake();
  else hiding = setTimeout(() => { link.sleep(); video.kept = []; }, HIDDEN);
});
addEventListener("pagehide", () => {
  emit({ type: "letGo" });
  link.sleep();
  video.show(false);
});
addEventListener("pageshow", event => {
  if (!event.persisted) return;
  link.wake();
  video.show(true);
});
