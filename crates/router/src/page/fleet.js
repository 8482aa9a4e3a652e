// Owns the page of all cars: their states as they change, a picture of each now and then, and STOP.

import { Link } from "./link.js";
import { ago, seconds } from "./words.js";

const PROBE = 250; // pause between two questions whether the router is there
const SILENT = 500; // after this silence nothing is shown as if it were so
const PICTURES = 5000; // pause between two pictures of a car
const NO_PICTURE = 60000; // and after one that did not come
const OLD = 15000; // an older picture has no colours

const $ = id => document.getElementById(id);
const now = () => performance.now();
const cars = new Map(); // by service port: LinkInfo with `at`, when it was told, and what is on the page
let connection = { is: "connecting" };
let [heard, rtt, probe, probed, probes, isKnown] = [now(), 0, null, 0, 0, false];

const link = new Link("cars", {
  open: () => [connection, heard, probe, isKnown] = [{ is: "up" }, now(), null, false],
  closed: why => {
    connection = { is: "lost", since: connection.since ?? now(), why };
    show();
  },
  message: data => receive(JSON.parse(data)),
  signedOut: (why, status) => {
    if (status === 401) return location.reload();
    connection = { is: "refused", why };
    show();
  },
});

function receive(message) {
  heard = now();
  const [kind, body] = Object.entries(message)[0];
  ({ probe: answered, snapshot, feed, refused, go_away: goAway })[kind]?.(body);
  show();
}

function answered(number) {
  if (probe?.number !== number) return;
  rtt = now() - probe.at;
  probe = null;
}

function snapshot({ first, last, links }) {
  if (first) for (const car of cars.values()) car.isOld = true;
  for (const info of links) put(info);
  if (!last) return;
  for (const [port, car] of cars) if (car.isOld) take(port);
  isKnown = true;
}

function feed(event) {
  const [kind, body] = Object.entries(event)[0];
  const car = cars.get(body.service_port);
  if (kind === "link") return put(body);
  if (kind === "link_gone") return take(body.service_port);
  if (!car) return;
  if (kind === "link_down") Object.assign(car, { is_up: false, at: now(), since_ms: 0, moving: null });
  if (kind === "rtt") Object.assign(car, { silentSince: body.silent_ms ? now() - body.silent_ms : null });
  if (kind === "control") car.control = body.control;
  if (kind === "motion") motion(car, body.event);
}

function motion(car, event) {
  const [kind, body] = typeof event === "string" ? [event] : Object.entries(event)[0];
  if (kind === "started") car.moving = body;
  if (kind === "stands") Object.assign(car, { moving: null, stop_failed: false, said: null });
  if (kind === "stop_failed") car.stop_failed = true;
}

function refused({ message }) {
  for (const car of cars.values()) if (car.said) say(car, message);
}

/** Shows a sentence at a car for a while. */
function say(car, sentence) {
  clearTimeout(car.saying);
  car.said = sentence;
  car.saying = setTimeout(() => (car.said = null), 3000);
}

const goAway = body => link.comeBack = body.reconnect_after_ms;

function put(info) {
  const car = cars.get(info.service_port) ?? made(info.service_port);
  Object.assign(car, info, { at: now(), isOld: false, silentSince: info.silent_ms ? now() - info.silent_ms : null });
}

function take(port) {
  cars.get(port)?.shown.it.remove();
  cars.delete(port);
}

const html = (name, what) => Object.assign(document.createElement(name), what);

/** A new car, and its place on the page, by port. */
function made(port) {
  const it = html("li");
  const { domain } = document.body.dataset;
  const host = domain ? `${port}.${domain}${location.port && `:${location.port}`}` : `${location.hostname}:${port}`;
  const shown = {
    it, shot: html("div", { className: "shot" }), title: html("a", { href: `${location.protocol}//${host}/` }),
    state: html("p", { className: "state" }), about: html("p", { className: "about" }),
    stop: html("button", { textContent: "STOP" }),
  };
  const car = { shown, asks: 0 };
  // No finger that scrolls stops a car.
  shown.stop.addEventListener("click", () => stop(port));
  it.append(shown.shot, shown.title, shown.state, shown.about, shown.stop);
  const next = [...cars].find(([other]) => other > port);
  $("cars").insertBefore(it, next?.[1].shown.it ?? null);
  cars.set(port, car);
  const sorted = [...cars].sort(([a], [b]) => a - b);
  cars.clear();
  for (const [key, value] of sorted) cars.set(key, value);
  return car;
}

