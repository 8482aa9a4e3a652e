//! A direction that the operator holds down, and when it counts as released: by the terminal's
//! report of the release, or else by silence. Pure.

use std::time::{Duration, Instant};

/// A direction of the pad, in the order of the car's motion commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Forward,
    Back,
    Left,
    Right,
}

impl Direction {
    /// All, in the order of the car's motion commands.
    pub const ALL: [Self; 4] = [Self::Forward, Self::Back, Self::Left, Self::Right];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn glyph(self) -> char {
        match self {
            Self::Forward => '▲',
            Self::Back => '▼',
            Self::Left => '◀',
            Self::Right => '▶',
        }
    }
}

/// Key releases: reported by the terminal, or guessed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyReleases {
    /// The terminal granted the kitty keyboard flag "report event types".
    Reported,
    /// No reports: silence after repeats counts as a release.
    #[default]
    Guessed,
}

/// Length of a press without repeats, where releases are not reported or the link is slow. Long
/// enough to see the car move, shorter than the shortest keyboard delay in use.
pub const PULSE: Duration = Duration::from_millis(250);
/// Longest hold of the pad without an event of the mouse, and longest time for which a key counts as
/// held after its last event: after that, the release was lost.
const SILENT_HOLD: Duration = Duration::from_secs(5);
/// Longest motion by a key without a repeat, where releases are reported: longer than any usual
/// keyboard waits for its first repeat. A release that is lost on the way drives no longer.
const SILENT_KEY: Duration = Duration::from_secs(1);
/// Longest motion by one press where it latches.
pub const LATCHED: Duration = Duration::from_secs(5);
/// Slower repeats are new presses. The slowest keyboards repeat twice a second.
const SLOWEST_REPEAT: Duration = Duration::from_millis(250);
/// Repeats closer than this have waited in a queue, so their interval is not measured.
const BURST: Duration = Duration::from_millis(5);
/// Time between the fastest taps of a finger. Nearly all keyboards repeat after 25 to 100 ms.
const FASTEST_TAPS: Duration = Duration::from_millis(110);
/// Shortest silence that counts as a release: a shorter one may come from scheduling.
const SHORTEST_SILENCE: Duration = Duration::from_millis(60);
/// Longest usual time between a press and its first repeat (X11: 660 ms).
pub const FIRST_REPEAT: Duration = Duration::from_millis(800);
/// Longest time between a press and its first repeat on any keyboard (macOS). Where releases are
/// guessed, a key whose press was ended by something else counts as held until it was silent for
/// this long: its first repeat looks like a new press and must not be one.
pub const LONGEST_DELAY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HoldSource {
    Key(KeyReleases),
    Pad,
    /// A press that goes on until any key.
    Latch,
}

/// A direction that is held down.
#[derive(Debug, Clone)]
pub struct Hold {
    pub(super) direction: Direction,
    from: HoldSource,
    since: Instant,
    last: Instant,
    /// Time when the key went down.
    down: Instant,
    /// Motion by a press without repeats, where releases are guessed.
    pulse: Duration,
    /// Time from the press before this one, which may have been the same held key.
    after: Option<Duration>,
    /// Measured time between repeats; the next field counts them.
    repeat: Option<Duration>,
    repeats: u32,
    /// The press is over although the key may still be held. Only a new press moves again.
    pub(super) is_finished: bool,
    /// The press was ended or refused by something other than its own key or the end of its pulse.
    /// The key must be released before it moves again.
    is_void: bool,
    /// One pulse, however long the key is held: the link is slow.
    pulse_only: bool,
}

impl Hold {
    pub fn key(direction: Direction, releases: KeyReleases, now: Instant) -> Self {
        Self::new(direction, HoldSource::Key(releases), now)
    }

    pub fn pad(direction: Direction, now: Instant) -> Self {
        Self::new(direction, HoldSource::Pad, now)
    }

    pub fn latch(direction: Direction, now: Instant) -> Self {
        Self::new(direction, HoldSource::Latch, now)
    }

    /// A press where a held key repeats for the first time after so long: until then it may be held.
    pub fn with_first_repeat(self, delay: Option<Duration>) -> Self {
        Self {
            pulse: tap(delay),
            ..self
        }
    }

