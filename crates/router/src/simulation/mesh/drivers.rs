//! Drivers at their pages: each opens the page's WebSocket at some router, takes control, presses, holds,
//! releases, stops, and goes to another router.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use p2p_shared::protocol::{ControlInfo, ControlRequest, DriveCommand, PressId, SessionId};
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::super::keys::SimKey;
use super::super::network::{StreamEnd, until};
use super::super::rng::Rng;
use super::world::{MeshWorld, websocket_request};
use super::{NAMES, ROUTERS};
use crate::client::page_protocol::DRIVE_PATH;

/// Time between two renewals of a press.
const RENEW: Duration = Duration::from_millis(100);
/// Silence after which a page gives its connection up.
const SILENT: Duration = Duration::from_secs(6);

/// What a page reads of the router's messages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToPage {
    Car {
        session: SessionId,
        car: Option<SeenCar>,
    },
    Up(SeenCar),
    Control(ControlInfo),
    Tick(u64),
}

#[derive(Debug, Deserialize)]
struct SeenCar {
    control: ControlInfo,
}

/// Drives until the world is quiet; `number` tells one driver from another.
pub(super) async fn drive(world: Arc<MeshWorld>, rng: Rng, number: u64) {
    while !world.is_quiet() {
        sleep(rng.ms(20..800)).await;
        let router = rng.below(ROUTERS);
        let key = world.keys.one_of(&rng);
        let opening = timeout(Duration::from_secs(5), open(&world, router, &key));
        if let Ok(Some(socket)) = opening.await {
            let page = Page {
                world: &world,
                rng: &rng,
                number,
                router,
                key: &key,
                socket,
                session: None,
                control: ControlInfo::default(),
                tick: None,
                last: 0,
                held: None,
            };
            let _ = page.run().await;
        }
    }
}

async fn open(
    world: &MeshWorld,
    router: usize,
    key: &SimKey,
) -> Option<WebSocketStream<StreamEnd>> {
    let end = world.call(router).await?;
    client_async(websocket_request(DRIVE_PATH, key), end)
        .await
        .ok()
        .map(|(socket, _)| socket)
}

/// A page that is connected.
struct Page<'a> {
    world: &'a MeshWorld,
    rng: &'a Rng,
    number: u64,
    router: usize,
    key: &'a SimKey,
    socket: WebSocketStream<StreamEnd>,
    session: Option<SessionId>,
    control: ControlInfo,
    /// The newest tick of the car's clock.
    tick: Option<u64>,
    /// Number of the last press.
    last: u64,
    /// The press that is held, and when it is released.
    held: Option<(PressId, Instant)>,
}

impl Page<'_> {
    /// Drives until the driver leaves, or the connection is lost.
    async fn run(mut self) -> Result<(), Error> {
        self.log("connects");
        self.say(r#"{"watch":true}"#.to_owned()).await?;
        let leaves = Instant::now() + self.rng.ms(500..9000);
        let mut heard = Instant::now();
        let mut act = heard + self.rng.ms(20..300);
        let mut renew = heard;
        loop {
            let is_held = self.held.is_some();
            tokio::select! {
                biased;
                message = self.socket.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.hear(&text),
                        Some(Ok(Message::Close(_))) | None => return Ok(()),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(error),
                    }
                }
                // With a held key, too.
                () = sleep_until(leaves) => {
                    self.log("leaves");
                    return Ok(());
                }
                () = sleep_until(heard + SILENT) => return Ok(()),
                () = until(self.held.map(|(_, until)| until)) => {
                    if let Some((press, _)) = self.held.take() {
                        self.order(&DriveCommand::Release(press)).await?;
                    }
                    act = Instant::now() + self.rng.ms(10..500);
                }
                () = sleep_until(renew), if is_held => {
                    renew = Instant::now() + RENEW;
                    if let (Some((press, _)), Some(tick_ms)) = (self.held, self.tick) {
                        self.world.presses.renewed(press);
                        self.order(&DriveCommand::Renew { press, tick_ms }).await?;
                    }
                }
                () = sleep_until(act), if !is_held => {
                    self.act().await?;
                    renew = Instant::now() + RENEW;
                    act = Instant::now() + self.rng.ms(50..500);
                }
            }
        }
    }

    fn hear(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(ToPage::Car { session, car }) => {
                self.session = Some(session);
                self.world.has_session(session, self.router);
                self.control = car.map(|car| car.control).unwrap_or_default();
            }
            Ok(ToPage::Up(car)) => {
                (self.control, self.tick) = (car.control, None);
            }
            Ok(ToPage::Control(control)) => self.control = control,
            Ok(ToPage::Tick(tick)) => self.tick = Some(tick),
            // There is more that a page shows.
            Err(_) => {}
        }
    }

    /// Does what comes to the driver's mind.
    async fn act(&mut self) -> Result<(), Error> {
        if self.world.is_quiet() {
            return self.ask(ControlRequest::Release).await;
        }
        let driver = self.control.driver.as_ref().map(|driver| driver.session);
        let drives = self.session.is_some() && driver == self.session;
        match self.tick {
            _ if self.rng.one_in(12) => self.order(&DriveCommand::Stop).await,
            _ if drives && self.rng.one_in(15) => self.ask(ControlRequest::Release).await,
            Some(tick_ms) if drives => self.press(tick_ms).await,
            _ if driver.is_none() => self.ask(ControlRequest::Take).await,
            _ if !drives && self.rng.one_in(6) => self.ask(ControlRequest::Seize).await,
            _ => Ok(()),
        }
    }

    async fn press(&mut self, tick_ms: u64) -> Result<(), Error> {
        self.last += 1;
        let press = PressId {
            epoch: self.control.epoch,
            number: self.last,
        };
        let command = self.rng.one_of(&["forward", "forward", "back"]);
        let may_drive = self.key.may_drive();
        self.world.presses.pressed(press, may_drive, self.number);
        self.log(&format!("presses {command}, {press:?}"));
        self.held = Some((press, Instant::now() + self.rng.ms(30..1200)));
        let command = command.parse().unwrap();
        self.order(&DriveCommand::Press {
            press,
            command,
            tick_ms,
        })
        .await
    }

    async fn ask(&mut self, request: ControlRequest) -> Result<(), Error> {
        let request = serde_json::to_string(&request).unwrap();
        self.say(format!(r#"{{"control":{request}}}"#)).await
    }

    async fn order(&mut self, command: &DriveCommand) -> Result<(), Error> {
        self.say(serde_json::to_string(command).unwrap()).await
    }

    async fn say(&mut self, text: String) -> Result<(), Error> {
        let sending = timeout(SILENT, self.socket.send(Message::text(text)));
        sending.await.unwrap_or(Err(Error::ConnectionClosed))
    }

    fn log(&self, what: &str) {
        let (number, name) = (self.number, NAMES[self.router]);
        let world = self.world;
        world
            .history
            .log(|| format!("driver {number} at {name} {what}"));
    }
}
