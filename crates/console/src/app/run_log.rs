//! The runs that the console has seen, and which of them the Log screen shows: the newest, or a
//! view that is held while more runs are recorded. Pure, of bounded memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use p2p_shared::bounded::Piece;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{RunInfo, RunResult, SNAPSHOT_RUNS};

use crate::text::{is_of_link, outcome, source_word};

/// Most runs that are kept; with 1 KiB of output each they take about 6 MB.
pub(super) const KEPT: usize = 2_000;
/// Status of a run whose result is lost.
const LOST: u16 = 502;

#[derive(Debug)]
struct HeldView {
    /// The runs, newest first.
    runs: Vec<Arc<RunInfo>>,
    /// True if frozen with `f`: then results don't change either.
    frozen: bool,
    came: u64,
}

/// A run that the router does not know any more: if it was open, its result is lost.
fn forgotten(run: &RunInfo) -> RunInfo {
    let lost = || RunResult {
        status: LOST,
        end: None,
        why: "the router restarted: nobody knows what became of it".into(),
        link_us: 0,
        exec_us: None,
        bytes: 0,
        output: Piece::default(),
        stderr: Piece::default(),
    };
    RunInfo {
        result: Some(run.result.clone().unwrap_or_else(lost)),
        ..run.clone()
    }
}

/// The runs, and which of them the Log screen shows.
#[derive(Debug, Default)]
pub struct RunLog {
    runs: VecDeque<RunId>,
    by_id: HashMap<RunId, Arc<RunInfo>>,
    held: Option<HeldView>,
    filter: String,
    /// Position of the selected run, counted from the newest one shown.
    selected: usize,
    /// Events that the router left out because this console was too slow.
    pub missed: u64,
}

impl RunLog {
    /// Adds the runs of a snapshot after those that were known and that it has not. If the router `has_restarted`,
    /// nobody knows what became of an open one among these. A held view stays, and counts only runs that were unknown.
    pub fn merge(&mut self, runs: Vec<RunInfo>, has_restarted: bool) {
        let there: HashSet<RunId> = runs.iter().map(|run| run.run).collect();
        let mut known = std::mem::take(&mut self.by_id);
        for id in std::mem::take(&mut self.runs) {
            if !there.contains(&id)
                && let Some(run) = known.get(&id)
            {
                let run = match has_restarted {
                    true => forgotten(run),
                    false => (**run).clone(),
                };
                self.keep(run, |_| false);
            }
        }
        known.retain(|id, _| there.contains(id));
        for run in runs {
            self.keep(run, |id| !known.contains_key(&id));
        }
        // What this console noted itself lies between the runs.
        let at_ms = |id: &RunId| self.by_id.get(id).map(|run| run.at_ms);
        self.runs.make_contiguous().sort_by_key(at_ms);
    }

    /// Returns true if runs are known, and the newest of them is not among these, which are all that the router
    /// knows of.
    pub fn is_unknown_to(&self, runs: &[RunInfo]) -> bool {
        // There may have been older ones.
        if runs.len() >= SNAPSHOT_RUNS {
            return false;
        }
        let newest = self.newest_first().find(|run| !is_of_link(run));
        newest.is_some_and(|newest| runs.iter().all(|run| run.run != newest.run))
    }

    /// Adds or updates a run. Returns whether the run is new.
    pub fn put(&mut self, run: RunInfo) -> bool {
        self.keep(run, |_| true)
    }

    fn keep(&mut self, run: RunInfo, is_new: impl Fn(RunId) -> bool) -> bool {
        let id = run.run;
        if self.by_id.insert(id, Arc::new(run)).is_some() {
            return false;
        }
        if self.runs.len() == KEPT
            && let Some(oldest) = self.runs.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.runs.push_back(id);
        if let Some(held) = &mut self.held {
            held.came += u64::from(is_new(id));
        }
        true
    }

