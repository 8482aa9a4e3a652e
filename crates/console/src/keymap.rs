//! The table of keys, from which dispatch, footer and help are made.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::drive::Direction;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    Fleet,
    Drive,
    Log,
    Commands,
}

impl Screen {
    pub const ALL: [Self; 4] = [Self::Fleet, Self::Drive, Self::Log, Self::Commands];

    pub fn name(self) -> &'static str {
        match self {
            Self::Fleet => "Fleet",
            Self::Drive => "Drive",
            Self::Log => "Log",
            Self::Commands => "Commands",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Quit,
    Help,
    Go(Screen),
    Turn {
        back: bool,
    },
    Stop,
    Arm,
    Escape,
    Move(Direction),
    Grant,
    Deny,
    Seize,
    /// Move by this many lines.
    Lines(i8),
    /// Move by this many pages.
    Pages(i8),
    First,
    Last,
    Enter,
    Filter,
    /// Have a press go on until any key, or no longer.
    Latch,
    /// Show the camera's picture smaller, larger, or not.
    Picture,
    /// Show the output of the run whole.
    Output,
    /// Have the car recorded at its router, or no longer.
    Record,
    /// Put what is shown or selected into the clipboard.
    Copy,
    /// Order the cars by something else.
    Order,
    StopAll,
    Palette,
    /// Move through the timeline by this many steps.
    Scrub(i8),
    /// Go on or back in a past by so many seconds.
    Seek(i8),
    /// Go to the next event of a past, or to the one before.
    SeekEvent {
        older: bool,
    },
    /// Halt a replay, or let it go on.
    Pause,
    /// Play twice as fast, or half as fast.
    Speed {
        faster: bool,
    },
    /// Show a shorter time on it, or a longer one.
    Zoom {
        closer: bool,
    },
    Freeze,
    Save,
    Arguments,
    Cancel,
}

impl Action {
    /// Returns true if a held key does it again and again.
    pub fn is_repeated(self) -> bool {
        matches!(
            self,
            Self::Lines(_)
                | Self::Pages(_)
                | Self::Seek(_)
                | Self::SeekEvent { .. }
                | Self::Scrub(_)
        )
    }
}

#[derive(Debug, Clone, Copy)]
pub struct KeyBinding {
    pub key: KeyCode,
    pub control: bool,
    pub screens: &'static [Screen],
    pub action: Action,
    /// The key's name.
    pub label: &'static str,
    /// The action's name in the footer; empty if not shown there.
    pub short: &'static str,
    /// The action in the help; empty if the line above describes it.
    pub help: &'static str,
    /// True if the action needs the right to drive.
    pub drives: bool,
    pub when: When,
}

/// What a key is for: a car that is there, a past one, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    Live,
    Replay,
}

impl KeyBinding {
    /// Returns true if the key does something on this screen.
    pub fn is_for(&self, screen: Screen, is_replay: bool) -> bool {
        let is_now = match self.when {
            When::Always => !(is_replay && self.drives),
            When::Live => !is_replay,
            When::Replay => is_replay,
        };
        is_now && self.screens.contains(&screen)
    }
}

const ALL: &[Screen] = &Screen::ALL;
const DRIVE: &[Screen] = &[Screen::Drive];
const LISTS: &[Screen] = &[Screen::Fleet, Screen::Log, Screen::Commands];
const FLEET: &[Screen] = &[Screen::Fleet];
const FILTERED: &[Screen] = &[Screen::Fleet, Screen::Log];
const LOG: &[Screen] = &[Screen::Log];
const COMMANDS: &[Screen] = &[Screen::Commands];

const fn key(
    key: KeyCode,
    screens: &'static [Screen],
    action: Action,
    label: &'static str,
    short: &'static str,
    help: &'static str,
) -> KeyBinding {
    KeyBinding {
        key,
        control: false,
        screens,
        action,
        label,
        short,
        help,
        drives: false,
        when: When::Always,
    }
}

const fn live(binding: KeyBinding) -> KeyBinding {
    KeyBinding {
        when: When::Live,
        ..binding
    }
}

const fn replay(binding: KeyBinding) -> KeyBinding {
    KeyBinding {
        when: When::Replay,
        ..binding
    }
}

const fn drives(binding: KeyBinding) -> KeyBinding {
    KeyBinding {
        drives: true,
        ..binding
    }
}