function stop(port) {
  const car = cars.get(port);
  const isSent = link.send(JSON.stringify({ stop: port }));
  navigator.vibrate?.(60);
  say(car, isSent ? "STOP is sent" : "no link to the router: STOP was not sent");
  show();
}

/** How long the router has been silent, beyond what is due; 0: it is not. */
function silence() {
  const time = now() - heard;
  return connection.is === "up" && time > Math.max(SILENT, rtt + SILENT / 2 + 100) ? time : 0;
}

function stateOf(car, lost) {
  if (lost) return ["bad", "? unknown now"];
  if (!car.is_up) return ["bad", `✖ OFFLINE for ${ago(now() - car.at + car.since_ms)}`];
  if (car.stop_failed) return ["bad", "‼ STOP FAILED: it may still move"];
  if (car.silentSince) return ["bad", `? NO ANSWER ${seconds(now() - car.silentSince)}: router → car`];
  return car.moving ? ["moves", `» MOVES ${car.moving.command}`] : ["", "■ stands"];
}

const text = (it, value) => it.textContent !== value && (it.textContent = value);

function show() {
  const silent = silence();
  const { is, why, since } = connection;
  const lost = silent ? `No answer: page → router is silent for ${seconds(silent)}. A driven car stops itself.`
    : is === "refused" ? why
    : is === "lost" ? `Link lost: page → router, for ${ago(now() - since)}: ${why}. A driven car stops itself. The page dials again.` : "";
  text($("lost"), lost);
  $("lost").hidden = !lost;
  $("none").hidden = !isKnown || cars.size > 0;
  text($("count"), !isKnown ? "Connecting …" : `${[...cars.values()].filter(car => car.is_up).length} of ${cars.size} here`);
  for (const [port, car] of cars) {
    const [kind, state] = stateOf(car, lost || !isKnown);
    const { it, title, state: word, about, stop } = car.shown;
    if (it.dataset.is !== kind) it.dataset.is = kind;
    it.dataset.old = now() - car.shotAt > OLD;
    text(title, car.name);
    text(word, state);
    const { driver } = car.control;
    text(about, car.said ?? `:${port} · ${driver ? `driven by ${driver.name}` : "free"}${car.router ? ` · at ${car.router}` : ""}${!lost && isKnown && car.control.recording?.file ? " · REC" : ""}`);
    stop.ariaLabel = `STOP ${car.name}`;
  }
}

/** Fetches one picture at a time, of the car whose turn it is. */
async function look() {
  const due = [...cars].filter(([, car]) => car.is_up && car.asks <= now());
  if (due.length && !document.hidden && connection.is === "up") {
    // Whose turn is longest ago.
    const [port, car] = due.reduce((a, b) => (b[1].asks < a[1].asks ? b : a));
    const picture = html("img", { alt: "" });
    picture.src = `cars/${port}/frame.jpg?${Math.round(now())}`;
    const late = new Promise(resolve => setTimeout(resolve, PICTURES, false));
    const isThere = await Promise.race([picture.decode().then(() => true, () => false), late]);
    if (isThere) {
      car.shown.shot.replaceWith(picture);
      Object.assign(car, { shotAt: now() });
      car.shown.shot = picture;
    } else picture.src = "";
    car.asks = now() + (isThere ? PICTURES : NO_PICTURE);
  }
  setTimeout(look, PROBE);
}

function beat() {
  if (!document.hidden && connection.is === "up" && !probe && now() >= probed + PROBE) {
    probe = { number: ++probes, at: now() };
    probed = now();
    link.send(JSON.stringify({ probe: probes }));
  }
  show();
  setTimeout(beat, PROBE);
}

document.addEventListener("visibilitychange", () => {
  // A hidden page asks for nothing.
  [heard, probe, isKnown] = [now(), null, false];
  if (document.hidden) link.sleep();
  else link.wake();
});
look();
beat();
