// Saves what the car, the router and this page know of the last minutes, with this page's last pictures, as one file.
// Loaded when its button is pressed.

import { short } from "./words.js";

const LEAST = 60_000; // shortest time of which a report tells, in ms
const MOST = 600_000; // and longest
const BEFORE = 30_000; // time that it goes back before what the page knows of last
const PATIENCE = 30_000; // longest wait for the router, which waits for the car
const ARROWS = ["▲", "▼", "◀", "▶"];

const $ = id => document.getElementById(id);
/** The time of day of a moment of this page, in milliseconds since 1970. */
const timeOf = at => Math.round(Date.now() - performance.now() + at);
const zone = () => -new Date().getTimezoneOffset();
/** Date and time here, in the form of RFC 3339 without a zone. */
const local = ms => new Date(ms + zone() * 60_000).toISOString().slice(0, -1);

/** Fetches the report and saves it; returns what the page is to say. */
export async function save(state, view, video) {
  $("incident").disabled = true;
  // On a phone the menu is over what the page says.
  if (document.body.dataset.menu === "open") $("menu").click();
  try {
    const kept = [...video.kept].reverse();
    const pictures = await Promise.all(kept.map(it => figure(it, video.clock)));
    const report = await fetchReport(asked(state, view, kept));
    const said = kept.length ? "As this page has shown them: the time at which it did, and how old the picture was then." : "This page has shown none of this car.";
    const name = (state.car?.name ?? $("name").textContent).replace(/[^A-Za-z0-9]/g, "_");
    const file = `incident-${name}-${local(Date.now()).slice(0, 19).replace(/[-:]/g, "")}.html`;
    download(file, [report, `<p>${said}</p>\n<div>\n`, ...pictures]);
    return { say: `Saved as ${file}`, mild: true };
  } catch (error) {
    return { say: `No report: ${error.message}` };
  } finally {
    $("incident").disabled = false;
  }
}

/** The request: a line about it, and what this page has noted. */
function asked(state, view, kept) {
  const now = performance.now();
  const known = [state.pressed?.at, state.ran?.at, kept[0]?.at].filter(at => now - at < MOST - BEFORE);
  const last = Math.max(LEAST, now - Math.min(now, ...known) + BEFORE);
  const about = {
    last_ms: Math.ceil(last / 1000) * 1000,
    now_ms: Date.now(),
    rtt_ms: Math.round(state.rtt ?? 0),
    zone_min: zone(),
    router: location.host,
  };
  return [about, ...notes(state, view)].map(line => JSON.stringify(line)).join("\n");
}

/** What this page has shown, as lines of a log. */
function notes(state, view) {
  const { keys, link } = view.line.notes;
  const line = (at, message, more) =>
    ({ timestamp: new Date(timeOf(at)).toISOString(), link: state.car?.name, message, ...more });
  const pressed = keys.map(({ at, word }, i) => {
    const command = state.car?.motion[ARROWS.indexOf(word)];
    if (command) return line(at, "press", { command });
    if (word) return line(at, "stop");
    return ARROWS.includes(keys[i - 1]?.word) && line(at, "release");
  });
  const linked = link.map(({ at, word, colour }) => {
    if (word === "silent") return line(at, "no answer", { hop: "the link" });
    return (word || colour) && line(at, "shown", { text: `link ${word || "up"}` });
  });
  const said = view.noted.map(({ at, say }) => line(at, "shown", { text: say }));
  return [...pressed, ...linked, ...said].filter(line => line);
}

async function fetchReport(body) {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE);
  try {
    const answer = await fetch("incident", { method: "POST", body, cache: "no-store", signal: patience.signal });
    const text = await answer.text();
    if (answer.ok) return text;
    throw new Error(answer.status === 404 ? "the car's router is older than this page" : text);
  } catch (error) {
    throw ["AbortError", "TypeError"].includes(error.name) ? new Error("the router does not answer: press again when it does") : error;
  } finally {
    clearTimeout(timer);
  }
}

async function figure({ at, data }, clock) {
  const address = await new Promise((done, failed) => {
    const reader = new FileReader();
    Object.assign(reader, { onload: () => done(reader.result), onerror: () => failed(reader.error) });
    reader.readAsDataURL(new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" }));
  });
  const time = local(timeOf(at)).slice(11);
  const age = short(clock.age(Number(new DataView(data).getBigUint64(0)), at));
  return `<figure><img src="${address}" alt="The picture at ${time}"><figcaption>${time}, ${age} old</figcaption></figure>\n`;
}

function download(name, parts) {
  const href = URL.createObjectURL(new Blob(parts, { type: "text/html" }));
  Object.assign(document.createElement("a"), { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