const fn with_control(binding: KeyBinding) -> KeyBinding {
    KeyBinding {
        control: true,
        ..binding
    }
}

#[rustfmt::skip]
pub const BINDINGS: &[KeyBinding] = &[
    live(key(KeyCode::Char(' '), ALL, Action::Stop, "Space", "STOP", "stop the car, whoever drives; [a] goes on")),
    live(with_control(key(KeyCode::Char('x'), ALL, Action::Stop, "Ctrl-X", "", "the same, also while a text is typed"))),
    replay(key(KeyCode::Char(' '), DRIVE, Action::Pause, "Space", "pause", "pause, and play on")),
    replay(key(KeyCode::Left, DRIVE, Action::Seek(-5), "← →", "5 s", "5 s back, 5 s on")),
    replay(key(KeyCode::Right, DRIVE, Action::Seek(5), "→", "", "")),
    replay(key(KeyCode::Up, DRIVE, Action::SeekEvent { older: false }, "↑ ↓", "event", "to the next event, to the one before")),
    replay(key(KeyCode::Down, DRIVE, Action::SeekEvent { older: true }, "↓", "", "")),
    replay(key(KeyCode::Char('-'), DRIVE, Action::Speed { faster: false }, "- +", "speed", "half the speed, twice the speed: ½ × to 4 ×")),
    replay(key(KeyCode::Char('+'), DRIVE, Action::Speed { faster: true }, "+", "", "")),
    replay(key(KeyCode::Char('='), DRIVE, Action::Speed { faster: true }, "=", "", "")),
    replay(key(KeyCode::Home, DRIVE, Action::First, "Home", "", "to the beginning")),
    replay(key(KeyCode::End, DRIVE, Action::Last, "End", "", "to the end")),
    replay(key(KeyCode::Char('z'), DRIVE, Action::Zoom { closer: true }, "z Z", "", "a shorter or longer timeline")),
    replay(key(KeyCode::Char('Z'), DRIVE, Action::Zoom { closer: false }, "Z", "", "")),
    drives(key(KeyCode::Up, DRIVE, Action::Move(Direction::Forward), "↑ ↓ ← →", "drive", "hold to drive, let go to stop; takes control if it is free")),
    drives(key(KeyCode::Down, DRIVE, Action::Move(Direction::Back), "↓", "", "")),
    drives(key(KeyCode::Left, DRIVE, Action::Move(Direction::Left), "←", "", "")),
    drives(key(KeyCode::Right, DRIVE, Action::Move(Direction::Right), "→", "", "")),
    drives(key(KeyCode::Char('a'), DRIVE, Action::Arm, "a", "control", "take control, or ask its holder for it")),
    drives(key(KeyCode::Char('g'), DRIVE, Action::Grant, "g", "", "hand control to the one who asks")),
    drives(key(KeyCode::Char('n'), DRIVE, Action::Deny, "n", "", "keep control")),
    drives(key(KeyCode::Char('S'), DRIVE, Action::Seize, "S", "", "seize control (admin keys only)")),
    drives(key(KeyCode::Char('L'), DRIVE, Action::Latch, "L", "", "latch: a press goes on by itself; any key or 5 s stops; for KEYS tap")),
    key(KeyCode::Char('v'), DRIVE, Action::Picture, "v", "", "show the camera's picture: small, large, off"),
    drives(key(KeyCode::Char('R'), DRIVE, Action::Record, "R", "", "record the car at its router, 15 min at most; again: no longer")),
    live(key(KeyCode::Char(','), DRIVE, Action::Scrub(-1), ", .", "", "through the timeline; also ← → while nothing would drive by them")),
    replay(key(KeyCode::Char(','), DRIVE, Action::Scrub(-1), ", .", "", "by a step of the timeline")),
    key(KeyCode::Char('.'), DRIVE, Action::Scrub(1), ".", "", ""),
    live(key(KeyCode::Char('+'), DRIVE, Action::Zoom { closer: true }, "+ -", "", "a shorter or longer timeline")),
    live(key(KeyCode::Char('='), DRIVE, Action::Zoom { closer: true }, "=", "", "")),
    live(key(KeyCode::Char('-'), DRIVE, Action::Zoom { closer: false }, "-", "", "")),
    live(key(KeyCode::End, DRIVE, Action::Last, "End", "", "back to the present")),
    key(KeyCode::Up, LISTS, Action::Lines(-1), "↑ ↓ j k", "", "move the selection"),
    key(KeyCode::Down, LISTS, Action::Lines(1), "↓", "", ""),
    key(KeyCode::Char('k'), LISTS, Action::Lines(-1), "k", "", ""),
    key(KeyCode::Char('j'), LISTS, Action::Lines(1), "j", "", ""),
    key(KeyCode::PageUp, LISTS, Action::Pages(-1), "PgUp PgDn", "", "by a page"),
    key(KeyCode::PageDown, LISTS, Action::Pages(1), "PgDn", "", ""),
    key(KeyCode::Home, LISTS, Action::First, "Home", "", "to the first line"),
    key(KeyCode::End, LISTS, Action::Last, "End", "", "to the last line; in the log, follow again"),
    key(KeyCode::Enter, FLEET, Action::Enter, "Enter", "drive", "pin the car, and drive it"),
    key(KeyCode::Enter, LOG, Action::Enter, "Enter", "open", "show the run whole"),
    drives(key(KeyCode::Enter, COMMANDS, Action::Enter, "Enter", "run", "run the command; asks first where it moves the car")),
    key(KeyCode::Char('/'), FILTERED, Action::Filter, "/", "filter", "show only what has these words"),
    key(KeyCode::Char('o'), FLEET, Action::Order, "o", "order", "order by port, name, round trip, runs"),
    live(key(KeyCode::Char('X'), FLEET, Action::StopAll, "X", "STOP ALL", "stop all cars; asks once")),
    key(KeyCode::Char('f'), LOG, Action::Freeze, "f", "freeze", "freeze the log, and let it go on"),
    key(KeyCode::Char('s'), LOG, Action::Save, "s", "save", "save what is shown as JSON lines"),
    drives(key(KeyCode::Char('e'), COMMANDS, Action::Arguments, "e", "arguments", "run the command with arguments")),
    key(KeyCode::Char('o'), COMMANDS, Action::Output, "o", "output", "show the output whole: it follows, scrolls, / searches"),
    key(KeyCode::Char('y'), LISTS, Action::Copy, "y", "", "copy the page, the run, the output to the clipboard"),
    drives(key(KeyCode::Char('x'), COMMANDS, Action::Cancel, "x", "end", "end the run")),
    live(key(KeyCode::Esc, ALL, Action::Escape, "Esc", "", "stand and give control back; close, go back")),
    replay(key(KeyCode::Esc, ALL, Action::Escape, "Esc", "", "close, go back")),
    key(KeyCode::Tab, ALL, Action::Turn { back: false }, "Tab", "", "next screen"),
    key(KeyCode::BackTab, ALL, Action::Turn { back: true }, "Shift-Tab", "", "screen before"),
    live(key(KeyCode::Char('1'), ALL, Action::Go(Screen::Fleet), "1 2 3 4", "", "Fleet, Drive, Log, Commands")),
    replay(key(KeyCode::Char('2'), ALL, Action::Go(Screen::Drive), "2 3", "", "Drive, Log")),
    live(key(KeyCode::Char('2'), ALL, Action::Go(Screen::Drive), "2", "", "")),
    key(KeyCode::Char('3'), ALL, Action::Go(Screen::Log), "3", "", ""),
    live(key(KeyCode::Char('4'), ALL, Action::Go(Screen::Commands), "4", "", "")),
    key(KeyCode::Char(':'), ALL, Action::Palette, ":", "", "find an action by its words"),
    key(KeyCode::Char('?'), ALL, Action::Help, "?", "help", "this page"),
    live(key(KeyCode::Char('q'), ALL, Action::Quit, "q", "quit", "stop, disarm and quit")),
    replay(key(KeyCode::Char('q'), ALL, Action::Quit, "q", "quit", "quit")),
    with_control(key(KeyCode::Char('c'), ALL, Action::Quit, "Ctrl-C", "", "the same, a second time at once")),
];

