// Owns the input: keys, pads and gamepads become events for `drive.js`, and so does all that may hide a
// release.

import { LATE } from "./drive.js";

const ARROWS = { ArrowUp: 0, ArrowDown: 1, ArrowLeft: 2, ArrowRight: 3, KeyW: 0, KeyS: 1, KeyA: 2, KeyD: 3 };
const STICK = 0.5; // a stick that is pushed less is at rest

const isText = it => it.matches?.("input, textarea, select, [contenteditable]");
// A page that doesn't drive leaves the keys to the browser.
const isPlain = () => document.querySelector(".plain");
const isStale = event => performance.now() - event.timeStamp > LATE;

/** `emit` gets the events. `wantsArming`: the key A takes control instead of steering left. */
export function listen(emit, wantsArming) {
  addEventListener("keydown", event => onKey(event, emit, wantsArming), { capture: true });
  addEventListener("keyup", event => {
    if (event.code === "Space" && !isText(event.target) && !isPlain()) event.preventDefault();
    const direction = ARROWS[event.code];
    if (direction !== undefined) emit({ type: "up", from: "key", direction });
  }, { capture: true });
  for (const pad of document.querySelectorAll("[data-direction]")) listenToPad(pad, emit);
  const stop = document.getElementById("stop");
  // On pointerdown: a click comes only with the release.
  stop.addEventListener("pointerdown", () => emit({ type: "stop" }));
  stop.addEventListener("click", event => {
    if (isPlain()) return;
    event.preventDefault();
    if (event.detail === 0) emit({ type: "stop" });
  });
  stop.addEventListener("contextmenu", event => event.preventDefault());
  const letGo = () => emit({ type: "letGo" });
  addEventListener("blur", letGo);
  addEventListener("gamepaddisconnected", letGo);
  addEventListener("focusin", event => isText(event.target) && emit({ type: "leave" }));
}

function onKey(event, emit, wantsArming) {
  if (isText(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  // A repeated Enter would press a button again.
  if (event.repeat && event.key === "Enter") event.preventDefault();
  if (isPlain()) return;
  // With one of these, the system may keep releases from the page.
  if (event.ctrlKey || event.metaKey || event.altKey) return emit({ type: "letGo" });
  const types = { Space: "stop", Escape: "disarm", KeyG: "grant", KeyN: "deny" };
  const direction = ARROWS[event.code];
  const takes = event.key.toLowerCase() === "a" && (direction === undefined || wantsArming());
  const type = takes ? "arm" : types[event.code];
  if (!type && direction === undefined) return;
  if (type !== "grant" && type !== "deny") event.preventDefault();
  if (type === "stop") {
    event.stopPropagation();
    if (!event.repeat) emit({ type });
  } else if (type) {
    if (!event.repeat && !isStale(event)) emit({ type });
  } else if (event.repeat) emit({ type: "repeat", direction });
  else if (!isStale(event)) emit({ type: "down", from: "key", direction, key: event.code });
}

function listenToPad(pad, emit) {
  const direction = Number(pad.dataset.direction);
  let pointer = null;
  pad.addEventListener("pointerdown", event => {
    if (event.button !== 0 || pointer !== null) return;
    event.preventDefault();
    if (isStale(event)) return;
    // Throws if the finger is gone.
    pad.setPointerCapture(event.pointerId);
    pointer = event.pointerId;
    emit({ type: "down", from: "pad", direction });
  });
  const up = event => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    emit({ type: "up", from: "pad", direction });
  };
  for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) pad.addEventListener(type, up);
  pad.addEventListener("contextmenu", event => event.preventDefault());
  // A click by Enter or a screen reader has no release.
  pad.addEventListener("click", event => event.detail === 0 && emit({ type: "pulse", direction }));
}

/** Polls the gamepads, and makes events of changes. */
export class Gamepads {
  constructor(emit) {
    Object.assign(this, { emit, direction: null, held: new Set() });
  }

  look() {
    // Some browsers have no gamepads without TLS.
    const pads = [...(navigator.getGamepads?.() ?? [])].filter(pad => pad?.connected);
    const pushed = n => pads.some(pad => pad.buttons[n]?.pressed);
    this.button("stop", pushed(1) || pushed(2));
    this.button("arm", pushed(0) || pushed(9));
    const direction = pads.map(directionOf).find(found => found !== null) ?? null;
    if (direction === this.direction) return;
    const was = this.direction;
    this.direction = direction;
    if (was !== null) this.emit({ type: "up", from: "gamepad", direction: was });
    if (direction !== null) this.emit({ type: "down", from: "gamepad", direction });
  }

  button(type, isDown) {
    if (isDown && !this.held.has(type)) this.emit({ type });
    if (isDown) this.held.add(type);
    else this.held.delete(type);
  }
}

/** The direction of the cross, else of the left stick. */
function directionOf(pad) {
  const cross = [12, 13, 14, 15].findIndex(n => pad.buttons[n]?.pressed);
  if (cross >= 0) return cross;
  const [x = 0, y = 0] = pad.axes;
  if (Math.max(Math.abs(x), Math.abs(y)) < STICK) return null;
  if (Math.abs(y) >= Math.abs(x)) return y < 0 ? 0 : 1;
  return x < 0 ? 2 : 3;
}
