//! `p2p-console` with a fault, for tests of what becomes of terminal and car then: it panics at the
//! key `u` while it decides, at `r` while it draws, at `t` in a thread and at `k` in a task.
#![allow(clippy::panic, reason = "it is what this is for")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossterm::event::{Event as Input, KeyCode, KeyEvent};
use p2p_console::AppParts;
use p2p_console::app::{App, Effect, Event};
use p2p_console::config::Options;
use p2p_console::view;

static DRAWING_FAILS: AtomicBool = AtomicBool::new(false);

fn update(app: &mut App, event: Event, now: Instant) -> Vec<Effect> {
    if let Event::Terminal(Input::Key(KeyEvent {
        code: KeyCode::Char(c),
        ..
    })) = event
    {
        match c {
            'u' => panic!("deciding"),
            'r' => {
                app.dirty = true;
                DRAWING_FAILS.store(true, Ordering::SeqCst);
            }
            't' => drop(std::thread::spawn(|| panic!("in a thread"))),
            'k' => drop(tokio::spawn(async { panic!("in a task") })),
            _ => {}
        }
    }
    app.update(event, now)
}

fn main() -> ExitCode {
    let parts = AppParts {
        update,
        render: |frame, app| {
            view::render(frame, app);
            assert!(!DRAWING_FAILS.load(Ordering::SeqCst), "drawing");
        },
    };
    p2p_console::run_with(p2p_shared::settings::parse::<Options>(), parts)
}
