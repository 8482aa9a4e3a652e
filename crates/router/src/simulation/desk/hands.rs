//! Owns what an operator's hands do: press, hold, stop and change their mind; and what a program of
//! somebody else's making may do that is rude.

use std::time::Duration;

use p2p_console::drive::{ControlHolder, Direction, KeyStroke};
use p2p_shared::protocol::{ConsoleToRouter, ControlRequest, PressId};
use p2p_shared::websocket::WebSocketError;

use super::{ConsoleSocket, Desk};

/// Numbers of presses that no console of ours gives out.
const RUDE: u64 = 1 << 40;

/// How often one who drives no more looks whether control is its own.
const QUIET: Duration = Duration::from_millis(250);

impl Desk {
    /// What the hands do now; how long they rest after it.
    pub(super) fn act(&mut self, socket: &mut ConsoleSocket) -> Result<Duration, WebSocketError> {
        let facts = self.facts();
        let is_quiet = self.stage.is_quiet();
        let direction =
            *self
                .dice
                .one_of(&[Direction::Forward, Direction::Forward, Direction::Back]);
        let (orders, rest) = match self.held {
            Some(held) => {
                self.held = None;
                let orders = self.drive.key(held, KeyStroke::Release, &facts);
                (orders, self.dice.ms(30..500))
            }
            // Nobody drives any more, not even who is given control now.
            None if is_quiet => match facts.holder {
                ControlHolder::Us { .. } => (self.drive.disarm(&facts), QUIET),
                _ => (Vec::new(), QUIET),
            },
            None if self.is_rude && self.dice.one_in(3) => {
                self.be_rude(socket)?;
                (Vec::new(), self.dice.ms(30..200))
            }
            None if self.dice.one_in(8) => {
                if let Some(service_port) = self.seen.port {
                    socket.push(&self.sends.send(service_port, &self.dice))?;
                }
                (Vec::new(), self.dice.ms(10..200))
            }
            None if self.dice.one_in(10) => (self.drive.stop(), self.dice.ms(10..300)),
            None if self.dice.one_in(14) => (self.drive.disarm(&facts), self.dice.ms(30..500)),
            None if self.dice.one_in(8) => {
                let wishes = [
                    ControlRequest::Seize,
                    ControlRequest::Grant,
                    ControlRequest::Deny,
                ];
                let wish = *self.dice.one_of(&wishes);
                if let Some(service_port) = self.seen.port {
                    self.tell(&format!("{wish:?}"));
                    socket.push(&ConsoleToRouter::Control { service_port, wish })?;
                }
                (Vec::new(), self.dice.ms(30..300))
            }
            None if self.drive.needs_arming() => (self.drive.arm(&facts), self.dice.ms(30..200)),
            None => {
                self.held = Some(direction);
                let orders = self.drive.key(direction, KeyStroke::Press, &facts);
                let longest = if self.is_rude { 2500 } else { 1200 };
                (orders, self.dice.ms(20..longest))
            }
        };
        self.say(socket, orders)?;
        Ok(rest)
    }

    /// Presses under control that another has, or that it had before.
    fn be_rude(&mut self, socket: &mut ConsoleSocket) -> Result<(), WebSocketError> {
        let epoch = match self.seen.holder() {
            ControlHolder::Other(_) => Some(self.seen.control.epoch),
            ControlHolder::Us { epoch } => {
                let before = self.had.replace(epoch);
                before.filter(|before| *before < epoch)
            }
            ControlHolder::Nobody => self.had,
        };
        let (Some(epoch), Some(service_port)) = (epoch, self.seen.port) else {
            return Ok(());
        };
        self.rudeness += 1;
        let press = PressId {
            epoch,
            number: RUDE + self.rudeness,
        };
        self.tell(&format!("presses what is not its own, {press:?}"));
        self.stage.presses.pressed(press, false);
        socket.push(&ConsoleToRouter::Press {
            service_port,
            press,
            command: "back".parse().unwrap(),
            tick_ms: self.seen.tick_ms.unwrap_or_default(),
        })
    }
}
