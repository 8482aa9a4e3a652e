//! A simulated machine: its processes, and the motion of its car. The machine watches both itself, and
//! does not rely on reports of the programs.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use p2p_inner::simulation::{Leader, Pipes, Spawned};
use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::End;
use p2p_shared::timing;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::history::History;
use super::press_ledger::PressLedger;
use super::rng::Rng;

mod process_host;

pub(super) use process_host::ProcessHost;

/// Time for which the car drives on without a message of its driver.
pub(super) const LEASE: Duration = Duration::from_millis(400);
/// Longest time of a motion by `/cgi`.
pub(super) const LIMIT: Duration = Duration::from_millis(900);
/// Longest time from when the car must be stopped until its stop command runs (from the contract).
pub(super) const MARGIN: Duration = Duration::from_millis(50);

/// A machine; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Machine(Arc<Mutex<MachineState>>);

struct MachineState {
    rng: Rng,
    history: History,
    /// A motion command moves the car for as long as it runs; else it sets a pin and ends.
    moves_while_running: bool,
    /// Number of the newest inner.
    inner: u32,
    group: i32,
    /// By group, the inner that started it (`None`: a guardian), its run, and where its signals go.
    processes: BTreeMap<i32, (Option<u32>, RunId, mpsc::UnboundedSender<Signal>)>,
    executed: BTreeMap<RunId, Vec<Instant>>,
    starts: Vec<CommandStart>,
    /// Motions requested by `/cgi`: time of the request, and duration.
    timed: BTreeMap<RunId, (Instant, Duration)>,
    moves: Option<CarMotion>,
    /// Time at which the inner last read anything from its router.
    traffic_at: Instant,
    presses: PressLedger,
    /// Time at which the inner started.
    host_started: Instant,
    /// The stop command fails until this time.
    fails_until: Instant,
}

/// Start of a motion or stop command.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommandStart {
    pub at: Instant,
    pub run: RunId,
    pub is_stop: bool,
}

/// The motion of the car.
#[derive(Debug, Clone, Copy)]
struct CarMotion {
    run: RunId,
    since: Instant,
    is_pressed: bool,
    /// A stop command has started since.
    is_stopping: bool,
}

impl fmt::Debug for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineState").finish_non_exhaustive()
    }
}

