//! What happened to one car on one clock: which key was held, what the car did, how its link was, and
//! the events with their cause. Pure: events in, rows out. Live and past cars have the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::drive::Direction;
use crate::screen::theme::MOVES;

/// Most changes of the tracks, and most events, that are kept of a live car.
const KEPT: usize = 1024;
/// Greatest distance of two moments of one event, which was dated twice.
const SAME: Duration = Duration::from_millis(50);
/// Lengths of time that can be looked at.
const SPANS: [Duration; 6] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(900),
];
/// One minute at first.
const FIRST_SPAN: usize = 2;
/// Steps of the cursor in a span.
const STEPS: u32 = 60;

/// Sign that a track shows of a moment. Of several in one column the last of these is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Sign {
    /// Nothing is known, or no key held.
    #[default]
    Blank,
    /// The car stands, or the link is up.
    Calm,
    /// A key is held, or the car moves.
    Active(char),
    /// Not known: no answer.
    Doubt,
    /// The link is lost, or the stop fails.
    Bad,
}

/// The signs of keys, car and link.
pub type Signs = [Sign; 3];

/// Names of the tracks.
pub const TRACKS: [&str; 3] = ["keys", "car", "link"];
/// The car's track.
const CAR: usize = 1;

#[derive(Debug, Clone)]
pub struct Timeline {
    /// Changes of the tracks, oldest first: so it is from this moment on.
    changes: VecDeque<(Instant, Signs)>,
    /// Events with their moments, oldest first; and whether the car's past has them, too.
    events: VecDeque<((Instant, String), bool)>,
    /// Most changes, and most events.
    most: usize,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            changes: VecDeque::new(),
            events: VecDeque::new(),
            most: KEPT,
        }
    }
}

impl Timeline {
    /// A timeline that keeps all: of a recording, which has its own bound.
    pub fn unbounded() -> Self {
        Self {
            most: usize::MAX,
            ..Self::default()
        }
    }

    /// Notes what the tracks show from now on.
    pub fn note(&mut self, now: Instant, signs: Signs) {
        if self.last() != signs {
            let last = self.changes.back().map(|(at, _)| *at);
            let change = (last.map_or(now, |last| now.max(last)), signs);
            push(&mut self.changes, change, self.most);
        }
    }

    /// Returns what the tracks show last.
    pub fn last(&self) -> Signs {
        self.changes
            .back()
            .map_or_else(Signs::default, |(_, it)| *it)
    }

    /// Notes an event of this moment, which may be before others that are known. The car's past does not have it.
    pub fn tell(&mut self, at: Instant, what: String) {
        self.add(at, what, false);
    }

    /// Notes an event that the car's past has, too.
    pub fn tell_of_car(&mut self, at: Instant, what: String) {
        self.add(at, what, true);
    }

    fn add(&mut self, at: Instant, what: String, is_of_car: bool) {
        push(&mut self.events, ((at, what), is_of_car), self.most);
        let is_last = |last: usize| {
            self.events
                .get(last)
                .is_none_or(|((before, _), _)| *before <= at)
        };
        let last = self.events.len().saturating_sub(2);
        if self.events.len() > 1 && !is_last(last) {
            self.events
                .make_contiguous()
                .sort_by_key(|((at, _), _)| *at);
        }
    }

    /// Notes what the car did from this moment on. What was noted of it since then was not known yet.
    pub fn car_was(&mut self, at: Instant, sign: Sign) {
        let later = self.changes.partition_point(|(then, _)| *then <= at);
        for (_, signs) in self.changes.range_mut(later..) {
            signs[CAR] = sign;
        }
        let Some((_, mut signs)) = later
            .checked_sub(1)
            .and_then(|i| self.changes.get(i).copied())
        else {
            return;
        };
        if std::mem::replace(&mut signs[CAR], sign) != sign {
            self.changes.insert(later, (at, signs));
            if self.changes.len() > self.most {
                self.changes.pop_front();
            }
        }
    }

    /// Makes room for what the car's past has of the time between these moments.
    pub fn forget_events(&mut self, from: Instant, to: Instant) {
        let from = from.checked_sub(SAME).unwrap_or(from);
        let within = |at: &Instant| (from..=to + SAME).contains(at);
        self.events
            .retain(|((at, _), is_of_car)| !(*is_of_car && within(at)));
    }

    /// The events, newest first.
    pub fn events(&self) -> impl Iterator<Item = &(Instant, String)> {
        self.events.iter().rev().map(|(event, _)| event)
    }

    /// The moment of the last change or event.
    pub fn end(&self) -> Option<Instant> {
        let changed = self.changes.back().map(|(at, _)| *at);
        changed.max(self.events.back().map(|((at, _), _)| *at))
    }

    /// The tracks from `from` to `to`, in so many columns.
    pub fn rows(&self, from: Instant, to: Instant, columns: usize) -> [Vec<Sign>; 3] {
        let mut rows = [(); 3].map(|()| vec![Sign::Blank; columns]);
        let ends = self.changes.iter().skip(1).map(|(at, _)| *at).chain([to]);
        for ((at, signs), end) in self.changes.iter().zip(ends) {
            if end < from || *at > to {
                continue;
            }
            // What is so only now is seen, too.
            let first = column(*at, from, to, columns).min(columns.saturating_sub(1));
            // A change at the border of two columns is seen in the second one.
            let last = column(end, from, to, columns).max(first + 1);
            for (row, sign) in rows.iter_mut().zip(signs) {
                for cell in row.iter_mut().take(last).skip(first) {
                    *cell = (*cell).max(*sign);
                }
            }
        }
        rows
    }

