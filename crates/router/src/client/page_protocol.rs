//! Defines the messages between the drive page and the router: JSON, one message a WebSocket message,
//! about the one car whose port the page came from.
//!
//! ```text
//!        page                                   router
//!          │  GET /drive, cookie or Bearer      │   view, drive and admin keys
//!          ├───────────────────────────────────▶│
//!          │                               car  │   first, again when the car's link comes up,
//!          │◀───────────────────────────────────┤   and after the page missed something
//!          │            down, gone, control,    │
//!          │ motion, asked, rtt, silent, hop,   │   what happens, as it happens
//!          │ refused                            │
//!          │◀───────────────────────────────────┤
//!          │  watch                        tick │   whether it wants ticks of the car's clock
//!          ├───────────────────────────────────▶│
//!          │  past                         past │   what moved and stopped the car meanwhile
//!          ├───────────────────────────────────▶│
//!          │  probe                       probe │   the round trip: answered at once
//!          ├───────────────────────────────────▶│
//!          │  control, press, renew, release,   │
//!          │  stop, record                      │
//!          ├───────────────────────────────────▶│
//! ```

use p2p_shared::bounded::{List, Text};
use p2p_shared::key::Role;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlInfo, ControlRequest, DriveCommand, FeedEvent, LinkInfo, MotionEvent,
    PressId, RefusedReason, RouterToConsole, RunInfo, RunSource, SessionId,
};
use serde::{Deserialize, Serialize};

/// The path of the WebSocket of the page of all cars, on the main port.
pub(crate) const FLEET_PATH: &str = "/cars";
/// The path of a page's WebSocket on a service port.
pub(crate) const DRIVE_PATH: &str = "/drive";

/// Messages of a page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum PageToRouter {
    /// Asks the router to send this number back at once.
    Probe(u64),
    /// True while the page is visible and so needs ticks of the car's clock.
    Watch(bool),
    /// Asks for the car's past of so many milliseconds.
    Past(u64),
    /// A request about control.
    Control(ControlRequest),
    /// Has the car recorded from now on, or no longer.
    Record(bool),
    /// Drives the car, or stops it.
    #[serde(untagged)]
    Drive(DriveCommand),
}

/// Messages of the page of all cars.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum FleetToRouter {
    /// Asks the router to send this number back at once.
    Probe(u64),
    /// Stops the car with this service port.
    Stop(u16),
}

/// Messages to the page of all cars: those to a console that are about cars, and answers to probes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RouterToFleet {
    Probe(u64),
    #[serde(untagged)]
    Console(RouterToConsole),
}

impl FleetToRouter {
    /// Translates the message into a console's. A probe, which is not about a car, is the error.
    pub(super) fn message(self) -> Result<ConsoleToRouter, u64> {
        match self {
            Self::Probe(number) => Err(number),
            Self::Stop(service_port) => Ok(ConsoleToRouter::Drive {
                service_port,
                command: DriveCommand::Stop,
            }),
        }
    }
}

impl RouterToFleet {
    /// Takes a message for a console, if it is one for this page, without the runs in it.
    pub(super) fn of(mut message: RouterToConsole) -> Option<Self> {
        match &mut message {
            RouterToConsole::Snapshot { runs, .. } => *runs = List::default(),
            RouterToConsole::Feed(FeedEvent::Run(_)) => return None,
            RouterToConsole::Feed(_)
            | RouterToConsole::Refused { .. }
            | RouterToConsole::GoAway { .. } => {}
            _ => return None,
        }
        Some(Self::Console(message))
    }
}

impl PageToRouter {
    /// Translates the message into a console's message about this car. A probe, which is not about the
    /// car, is the error.
    pub(super) fn about(self, service_port: u16) -> Result<ConsoleToRouter, u64> {
        Ok(match self {
            Self::Probe(number) => return Err(number),
            Self::Watch(is_watched) => ConsoleToRouter::Watch {
                service_port: is_watched.then_some(service_port),
            },
            Self::Past(last_ms) => ConsoleToRouter::AskPast {
                request: 0,
                service_port,
                last_ms,
                log: false,
            },
            Self::Control(request) => ConsoleToRouter::Control {
                service_port,
                request,
            },
            Self::Record(on) => ConsoleToRouter::Record { service_port, on },
            Self::Drive(command) => ConsoleToRouter::Drive {
                service_port,
                command,
            },
        })
    }
}