/// The binding of a key on this screen, live or of a replay.
pub fn find(screen: Screen, key: &KeyEvent, is_replay: bool) -> Option<&'static KeyBinding> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let others = KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META | KeyModifiers::HYPER;
    if key.modifiers.intersects(others) {
        return None;
    }
    // A letter says by itself whether Shift was held.
    let code = match key.code {
        KeyCode::Tab if key.modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
        KeyCode::Char(c) if control => KeyCode::Char(c.to_ascii_lowercase()),
        code => code,
    };
    let bound = |code| {
        let is_it = |b: &&KeyBinding| b.key == code && b.control == control;
        let mut bindings = BINDINGS.iter().filter(is_it);
        bindings.find(|b| b.is_for(screen, is_replay))
    };
    // With Caps Lock a letter comes as a capital. Only what has no meaning of its own is taken so:
    // nobody seizes control by it.
    let small = match code {
        KeyCode::Char(c) if c.is_ascii_uppercase() => Some(KeyCode::Char(c.to_ascii_lowercase())),
        _ => None,
    };
    bound(code).or_else(|| bound(small?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_bound_twice_on_a_screen() {
        let all = Screen::ALL.into_iter();
        for (screen, is_replay) in all.flat_map(|screen| [(screen, false), (screen, true)]) {
            let here: Vec<_> = BINDINGS
                .iter()
                .filter(|b| b.is_for(screen, is_replay))
                .collect();
            for (n, a) in here.iter().enumerate() {
                for b in &here[n + 1..] {
                    assert!(
                        (a.key, a.control) != (b.key, b.control),
                        "{} twice on {screen:?}",
                        a.label
                    );
                }
            }
        }
    }

    #[test]
    fn every_key_has_a_help_line_or_one_that_speaks_for_it() {
        for (n, binding) in BINDINGS.iter().enumerate() {
            assert!(!binding.label.is_empty());
            if binding.help.is_empty() {
                let mut before = BINDINGS[..n].iter().rev();
                let speaker = before.find(|b| !b.help.is_empty()).unwrap();
                assert_eq!(
                    std::mem::discriminant(&speaker.action),
                    std::mem::discriminant(&binding.action)
                );
            }
        }
    }

    #[test]
    fn stop_and_quit_work_on_every_screen() {
        for screen in Screen::ALL {
            let press = |code| KeyEvent::new(code, KeyModifiers::NONE);
            let action = |key| find(screen, &key, false).map(|binding| binding.action);
            assert_eq!(action(press(KeyCode::Char(' '))), Some(Action::Stop));
            assert_eq!(action(press(KeyCode::Char('q'))), Some(Action::Quit));
            let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(action(control_c), Some(Action::Quit));
        }
    }

    #[test]
    fn no_key_of_a_replay_moves_or_stops_a_car() {
        for screen in Screen::ALL {
            for binding in BINDINGS.iter().filter(|b| b.is_for(screen, true)) {
                let acts = matches!(
                    binding.action,
                    Action::Stop | Action::StopAll | Action::Move(_) | Action::Arm | Action::Seize
                );
                assert!(!acts, "{} on {screen:?}", binding.label);
            }
        }
    }

    #[test]
    fn caps_lock_leaves_every_letter_its_meaning() {
        let press = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::SHIFT);
        for screen in Screen::ALL {
            for small in 'a'..='z' {
                let action = |c| find(screen, &press(c), false).map(|binding| binding.action);
                let capital = small.to_ascii_uppercase();
                let has_own = BINDINGS
                    .iter()
                    .any(|b| b.key == KeyCode::Char(capital) && b.screens.contains(&screen));
                if !has_own {
                    assert_eq!(action(capital), action(small), "{capital} on {screen:?}");
                }
            }
            let action = |c| find(screen, &press(c), false).map(|binding| binding.action);
            assert_eq!(action('Q'), Some(Action::Quit));
            assert_ne!(action('s'), Some(Action::Seize));
        }
        let on = |screen, c| find(screen, &press(c), false).map(|binding| binding.action);
        assert_eq!(on(Screen::Drive, 'A'), Some(Action::Arm));
        assert_eq!(on(Screen::Drive, 'S'), Some(Action::Seize));
        assert_eq!(on(Screen::Log, 'S'), Some(Action::Save));
    }

    #[test]
    fn arrows_only_drive_on_drive_and_never_elsewhere() {
        let up = KeyEvent::new(KeyCode::Up, KeyModifiers::NONE);
        for screen in Screen::ALL {
            let drives =
                find(screen, &up, false).unwrap().action == Action::Move(Direction::Forward);
            assert_eq!(drives, screen == Screen::Drive);
        }
    }
}
