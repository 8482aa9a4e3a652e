//! Open runs of one link, and the reports that an inner may send of each: refused; or started, then
//! output, then finished; and nothing before the run was handed over. A report of an unknown run is
//! ignored: the run was cancelled a moment ago.

use p2p_shared::names::{RunId, RunMap};
use p2p_shared::protocol::{OutputPiece, RUN_WINDOW, cost};
use tokio::sync::OwnedSemaphorePermit;

use crate::link::end::ProtocolViolation;
use crate::run::error::RunError;
use crate::run::events::EventSender;
use crate::run::{Finish, RunEvent};

/// A link's hold on a run. Dropping it before the run's end tells the caller that the run was not sent, or
/// is lost if it was handed over.
#[derive(Debug)]
pub(crate) struct OpenRun {
    run: RunId,
    /// True for a run of the stop command, which is wanted even if its caller leaves.
    is_stop: bool,
    events: EventSender,
    /// Other stops, which this one answers.
    sharers: Vec<OpenRun>,
    stage: Stage,
    /// Output that may still come, in units of the window. Nothing is granted again to a run that another
    /// answers: the link waits for that one's caller alone.
    window: u32,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The inner doesn't know the run, or has only got some of its input.
    Kept,
    /// From here on only the inner can say that the run was not executed.
    Handed,
    Started,
    Over,
}

impl OpenRun {
    /// Makes a run whose caller gets these events; without a permit, a run of the stop command.
    pub(crate) fn new(
        run: RunId,
        events: EventSender,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            run,
            is_stop: permit.is_none(),
            events,
            sharers: Vec::new(),
            stage: Stage::Kept,
            window: RUN_WINDOW,
            _permit: permit,
        }
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    /// Answers another stop, too, which was not handed over and won't be.
    pub(crate) fn share(&mut self, mut other: Self) {
        other.stage = Stage::Over;
        self.sharers.retain(|sharer| !sharer.events.has_left());
        self.sharers.push(other);
    }

    /// Passes on an event of the run that answers this one. Returns false if the caller gets no more.
    fn pass_on(&mut self, by: RunId, event: &RunEvent) -> bool {
        let RunEvent::Output(bytes) = event else {
            return self.events.send(event.clone());
        };
        match self.window.checked_sub(cost(bytes)) {
            Some(left) => {
                self.window = left;
                self.events.send(event.clone())
            }
            None => {
                self.events.send(RunEvent::Failed(RunError::CutOff(by)));
                false
            }
        }
    }

    fn is_awaited(&self) -> bool {
        !self.events.has_left() || (self.sharers.iter()).any(|sharer| !sharer.events.has_left())
    }

    /// Ends the run with its last event.
    pub(crate) fn end(mut self, event: RunEvent) {
        self.stage = Stage::Over;
        self.send(event);
    }

    fn started(&mut self) -> Result<(), ProtocolViolation> {
        if self.stage != Stage::Handed {
            return Err(ProtocolViolation(
                "the inner started a run that it was not asked for, or twice",
            ));
        }
        self.stage = Stage::Started;
        self.send(RunEvent::Started);
        Ok(())
    }

    fn output(&mut self, bytes: OutputPiece) -> Result<(), ProtocolViolation> {
        if self.stage != Stage::Started {
            return Err(ProtocolViolation(
                "the inner sent output of a run that has not started",
            ));
        }
        let left = self.window.checked_sub(cost(&bytes));
        self.window = left.ok_or(ProtocolViolation(
            "the inner sent more output than its window",
        ))?;
        self.send(RunEvent::Output(bytes));
        Ok(())
    }

    fn send(&mut self, event: RunEvent) {
        let run = self.run;
        self.sharers
            .retain_mut(|sharer| sharer.pass_on(run, &event));
        // A caller that is gone has cancelled, which the link learns from its queue. What waits
        // here unread is bounded by each caller's window.
        self.events.send(event);
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        let error = match self.stage {
            Stage::Kept => RunError::NotSent,
            Stage::Handed | Stage::Started => RunError::Lost(self.run),
            Stage::Over => return,
        };
        self.send(RunEvent::Failed(error));
    }
}

/// The runs that are open on a link.
#[derive(Debug, Default)]
pub(super) struct Runs(RunMap<OpenRun>);