    /// A press that came after another one: the first repeat of that, if further ones follow it at once.
    pub fn after(self, before: Option<&Self>) -> Self {
        let is_tap = |hold: &&Self| {
            let is_key = hold.from == HoldSource::Key(KeyReleases::Guessed);
            is_key && hold.direction == self.direction && hold.repeats == 0 && !hold.is_void
        };
        let gap = |hold: &Self| self.since.saturating_duration_since(hold.down);
        let after = before.filter(is_tap).map(gap);
        Self {
            after: after.filter(|gap| *gap < FIRST_REPEAT),
            ..self
        }
    }

    /// The time that this key took to its first repeat, once it is known: what comes so fast no finger taps.
    pub fn first_repeat(&self) -> Option<Duration> {
        let is_keyboard = self.repeat.is_some_and(|repeat| repeat < FASTEST_TAPS);
        self.after.filter(|_| is_keyboard && self.repeats >= 4)
    }

    fn new(direction: Direction, from: HoldSource, now: Instant) -> Self {
        Self {
            direction,
            from,
            since: now,
            last: now,
            down: now,
            pulse: PULSE,
            after: None,
            repeat: None,
            repeats: 0,
            is_finished: false,
            is_void: false,
            pulse_only: false,
        }
    }

    pub fn is_pad(&self) -> bool {
        self.from == HoldSource::Pad
    }

    pub fn is_latch(&self) -> bool {
        self.from == HoldSource::Latch
    }

    /// True if the press is one pulse, since the link is slow.
    pub fn is_pulse(&self) -> bool {
        self.pulse_only
    }

    /// Ends the press because it was stopped elsewhere or refused. Later repeats of the key belong
    /// to the old press.
    pub fn void(&mut self) {
        self.is_finished = true;
        self.is_void = true;
    }

    /// Counts the key as held until now: its events were lost.
    pub fn assume_held_until(&mut self, now: Instant) {
        self.last = self.last.max(now);
    }

    /// True if an event that is too late for a repeat may still belong to the old press. The
    /// operator is then told how long to wait.
    pub fn may_be_held_on(&self, now: Instant) -> bool {
        self.is_void
            && self.from == HoldSource::Key(KeyReleases::Guessed)
            && now.saturating_duration_since(self.last) >= SLOWEST_REPEAT
    }

    /// Starts the pulse: the press was sent only now, after waiting for control.
    pub fn press_sent(&mut self, now: Instant, pulse_only: bool) {
        self.since = now;
        self.last = self.last.max(now);
        self.pulse_only = pulse_only;
    }

    /// Limits the press to one pulse because the link became slow. Returns whether this is new.
    pub fn limit_to_pulse(&mut self) -> bool {
        !std::mem::replace(&mut self.pulse_only, true)
    }

    /// Returns true if another press of this key is a repeat. Where releases are guessed, it always
    /// is. Where they are reported, a terminal or a program in between may pass repeats on as presses:
    /// it is one if the key still moves the car, or if it comes as soon as a first or a further repeat;
    /// otherwise the release was lost.
    pub fn repeats_as_press(&self, now: Instant) -> bool {
        let is_first = self.last == self.since;
        let soon = if is_first {
            FIRST_REPEAT
        } else {
            SLOWEST_REPEAT
        };
        self.from != HoldSource::Key(KeyReleases::Reported)
            || !self.is_finished && now < self.moves_until()
            || now.saturating_duration_since(self.last) < soon
    }

