// Owns the picture of the last minute: what was asked, what the car did and how the link was, on one clock.

import * as drive from "./drive.js";

const SPAN = 60000;
const PAUSE = 500; // between two drawings
const GAP = 1500; // a longer pause between two notes is a page that stood still
const LABEL = 40; // width of the tracks' names
const ARROWS = ["▲", "▼", "◀", "▶"];
const COLOURS = { go: "--driving", stop: "--stop", slow: "--slow", calm: "--line" };

/** What each track shows now: a colour, and a word where it begins. */
function tracks(s, isKnown) {
  const { press, car } = s;
  const rtt = drive.roundTrip(s);
  const did = () => {
    if (drive.stopFailed(s)) return ["stop", "STOP FAILED"];
    if (!isKnown) return [""];
    return s.moving ? ["go", s.moving.command] : s.latch === "failsafe" ? ["stop", "failsafe"] : ["calm"];
  };
  const link = () => {
    if (!s.visible || (s.session === null && s.connection.is !== "lost")) return [""];
    if (!drive.isUp(s)) return ["stop", "lost"];
    if (!isKnown) return ["stop", "silent"];
    return rtt > 200 ? ["slow", "slow"] : ["calm"];
  };
  return {
    keys: press ? ["go", ARROWS[press.direction]] : s.latch === "stopped" ? ["stop", "■"] : [""],
    car: car ? did() : [""],
    link: link(),
  };
}

export class Timeline {
  constructor(canvas) {
    Object.assign(this, { canvas, notes: { keys: [], car: [], link: [] }, drawn: -PAUSE, noted: Infinity });
  }

  /** Notes what is now, and draws if that is due and somebody sees it. */
  show(s, isKnown) {
    const stood = s.now > this.noted + GAP;
    if (stood) for (const notes of Object.values(this.notes)) notes.push({ at: this.noted, colour: "", word: "" });
    this.noted = s.now;
    for (const [name, [colour, word = ""]] of Object.entries(tracks(s, isKnown))) {
      const notes = this.notes[name];
      const last = notes.at(-1);
      if (last?.colour !== colour || last.word !== word) notes.push({ at: s.now, colour, word });
      while (notes[1]?.at < s.now - SPAN) notes.shift();
    }
    if (s.now < this.drawn + PAUSE || !this.canvas.offsetWidth) return;
    this.drawn = s.now;
    this.draw(s.now);
  }

  draw(now) {
    const { canvas } = this;
    const [width, height, scale] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    Object.assign(canvas, { width: width * scale, height: height * scale });
    const style = getComputedStyle(canvas);
    const it = canvas.getContext("2d");
    it.scale(scale, scale);
    it.font = `11px ${style.fontFamily}`;
    it.textBaseline = "middle";
    const [room, high] = [width - LABEL, (height - 12) / 3];
    const x = at => LABEL + room * Math.max(0, 1 - (now - at) / SPAN);
    Object.entries(this.notes).forEach(([name, notes], n) => {
      const y = high * n;
      it.fillStyle = style.color;
      it.fillText(name, 0, y + high / 2);
      notes.forEach(({ at, colour, word }, i) => {
        const [from, to] = [x(at), i + 1 < notes.length ? x(notes[i + 1].at) : width];
        const thin = colour === "calm" ? high / 2 - 1 : high / 8;
        if (colour) {
          it.fillStyle = style.getPropertyValue(COLOURS[colour]);
          it.fillRect(from, y + thin, Math.max(to - from, 1), high - 2 * thin);
        }
        if (it.measureText(word).width > to - from - 4) return;
        it.fillStyle = colour === "slow" ? "#201400" : "#fff";
        it.fillText(word, from + 2, y + high / 2);
      });
    });
    it.fillStyle = style.color;
    for (const s of [60, 40, 20]) it.fillText(`−${s} s`, x(now - 1000 * s), height - 6);
  }
}
