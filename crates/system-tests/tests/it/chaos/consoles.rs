//! Faults of the real console, in a terminal that says when a key is let go: stopped while it is
//! held, and ended.

use std::sync::atomic::Ordering;

use rustix::process::Signal;

use super::fixture::{Fixture, pause};
use super::history::now;
use super::round::Fault;
use crate::common::program;
use crate::common::pty::TestTerminal;

/// kitty's up arrow, pressed.
const DOWN: &[u8] = b"\x1b[1;1:1A";
const SIZE: (u16, u16) = (100, 32);

/// A console that drives, in the driver's place.
async fn takes_over(fixture: &Fixture) -> TestTerminal {
    fixture.driver_faults.is_gone.store(true, Ordering::SeqCst);
    fixture.stands().await;
    let console = program::console(fixture.path(), fixture.main.port);
    let terminal = TestTerminal::start(&console, true, SIZE);
    terminal.await_text(&fixture.service.port.to_string()).await;
    // The link has to be healthy for half a second, which nothing on the screen tells.
    pause(0.7).await;
    let pressed = (now(), "forward");
    fixture.history.lock().unwrap().presses.push(pressed);
    terminal.send(DOWN);
    fixture.moves().await;
    fixture.history.lock().unwrap().proofs.push(now());
    terminal
}

fn drives_again(fixture: &Fixture) {
    fixture.driver_faults.is_gone.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn console_stopped() {
    let fault = Fault::named("console stopped, 10 s").severs();
    let strike = async |fixture: &mut Fixture| {
        let terminal = takes_over(fixture).await;
        fixture.strikes();
        terminal.signal(Signal::STOP);
        pause(10.0).await;
        terminal.signal(Signal::CONT);
        fixture.heals();
        // It says what became of its key, which moves nothing any more.
        terminal.sees("FAILSAFE").await;
        fixture.stands().await;
        drop(terminal);
        drives_again(fixture);
        fixture.moves().await;
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn console_ended() {
    let fault = Fault::named("console ended").severs();
    let strike = async |fixture: &mut Fixture| {
        let mut terminal = takes_over(fixture).await;
        fixture.strikes_once();
        terminal.signal(Signal::TERM);
        terminal.end().await;
        fixture.stands().await;
        drives_again(fixture);
        fixture.moves().await;
    };
    fault.strikes(strike).await;
}