/// Messages to a page.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RouterToPage {
    /// The state of everything.
    Car {
        /// The page's own session.
        session: SessionId,
        /// The name of the page's key; empty without keys.
        key: Text,
        /// The role of the page, from its key.
        role: Role,
        /// `None`: no car has had this port lately.
        car: Option<Box<LinkInfo>>,
    },
    /// The car's link came up.
    Up(Box<LinkInfo>),
    /// The car's link was lost.
    Down {
        why: Text,
    },
    /// The port was given up.
    Gone,
    /// The newest tick of the car's clock, in milliseconds.
    Tick(u64),
    /// A round trip between router and car, in microseconds: the car answers.
    Rtt(u32),
    /// The car has not answered for this many milliseconds.
    Silent(u64),
    /// The round trip between the router that the page came by and the one that has the car, in microseconds.
    Hop(u32),
    /// The driver has changed, or somebody asks for control.
    Control(ControlInfo),
    Motion(MotionEvent),
    /// Who asked for the motion that begins with the next message, if nobody drives.
    Asked {
        run: RunId,
        /// The way that it came, and whose it is: `http of anna`.
        by: Text,
    },
    /// Something that the page asked for was refused.
    Refused {
        reason: RefusedReason,
        /// The press that was refused, if it was one.
        press: Option<PressId>,
        /// A sentence that says what to do.
        message: Text,
    },
    /// Lines of the car's past, as text; a part may end within one.
    Past {
        lines: String,
        more: bool,
    },
    Probe(u64),
    /// The router is about to restart: come back after this time.
    GoAway {
        reconnect_after_ms: u64,
    },
}

impl RouterToPage {
    /// Translates a message for a console into one for a page, if it is one. Of a snapshot a page gets
    /// its one car.
    pub(super) fn of(message: RouterToConsole) -> Option<Self> {
        Some(match message {
            RouterToConsole::Snapshot {
                first,
                session,
                key,
                role,
                links,
                ..
            } => {
                if !first {
                    return None;
                }
                let car = links.into_iter().next().map(Box::new);
                Self::Car {
                    session,
                    key,
                    role,
                    car,
                }
            }
            RouterToConsole::Feed(event) => return Self::of_event(event),
            RouterToConsole::Tick { clock_ms, .. } => Self::Tick(clock_ms),
            RouterToConsole::Refused {
                reason,
                press,
                message,
            } => Self::Refused {
                reason,
                press,
                message,
            },
            RouterToConsole::Past { lines, more, .. } => Self::Past {
                lines: String::from_utf8_lossy(&lines).into_owned(),
                more,
            },
            // A page comes back to where it is from.
            RouterToConsole::GoAway {
                reconnect_after_ms, ..
            } => Self::GoAway { reconnect_after_ms },
            // A page asks for none of these.
            RouterToConsole::SendEvent { .. }
            | RouterToConsole::Commands { .. }
            | RouterToConsole::Run { .. } => return None,
        })
    }

    /// Tells who has asked for this run, which moves the car.
    pub(super) fn asked(run: &RunInfo) -> Self {
        let way = match run.source {
            RunSource::Send => "send",
            RunSource::Http | RunSource::Drive => "http",
        };
        let key = run.key.raw();
        let who = if key.is_empty() { run.from.raw() } else { key };
        Self::Asked {
            run: run.run,
            by: Text::new(format!("{way} of {who}")),
        }
    }

    /// What a message says of the way between two routers.
    pub(super) fn hop_of(message: &RouterToConsole) -> Option<Self> {
        match message {
            RouterToConsole::Feed(FeedEvent::Rtt { hop_us, .. }) => hop_us.map(Self::Hop),
            _ => None,
        }
    }

