//! Reads the terminal in a thread of its own. The thread checks that the terminal is still there
//! before each read, shows again and again that it runs, and marks input that waited while the
//! program did not run as stale.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, MouseEventKind};
use p2p_shared::timing::millis;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use super::lateness::LoopPlan;
use crate::drive::LATE;

/// Interval at which the thread shows that it runs.
const POLL: Duration = Duration::from_millis(40);
/// Most events that wait for the application. A paste is one event; keys come singly.
pub(crate) const WAITING: usize = 1024;

/// Report of the thread.
#[derive(Debug)]
pub(crate) enum TerminalInput {
    /// An event of the terminal, and when it was read.
    Event(Event, Instant),
    /// The program did not run for this long. Events from that time follow as stale.
    Late(Duration),
    /// An event from the time when the program did not run. A stop still counts.
    Stale(Event),
    Gone,
}

/// The thread that reads the terminal. It ends with the process, or when the terminal or the
/// receiver is gone.
#[derive(Debug, Clone)]
pub(crate) struct InputReader {
    start: Instant,
    seen_ms: Arc<AtomicU64>,
}

impl InputReader {
    pub(crate) fn start(events: mpsc::Sender<TerminalInput>) -> io::Result<Self> {
        let reader = Self {
            start: Instant::now(),
            seen_ms: Arc::default(),
        };
        let mine = reader.clone();
        std::thread::Builder::new()
            .name("terminal-input".to_owned())
            .spawn(move || {
                mine.run(&events);
                let _ = events.blocking_send(TerminalInput::Gone);
            })?;
        Ok(reader)
    }

    /// Time when the thread last showed that it runs.
    pub(crate) fn seen(&self) -> Instant {
        self.start + Duration::from_millis(self.seen_ms.load(Ordering::Relaxed))
    }

    fn mark_alive(&self) {
        let seen_ms = millis(self.start.elapsed());
        self.seen_ms.store(seen_ms, Ordering::Relaxed);
    }

    /// Reads until the terminal or the receiver is gone.
    fn run(&self, events: &mpsc::Sender<TerminalInput>) -> Option<()> {
        let send = |event| events.blocking_send(event).ok();
        let mut known = size();
        loop {
            // crossterm reports a new size, but not always: when keys come at the same moment it
            // forgets the signal, and discarded events may have included it.
            let now = size();
            if now != known {
                known = now;
                if let Some((width, height)) = now {
                    let event = Event::Resize(width, height);
                    send(TerminalInput::Event(event, Instant::now()))?;
                }
            }
            let plan = LoopPlan::new(POLL);
            // crossterm would read a dead terminal for ever (crossterm-rs/crossterm#793).
            if matches!(poll_terminal(POLL), PollOutcome::Gone) {
                return None;
            }
            let late = plan.lateness();
            if late > LATE {
                let stale = drain_waiting()?;
                send(TerminalInput::Late(late))?;
                for event in stale {
                    send(TerminalInput::Stale(event))?;
                }
                self.mark_alive();
                continue;
            }
            self.mark_alive();
            // Polled without input too: crossterm keeps a new size, which comes as a signal.
            while let Ok(true) = event::poll(Duration::ZERO) {
                let event = event::read().ok()?;
                self.mark_alive();
                match &event {
                    Event::Mouse(mouse) if mouse.kind == MouseEventKind::Moved => continue,
                    // The terminal doesn't know its size: the one before stays.
                    Event::Resize(0, _) | Event::Resize(_, 0) => continue,
                    _ => {}
                }
                send(TerminalInput::Event(event, Instant::now()))?;
                if is_gone() {
                    return None;
                }
            }
        }
    }
}

fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

pub(super) enum PollOutcome {
    Input,
    Nothing,
    Gone,
}

/// Waits for input, and reports whether the terminal is still there.
pub(super) fn poll_terminal(timeout: Duration) -> PollOutcome {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).unwrap_or_default();
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => PollOutcome::Nothing,
        Ok(_) => {
            let event = fds[0].revents();
            if event.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                PollOutcome::Gone
            } else {
                PollOutcome::Input
            }
        }
        Err(_) => PollOutcome::Gone,
    }
}

/// Returns true if the terminal is gone. Also asked by the event loop, since a read may hang.
pub(crate) fn is_gone() -> bool {
    matches!(poll_terminal(Duration::ZERO), PollOutcome::Gone)
}

/// Reads the keys and clicks that wait; `None` if the terminal is gone. A new size is noticed
/// elsewhere.
fn drain_waiting() -> Option<Vec<Event>> {
    let mut events = Vec::new();
    while let Ok(true) = event::poll(Duration::ZERO) {
        let event = event::read().ok()?;
        if is_gone() {
            return None;
        }
        let is_click = |kind| matches!(kind, MouseEventKind::Down(_));
        match &event {
            Event::Key(_) => events.push(event),
            Event::Mouse(mouse) if is_click(mouse.kind) => events.push(event),
            _ => {}
        }
    }
    Some(events)
}
