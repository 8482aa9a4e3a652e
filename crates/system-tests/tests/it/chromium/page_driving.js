// Tests of the page's driving (`src/page/drive.js`), which is pure: it is given the time. Run in the
// page by `page_driving.rs`. Returns what failed.

const drive = await import("/page/drive.js");
const words = await import("/page/words.js");
const { Clock, Video } = await import("/page/video.js");
const { Output, split } = await import("/page/commands.js");
const { listen } = await import("/page/input.js");
const failures = [];

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const CAR = {
  name: "car", is_up: true, since_ms: 0, rtts_us: [], motion: ["forward", "back", "left", "right"], stop: "stop",
  lease_ms: 400, motion_limit_ms: 2000, control: { driver: null, request: null, epoch: 0 }, moving: null, stop_failed: false,
};
const US = { session: 1, name: "us" };
const BOB = { session: 2, name: "bob" };
const EPOCH = 7;

/** A page, its time, and a router that answers probes at once, as far as it is up. */
class Bench {
  constructor(role = "drive") {
    this.t = 1000;
    this.rtt = 0;
    this.says = [];
    this.state = drive.start(this.t);
    this.tell("open");
    this.hear({ car: { session: 1, key: "desk", role, car: structuredClone(CAR) } });
    this.hear({ tick: 1 });
    this.pass(600);
  }

  /** In control, standing. */
  static armed() {
    const bench = new Bench();
    bench.controls(US);
    return bench;
  }

  tell(type, more) {
    const orders = [];
    for (const { send, say } of drive.update(this.state, { type, ...more }, this.t)) {
      if (send?.probe !== undefined) (this.waiting ??= []).push([send.probe, this.t]);
      else if (send?.watch !== undefined) this.watched = send.watch;
      else if (send !== undefined) orders.push(send);
      if (say) this.says.push(say);
    }
    return orders;
  }

  hear(message) {
    return this.tell("message", { message });
  }

  controls(driver, request = null) {
    return this.hear({ control: { driver, request, epoch: EPOCH } });
  }

  /** So long goes by, with all that comes of it. */
  pass(ms, { ticks = true, ...picture } = {}) {
    const orders = [];
    for (const end = this.t + ms; this.t < end;) {
      this.t += 10;
      for (const probe of this.waiting?.splice(0) ?? []) {
        if (this.t - probe[1] >= this.rtt) orders.push(...this.hear({ probe: probe[0] }));
        else this.waiting.push(probe);
      }
      if (ticks && this.t % 100 === 0) orders.push(...this.hear({ tick: this.t }));
      orders.push(...this.tell("tick", picture));
    }
    return orders;
  }

  down(direction, from = "key") {
    return this.tell("down", { direction, from });
  }

  up(direction, from = "key") {
    return this.tell("up", { direction, from });
  }

  get is() {
    return drive.stateOf(this.state);
  }
}

const press = (number, command, tick_ms = 1600) => ({ press: { press: { epoch: EPOCH, number }, command, tick_ms } });
const release = number => ({ release: { epoch: EPOCH, number } });
const motion = event => ({ motion: event });
const over = (number, cause) => motion({ over: { press: { epoch: EPOCH, number }, cause } });
const isRenewal = order => order.renew !== undefined;
const without = orders => orders.filter(order => !isRenewal(order));