impl Runs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// Adds a run. Stops that nobody waits for any more are forgotten: there may be many, and a car that
    /// answers none.
    pub(super) fn insert(&mut self, open: OpenRun) {
        if open.is_stop {
            self.0
                .retain(|_, other| !other.is_stop || other.is_awaited());
        }
        self.0.insert(open.run, open);
    }

    /// Marks a run as handed to the inner, if it is still wanted. Returns whether it is.
    pub(super) fn hand_over(&mut self, run: RunId) -> bool {
        let Some(open) = self.0.get_mut(&run) else {
            return false;
        };
        let is_wanted = open.is_stop || !open.events.has_left();
        if is_wanted {
            open.stage = Stage::Handed;
        } else {
            self.0.remove(&run);
        }
        is_wanted
    }

    /// Ends a run that was not handed over, and won't be.
    pub(super) fn withdraw(&mut self, run: RunId, error: RunError) {
        if let Some(open) = self.0.remove(&run) {
            open.end(RunEvent::Failed(error));
        }
    }

    /// Forgets a run whose caller has gone away. A stop is kept: it is wanted without its caller, and
    /// others may wait for its answer. Returns true if the inner has to end the run, which is neither a
    /// stop nor over.
    pub(super) fn cancel(&mut self, run: RunId) -> bool {
        let is_stop = self.0.get(&run).is_some_and(|open| open.is_stop);
        !is_stop && self.0.remove(&run).is_some()
    }

    /// Grants more output. Returns whether the run is open.
    pub(super) fn grant(&mut self, run: RunId, more: u32) -> bool {
        let Some(open) = self.0.get_mut(&run) else {
            return false;
        };
        open.window = open.window.saturating_add(more).min(RUN_WINDOW);
        true
    }

    pub(super) fn started(&mut self, run: RunId) -> Result<(), ProtocolViolation> {
        self.0.get_mut(&run).map_or(Ok(()), OpenRun::started)
    }

    pub(super) fn output(
        &mut self,
        run: RunId,
        bytes: OutputPiece,
    ) -> Result<(), ProtocolViolation> {
        let open = self.0.get_mut(&run);
        open.map_or(Ok(()), |open| open.output(bytes))
    }

    /// Reports the start, the output and the end at once.
    pub(super) fn answered(
        &mut self,
        run: RunId,
        output: OutputPiece,
        finish: Finish,
    ) -> Result<(), ProtocolViolation> {
        let Some(mut open) = self.0.remove(&run) else {
            return Ok(());
        };
        open.started()?;
        if !output.is_empty() {
            open.output(output)?;
        }
        open.end(RunEvent::Finished(finish));
        Ok(())
    }

    pub(super) fn refused(&mut self, run: RunId, error: RunError) -> Result<(), ProtocolViolation> {
        let why = "the inner refused a run that it had started, or was not asked for";
        self.end(run, Stage::Handed, RunEvent::Failed(error), why)
    }

    pub(super) fn finished(&mut self, run: RunId, finish: Finish) -> Result<(), ProtocolViolation> {
        let why = "the inner finished a run that has not started";
        self.end(run, Stage::Started, RunEvent::Finished(finish), why)
    }

    fn end(
        &mut self,
        run: RunId,
        from: Stage,
        event: RunEvent,
        why: &'static str,
    ) -> Result<(), ProtocolViolation> {
        match self.0.remove(&run) {
            Some(open) if open.stage == from => open.end(event),
            // The run is dropped: its caller is told that it is lost, if it was handed over.
            Some(_) => return Err(ProtocolViolation(why)),
            None => {}
        }
        Ok(())
    }

    /// Forgets all runs: those that were handed over are lost.
    pub(super) fn abort_all(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::events::run_events;

    #[test]
    fn who_shares_a_stop_gets_its_output_within_a_window_and_is_told_of_the_rest() {
        let mut runs = Runs::default();
        let [run, other] = [0, 1].map(RunId::from_number);
        let (sender, _caller) = run_events();
        let mut first = OpenRun::new(run, sender, None);
        let (sender, sharer) = run_events();
        first.share(OpenRun::new(other, sender, None));
        runs.insert(first);
        assert!(runs.hand_over(run));
        runs.started(run).unwrap();
        let piece = OutputPiece::split_from(&mut vec![b'x'; 16 * 1024].into());
        let mut got = 0;
        loop {
            runs.output(run, piece.clone()).unwrap();
            runs.grant(run, cost(&piece));
            match sharer.next_now() {
                Some(RunEvent::Started) => {}
                Some(RunEvent::Output(bytes)) => got += cost(&bytes),
                told => {
                    break assert!(
                        matches!(told, Some(RunEvent::Failed(RunError::CutOff(by))) if by == run),
                        "{told:?}"
                    );
                }
            }
        }
        assert!(
            got <= RUN_WINDOW && got + 2 * cost(&piece) > RUN_WINDOW,
            "{got}"
        );
    }

    #[test]
    fn who_waits_for_a_run_that_is_dropped_is_told_whether_it_was_handed_over() {
        let run = RunId::from_number(0);
        let told = |handed_over: bool| {
            let (sender, events) = run_events();
            let mut runs = Runs::default();
            runs.insert(OpenRun::new(run, sender, None));
            assert!(!handed_over || runs.hand_over(run));
            runs.abort_all();
            events.next_now()
        };
        let told = [false, true].map(told);
        let [
            Some(RunEvent::Failed(RunError::NotSent)),
            Some(RunEvent::Failed(RunError::Lost(lost))),
        ] = told
        else {
            panic!("{told:?}");
        };
        assert_eq!(lost, run);
    }

    #[test]
    fn stops_that_nobody_waits_for_are_forgotten_and_those_of_others_are_not() {
        let mut runs = Runs::default();
        let stop = |number| {
            let (sender, events) = run_events();
            let run = RunId::from_number(number);
            (OpenRun::new(run, sender, None), events)
        };
        let (mut first, caller) = stop(0);
        let (other, sharer) = stop(1);
        first.share(other);
        runs.insert(first);
        drop(caller);
        assert!(!runs.cancel(RunId::from_number(0)));
        for number in 2..100 {
            runs.insert(stop(number).0);
        }
        // The one that is shared, and the newest.
        assert_eq!(runs.0.len(), 2);
        drop(sharer);
        runs.insert(stop(100).0);
        assert_eq!(runs.0.len(), 1);
    }
}
