//! Faults of the real console, in a terminal that says when a key is let go: stopped while it is
//! held, and ended.

use std::sync::atomic::Ordering;

use rustix::process::Signal;

use super::history::now;
use super::round::Fault;
use super::stand::{Stand, pause};
use crate::common::program;
use crate::common::pty::Pty;

/// kitty's up arrow, pressed.
const DOWN: &[u8] = b"\x1b[1;1:1A";
const SIZE: (u16, u16) = (100, 32);

/// A console that drives, in the driver's place.
async fn takes_over(stand: &Stand) -> Pty {
    stand.reins.is_gone.store(true, Ordering::SeqCst);
    stand.stands().await;
    let console = program::console(stand.path(), stand.main.port);
    let terminal = Pty::start(&console, true, SIZE);
    terminal.await_text(&stand.service.port.to_string()).await;
    // The link has to be healthy for half a second, which nothing on the screen tells.
    pause(0.7).await;
    let pressed = (now(), "forward");
    stand.history.lock().unwrap().presses.push(pressed);
    terminal.send(DOWN);
    stand.moves().await;
    stand.history.lock().unwrap().proofs.push(now());
    terminal
}

fn drives_again(stand: &Stand) {
    stand.reins.is_gone.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn console_stopped() {
    let fault = Fault::named("console stopped, 10 s").severs();
    let strike = async |stand: &mut Stand| {
        let terminal = takes_over(stand).await;
        stand.strikes();
        terminal.signal(Signal::STOP);
        pause(10.0).await;
        terminal.signal(Signal::CONT);
        stand.heals();
        // It says what became of its key, which moves nothing any more.
        terminal.await_text("FAILSAFE").await;
        stand.stands().await;
        drop(terminal);
        drives_again(stand);
        stand.moves().await;
    };
    fault.strikes(strike).await;
}

#[tokio::test]
async fn console_ended() {
    let fault = Fault::named("console ended").severs();
    let strike = async |stand: &mut Stand| {
        let mut terminal = takes_over(stand).await;
        stand.strikes_once();
        terminal.signal(Signal::TERM);
        terminal.end().await;
        stand.stands().await;
        drives_again(stand);
        stand.moves().await;
    };
    fault.strikes(strike).await;
}