    /// The columns in which something happened.
    pub fn marks(&self, from: Instant, to: Instant, columns: usize) -> Vec<usize> {
        let within = self
            .events
            .iter()
            .filter(|((at, _), _)| (from..=to).contains(at));
        within
            .map(|((at, _), _)| column(*at, from, to, columns))
            .collect()
    }
}

/// The glyph of the motion command at this place.
pub(super) fn glyph(place: Option<usize>) -> char {
    let direction = place.and_then(|place| Direction::ALL.get(place));
    let other = MOVES.chars().next().unwrap_or('»');
    direction.map_or(other, |direction| direction.glyph())
}

/// The column of a moment in a window; the number of columns for one after its end.
pub fn column(at: Instant, from: Instant, to: Instant, columns: usize) -> usize {
    let (past, all) = (
        at.saturating_duration_since(from).as_micros(),
        to.saturating_duration_since(from).as_micros().max(1),
    );
    usize::try_from(past * columns as u128 / all).map_or(columns, |it| it.min(columns))
}

/// Adds an entry; the oldest one goes if there are too many.
fn push<T>(entries: &mut VecDeque<T>, entry: T, most: usize) {
    if entries.len() == most {
        entries.pop_front();
    }
    entries.push_back(entry);
}

/// Which part of a timeline is looked at.
#[derive(Debug, Clone, Copy)]
pub struct TimelineView {
    span: usize,
    /// The moment that is looked at; `None` follows the present.
    pub cursor: Option<Instant>,
}

impl Default for TimelineView {
    fn default() -> Self {
        Self {
            span: FIRST_SPAN,
            cursor: None,
        }
    }
}

impl TimelineView {
    pub fn span(&self) -> Duration {
        SPANS.get(self.span).copied().unwrap_or(SPANS[FIRST_SPAN])
    }

    /// Shows a longer time, or a shorter one.
    pub fn zoom(&mut self, closer: bool) {
        let by = if closer { -1 } else { 1 };
        self.span = self.span.saturating_add_signed(by).min(SPANS.len() - 1);
    }

    /// Time of one step.
    pub fn step(&self) -> Duration {
        self.span() / STEPS
    }

    /// Moves the cursor by this many steps; past the `end` it follows again.
    pub fn scrub(&mut self, steps: i8, end: Instant) {
        let by = self.step() * u32::from(steps.unsigned_abs());
        let here = self.cursor.unwrap_or(end);
        let there = match steps {
            ..0 => here.checked_sub(by),
            _ => here.checked_add(by),
        };
        self.cursor = there.filter(|there| *there < end);
    }

    /// Begin and end of what is shown, with the cursor in the middle where that is past.
    pub fn window(&self, end: Instant) -> (Instant, Instant) {
        let span = self.span();
        let middle = self.cursor.and_then(|at| at.checked_add(span / 2));
        let to = middle.map_or(end, |to| to.min(end));
        (to.checked_sub(span).unwrap_or(to), to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_tap_is_seen_however_short_it_is() {
        let t = Instant::now();
        let mut timeline = Timeline::default();
        let calm = [Sign::Blank, Sign::Calm, Sign::Calm];
        timeline.note(t, calm);
        timeline.note(
            t + ms(30_010),
            [Sign::Active('▲'), Sign::Active('▲'), Sign::Calm],
        );
        timeline.note(t + ms(30_050), calm);
        timeline.note(t + ms(45_000), [Sign::Blank, Sign::Doubt, Sign::Bad]);
        let [keys, car, link] = timeline.rows(t, t + ms(60_000), 20);
        let moved: Vec<_> = (0..20).filter(|n| keys[*n] == Sign::Active('▲')).collect();
        assert_eq!(moved, [10]);
        assert_eq!(
            (car[9], car[10], car[11]),
            (Sign::Calm, Sign::Active('▲'), Sign::Calm)
        );
        assert_eq!(
            (link[14], link[15], link[19]),
            (Sign::Calm, Sign::Bad, Sign::Bad)
        );
        // What was before its beginning goes on into a window, and nothing is before the first.
        let [_, car, _] = timeline.rows(t + ms(50_000), t + ms(60_000), 10);
        assert!(car.iter().all(|sign| *sign == Sign::Doubt));
        let [_, car, _] = timeline.rows(t - ms(10_000), t, 10);
        assert_eq!((car[8], car[9]), (Sign::Blank, Sign::Calm));
    }

    #[test]
    fn the_cursor_stays_while_time_goes_on_and_past_the_end_it_follows() {
        let t = Instant::now() + ms(600_000);
        let mut view = TimelineView::default();
        assert_eq!(view.window(t), (t - ms(60_000), t));
        view.scrub(-2, t);
        assert_eq!(view.cursor, Some(t - ms(2_000)));
        assert_eq!(view.window(t), (t - ms(60_000), t));
        let later = t + ms(100_000);
        assert_eq!(view.window(later), (t - ms(32_000), t + ms(28_000)));
        view.zoom(true);
        assert_eq!(view.span(), ms(30_000));
        view.scrub(100, t);
        assert_eq!(view.cursor, None);
        for _ in 0..9 {
            view.zoom(false);
        }
        assert_eq!(view.span(), ms(900_000));
    }

    #[test]
    fn memory_is_bounded() {
        let (t, mut timeline) = (Instant::now(), Timeline::default());
        for n in 0..3 * KEPT as u64 {
            let sign = if n % 2 == 0 { Sign::Calm } else { Sign::Bad };
            timeline.note(t + ms(n), [sign; 3]);
            timeline.tell(t + ms(n), String::new());
        }
        assert_eq!(
            (timeline.changes.len(), timeline.events.len()),
            (KEPT, KEPT)
        );
        assert_eq!(timeline.end(), Some(t + ms(3 * KEPT as u64 - 1)));
    }
}
