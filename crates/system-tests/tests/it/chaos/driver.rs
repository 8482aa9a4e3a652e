//! A driver: a console that holds a key, takes control again when it has lost it, and records each
//! heartbeat that it has sent; and a rival that takes control away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::SinkExt;
use p2p_shared::codec::encode;
use p2p_shared::key::Key;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlInfo, ControlRequest, DriveCommand, FeedEvent, MotionEvent, PressId,
    RouterToConsole, SessionId,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::history::{SharedHistory, now};
use crate::common::console::dial_at;
use crate::common::peer::WebSocketPeer;
use crate::common::until;

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_millis(100);

/// What a fault does to the driver; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DriverFaults {
    /// The driver's connection is reset, and there is no new one while this is set.
    pub(crate) is_gone: Arc<AtomicBool>,
    /// The driver sends nothing while this is set.
    pub(crate) is_silent: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
pub(crate) struct HoldingDriver {
    pub(crate) main: SocketAddr,
    pub(crate) service_port: u16,
    pub(crate) key: Option<Key>,
    pub(crate) history: SharedHistory,
    pub(crate) driver_faults: DriverFaults,
    /// The motion whose key it holds; no other driver holds the same.
    pub(crate) motion: &'static str,
    /// How it gets control.
    pub(crate) request: ControlRequest,
}

/// What a driver knows of its session.
#[derive(Default)]
struct DriverState {
    me: Option<SessionId>,
    epoch: Option<u64>,
    tick: Option<u64>,
    press: Option<PressId>,
    number: u64,
}

impl HoldingDriver {
    pub(crate) async fn drives(self, end: CancellationToken) {
        while !end.is_cancelled() {
            if !self.driver_faults.is_gone.load(Ordering::SeqCst)
                && let Ok(Ok(peer)) = tokio::time::timeout(
                    Duration::from_secs(5),
                    dial_at(self.main, self.key.as_ref()),
                )
                .await
            {
                let _ = end.run_until_cancelled(self.drives_by(peer)).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets a rival take control and drive for a moment.
    pub(crate) async fn loses_control(&self) {
        let rival = Self {
            motion: "back",
            request: ControlRequest::Seize,
            driver_faults: DriverFaults::default(),
            ..self.clone()
        };
        let end = CancellationToken::new();
        let driving = tokio::spawn(rival.drives(end.clone()));
        let history = &self.history;
        until("another one drives", || {
            let history = history.lock().unwrap();
            history.presses.iter().any(|(_, motion)| *motion == "back")
        })
        .await;
        tokio::time::sleep(BEAT * 2).await;
        end.cancel();
        driving.await.unwrap();
    }

    /// Drives until this connection is lost.
    async fn drives_by(&self, mut peer: WebSocketPeer) -> Option<()> {
        let mut state = DriverState::default();
        let hello = ConsoleToRouter::Hello {
            software: "a test".into(),
            readonly: false,
        };
        send(&mut peer, hello).await?;
        let service_port = Some(self.service_port);
        send(&mut peer, ConsoleToRouter::Watch { service_port }).await?;
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = peer.receive() => state.on_message(self.service_port, message?),
                _ = beat.tick() => {
                    if self.driver_faults.is_gone.load(Ordering::SeqCst) {
                        let socket = socket2::SockRef::from(peer.0.get_ref().socket().unwrap());
                        socket.set_linger(Some(Duration::ZERO)).unwrap();
                        return None;
                    }
                    if !self.driver_faults.is_silent.load(Ordering::SeqCst) {
                        self.beats(&mut state, &mut peer).await?;
                    }
                }
            }
        }
    }

    async fn beats(&self, state: &mut DriverState, peer: &mut WebSocketPeer) -> Option<()> {
        let service_port = self.service_port;
        let (Some(epoch), Some(tick_ms)) = (state.epoch, state.tick) else {
            let request = self.request;
            return send(
                peer,
                ConsoleToRouter::Control {
                    service_port,
                    request,
                },
            )
            .await;
        };
        let proof = if let Some(press) = state.press {
            ConsoleToRouter::Drive {
                service_port,
                command: DriveCommand::Renew { press, tick_ms },
            }
        } else {
            state.number += 1;
            let press = PressId {
                epoch,
                number: state.number,
            };
            state.press = Some(press);
            ConsoleToRouter::Drive {
                service_port,
                command: DriveCommand::Press {
                    press,
                    command: self.motion.parse().unwrap(),
                    tick_ms,
                },
            }
        };
        let is_press = matches!(
            proof,
            ConsoleToRouter::Drive {
                command: DriveCommand::Press { .. },
                ..
            }
        );
        let before = now();
        send(peer, proof).await?;
        let mut history = self.history.lock().unwrap();
        history.proofs.push(now());
        if is_press {
            history.presses.push((before, self.motion));
        }
        Some(())
    }
}

impl DriverState {
    fn on_message(&mut self, port: u16, message: RouterToConsole) {
        match message {
            // Another one than the first comes where events were missed: the press may be over.
            RouterToConsole::Snapshot { session, links, .. } => {
                (self.me, self.press) = (Some(session), None);
                if let Some(link) = links.into_iter().find(|link| link.service_port == port) {
                    self.has_control(link.control);
                }
            }
            RouterToConsole::Tick { clock_ms, .. } => self.tick = Some(clock_ms),
            RouterToConsole::Refused { .. } => self.press = None,
            RouterToConsole::Feed(FeedEvent::Control {
                service_port,
                control,
            }) if service_port == port => {
                self.has_control(control);
            }
            RouterToConsole::Feed(FeedEvent::Motion { event, .. }) => match event {
                MotionEvent::Over { press, .. } if press == self.press => self.press = None,
                MotionEvent::Refused { press, .. } if Some(press) == self.press => {
                    self.press = None;
                }
                _ => {}
            },
            // One that takes the place of another comes without a word of that one's end.
            RouterToConsole::Feed(FeedEvent::Link(_) | FeedEvent::LinkDown { .. }) => {
                (self.press, self.tick) = (None, None);
            }
            _ => {}
        }
    }

    fn has_control(&mut self, control: ControlInfo) {
        let is_mine = control.driver.is_some_and(|d| Some(d.session) == self.me);
        let epoch = is_mine.then_some(control.epoch);
        if epoch != self.epoch {
            (self.epoch, self.press, self.number) = (epoch, None, 0);
        }
    }
}

async fn send(peer: &mut WebSocketPeer, message: ConsoleToRouter) -> Option<()> {
    let message = Message::Binary(encode(&message).unwrap());
    peer.0.send(message).await.ok()
}