impl Machine {
    pub(super) fn new(rng: Rng, history: History, presses: PressLedger) -> Self {
        let moves_while_running = rng.one_in(2);
        let now = Instant::now();
        Self(Arc::new(Mutex::new(MachineState {
            rng,
            history,
            moves_while_running,
            inner: 0,
            group: 0,
            processes: BTreeMap::new(),
            executed: BTreeMap::new(),
            starts: Vec::new(),
            timed: BTreeMap::new(),
            moves: None,
            traffic_at: now,
            presses,
            host_started: now,
            fails_until: now,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.0.lock().unwrap()
    }

    /// Notes that the inner has read something from its router.
    pub(super) fn on_traffic(&self) {
        self.lock().traffic_at = Instant::now();
    }

    /// Notes that `/cgi` requests this motion for this long.
    pub(super) fn expect_motion(&self, run: RunId, lasts: Duration) {
        let mut state = self.lock();
        state.timed.entry(run).or_insert((Instant::now(), lasts));
    }

    /// Lets the stop command fail for this long.
    pub(super) fn stop_fails_for(&self, time: Duration) {
        self.lock().fails_until = Instant::now() + time;
    }

    /// The times at which this run was executed.
    pub(super) fn executions(&self, run: RunId) -> Vec<Instant> {
        self.lock().executed.get(&run).cloned().unwrap_or_default()
    }

    /// Number of runs that were executed.
    pub(super) fn executed_count(&self) -> usize {
        self.lock().executed.len()
    }

    /// The motion and stop commands, in the order of their start.
    pub(super) fn starts(&self) -> Vec<CommandStart> {
        self.lock().starts.clone()
    }

    /// Time at which the inner started.
    pub(super) fn host_started(&self) -> Instant {
        self.lock().host_started
    }

    /// Runs that were executed more than once.
    pub(super) fn executed_twice(&self) -> Vec<RunId> {
        let state = self.lock();
        let twice = state.executed.iter().filter(|(_, at)| at.len() > 1);
        twice.map(|(run, _)| *run).collect()
    }

    /// Returns true if the car moves.
    pub(super) fn is_moving(&self) -> bool {
        self.lock().moves.is_some()
    }

    /// Number of running processes.
    pub(super) fn process_count(&self) -> usize {
        self.lock().processes.len()
    }

    /// The runs whose processes live.
    pub(super) fn running(&self) -> Vec<RunId> {
        let state = self.lock();
        state.processes.values().map(|(_, run, _)| *run).collect()
    }

    /// Checks that the car does not move when it should have been stopped.
    pub(super) fn check_motion(&self) {
        self.lock().check_motion();
    }

    /// Process host of an inner that starts now.
    pub(super) fn start_host(&self) -> Arc<ProcessHost> {
        let mut state = self.lock();
        state.host_started = Instant::now();
        state.inner += 1;
        Arc::new(ProcessHost::new(self.clone(), state.inner, false))
    }

    fn start(&self, inner: Option<u32>, run: RunId, command: &CommandName) -> Spawned {
        let mut state = self.lock();
        state.group += 1;
        let group = state.group;
        let word = command.as_str();
        state.history.mark(u64::from(group.unsigned_abs()));
        state
            .history
            .log(|| format!("  {word} {group} begins, run {run}"));
        let now = Instant::now();
        let is_motion = word != "stop" && matches!(word, "forward" | "back");
        if run != RunId::from_number(0) {
            state.executed.entry(run).or_default().push(now);
            state.history.count(|counts| counts.executions += 1);
        }
        let is_stop = word == "stop";
        if is_motion || is_stop {
            let at = now;
            state.starts.push(CommandStart { at, run, is_stop });
        }
        let moves_while_running = is_motion && state.moves_while_running;
        if is_motion {
            state.history.count(|counts| counts.motions += 1);
            let is_pressed = !state.timed.contains_key(&run);
            state.set_moving(run, is_pressed);
        }
        let mut acts = None;
        let (lasts, end) = match word {
            "stop" => {
                state.check_motion();
                if let Some(moves) = &mut state.moves {
                    moves.is_stopping = true;
                }
                let most = if state.rng.one_in(20) { 300 } else { 10 };
                let lasts = state.rng.ms(1..most);
                let fails = state.fails_until > now;
                if !fails {
                    acts = Some(lasts.mul_f64(state.rng.number(0..100) as f64 / 100.0));
                }
                (Some(lasts), End::Exit(i32::from(fails)))
            }
            "forward" | "back" => (
                (!moves_while_running).then(|| state.rng.ms(1..8)),
                End::Exit(0),
            ),
            "slow" => (Some(state.rng.ms(50..1500)), End::Exit(0)),
            "long" => (Some(state.rng.ms(12_000..18_000)), End::Exit(0)),
            "fails" => (Some(state.rng.ms(1..20)), End::Exit(3)),
            _ => (Some(state.rng.ms(1..8)), End::Exit(0)),
        };
        let dies = state.rng.ms(0..5);
        let is_stubborn = state.rng.one_in(8);
        let (ended, exit) = oneshot::channel();
        let (signals, mut signalled) = mpsc::unbounded_channel();
        state.processes.insert(group, (inner, run, signals));
        let output = format!("{run} {command}\n");
        let (mut pipe, stdout) = tokio::io::duplex(1024);
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
                signal = death(&mut signalled, (!is_stubborn).then_some(dies)) => End::Signal(signal),
            };
            {
                let mut state = machine.lock();
                state.processes.remove(&group);
                if moves_while_running {
                    // The last act of the process may have been to set the pin.
                    state.set_moving(run, true);
                }
                state
                    .history
                    .log(|| format!("  process {group} ends: {end}"));
            }
            let _ = pipe.write_all(output.as_bytes()).await;
            drop(pipe);
            let _ = ended.send(status_of(end));
        });
        Spawned {
            group,
            leader: Box::new(SimulatedLeader { exit, status: None }),
            pipes: Pipes {
                stdin: None,
                stdout: Box::new(stdout),
                stderr: Box::new(tokio::io::empty()),
            },
        }
    }
}

/// Waits for the signal that ends a process: SIGKILL at once, SIGTERM after so long, if at all.
async fn death(
    signalled: &mut mpsc::UnboundedReceiver<Signal>,
    dies_after: Option<Duration>,
) -> i32 {
    let mut dies_at = None;
    loop {
        tokio::select! {
            biased;
            Some(signal) = signalled.recv() => match signal {
                Signal::KILL => return 9,
                Signal::TERM => dies_at = dies_at.or(dies_after.map(|after| Instant::now() + after)),
                _ => {}
            },
            () = super::network::until(dies_at), if dies_at.is_some() => return 15,
        }
    }
}

/// The kernel's exit status for this end.
fn status_of(end: End) -> ExitStatus {
    ExitStatus::from_raw(match end {
        End::Exit(code) => code << 8,
        End::Signal(signal) => signal,
        other => unreachable!("no process ends as {other}"),
    })
}

/// The first process of a group.
struct SimulatedLeader {
    exit: oneshot::Receiver<ExitStatus>,
    status: Option<ExitStatus>,
}

impl Leader for SimulatedLeader {
    fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        let status = match self.status {
            Some(status) => status,
            None => ready!(Pin::new(&mut self.exit).poll(cx)).map_err(io::Error::other)?,
        };
        self.status = Some(status);
        Poll::Ready(Ok(status))
    }
}

impl MachineState {
    /// Notes that a command moves the car.
    fn set_moving(&mut self, run: RunId, is_pressed: bool) {
        self.check_motion();
        self.moves = Some(CarMotion {
            run,
            since: Instant::now(),
            is_pressed,
            is_stopping: false,
        });
    }

    /// Time for which the car may move without traffic. By `/cgi`: the longest of the requests that may
    /// have come since, because the same motion again extends the running one.
    fn longest_motion(&self, moves: CarMotion) -> Duration {
        if moves.is_pressed {
            return LEASE;
        }
        let oldest = timing::RUN_DEADLINE + LEASE;
        let timed = self.timed.values();
        let young = timed.filter(|(asked, _)| *asked + oldest >= moves.since);
        young.map(|(_, lasts)| *lasts).max().unwrap_or(LIMIT)
    }

    /// Checks promise 3 against the network and the operators' presses.
    fn check_motion(&mut self) {
        let Some(moves) = self.moves.filter(|moves| !moves.is_stopping) else {
            return;
        };
        let mut until = moves.since.max(self.traffic_at) + self.longest_motion(moves);
        if moves.is_pressed {
            // Also when an old process sets the pin as it ends, which no press asked for.
            let held = self.presses.last_wanted(moves.run).unwrap_or(moves.since);
            until = until.min(held.max(moves.since) + timing::MOTION_AGE);
        }
        let late = Instant::now().saturating_duration_since(until + MARGIN);
        if late > Duration::ZERO {
            self.moves = None;
            let why = if moves.is_pressed { "lease" } else { "limit" };
            self.history.violation(
                3,
                format!("the car moves {late:?} after its {why} and 50 ms"),
            );
        }
    }
}