    /// The runs that are shown, newest first.
    pub fn shown(&self) -> impl Iterator<Item = Arc<RunInfo>> + '_ {
        let live = self.newest_first().filter(|_| self.held.is_none());
        let held = self.held.iter().flat_map(|held| held.runs.iter());
        let held = held.map(|run| match self.by_id.get(&run.run) {
            Some(now) if !self.is_frozen() => now,
            _ => run,
        });
        let shown = live.chain(held).filter(|run| self.matches(run));
        shown.map(Arc::clone)
    }

    fn newest_first(&self) -> impl Iterator<Item = &Arc<RunInfo>> {
        self.runs.iter().rev().filter_map(|id| self.by_id.get(id))
    }

    /// The last runs of one link, newest first, whether shown or not.
    pub fn of_link(&self, service_port: u16) -> impl Iterator<Item = &RunInfo> {
        let runs = self.newest_first().map(Arc::as_ref);
        runs.filter(move |run| run.service_port == service_port && !is_of_link(run))
    }

    /// The run with this id: its newest state, else the one that is held.
    pub fn get(&self, id: RunId) -> Option<Arc<RunInfo>> {
        let held = || self.held.as_ref()?.runs.iter().find(|run| run.run == id);
        self.by_id.get(&id).or_else(held).map(Arc::clone)
    }

    fn matches(&self, run: &RunInfo) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let text = format!(
            "{} {} {:?} {} {} {} {} {} {}",
            run.link,
            run.command,
            run.arguments,
            source_word(run.source),
            run.from,
            run.key,
            run.run,
            outcome(run),
            run.result.as_ref().map_or("", |result| result.why.raw()),
        );
        let text = text.to_lowercase();
        let mut words = self.filter.split_whitespace();
        words.all(|word| text.contains(&word.to_lowercase()))
    }

    /// Words that a run must contain to be shown.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Shows only runs that contain each of these words.
    pub fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.selected = 0;
    }

    /// Returns true if the view follows the newest run.
    pub fn follows(&self) -> bool {
        self.held.is_none()
    }

    /// Returns true if the view is frozen.
    pub fn is_frozen(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.frozen)
    }

    /// Runs that were added since the view was held.
    pub fn came(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.came)
    }

    pub fn selected(&self) -> usize {
        self.selected
    }

    pub fn selected_run(&self) -> Option<Arc<RunInfo>> {
        self.shown().nth(self.selected)
    }

    /// Moves the selection towards older (positive) or newer runs. Leaving the newest run holds the
    /// view.
    pub fn scroll(&mut self, by: isize) {
        let last = self.shown().count().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
        if self.selected > 0 {
            self.hold(false);
        }
    }

    pub fn select_newest(&mut self) {
        self.selected = 0;
        self.hold(false);
    }

    pub fn follow(&mut self) {
        self.held = None;
        self.selected = 0;
    }

    pub fn toggle_freeze(&mut self) {
        if self.is_frozen() {
            self.follow();
        } else {
            self.hold(true);
        }
    }

    fn hold(&mut self, frozen: bool) {
        match &mut self.held {
            Some(held) => held.frozen |= frozen,
            None => {
                self.held = Some(HeldView {
                    runs: self.newest_first().map(Arc::clone).collect(),
                    frozen,
                    came: 0,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn ids(log: &RunLog) -> Vec<u64> {
        log.shown().map(|run| run.at_ms).collect()
    }

    #[test]
    fn scrolling_up_holds_the_view_while_recording_goes_on() {
        let mut log = RunLog::default();
        for n in 1..=3 {
            log.put(testing::run(n, "forward"));
        }
        log.scroll(1);
        for n in 4..=6 {
            log.put(testing::run(n, "left"));
        }
        assert_eq!(ids(&log), [3, 2, 1]);
        assert_eq!((log.came(), log.follows()), (3, false));
        log.follow();
        assert_eq!(ids(&log), [6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn a_new_picture_counts_as_come_only_what_was_unknown() {
        let mut log = RunLog::default();
        for n in 1..=3 {
            log.put(testing::run(n, "forward"));
        }
        log.scroll(1);
        log.put(testing::run(4, "left"));
        for _ in 0..2 {
            log.merge((2..=6).map(|n| testing::run(n, "left")).collect(), true);
            assert_eq!((log.came(), ids(&log)), (3, vec![3, 2, 1]));
        }
        log.follow();
        assert_eq!(ids(&log), [6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn a_held_view_shows_results_and_a_frozen_one_does_not() {
        for frozen in [false, true] {
            let mut log = RunLog::default();
            log.put(testing::open_run(1, "forward"));
            log.put(testing::open_run(2, "forward"));
            if frozen {
                log.toggle_freeze();
            } else {
                log.scroll(1);
            }
            log.put(testing::run(1, "forward"));
            let oldest = log.shown().last().unwrap();
            assert_eq!(oldest.result.is_none(), frozen);
        }
    }

    #[test]
    fn a_held_view_survives_more_runs_than_are_kept() {
        let mut log = RunLog::default();
        for n in 0..3 {
            log.put(testing::run(n, "forward"));
        }
        log.toggle_freeze();
        for n in 0..3 * KEPT as u64 {
            log.put(testing::run(100 + n, "left"));
        }
        assert_eq!(ids(&log), [2, 1, 0]);
        log.follow();
        assert_eq!(ids(&log).len(), KEPT);
    }

    #[test]
    fn a_filter_is_words_that_all_occur() {
        let mut log = RunLog::default();
        log.put(testing::run(1, "forward"));
        log.put(testing::run(2, "left"));
        log.set_filter("HTTP left".to_owned());
        assert_eq!(ids(&log), [2]);
        log.set_filter("nothing".to_owned());
        assert!(ids(&log).is_empty());
    }
}
