//! Owns what the operator holds down, and when that counts as let go: by the terminal's own
//! report of the release where there is one, else by silence. Pure.

use std::time::{Duration, Instant};

/// A direction of the pad, in the order of the car's motion commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Up.
    Forward,
    /// Down.
    Back,
    /// Left.
    Left,
    /// Right.
    Right,
}

impl Direction {
    /// All, in the order of the car's motion commands.
    pub const ALL: [Self; 4] = [Self::Forward, Self::Back, Self::Left, Self::Right];

    /// Its place among the car's motion commands.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Forward => 0,
            Self::Back => 1,
            Self::Left => 2,
            Self::Right => 3,
        }
    }

    /// Its arrow.
    #[must_use]
    pub fn glyph(self) -> char {
        match self {
            Self::Forward => '▲',
            Self::Back => '▼',
            Self::Left => '◀',
            Self::Right => '▶',
        }
    }
}

/// Whether the terminal tells of a key's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyReleases {
    /// It does (it granted the kitty keyboard flag "report event types").
    Reported,
    /// It doesn't: a release is silence where repeats were.
    Guessed,
}

/// A press without repeats is one pulse of this length where releases are not reported, and over
/// a slow link: long enough to see the car move, shorter than the shortest key delay in use.
pub const PULSE: Duration = Duration::from_millis(250);
/// The longest hold without a word from keyboard or mouse: the release was lost.
const SILENT_HOLD: Duration = Duration::from_secs(5);
/// Repeats slower than this are presses: the slowest keyboards repeat twice a second.
const SLOWEST_REPEAT: Duration = Duration::from_millis(250);
/// Repeats that come closer than this have waited together somewhere: they measure nothing.
const BURST: Duration = Duration::from_millis(5);
/// Where repeats come faster, scheduling alone would look like a release.
const SHORTEST_SILENCE: Duration = Duration::from_millis(60);
/// Between a press and its first repeat at most (X11: 660 ms, macOS up to 2 s when set so).
const FIRST_REPEAT: Duration = Duration::from_millis(800);
/// The longest time between a press and its first repeat that any keyboard is set to (macOS). Where
/// releases are guessed, a key whose press was ended from elsewhere counts as held until it has
/// been silent for so long: its first repeat looks just like a new press, and must not be one.
pub const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Where a hold comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HoldSource {
    Key(KeyReleases),
    Pad,
}

/// One direction that is held down.
#[derive(Debug, Clone)]
pub struct Hold {
    direction: Direction,
    from: HoldSource,
    since: Instant,
    last: Instant,
    /// The measured time between repeats, and of how many.
    repeat: Option<Duration>,
    repeats: u32,
    /// Nothing more comes of it: its press is over, and only a new one moves again.
    is_finished: bool,
    /// Its press was ended, or refused, by something else than its own key and its pulse's end:
    /// only a key that was let go meanwhile moves again.
    is_void: bool,
    /// Over a slow link it is one pulse, however long it is held.
    pulse_only: bool,
}

impl Hold {
    /// A key went down.
    #[must_use]
    pub fn key(direction: Direction, releases: KeyReleases, now: Instant) -> Self {
        Self::new(direction, HoldSource::Key(releases), now)
    }

    /// The mouse went down on the pad.
    #[must_use]
    pub fn pad(direction: Direction, now: Instant) -> Self {
        Self::new(direction, HoldSource::Pad, now)
    }

    fn new(direction: Direction, from: HoldSource, now: Instant) -> Self {
        Self {
            direction,
            from,
            since: now,
            last: now,
            repeat: None,
            repeats: 0,
            is_finished: false,
            is_void: false,
            pulse_only: false,
        }
    }

    /// Which direction.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether it is the mouse that holds it.
    #[must_use]
    pub fn is_pad(&self) -> bool {
        self.from == HoldSource::Pad
    }

    /// Whether its press is over although it is still held.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Its press has come to its natural end.
    pub fn finish(&mut self) {
        self.is_finished = true;
    }

    /// Its press was ended from elsewhere, or refused: what the key still says is the old press.
    pub fn void(&mut self) {
        self.is_finished = true;
        self.is_void = true;
    }

