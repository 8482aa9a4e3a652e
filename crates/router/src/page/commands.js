// Owns the car's other commands, and the output and result of the last one.

import { short } from "./words.js";

const SHOWN = 32768; // characters that are kept of an output's beginning, and of its end
const AGAIN = 1000; // pause between two questions for a run's result

const $ = id => document.getElementById(id);
const fresh = { cache: "no-store" };

export class Commands {
  constructor() {
    $("commands").addEventListener("submit", event => {
      if (document.body.classList.contains("plain")) return;
      event.preventDefault();
      if (event.submitter?.name === "command") this.run(event.submitter.value);
    });
    // Enter in the field must not run whatever is first in the list.
    $("arguments").addEventListener("keydown", event => event.key === "Enter" && event.preventDefault());
    $("end").addEventListener("click", () => this.abort?.abort());
  }

  /** Shows the car's commands, except those of the pads. */
  async load(car, mayRun) {
    const answer = await fetch("commands", fresh).catch(() => null);
    if (!answer?.ok) return;
    const { commands } = await answer.json();
    const others = commands.filter(({ name }) => !car.motion.includes(name) && name !== car.stop);
    const list = document.querySelector(".list");
    const there = new Map([...list.children].map(button => [button.value, button]));
    for (const { name, problem } of others) {
      const button = there.get(name) ?? Object.assign(document.createElement("button"), { name: "command", value: name, textContent: name });
      there.delete(name);
      const reason = problem ?? (mayRun ? "" : "This key may only stop the car");
      Object.assign(button, { disabled: !!reason, title: reason });
      if (!button.parentNode) list.append(button);
    }
    for (const gone of there.values()) gone.remove();
    $("none").hidden = others.length > 0;
    $("only-stop").hidden = mayRun || others.length === 0;
  }

  async run(command) {
    const query = [command, ...split($("arguments").value)].map(encodeURIComponent).join("&arg=");
    this.abort?.abort();
    const abort = this.abort = new AbortController();
    const { signal } = abort;
    let output = new Output();
    const say = (verdict, isOver = true) => {
      if (this.abort !== abort) return;
      $("verdict").textContent = command + verdict;
      output.show($("output"));
      $("end").hidden = isOver;
    };
    say(" runs …", false);
    const begun = performance.now();
    let head, verdict, lost;
    try {
      const answer = await fetch(`cgi?stream=1&command=${query}`, { ...fresh, method: "POST", signal });
      head = name => answer.headers.get(`p2p-${name}`);
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      for (let part; !(part = await reader.read()).done;) {
        output.add(decoder.decode(part.value, { stream: true }));
        say(" runs …", false);
      }
      if (head("exit")) verdict = ended(head("exit"), performance.now() - begun);
      else if (head("executed") === "no") verdict = `refused (${answer.status})`;
      lost = head("executed") === "unknown";
      if (lost) output = new Output();
    } catch {
      if (signal.aborted) verdict = "ended";
      else if (!head) verdict = "no answer: look whether it ran";
      lost = true;
    }
    // The answer began before the end, or the end was lost.
    if (!verdict) {
      const run = head("run");
      const id = lost ? ` (run ${run})` : "";
      if (lost) say(`: the link was lost; how it ended is asked once the car is there${id}`);
      const result = await resultOf(run, signal);
      if (!result) return;
      if (lost && result.output?.length > output.length) output = new Output(result.output);
      output.add(result.stderr ?? "");
      verdict = (result.exit ? ended(result.exit, result.exec_ms) : `${result.state}: ${result.why}`) + id;
    }
    say(`: ${verdict}`);
  }
}

/** The output of a run: its beginning and its end, however long it is. */
export class Output {
  constructor(text = "") {
    Object.assign(this, { begins: "", ends: "", length: 0 });
    this.add(text);
  }

  add(text) {
    const room = SHOWN - this.begins.length;
    this.begins += text.slice(0, room);
    this.ends = (this.ends + text.slice(room)).slice(-SHOWN);
    this.length += text.length;
  }

  get text() {
    const gone = this.length - this.begins.length - this.ends.length;
    return this.begins + (gone ? `\n… ${gone} characters are left out …\n` : "") + this.ends;
  }

  /** Shows it, and follows its end if that is in view. */
  show(it) {
    const follows = it.scrollHeight - it.scrollTop - it.clientHeight < 8;
    it.textContent = this.text;
    if (follows) it.scrollTop = it.scrollHeight;
  }
}

const ended = (exit, time) => `${isNaN(exit) ? exit : `exit ${exit}`}, ${short(time)}`;

/** The result of a run, once it is over; undefined: aborted. */
async function resultOf(run, signal) {
  for (; !signal.aborted; await new Promise(done => setTimeout(done, AGAIN))) {
    const answer = await fetch(`run/${run}`, { ...fresh, signal }).catch(() => null);
    if (answer?.status < 429 && !answer.ok) return { state: "not known", why: await answer.text() };
    const result = answer?.ok && await answer.json().catch(() => null);
    if (result && result.state !== "waiting" && result.state !== "running") return result;
  }
}

/** Splits a text into words, or quoted ones. */
export const split = text => [...text.matchAll(/"([^"]*)"|'([^']*)'|\S+/g)].map(([word, a, b]) => a ?? b ?? word);