function is(found, wanted, what = "") {
  if (!same(found, wanted)) throw new Error(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
}

const tests = {
  "the first press takes control, and drives when control is there"() {
    const bench = new Bench();
    is(bench.is, "VIEW");
    is(bench.down(0), [{ control: "take" }]);
    is(bench.controls(US), [press(1, "forward")]);
    is(bench.is, "DRIVING");
    is(bench.up(0), [release(1)]);
    is(bench.is, "ARMED");
  },
  "control that comes too late moves nothing"() {
    const bench = new Bench();
    bench.down(0);
    is(bench.pass(600), []);
    is(bench.controls(US), []);
    is(bench.says, [words.why.noAnswer]);
  },
  "a heartbeat every 50 ms renews that press and no other, and ends with it"() {
    const bench = Bench.armed();
    bench.down(0, "pad");
    const renewals = bench.pass(1000);
    is(renewals.every(order => order.renew?.press.number === 1), true);
    is(renewals.length, 20);
    bench.up(0, "pad");
    is(bench.pass(1000), []);
  },
  "repeats send nothing; when they stop, so does the car"() {
    const bench = Bench.armed();
    bench.down(0);
    for (let n = 0; n < 30; n += 1) {
      is(without([...bench.pass(n ? 30 : 400), ...bench.tell("repeat", { direction: 0 })]), []);
    }
    is(without(bench.pass(190)), []);
    is(without(bench.pass(30)), [release(1)]);
    is(bench.tell("repeat", { direction: 0 }), []);
    is(bench.pass(500), []);
  },
  "a key that never repeats ends after five seconds, a finger never"() {
    const bench = Bench.armed();
    bench.down(0);
    is(without(bench.pass(4990)), []);
    is(without(bench.pass(20)), [release(1)]);
    bench.up(0);
    bench.down(1, "pad");
    is(without(bench.pass(10000)), []);
  },
  "a key that was heard to repeat and is silent ends after a second, and no other key"() {
    const bench = Bench.armed();
    const tell = (type, key) => bench.tell(type, { direction: 0, from: "key", key });
    tell("down", "ArrowUp");
    bench.pass(400);
    tell("repeat", "ArrowUp");
    tell("up", "ArrowUp");
    tell("down", "ArrowUp");
    is(without(bench.pass(990)), []);
    is(without(bench.pass(20)), [release(2)]);
    tell("up", "ArrowUp");
    // Some systems repeat arrows and no letters.
    tell("down", "KeyW");
    is(without(bench.pass(4990)), []);
    tell("up", "KeyW");
    bench.down(0, "pad");
    is(without(bench.pass(10000)), []);
  },
  "a page that hung once between two repeats waits no longer for a key, and arms once that key drives no more"() {
    const bench = Bench.armed();
    const tell = (type) => bench.tell(type, { direction: 0, from: "key", key: "ArrowUp" });
    tell("down");
    bench.pass(400);
    tell("repeat");
    bench.pass(2500);
    tell("repeat");
    tell("up");
    bench.tell("disarm");
    tell("down");
    bench.tell("arm");
    is(bench.says.at(-1), words.why.keyHeld);
    bench.pass(1010);
    is(bench.tell("arm"), [{ control: "take" }]);
  },
  "a key that repeats late is not taken for one that is silent"() {
    const bench = Bench.armed();
    for (let n = 0; n < 3; n += 1) {
      bench.down(0);
      is(without(bench.pass(1990)), [], n);
      is(bench.tell("repeat", { direction: 0 }), [], n);
      bench.up(0);
    }
    // Silent for twice that long, it is.
    bench.down(0);
    is(without(bench.pass(3970)), []);
    is(without(bench.pass(30)), [release(4)]);
  },
  "a second direction replaces the first, whose release means nothing then"() {
    const bench = Bench.armed();
    bench.down(0);
    is(bench.down(2), [press(2, "left")]);
    is(bench.up(0), []);
    is(bench.is, "DRIVING");
    is(bench.up(2), [release(2)]);
  },
  "Space stops at once, whoever drives, and latches"() {
    const bench = Bench.armed();
    bench.down(0);
    is(bench.tell("stop"), ["stop"]);
    is(bench.is, "STOPPED");
    bench.up(0);
    is(bench.down(0), []);
    is(bench.says.at(-1), words.why.needsArming);
    bench.up(0);
    is(bench.tell("arm"), []);
    is(bench.is, "ARMED");
    is(bench.down(0), [press(2, "forward")]);
  },
  "control is not taken while a direction is held"() {
    const bench = Bench.armed();
    bench.down(0);
    bench.tell("stop");
    is(bench.tell("arm"), []);
    is(bench.says.at(-1), words.why.keyHeld);
    is(bench.is, "STOPPED");
    bench.up(0);
    bench.tell("arm");
    is(bench.is, "ARMED");
  },
  "a key whose release was lost does not keep control for ever"() {
    const bench = Bench.armed();
    bench.down(0);
    bench.tell("stop");
    bench.pass(5100);
    bench.tell("arm");
    is(bench.is, "ARMED");
  },
  "Esc stands and gives control back; it takes a wish to have it again"() {
    const bench = Bench.armed();
    bench.down(0);
    is(bench.tell("disarm"), [release(1), { control: "release" }]);
    is(bench.is, "VIEW");
    bench.up(0);
    is(bench.down(0), []);
    bench.up(0);
    bench.controls(null);
    is(bench.tell("arm"), [{ control: "take" }]);
  },
  "whatever takes the focus lets go"() {
    for (const from of ["key", "pad", "gamepad"]) {
      const bench = Bench.armed();
      bench.down(3, from);
      is(bench.tell("letGo"), [release(1)]);
      is(bench.is, "ARMED");
      bench.down(3, from);
      is(bench.tell("visible", { visible: false }).filter(order => order.release), [release(2)]);
    }
  },
  "a page that was late disarms, and a viewer of one hears nothing"() {
    const bench = Bench.armed();
    bench.down(0);
    is(bench.tell("late", { by: 3000 }), ["stop", { control: "release" }]);
    is(bench.is, "FAILSAFE");
    bench.controls(null);
    is(bench.pass(500), []);
    bench.up(0);
    is(bench.down(0), []);
    const viewer = new Bench();
    is(viewer.tell("late", { by: 3000 }), []);
    is(viewer.is, "VIEW");
  },
  "what a page hears after a stall renews nothing before it knows that it is late"() {
    const bench = Bench.armed();
    bench.down(0, "pad");
    bench.t += 330;
    is(bench.hear({ tick: bench.t }), []);
    is(bench.tell("picture", { videoAge: 1 }), []);
    is(bench.tell("late", { by: 280 }), ["stop", { control: "release" }]);
  },
  "over 300 ms of round trip a press is one pulse, and says why"() {
    const bench = Bench.armed();
    bench.rtt = 400;
    bench.pass(1000);
    is(without(bench.down(0, "pad")).length, 1);
    is(bench.says.at(-1).startsWith("one short pulse only"), true, bench.says.at(-1));
    is(without(bench.pass(240)), []);
    is(without(bench.pass(20)), [release(1)]);
    is(bench.pass(500), []);
  },
  "above a second driving is refused, visibly"() {
    const bench = Bench.armed();
    bench.rtt = 1200;
    bench.pass(3000);
    is(bench.down(0), []);
    is(bench.says.at(-1).startsWith("refused: the round trip"), true);
  },
  "after a lost link the car is asked why it stopped, and that is said"() {
    const bench = Bench.armed();
    bench.down(0, "pad");
    bench.hear({ down: { why: "lost" } });
    is(bench.hear({ up: { ...structuredClone(CAR), past: true } }), [{ past: 60_000 }]);
    const press = { epoch: EPOCH, number: 1 };
    const entries = [
      { id: 0, clock_ms: 9000, at_ms: 9000, event: "now" },
      { id: 1, clock_ms: 5000, at_ms: 5000, event: { motion: { over: { press, cause: "lease", clock_ms: 5000 } } } },
      { id: 2, clock_ms: 5020, at_ms: 5020, event: { guardian: { press, cause: "the inner is silent", clock_ms: 5020, has_stopped: true } } },
    ];
    const text = `${entries.map(entry => JSON.stringify(entry)).join("\n")}\n{"id":3,"clo`;
    bench.hear({ past: { lines: text.slice(0, 100), more: true } });
    const before = bench.says.length;
    bench.hear({ past: { lines: text.slice(100), more: false } });
    is(bench.says.length, before + 1);
    const said = bench.says.at(-1);
    is(/it heard nothing for 400 ms; by its guardian \(the inner is silent\)/.test(said), true, said);
  },
  "a stop that fails says why and how often, and one without a stop command is not STOPPED"() {
    const bench = Bench.armed();
    const failure = { said: "no such pin", tries: 3, again_ms: 1000 };
    bench.hear(motion({ stopped: { cause: "asked", end: { exit: 3 }, exec_us: 1, failure } }));
    bench.hear({ motion: "stop_failed" });
    is(/^STOP FAILED 3 times: no such pin; next try at /.test(bench.says.at(-1)), true, bench.says.at(-1));
    const other = Bench.armed();
    other.tell("stop");
    is(other.is, "STOPPED");
    other.hear(motion({ stopped: { cause: "asked", end: { exit: 127 }, exec_us: 0, failure: { said: "no file", tries: 0, again_ms: null } } }));
    is(other.is === "STOPPED", false);
    is(/^nothing was run to stop the car/.test(other.says.at(-1)), true);
  },
  "ticks that stop are a slow link: the press becomes a pulse, then ends"() {
    const bench = Bench.armed();
    bench.down(0, "pad");
    bench.pass(1000);
    is(without(bench.pass(600, { ticks: false })), [release(1)]);
  },
  "a lease that ran out is a failsafe, even after the release"() {
    for (const isHeld of [true, false]) {
      const bench = Bench.armed();
      bench.down(0);
      if (!isHeld) bench.up(0);
      bench.hear(over(1, "lease"));
      is(bench.is, "FAILSAFE");
      is(/^the car stopped itself at .+: it heard nothing for 400 ms/.test(bench.says.at(-1)), true, bench.says.at(-1));
    }
  },
  "a stop is told with its time on the car's clock, however late the news comes"() {
    const bench = Bench.armed();
    bench.down(0);
    bench.pass(100);
    const before = new Date(Date.now() - 3000);
    bench.hear(motion({ over: { press: { epoch: EPOCH, number: 1 }, cause: "lease", clock_ms: bench.t - 3000 } }));
    const said = bench.says.at(-1);
    const times = [0, 100].map(ms => new Date(Number(before) + ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 1 }));
    is(times.some(time => said.includes(` ${time}: `)), true, said);
    // A frozen router passes on at once what it held up, ticks too.
    const frozen = Bench.armed();
    frozen.down(0);
    frozen.pass(100);
    const froze = frozen.t;
    frozen.t += 3000;
    for (let ms = 100; ms <= 400; ms += 100) frozen.hear({ tick: froze + ms });
    is(Math.round(drive.since(frozen.state, froze + 400)), 2600);
    const dead = Bench.armed();
    dead.down(0);
    dead.hear(over(1, "watchdog"));
    is(dead.says.at(-1).includes("a process there died or hung"), true, dead.says.at(-1));
  },
  "a sentence ends when what it speaks of has changed"() {
    const bench = Bench.armed();
    const told = (type, more) => drive.update(bench.state, { type, ...more }, bench.t).find(({ say }) => say);
    bench.down(0);
    const failsafe = told("message", { message: over(1, "lease") });
    is([failsafe.isReason, !!failsafe.holds(bench.state)], [true, true]);
    bench.up(0);
    bench.tell("arm");
    is(!!failsafe.holds(bench.state), false);
    bench.hear({ down: { why: "lost" } });
    const offline = told("down", { direction: 0, from: "key" });
    is([offline.say, !!offline.holds(bench.state)], [words.why.offline, true]);
    bench.up(0);
    bench.hear({ up: structuredClone(CAR) });
    bench.pass(700);
    is(!!offline.holds(bench.state), false);
    const viewer = new Bench("view");
    const took = drive.update(viewer.state, { type: "message", message: { control: { driver: BOB, request: null, epoch: EPOCH } } }, viewer.t).find(({ say }) => say);
    is([took.say, !!took.holds(viewer.state)], [words.why.drives("bob"), true]);
    viewer.controls(null);
    is([!!took.holds(viewer.state), viewer.says.at(-1)], [false, words.why.drivesNoMore("bob")]);
  },
  "control that nobody asked for is not given, and is not told as given"() {
    const bench = Bench.armed();
    is(bench.tell("grant"), []);
    bench.controls(BOB);
    is(bench.says.at(-1), words.why.took("bob"));
  },
  "a link that is lost while driving says why the car stands"() {
    const bench = Bench.armed();
    bench.down(0);
    bench.tell("closed", { why: "lost", retryAt: 0 });
    is(/^the link was lost at .+: the car stops itself 400 ms after/.test(bench.says.at(-1)), true, bench.says.at(-1));
  },
  "what moves the car without us is told with who it is, and the ring drains with its time"() {
    const bench = Bench.armed();
    const started = (run, press) => motion({ started: { run, command: "back", press } });
    is([drive.mover(bench.state), drive.left(bench.state)], [null, 0]);
    bench.hear({ asked: { run: "1", by: "http of anna" } });
    bench.hear(started("1", null));
    is(drive.mover(bench.state), "http of anna");
    bench.pass(500);
    is(drive.left(bench.state), 0.75);
    bench.hear(motion("stands"));
    bench.hear(started("2", null));
    is(drive.mover(bench.state), "http or send");
    bench.down(1, "pad");
    bench.hear(started("3", { epoch: EPOCH, number: 1 }));
    is(drive.mover(bench.state), null);
    bench.pass(100);
    is(drive.left(bench.state), 1);
    bench.pass(300, { ticks: false });
    is(drive.left(bench.state) < 0.6, true);
    bench.up(1, "pad");
    bench.controls(BOB);
    bench.hear(started("4", { epoch: EPOCH, number: 9 }));
    is(drive.mover(bench.state), "bob");
    bench.hear({ up: { ...bench.state.car, since_ms: 0, moving: { run: "1", command: "back", press: null } } });
    is(drive.left(bench.state), null, "when it began is not known");
  },
  "on a slow network the silent hop is told once, and a slow router is not silent"() {
    const bench = new Bench();
    bench.rtt = 800;
    bench.pass(3000);
    const hops = [];
    for (let n = 0; n < 300; n += 1) {
      bench.pass(10, { ticks: false });
      const hop = drive.silence(bench.state)?.hop;
      if (hop !== hops.at(-1)) hops.push(hop);
    }
    is(hops.filter(hop => hop), ["router → car"]);
  },
  "another's stop ends the press, and a fresh one moves again"() {
    const bench = Bench.armed();
    bench.down(0);
    bench.hear(over(1, "asked"));
    is(bench.is, "ARMED");
    is(without(bench.pass(1000)), []);
    bench.up(0);
    is(without(bench.down(0)).length, 1);
  },
  "the end of an older press leaves the newer alone"() {
    const bench = Bench.armed();
    bench.down(0);
    bench.down(1);
    bench.hear(over(1, "released"));
    bench.hear(over(1, "asked"));
    is(bench.is, "DRIVING");
  },
  "a refusal ends its press and no other"() {
    const bench = Bench.armed();
    bench.down(0);
    const refused = number => ({ refused: { reason: "too_slow", press: { epoch: EPOCH, number }, message: "slow" } });
    bench.hear(refused(9));
    is(bench.is, "DRIVING");
    bench.hear(refused(1));
    is(bench.is, "ARMED");
    is(bench.says.at(-1), "slow");
  },
  "half a second without a sign of life is no answer, whichever hop is silent"() {
    const bench = Bench.armed();
    bench.down(0, "pad");
    const silence = () => drive.silence(bench.state)?.hop;
    // The router answers, and the car's clock ticks no more.
    bench.pass(400, { ticks: false });
    is(silence(), undefined);
    bench.pass(200, { ticks: false });
    is([bench.is, silence()], ["NO ANSWER", "router → car"]);
    bench.hear({ tick: bench.t });
    is([bench.is, silence()], ["ARMED", undefined]);
    bench.t += 500;
    is([bench.is, silence()], ["ARMED", undefined]);
    bench.tell("tick");
    is([bench.is, silence()], ["NO ANSWER", "page → router"]);
    is(drive.isSettled(bench.state), false);
    bench.pass(700);
    is(bench.is, "ARMED");
    // A page that gets no ticks is told.
    bench.hear({ silent: 510 });
    is(silence(), "router → car");
    bench.hear({ rtt: 20000 });
    is(bench.is, "ARMED");
    bench.hear({ car: { session: 1, key: "", role: "view", car: { ...structuredClone(CAR), silent_ms: 900 } } });
    is(bench.is, "NO ANSWER");
  },
  "a link that is lost while driving is a failsafe, and motion never resumes by itself"() {
    for (const lose of [bench => bench.tell("closed", { why: "lost", retryAt: 0 }), bench => bench.hear({ down: { why: "lost" } })]) {
      const bench = Bench.armed();
      bench.down(0, "pad");
      is(without(lose(bench)), []);
      is(bench.is, "OFFLINE");
      bench.tell("open");
      bench.hear({ car: { session: 1, key: "", role: "drive", car: structuredClone(CAR) } });
      is(bench.is, "FAILSAFE");
      is(bench.pass(1000), []);
      bench.up(0, "pad");
      is(bench.down(0), []);
      bench.up(0);
      is(bench.tell("arm"), [{ control: "take" }]);
      bench.controls(US);
      is(bench.is, "ARMED");
    }
  },
  "a link must be healthy for half a second before anything moves"() {
    const bench = new Bench();
    bench.hear({ down: { why: "lost" } });
    bench.hear({ up: structuredClone(CAR) });
    bench.pass(400);
    is(bench.down(0), []);
    is(bench.says.at(-1), words.why.unsettled);
    bench.up(0);
    bench.pass(200);
    is(bench.down(0), [{ control: "take" }]);
  },
  "a viewer moves nothing and stops everything"() {
    const bench = new Bench("view");
    is(bench.down(0), []);
    is(bench.says.at(-1), words.why.mayNot);
    is(bench.tell("stop"), ["stop"]);
  },
  "control that another has is asked for, and handed over standing"() {
    const bench = new Bench();
    bench.controls(BOB);
    is(bench.down(0), []);
    is(bench.says.at(-1), words.why.held("bob"));
    bench.up(0);
    is(bench.tell("arm"), [{ control: "take" }]);
    is(bench.says.at(-1), words.why.asked("bob"));
    bench.controls(US);
    is(bench.is, "ARMED");
    bench.down(0);
    bench.controls(US, [BOB, 10000]);
    is(bench.tell("grant"), [release(1), { control: "grant" }]);
    bench.controls(BOB);
    is(bench.is, "VIEW");
    is(bench.says.at(-1), words.why.gave("bob"));
  },
  "an old picture stops who drives by it, and refuses the next press"() {
    const bench = Bench.armed();
    bench.down(0, "pad");
    is(without(bench.pass(500, { videoAge: 990 })), []);
    is(without(bench.pass(10, { videoAge: 1010 })), ["stop", { control: "release" }]);
    is(bench.is, "FAILSAFE");
    bench.up(0, "pad");
    bench.controls(null);
    is(bench.tell("arm"), []);
    is(bench.says.at(-1), words.why.videoOld(1010));
    bench.pass(10);
    is(bench.tell("arm"), [{ control: "take" }]);
  },
  "a camera that dies stops who drives by its picture as one that hangs"() {
    const bench = Bench.armed();
    const dead = age => ({ videoAge: age, isLive: false });
    bench.down(0, "pad");
    bench.pass(100, { videoAge: 100 });
    is(without(bench.pass(500, dead(990))), []);
    is(without(bench.pass(10, dead(1010))), ["stop", { control: "release" }]);
    is(bench.says.at(-1), words.why.videoStopped(1010));
    bench.up(0, "pad");
    bench.controls(null);
    // Who presses without a picture drives without.
    bench.pass(10, dead(2000));
    is(bench.tell("arm"), [{ control: "take" }]);
    bench.hear({ control: { driver: US, request: null, epoch: EPOCH + 1 } });
    bench.down(0, "pad");
    is(without(bench.pass(500, dead(3000))), []);
    is(bench.is, "DRIVING");
    // And so does who switches it off, and on again.
    bench.pass(100, { videoAge: 100 });
    bench.tell("picture", { videoAge: null, isLive: false });
    is(without(bench.pass(500, dead(3000))), []);
    is(bench.is, "DRIVING");
  },
  "a stop that fails is a failsafe and refuses everything but stop"() {
    const bench = Bench.armed();
    bench.down(0);
    bench.hear(motion("stop_failed"));
    is(bench.is, "FAILSAFE");
    bench.up(0);
    is(bench.down(0), []);
    bench.up(0);
    is(bench.tell("arm"), []);
    is(bench.tell("stop"), ["stop"]);
    bench.hear(motion("stands"));
    is(bench.tell("arm"), []);
    is(bench.is, "ARMED");
  },
  "a direction that the car has not got says so"() {
    const bench = Bench.armed();
    bench.state.car.motion.length = 2;
    is(bench.down(3), []);
    is(bench.says.at(-1), words.why.noCommand);
  },
  "a pulse by a button that knows no release ends by itself"() {
    const bench = Bench.armed();
    is(bench.tell("pulse", { direction: 0 }).length, 1);
    is(without(bench.pass(240)), []);
    is(without(bench.pass(20)), [release(1)]);
  },
  "a hidden page wants no ticks and measures nothing"() {
    const bench = new Bench();
    is(bench.watched, true);
    bench.tell("visible", { visible: false });
    is(bench.watched, false);
    bench.t += 5000;
    bench.tell("tick");
    is(drive.silence(bench.state), null);
    is(drive.isKnown(bench.state), false);
    const probes = bench.state.probes;
    bench.pass(2000);
    is(bench.state.probes, probes);
  },
  "another car on the same port is not driven by the old one's control"() {
    const bench = Bench.armed();
    bench.down(0, "pad");
    is(without(bench.hear({ up: { ...structuredClone(CAR), name: "truck", control: { driver: US, request: null, epoch: EPOCH } } })), []);
    is(bench.is === "DRIVING", false);
  },
  "a long output keeps its beginning and its end, and says what is left out"() {
    const output = new Output("begins ");
    for (let n = 0; n < 100; n += 1) output.add("x".repeat(1000));
    output.add(" ends");
    is(output.length, 100012);
    is([output.text.startsWith("begins xx"), output.text.endsWith("x ends")], [true, true]);
    is(output.text.includes(`… ${100012 - 65536} characters are left out …`), true);
    is(new Output("short").text, "short");
  },
  "quotes keep the words of an argument together"() {
    is(split(` a "b c" 'd "e"' "" f`), ["a", "b c", 'd "e"', "", "f"]);
    is(split(" "), []);
  },
};