    /// Notes a repeat of the key.
    pub fn repeated(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last);
        if gap >= SLOWEST_REPEAT && self.repeats == 0 && self.last_down() {
            self.after = Some(gap);
        }
        self.last = now;
        if gap >= SLOWEST_REPEAT || gap < BURST {
            return;
        }
        self.repeats += 1;
        // The first gap is the keyboard's delay, not its interval. After it, the interval grows
        // faster than it shrinks: a late repeat must not look like a release.
        self.repeat = Some(match self.repeat {
            Some(before) if self.repeats > 2 && gap < before => (before * 3 + gap) / 4,
            Some(before) if self.repeats > 2 => (before + gap) / 2,
            _ => gap,
        });
    }

    /// End of the motion unless the key repeats before.
    pub fn moves_until(&self) -> Instant {
        if self.pulse_only {
            return self.since + PULSE;
        }
        match (self.from, self.repeat) {
            (HoldSource::Pad, _) => self.since + SILENT_HOLD,
            (HoldSource::Latch, _) => self.since + LATCHED,
            // A first repeat proves that the key was still held then.
            (HoldSource::Key(KeyReleases::Guessed), None) if self.last > self.since => {
                (self.since + self.pulse).max(self.last + PULSE)
            }
            (HoldSource::Key(KeyReleases::Guessed), None) => self.since + self.pulse,
            (HoldSource::Key(KeyReleases::Reported), None) => self.last + SILENT_KEY,
            (HoldSource::Key(_), Some(repeat)) => self.last + silence(repeat),
        }
    }

    /// Time from which the key counts as released, if no release is reported.
    pub fn held_until(&self) -> Instant {
        match (self.from, self.repeat) {
            (HoldSource::Pad | HoldSource::Key(KeyReleases::Reported), _) => {
                self.last + SILENT_HOLD
            }
            (HoldSource::Key(KeyReleases::Guessed) | HoldSource::Latch, _) if self.is_void => {
                self.last + LONGEST_DELAY
            }
            (HoldSource::Key(KeyReleases::Guessed), Some(repeat)) => self.last + silence(repeat),
            // A pulse over a slow link: the first repeat must not become the next one.
            (HoldSource::Key(KeyReleases::Guessed), None) if self.pulse_only => {
                self.last + FIRST_REPEAT
            }
            (HoldSource::Key(KeyReleases::Guessed), None) | (HoldSource::Latch, _) => {
                self.moves_until()
            }
        }
    }

    /// Returns true if nothing was heard of the key since it went down.
    fn last_down(&self) -> bool {
        self.last == self.down
    }

    /// Time until which the hold must be remembered. The end of its press may be reported after its
    /// pulse and before the first repeat.
    pub fn known_until(&self) -> Instant {
        match self.from {
            HoldSource::Key(KeyReleases::Guessed) | HoldSource::Latch => {
                self.held_until().max(self.last + LONGEST_DELAY)
            }
            _ => self.held_until(),
        }
    }
}

/// Motion by a press without repeats, on a terminal where a held key repeats for the first time after
/// this delay, if it is known: a release before that can't be told from a hold.
pub fn tap(delay: Option<Duration>) -> Duration {
    delay.map_or(PULSE, |delay| (delay * 5 / 4).clamp(PULSE, FIRST_REPEAT))
}

/// Silence that is a release: three times the measured repeat interval.
fn silence(repeat: Duration) -> Duration {
    (repeat * 3).max(SHORTEST_SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_tap_is_one_pulse() {
        let t = Instant::now();
        let hold = Hold::key(Direction::Forward, KeyReleases::Guessed, t);
        assert_eq!(hold.moves_until(), t + ms(250));
    }

    #[test]
    fn once_repeats_flow_three_intervals_of_silence_are_a_release() {
        for releases in [KeyReleases::Guessed, KeyReleases::Reported] {
            let t = Instant::now();
            let mut hold = Hold::key(Direction::Forward, releases, t);
            for n in 1..20 {
                hold.repeated(t + ms(33) * n);
            }
            assert_eq!(hold.moves_until(), t + ms(33) * 19 + ms(99));
        }
    }

    #[test]
    fn a_slow_keyboard_is_measured_not_guessed() {
        let t = Instant::now();
        let mut hold = Hold::key(Direction::Left, KeyReleases::Guessed, t);
        for n in 1..10 {
            hold.repeated(t + ms(200) * n);
        }
        assert_eq!(hold.moves_until(), t + ms(1800 + 600));
    }

    #[test]
    fn a_reported_key_that_never_repeats_ends_after_a_second_and_the_pad_after_five() {
        let t = Instant::now();
        let key = Hold::key(Direction::Left, KeyReleases::Reported, t);
        assert_eq!(key.moves_until(), t + ms(1000));
        assert_eq!(Hold::pad(Direction::Left, t).moves_until(), t + ms(5000));
    }

    #[test]
    fn over_a_slow_link_repeats_do_not_lengthen_the_pulse() {
        let t = Instant::now();
        let mut hold = Hold::key(Direction::Left, KeyReleases::Guessed, t);
        hold.press_sent(t + ms(100), true);
        for n in 1..20 {
            hold.repeated(t + ms(100) + ms(33) * n);
        }
        assert_eq!(hold.moves_until(), t + ms(350));
        assert!(hold.held_until() > t + ms(700));
    }
}
