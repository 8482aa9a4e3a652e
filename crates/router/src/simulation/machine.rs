//! Owns the machine that the car is: its processes, whether it moves, and a witness of both that
//! goes by nothing that our programs say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use p2p_inner::simulation::Process;
use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::End;
use p2p_shared::timing;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::history::History;
use super::presses::Presses;

mod seat;

pub(super) use seat::Seat;

/// How long the car drives on without a word of its driver.
pub(super) const LEASE: Duration = Duration::from_millis(400);
/// How long a motion by `/cgi` lasts.
pub(super) const LIMIT: Duration = Duration::from_millis(900);
/// What may pass from when the car must be stopped until its stop command runs (the contract's
/// figure).
pub(super) const MARGIN: Duration = Duration::from_millis(50);

/// The machine.
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    history: History,
    /// Whether a motion command moves the car for as long as it runs, rather than setting a pin.
    stays: bool,
    group: i32,
    processes: BTreeMap<i32, mpsc::UnboundedSender<Duration>>,
    executed: BTreeMap<RunId, Vec<Instant>>,
    begun: Vec<Begun>,
    /// The motions that were asked for by `/cgi`: when, and for how long.
    timed: BTreeMap<RunId, (Instant, Duration)>,
    moves: Option<Moves>,
    /// The last time that the inner read anything of its router.
    heard: Instant,
    presses: Presses,
    /// Since when its inner runs.
    seated: Instant,
    /// The stop command fails until then.
    fails_until: Instant,
}

/// A motion or a stop has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub at: Instant,
    pub run: RunId,
    pub is_stop: bool,
}

