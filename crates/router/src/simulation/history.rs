//! Owns what is written down of one history, and the promises that were broken in it.

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// What happened so far.
#[derive(Debug, Clone)]
pub(super) struct History(Arc<Mutex<Told>>);

#[derive(Debug)]
struct Told {
    began: Instant,
    is_kept: bool,
    lines: Vec<String>,
    broken: Vec<String>,
    /// What happened, in one number: two that differ are two histories.
    print: u64,
    counts: Counts,
}

/// How much a history has of what it is about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub faults: u64,
    pub motions: u64,
    pub executions: u64,
    pub answers: u64,
    pub unknown: u64,
    /// From the network's or the process's being back to the first answer, where it was measured.
    pub back: Option<Duration>,
}

/// A history that is over.
#[derive(Debug)]
pub(super) struct Outcome {
    pub lines: Vec<String>,
    pub broken: Vec<String>,
    pub print: u64,
    pub counts: Counts,
}

impl History {
    /// One that begins now; its lines are kept, or only what is broken.
    pub(super) fn new(is_kept: bool) -> Self {
        Self(Arc::new(Mutex::new(Told {
            began: Instant::now(),
            is_kept,
            lines: Vec::new(),
            broken: Vec::new(),
            print: 0,
            counts: Counts::default(),
        })))
    }

    /// Something happened.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        let mut told = self.0.lock().unwrap();
        let at = told.began.elapsed();
        if told.is_kept {
            let line = format!("{:>10.4} {}", at.as_secs_f64(), what());
            told.lines.push(line);
        }
    }

    /// Something happened on which what comes later depends.
    pub(super) fn mark(&self, number: u64) {
        let mut told = self.0.lock().unwrap();
        let at = u64::try_from(told.began.elapsed().as_micros()).unwrap();
        // Of what happens at one moment, as when a link is lost, the order is left to chance.
        let mixed = (at.rotate_left(32) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
        told.print = told.print.wrapping_add(mixed ^ (mixed >> 29));
    }

    /// A promise was broken.
    pub(super) fn broken(&self, promise: u32, how: impl Display) {
        let mut told = self.0.lock().unwrap();
        let at = told.began.elapsed().as_secs_f64();
        let line = format!("{at:>10.4} PROMISE {promise} BROKEN: {how}");
        told.lines.push(line.clone());
        told.broken.push(line);
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.0.lock().unwrap().counts);
    }

    pub(super) fn end(&self) -> Outcome {
        let mut told = self.0.lock().unwrap();
        Outcome {
            lines: std::mem::take(&mut told.lines),
            broken: std::mem::take(&mut told.broken),
            print: told.print,
            counts: told.counts,
        }
    }
}