/** A WebSocket by hand. */
class FakeSocket {
  static OPEN = 1;
  constructor() {
    Object.assign(this, { readyState: 1, sent: [] });
    FakeSocket.last = this;
  }
  send(text) {
    this.sent.push(text);
  }
  close() {}
}

const html = (name, what) => Object.assign(document.createElementNS("http://www.w3.org/1999/xhtml", name), what);
const canvas = () => html("canvas");

/** What a person touches: the page in this state, and what is told of it. */
function desk(state) {
  const body = html("div", { className: state });
  const pad = html("button");
  pad.dataset.direction = 2;
  body.append(html("button", { id: "stop" }), pad);
  document.documentElement.replaceChildren(body);
  const told = [];
  listen(event => told.push(event), () => false);
  /** Whether this key is left to the browser. */
  const isLeft = (code, what) => pad.dispatchEvent(new KeyboardEvent("keydown", { code, key: code, bubbles: true, cancelable: true, ...what }));
  return { pad, told, isLeft };
}

/** A picture of this width, taken at this time of the car's clock. */
async function frame(width, at) {
  const drawn = Object.assign(canvas(), { width, height: 8 });
  drawn.getContext("2d").fillRect(0, 0, 8, 8);
  const jpeg = await new Promise(done => drawn.toBlob(done, "image/jpeg"));
  const stamp = new DataView(new ArrayBuffer(8));
  stamp.setBigUint64(0, BigInt(at));
  return new Blob([stamp, jpeg]).arrayBuffer();
}