/// The car moves.
#[derive(Debug, Clone, Copy)]
struct Moves {
    run: RunId,
    since: Instant,
    is_pressed: bool,
    /// A stop has begun since.
    is_stopping: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Machine {
    pub(super) fn new(dice: Dice, history: History, presses: Presses) -> Self {
        let stays = dice.one_in(2);
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            dice,
            history,
            stays,
            group: 0,
            processes: BTreeMap::new(),
            executed: BTreeMap::new(),
            begun: Vec::new(),
            timed: BTreeMap::new(),
            moves: None,
            heard: now,
            presses,
            seated: now,
            fails_until: now,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The inner has read something.
    pub(super) fn heard(&self) {
        self.lock().heard = Instant::now();
    }

    /// This motion is asked for by `/cgi`, for so long.
    pub(super) fn expect(&self, run: RunId, lasts: Duration) {
        self.lock().timed.insert(run, (Instant::now(), lasts));
    }

    /// The stop command fails for so long.
    pub(super) fn stop_fails_for(&self, time: Duration) {
        self.lock().fails_until = Instant::now() + time;
    }

    /// When this run was executed, each time.
    pub(super) fn executions(&self, run: RunId) -> Vec<Instant> {
        self.lock().executed.get(&run).cloned().unwrap_or_default()
    }

    /// How many runs were executed.
    pub(super) fn executed(&self) -> usize {
        self.lock().executed.len()
    }

    /// What moved and stopped it, in this order.
    pub(super) fn begun(&self) -> Vec<Begun> {
        self.lock().begun.clone()
    }

    /// Since when its inner runs.
    pub(super) fn seated(&self) -> Instant {
        self.lock().seated
    }

    /// What was executed more than once.
    pub(super) fn executed_twice(&self) -> Vec<RunId> {
        let state = self.lock();
        let twice = state.executed.iter().filter(|(_, at)| at.len() > 1);
        twice.map(|(run, _)| *run).collect()
    }

    /// Whether the car moves.
    pub(super) fn moves(&self) -> bool {
        self.lock().moves.is_some()
    }

    /// How many processes there are.
    pub(super) fn processes(&self) -> usize {
        self.lock().processes.len()
    }

    /// Looks whether the car moves that should have been stopped.
    pub(super) fn look(&self) {
        self.lock().look();
    }

    /// Where an inner runs.
    pub(super) fn seat(&self) -> Arc<Seat> {
        self.lock().seated = Instant::now();
        Arc::new(Seat::new(self.clone()))
    }

    fn start(&self, run: RunId, command: &CommandName) -> Process {
        let mut state = self.lock();
        state.group += 1;
        let group = state.group;
        let word = command.as_str();
        state.history.mark(u64::from(group.unsigned_abs()));
        state
            .history
            .tell(|| format!("  {word} {group} begins, run {run}"));
        let now = Instant::now();
        let is_motion = word != "stop" && matches!(word, "forward" | "back");
        if run != RunId::from_number(0) {
            state.executed.entry(run).or_default().push(now);
            state.history.count(|counts| counts.executions += 1);
        }
        let is_stop = word == "stop";
        if is_motion || is_stop {
            let at = now;
            state.begun.push(Begun { at, run, is_stop });
        }
        let stays = is_motion && state.stays;
        if is_motion {
            state.history.count(|counts| counts.motions += 1);
            let is_pressed = !state.timed.contains_key(&run);
            state.set_moving(run, is_pressed);
        }
        let mut acts = None;
        let (lasts, end) = match word {
            "stop" => {
                state.look();
                if let Some(moves) = &mut state.moves {
                    moves.is_stopping = true;
                }
                let most = if state.dice.one_in(20) { 300 } else { 10 };
                let lasts = state.dice.ms(1..most);
                let fails = state.fails_until > now;
                if !fails {
                    acts = Some(lasts.mul_f64(state.dice.number(0..100) as f64 / 100.0));
                }
                (Some(lasts), End::Exit(i32::from(fails)))
            }
            "forward" | "back" => ((!stays).then(|| state.dice.ms(1..8)), End::Exit(0)),
            "slow" => (Some(state.dice.ms(50..1500)), End::Exit(0)),
            "fails" => (Some(state.dice.ms(1..20)), End::Exit(3)),
            _ => (Some(state.dice.ms(1..8)), End::Exit(0)),
        };
        let dies = state.dice.ms(0..5);
        let is_stubborn = state.dice.one_in(8);
        let (ended, end_seen) = watch::channel(None);
        let (terminate, mut told) = mpsc::unbounded_channel();
        state.processes.insert(group, terminate.clone());
        drop(state);
        let machine = self.clone();
        tokio::spawn(async move {
            let living = async {
                if let Some(acts) = acts {
                    sleep(acts).await;
                    machine.lock().moves = None;
                    if let Some(rest) = lasts.and_then(|lasts| lasts.checked_sub(acts)) {
                        sleep(rest).await;
                    }
                    return;
                }
                super::network::until(lasts.map(|lasts| Instant::now() + lasts)).await;
            };
            let end = tokio::select! {
                biased;
                () = living => end,
                Some(grace) = told.recv() => {
                    sleep(if is_stubborn { grace } else { dies.min(grace) }).await;
                    End::Signal(if is_stubborn { 9 } else { 15 })
                }
            };
            let mut state = machine.lock();
            state.processes.remove(&group);
            if stays {
                // It may have set the pin once more.
                state.set_moving(run, true);
            }
            state
                .history
                .tell(|| format!("  process {group} ends: {end}"));
            drop(state);
            ended.send_replace(Some(end));
        });
        Process {
            group,
            end: end_seen,
            terminate,
            output: Bytes::from(format!("{run} {command}\n")),
        }
    }

    fn terminate(&self, group: i32) {
        if let Some(process) = self.lock().processes.get(&group) {
            let _ = process.send(timing::KILL_GRACE);
        }
    }
}

impl State {
    /// A command moves the car.
    fn set_moving(&mut self, run: RunId, is_pressed: bool) {
        self.look();
        self.moves = Some(Moves {
            run,
            since: Instant::now(),
            is_pressed,
            is_stopping: false,
        });
    }

    /// How long it may move without hearing anything. By `/cgi`, as long as any wish that may
    /// have come since lasts: the same motion again extends the one there is.
    fn span(&self, moves: Moves) -> Duration {
        if moves.is_pressed {
            return LEASE;
        }
        let oldest = timing::RUN_DEADLINE + LEASE;
        let timed = self.timed.values();
        let young = timed.filter(|(asked, _)| *asked + oldest >= moves.since);
        young.map(|(_, lasts)| *lasts).max().unwrap_or(LIMIT)
    }

    /// Promise 3, by what the network and the drivers did.
    fn look(&mut self) {
        let Some(moves) = self.moves.filter(|moves| !moves.is_stopping) else {
            return;
        };
        let mut until = moves.since.max(self.heard) + self.span(moves);
        if moves.is_pressed {
            // By an old process that ends, too, which none of them asks for.
            let held = self.presses.held(moves.run).unwrap_or(moves.since);
            until = until.min(held.max(moves.since) + timing::MOTION_AGE);
        }
        let late = Instant::now().saturating_duration_since(until + MARGIN);
        if late > Duration::ZERO {
            self.moves = None;
            let why = if moves.is_pressed { "lease" } else { "limit" };
            self.history.broken(
                3,
                format!("the car moves {late:?} after its {why} and 50 ms"),
            );
        }
    }
}
