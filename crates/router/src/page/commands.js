// Owns the list of the car's other commands, and the output of the last.

import { short } from "./words.js";

const SHOWN = 65536; // characters of output that are kept
const MAY_NOT = "This key may only stop the car";

export class Commands {
  constructor() {
    this.form = document.getElementById("commands");
    this.field = document.getElementById("arguments");
    this.output = document.getElementById("output");
    this.verdict = document.getElementById("verdict");
    this.end = document.getElementById("end");
    this.form.addEventListener("submit", event => {
      if (document.body.classList.contains("plain")) return;
      event.preventDefault();
      if (event.submitter?.name === "command") this.run(event.submitter.value);
    });
    // Enter in the field must not run whatever is first in the list.
    this.field.addEventListener("keydown", event => event.key === "Enter" && event.preventDefault());
    this.end.addEventListener("click", () => this.abort?.abort());
  }

  /** Asks the car what it can do, and shows it, but for what the pads are for. */
  async load(car, mayRun) {
    const answer = await fetch("/commands", { cache: "no-store" }).catch(() => null);
    if (!answer?.ok) return;
    const { commands } = await answer.json();
    const others = commands.filter(({ name }) => !car.motion.includes(name) && name !== car.stop);
    const list = this.form.querySelector(".list");
    const there = new Map([...list.children].map(button => [button.value, button]));
    for (const { name, problem } of others) {
      const button = there.get(name) ?? Object.assign(document.createElement("button"), { name: "command", value: name, textContent: name });
      there.delete(name);
      const reason = problem ?? (mayRun ? "" : MAY_NOT);
      Object.assign(button, { disabled: !!reason, title: reason });
      if (!button.parentNode) list.append(button);
    }
    for (const gone of there.values()) gone.remove();
    document.getElementById("none").hidden = others.length > 0;
    document.getElementById("only-stop").hidden = mayRun || others.length === 0;
  }

  async run(command) {
    // Not as a form's: there a space is a plus.
    const query = [["command", command], ["stream", "1"], ...split(this.field.value).map(word => ["arg", word])]
      .map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
    this.abort?.abort();
    const abort = this.abort = new AbortController();
    const isMine = () => this.abort === abort;
    const say = (verdict, text) => {
      if (!isMine()) return;
      this.verdict.textContent = verdict;
      if (text !== undefined) this.output.textContent = text.slice(-SHOWN);
    };
    say(`${command} runs …`, "");
    this.end.hidden = false;
    let text = "";
    try {
      const begun = performance.now();
      const answer = await fetch(`/cgi?${query}`, { method: "POST", signal: abort.signal, cache: "no-store" });
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      for (let part; !(part = await reader.read()).done;) {
        text = (text + decoder.decode(part.value, { stream: true })).slice(-SHOWN);
        say(`${command} runs …`, text);
      }
      const exit = answer.headers.get("p2p-exit");
      const how = answer.ok ? "ok" : exit ? `exit ${exit}` : `refused (${answer.status})`;
      say(`${command}: ${how}, ${short(performance.now() - begun)}`, text);
    } catch (error) {
      const why = abort.signal.aborted ? "ended" : "the transfer broke off: it was killed, or the link lost";
      say(`${command}: ${why}`, text);
    }
    if (isMine()) this.end.hidden = true;
  }
}

/** Words; quotes keep several together. */
export const split = text => [...text.matchAll(/"([^"]*)"|'([^']*)'|\S+/g)].map(([word, a, b]) => a ?? b ?? word);