    /// What the key said until now went unheard: it may have been held all along.
    pub fn assume_held_until(&mut self, now: Instant) {
        self.last = self.last.max(now);
    }

    /// Whether what comes now can't be known from a new press, although it comes too late for a
    /// steady repeat: then the operator is told how long to wait.
    #[must_use]
    pub fn may_be_held_on(&self, now: Instant) -> bool {
        self.is_void
            && self.from == HoldSource::Key(KeyReleases::Guessed)
            && now.saturating_duration_since(self.last) >= SLOWEST_REPEAT
    }

    /// The press went out only now, having waited for control: a pulse counts from here.
    pub fn press_sent(&mut self, now: Instant, pulse_only: bool) {
        self.since = now;
        self.last = self.last.max(now);
        self.pulse_only = pulse_only;
    }

    /// The link has become slow: at most one pulse from its beginning. Whether that is news.
    pub fn limit_to_pulse(&mut self) -> bool {
        !std::mem::replace(&mut self.pulse_only, true)
    }

    /// Whether another press of this key now is its repeat: always where nobody tells the two
    /// apart, and where they are told apart only if it comes as fast as one (a program between
    /// may pass repeats on as presses); else its release was lost, and the press is a new one.
    #[must_use]
    pub fn repeats_as_press(&self, now: Instant) -> bool {
        match self.from {
            HoldSource::Key(KeyReleases::Reported) => {
                now.saturating_duration_since(self.last) < SLOWEST_REPEAT
            }
            HoldSource::Key(KeyReleases::Guessed) | HoldSource::Pad => true,
        }
    }

    /// The same key was heard again.
    pub fn repeated(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last);
        self.last = now;
        if gap >= SLOWEST_REPEAT || gap < BURST {
            return;
        }
        self.repeats += 1;
        // The first gap is the keyboard's delay, not its interval. Then quick to grow: a late
        // repeat must not look like a release.
        self.repeat = Some(match self.repeat {
            Some(before) if self.repeats > 2 && gap < before => (before * 3 + gap) / 4,
            Some(before) if self.repeats > 2 => (before + gap) / 2,
            _ => gap,
        });
    }

    /// When the motion of this hold ends by itself, unless the key is heard again before.
    #[must_use]
    pub fn moves_until(&self) -> Instant {
        if self.pulse_only {
            return self.since + PULSE;
        }
        match (self.from, self.repeat) {
            (HoldSource::Pad, _) => self.since + SILENT_HOLD,
            (HoldSource::Key(KeyReleases::Guessed), None) => self.since + PULSE,
            (HoldSource::Key(KeyReleases::Reported), None) => self.since + SILENT_HOLD,
            (HoldSource::Key(_), Some(repeat)) => self.last + silence(repeat),
        }
    }

    /// When the key counts as let go, where nobody reports it.
    #[must_use]
    pub fn held_until(&self) -> Instant {
        match (self.from, self.repeat) {
            (HoldSource::Pad | HoldSource::Key(KeyReleases::Reported), _) => {
                self.last + SILENT_HOLD
            }
            (HoldSource::Key(KeyReleases::Guessed), _) if self.is_void => self.last + LONGEST_DELAY,
            (HoldSource::Key(KeyReleases::Guessed), Some(repeat)) => self.last + silence(repeat),
            // A pulse over a slow link: the first repeat must not become the next one.
            (HoldSource::Key(KeyReleases::Guessed), None) if self.pulse_only => {
                self.last + FIRST_REPEAT
            }
            (HoldSource::Key(KeyReleases::Guessed), None) => self.moves_until(),
        }
    }

    /// How long it is worth remembering: what ends its press may be heard of after its pulse, and
    /// before its first repeat.
    #[must_use]
    pub fn known_until(&self) -> Instant {
        match self.from {
            HoldSource::Key(KeyReleases::Guessed) => {
                self.held_until().max(self.last + LONGEST_DELAY)
            }
            _ => self.held_until(),
        }
    }
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
    fn a_reported_key_that_never_repeats_and_the_pad_end_after_five_seconds() {
        let t = Instant::now();
        let key = Hold::key(Direction::Left, KeyReleases::Reported, t);
        assert_eq!(key.moves_until(), t + ms(5000));
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