async function until(isSo, what) {
  for (let n = 0; n < 500 && !isSo(); n += 1) await new Promise(done => setTimeout(done, 10));
  if (!isSo()) throw new Error(`it never came: ${what}`);
}

/** A page's camera, and its connection. */
function camera() {
  const { WebSocket } = globalThis;
  globalThis.WebSocket = FakeSocket;
  const video = new Video(canvas(), new Clock(), () => {});
  globalThis.WebSocket = WebSocket;
  const socket = FakeSocket.last;
  socket.onopen();
  return { video, socket, hear: data => socket.onmessage({ data }) };
}

Object.assign(tests, {
  async "a picture is asked for when one was drawn, and of several the newest is"() {
    const { video, socket, hear } = camera();
    is(socket.sent, ["next"]);
    hear(JSON.stringify({ camera: "none" }));
    is([video.is, video.age(0, 0)], ["none", null]);
    hear(await frame(10, 1));
    await until(() => video.drawn === 1, "the first picture");
    await until(() => socket.sent.length === 2, "the next is asked for");
    is([video.is, video.canvas.width], ["live", 10]);
    const three = [await frame(11, 2), await frame(12, 3), await frame(13, 4)];
    three.forEach(hear);
    await until(() => video.canvas.width === 13, "the newest");
    is(video.drawn, 3, "the one between is not drawn");
    await until(() => socket.sent.length === 3, "the next is asked for");
    hear(new Uint8Array(20).buffer);
    await until(() => socket.sent.length === 4, "the next after one that is no picture");
    video.switchOff(true);
    is(video.age(0, 0), null);
  },
  async "a picture of before does not make a camera live that failed meanwhile"() {
    const { video, socket, hear } = camera();
    const [before, waits, after] = [await frame(10, 1), await frame(11, 2), await frame(12, 3)];
    hear(before);
    hear(waits);
    hear(JSON.stringify({ camera: "failed", why: "it ended" }));
    await until(() => socket.sent.length > 1, "the next is asked for");
    is([video.is, video.drawn, video.age(0, 0)], ["failed", 0, null]);
    hear(after);
    await until(() => video.drawn === 1, "a picture after that");
    is(video.is, "live");
    // What was drawn gets older whatever becomes of the camera.
    hear(JSON.stringify({ camera: "starting" }));
    const now = performance.now();
    is(video.age(now + 900, 0) >= 890, true, "its age");
    video.switchOff(true);
    video.switchOff(false);
    is(video.age(now + 900, 0), null);
  },
  "Enter that is held presses a button once"() {
    for (const state of ["live", "plain"]) {
      const { isLeft } = desk(state);
      is([isLeft("Enter"), isLeft("Enter", { repeat: true })], [true, false], state);
    }
  },
  "where nothing can be driven every key is the browser's"() {
    const { told, isLeft } = desk("plain");
    for (const code of ["Space", "ArrowUp", "KeyW", "Escape"]) is(isLeft(code), true, code);
    is(told, []);
    is(desk("live").isLeft("Space"), false);
  },
  "a pad whose finger could not be followed is there for the next"() {
    const { pad, told } = desk("live");
    const touch = (pointerId, follow) => {
      pad.setPointerCapture = follow;
      pad.dispatchEvent(new PointerEvent("pointerdown", { pointerId, button: 0, bubbles: true, cancelable: true }));
    };
    touch(7, () => { throw new Error("no such pointer"); });
    is(told, []);
    touch(8, () => {});
    is(told, [{ type: "down", from: "pad", direction: 2 }]);
  },
  "of the pictures two a second are kept, of 30 s and 8 MB at most"() {
    const video = Object.assign(Object.create(Video.prototype), { kept: [] });
    const keep = (at, bytes) => video.keep({ byteLength: bytes }, at);
    for (let at = 0; at <= 60000; at += 100) keep(at, 1000);
    is(video.kept.length, 60);
    is(video.kept[0].at, 60000);
    is(video.kept.at(-1).at, 30500);
    for (let at = 61000; at < 75000; at += 500) keep(at, 1000000);
    is(video.kept.filter(it => it.data.byteLength === 1000000).length, 7);
    is(video.kept[0].at, 74500);
  },
  "a picture is as old as what came fastest says"() {
    const clock = new Clock();
    clock.arrived(1000, 51000);
    clock.arrived(2000, 52300);
    is(clock.age(2000, 52300, 40), 320);
    // Clocks drift: what came fastest long ago is forgotten.
    clock.arrived(82000, 132500);
    clock.arrived(113000, 163500);
    is(clock.age(113000, 163500, 0), 0);
  },
});

for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
  } catch (error) {
    failures.push(`${name}: ${error.message}`);
  }
}
return { failures, passed: Object.keys(tests).length - failures.length };