    fn of_event(event: FeedEvent) -> Option<Self> {
        Some(match event {
            FeedEvent::Link(link) => Self::Up(link),
            FeedEvent::LinkDown { why, .. } => Self::Down { why },
            FeedEvent::LinkGone { .. } => Self::Gone,
            FeedEvent::Rtt {
                silent_ms: Some(ms),
                ..
            } => Self::Silent(ms),
            FeedEvent::Rtt { rtt_us, .. } => Self::Rtt(rtt_us),
            FeedEvent::Control { control, .. } => Self::Control(control),
            FeedEvent::Motion { event, .. } => Self::Motion(event),
            // A page learns of its own runs by HTTP.
            FeedEvent::Run(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use p2p_shared::protocol::{ActiveMotion, Driver, StopCause};

    use super::*;

    fn read(text: &str) -> Option<PageToRouter> {
        serde_json::from_str(text).ok()
    }

    /// These messages are as the page writes them.
    #[test]
    fn what_a_page_says_is_what_a_console_would_say_of_that_car() {
        let press = PressId {
            epoch: 1_764_000_000_000_000,
            number: 3,
        };
        let service_port = 9000;
        let said = [
            (
                r#"{"watch":true}"#,
                ConsoleToRouter::Watch {
                    service_port: Some(9000),
                },
            ),
            (
                r#"{"watch":false}"#,
                ConsoleToRouter::Watch { service_port: None },
            ),
            (
                r#"{"control":"take"}"#,
                ConsoleToRouter::Control {
                    service_port,
                    request: ControlRequest::Take,
                },
            ),
            (
                r#"{"press":{"press":{"epoch":1764000000000000,"number":3},"command":"forward","tick_ms":5}}"#,
                ConsoleToRouter::Drive {
                    service_port,
                    command: DriveCommand::Press {
                        press,
                        command: "forward".parse().unwrap(),
                        tick_ms: 5,
                    },
                },
            ),
            (
                r#"{"renew":{"press":{"epoch":1764000000000000,"number":3},"tick_ms":6}}"#,
                ConsoleToRouter::Drive {
                    service_port,
                    command: DriveCommand::Renew { press, tick_ms: 6 },
                },
            ),
            (
                r#"{"release":{"epoch":1764000000000000,"number":3}}"#,
                ConsoleToRouter::Drive {
                    service_port,
                    command: DriveCommand::Release(press),
                },
            ),
            (
                r#""stop""#,
                ConsoleToRouter::Drive {
                    service_port,
                    command: DriveCommand::Stop,
                },
            ),
        ];
        for (text, message) in said {
            assert_eq!(read(text).unwrap().about(9000), Ok(message), "{text}");
        }
        assert_eq!(read(r#"{"probe":7}"#).unwrap().about(9000), Err(7));
    }

    #[test]
    fn what_no_page_says_is_refused() {
        for text in [
            "",
            "stop",
            "{}",
            r#"{"press":{"press":{"epoch":-1,"number":3},"command":"forward","tick_ms":5}}"#,
            r#"{"press":{"press":{"epoch":1,"number":3},"command":"../x","tick_ms":5}}"#,
            r#"{"control":"crown"}"#,
            r#"{"renew":{"press":{"epoch":1e400,"number":3},"tick_ms":6}}"#,
            r#"{"hello":{}}"#,
            r#""stop" "stop""#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_page_reads_run_ids_as_text_and_the_rest_as_it_is_called_here() {
        let json = |message| serde_json::to_value(message).unwrap();
        let press = Some(PressId {
            epoch: 1,
            number: 2,
        });
        let moving = ActiveMotion {
            run: RunId::from_number(u64::MAX),
            command: "left".parse().unwrap(),
            press,
        };
        let motion = |event| RouterToPage::Motion(event);
        assert_eq!(
            json(motion(MotionEvent::Started(moving))),
            serde_json::json!({"motion": {"started": {
                "run": "ffffffffffffffff", "command": "left", "press": {"epoch": 1, "number": 2}
            }}})
        );
        let over = MotionEvent::Over {
            press,
            cause: StopCause::Lease,
            clock_ms: None,
            by: None,
        };
        assert_eq!(
            json(motion(over)),
            serde_json::json!({"motion": {"over": {"press": {"epoch": 1, "number": 2}, "cause": "lease"}}})
        );
        let control = ControlInfo {
            recording: None,
            driver: None,
            request: Some((
                Driver {
                    session: SessionId(4),
                    name: "bob".into(),
                },
                9000,
            )),
            epoch: 0,
            ended: None,
        };
        assert_eq!(
            json(RouterToPage::Control(control)),
            serde_json::json!({"control": {
                "driver": null, "request": [{"session": 4, "name": "bob"}, 9000], "epoch": 0
            }})
        );
        assert_eq!(json(RouterToPage::Gone), "gone");
    }
}
