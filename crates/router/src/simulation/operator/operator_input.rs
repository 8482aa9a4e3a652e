//! Random input of an operator: press, hold, stop, ask for control. Also invalid presses, as a
//! console by somebody else may send them.

use std::time::Duration;

use p2p_console::drive::{ControlHolder, Direction, KeyEventKind};
use p2p_shared::protocol::{ConsoleToRouter, ControlRequest, DriveCommand, PressId};
use p2p_shared::websocket::WebSocketError;

use super::{ConsoleSocket, Operator};

/// First number of an invalid press; the real console never counts this far.
const FIRST_INVALID: u64 = 1 << 40;

/// Pause of an operator who no longer drives, between two looks at who has control.
const QUIET: Duration = Duration::from_millis(250);

impl Operator {
    /// Makes the next input; returns the pause after it.
    pub(super) fn act(&mut self, socket: &mut ConsoleSocket) -> Result<Duration, WebSocketError> {
        let facts = self.facts();
        let is_quiet = self.world.is_quiet();
        let direction =
            *self
                .rng
                .one_of(&[Direction::Forward, Direction::Forward, Direction::Back]);
        let (orders, rest) = match self.held {
            Some(held) => {
                self.held = None;
                let orders = self.drive.key(held, KeyEventKind::Release, &facts);
                (orders, self.rng.ms(30..500))
            }
            // Nobody drives any more: control that is granted now is given back.
            None if is_quiet => match facts.holder {
                ControlHolder::Us { .. } => (self.drive.disarm(&facts), QUIET),
                _ => (Vec::new(), QUIET),
            },
            None if self.sends_invalid && self.rng.one_in(3) => {
                self.send_invalid_press(socket)?;
                (Vec::new(), self.rng.ms(30..200))
            }
            None if self.rng.one_in(8) => {
                if let Some(service_port) = self.view.port {
                    socket.push(&self.sends.send(
                        service_port,
                        &self.rng,
                        self.view.key.clone(),
                    ))?;
                }
                (Vec::new(), self.rng.ms(10..200))
            }
            None if self.rng.one_in(10) => (self.drive.stop(), self.rng.ms(10..300)),
            None if self.rng.one_in(14) => (self.drive.disarm(&facts), self.rng.ms(30..500)),
            None if self.rng.one_in(8) => {
                let requests = [
                    ControlRequest::Seize,
                    ControlRequest::Grant,
                    ControlRequest::Deny,
                ];
                let request = *self.rng.one_of(&requests);
                if let Some(service_port) = self.view.port {
                    self.log(&format!("{request:?}"));
                    socket.push(&ConsoleToRouter::Control {
                        service_port,
                        request,
                    })?;
                }
                (Vec::new(), self.rng.ms(30..300))
            }
            None if self.drive.needs_arming() => (self.drive.arm(&facts), self.rng.ms(30..200)),
            None => {
                self.held = Some(direction);
                let orders = self.drive.key(direction, KeyEventKind::Press, &facts);
                let longest = if self.sends_invalid { 2500 } else { 1200 };
                (orders, self.rng.ms(20..longest))
            }
        };
        self.send_orders(socket, orders)?;
        Ok(rest)
    }

    /// Sends a press under control that another console has, or that this console had before.
    fn send_invalid_press(&mut self, socket: &mut ConsoleSocket) -> Result<(), WebSocketError> {
        let epoch = match self.view.holder() {
            ControlHolder::Other(_) => Some(self.view.control.epoch),
            ControlHolder::Us { epoch } => {
                let before = self.past_epoch.replace(epoch);
                before.filter(|before| *before < epoch)
            }
            ControlHolder::Nobody => self.past_epoch,
        };
        let (Some(epoch), Some(service_port)) = (epoch, self.view.port) else {
            return Ok(());
        };
        self.invalid_presses += 1;
        let press = PressId {
            epoch,
            number: FIRST_INVALID + self.invalid_presses,
        };
        self.log(&format!("sends an invalid press, {press:?}"));
        self.world.presses.pressed(press, false, self.number);
        socket.push(&ConsoleToRouter::Drive {
            service_port,
            command: DriveCommand::Press {
                press,
                command: "back".parse().unwrap(),
                tick_ms: self.view.tick_ms.unwrap_or_default(),
            },
        })
    }
}
