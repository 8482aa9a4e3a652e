//! Follows one drive: puts what happens to the car and what its camera shows into a file, until control was given back,
//! and nobody wants the car recorded any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_shared::car_clock::CarClock;
use p2p_shared::protocol::{ControlInfo, FeedEvent, LinkInfo, MotionEvent, Picture, SessionId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;

use super::file::{AT_ONCE, Entry, FileNews, NoMore, Over, RecordingFile, Recordings};
use super::message::{Body, Level, bodies};
use crate::car::Car;
use crate::context::Context;
use crate::feed::Tick;
use crate::net::port_range::PortRange;

/// Time for which a recording goes on after control was given back.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// Longest recording in one file.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Time until the next try where a recording can't be written.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// Time between two looks whether the disk answers.
const CHECK: Duration = Duration::from_secs(1);
/// Longest time in which a file ends.
const ENDS: Duration = Duration::from_secs(3);
/// Why nothing is recorded while the disk does not answer.
const HUNG: &str = "the router's disk has not answered for 3 s";

/// Records the drive of the car with this service port in one file.
pub(super) async fn record(context: &Arc<Context>, recordings: &Recordings, port: u16) {
    let mut ticks = context.feed.ticks();
    let mut subscription = context.registry.subscribe(PortRange::one(port));
    let (links, _) = subscription.snapshot.take();
    let (Some(link), Some(car)) = (links.into_iter().next(), context.registry.car(port)) else {
        return;
    };
    let closed = &context.shutdown.closed;
    let name = link.name.clone();
    let file = RecordingFile::begin(recordings, name.as_str(), &file_time(), facts(&link));
    let file = match file {
        Ok(Some(file)) => file,
        Ok(None) => {
            let why = format!("{AT_ONCE} cars are recorded already: that is the most");
            car.recorded(None, Some(&why));
            retry(context, &mut subscription.events, port).await;
            return;
        }
        Err(error) => {
            car.recorded(None, Some(&error.to_string()));
            tracing::warn!(%error, link = %name, "a drive is not recorded; next try in 10 s");
            retry(context, &mut subscription.events, port).await;
            return;
        }
    };
    let mut drive = Drive::new(port, file);
    let watching = car.camera.watch();
    let mut pictures = car.camera.newest();
    let longest = Instant::now() + LONGEST;
    let mut checks = tokio::time::interval(CHECK);
    let mut written = drive.event(&FeedEvent::Link(Box::new(link)));
    while written.is_ok() {
        let end = drive.over.unwrap_or(longest).min(longest);
        let asked_until = drive.asked_until;
        written = tokio::select! {
            biased;
            event = subscription.events.recv() => match event {
                Ok(event) => drive.event(&event),
                Err(RecvError::Lagged(missed)) => {
                    drive.missed += missed;
                    Ok(())
                }
                Err(RecvError::Closed) => break,
            },
            Ok(tick) = ticks.recv() => {
                drive.tick(tick);
                Ok(())
            }
            picture = next(&mut pictures) => drive.picture(picture),
            news = drive.file.news() => match news {
                FileNews::Begun => {
                    car.recorded(Some(drive.file.path()), None);
                    Ok(())
                }
                FileNews::Over => Err(NoMore),
            },
            _ = checks.tick() => {
                drive.check(&car);
                Ok(())
            }
            () = sleep_until(asked_until) => {
                drive.asked_until = None;
                car.end_asked_recording();
                Ok(())
            }
            () = tokio::time::sleep_until(end) => break,
            () = closed.cancelled() => break,
        };
    }
    drop(watching);
    let ending = end(car, name.to_string(), drive.file);
    if written.is_ok() && !closed.is_cancelled() {
        // What happens meanwhile is for the next file.
        context.shutdown.connections.spawn(ending);
    } else if !ending.await {
        retry(context, &mut subscription.events, port).await;
    }
}

/// Ends a file, and tells that. Returns false if it failed.
async fn end(car: Arc<Car>, link: String, file: RecordingFile) -> bool {
    let path = file.path().to_owned();
    let ended = tokio::time::timeout(ENDS, file.end()).await;
    let failure = match ended {
        Ok(Over::Full) => None,
        Ok(Over::Failed(error)) => Some(error),
        Err(_) => Some(HUNG.to_owned()),
    };
    if let Some(error) = &failure {
        let file = path.display();
        tracing::warn!(link, %file, error, "the recording has ended before its time");
    }
    car.recording_ended(&path, failure.as_deref());
    failure.is_none()
}

/// Waits until the next try where a recording can't be written: somebody asks for it, or some time has passed.
async fn retry(context: &Context, events: &mut Receiver<Arc<FeedEvent>>, port: u16) {
    let is_asked = |event: &FeedEvent| match event {
        FeedEvent::Control {
            service_port,
            control,
        } if *service_port == port => (control.recording.as_ref())
            .is_some_and(|it| it.asked.is_some() && it.failure.is_none() && it.file.is_none()),
        _ => false,
    };
    let asked = async {
        loop {
            match events.recv().await {
                Ok(event) if is_asked(&event) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    };
    let closed = &context.shutdown.closed;
    let _ = closed
        .run_until_cancelled(tokio::time::timeout(RETRY, asked))
        .await;
}

/// A drive that is recorded.
struct Drive {
    port: u16,
    file: RecordingFile,
    clock: CarClock,
    /// Number of messages that are not in the file, since it was said.
    missed: u64,
    /// True while the disk does not answer.
    is_hung: bool,
    is_up: bool,
    driver: Option<SessionId>,
    /// End of the recording that somebody has asked for.
    asked_until: Option<Instant>,
    /// End of the recording, since nobody drives or asks for it.
    over: Option<Instant>,
}

impl Drive {
    fn new(port: u16, file: RecordingFile) -> Self {
        Self {
            port,
            file,
            clock: CarClock::default(),
            missed: 0,
            is_hung: false,
            is_up: false,
            driver: None,
            asked_until: None,
            over: None,
        }
    }

    fn event(&mut self, event: &FeedEvent) -> Result<(), NoMore> {
        if event.service_port() != self.port {
            return Ok(());
        }
        let control = match event {
            FeedEvent::Control { control, .. } => Some(control),
            FeedEvent::Link(link) => Some(&link.control),
            _ => None,
        };
        let is_news = control.is_none_or(|control| self.follow(control, event));
        match event {
            // The machine may have started anew before its next link, and its clock with it.
            FeedEvent::Link(_) => self.clock = CarClock::default(),
            FeedEvent::LinkDown { .. } => {
                (self.is_up, self.clock) = (false, CarClock::default());
            }
            FeedEvent::LinkGone { .. } => self.over = Some(Instant::now()),
            _ => {}
        }
        let heard_ns = now_ns();
        let at_ns = match event {
            FeedEvent::Motion {
                event:
                    MotionEvent::Over {
                        clock_ms: Some(ms), ..
                    },
                ..
            }
            | FeedEvent::Motion {
                clock_ms: Some(ms), ..
            } => self.clock.here(*ms, heard_ns),
            _ => heard_ns,
        };
        if self.missed > 0 {
            let text = format!(
                "{} messages are missing: the disk was too slow",
                self.missed
            );
            self.missed = 0;
            self.write(Body::Log(Level::Warning, text), heard_ns, heard_ns)?;
        }
        let mut bodies = bodies(event).filter(|body| is_news || !matches!(body, Body::Log(..)));
        bodies.try_for_each(|body| self.write(body, at_ns, heard_ns))
    }

    /// Follows who drives and who wants the car recorded. Returns false if a person would learn nothing of it.
    fn follow(&mut self, control: &ControlInfo, event: &FeedEvent) -> bool {
        let now = Instant::now();
        let driver = control.driver.as_ref().map(|driver| driver.session);
        let was = std::mem::replace(&mut self.driver, driver);
        let asked = control.recording.as_ref().and_then(|it| it.asked.as_ref());
        self.asked_until = asked.map(|(_, left_ms)| now + Duration::from_millis(*left_ms));
        self.over = match (driver, self.asked_until) {
            (None, None) if was.is_some() => Some(now + AFTERWARDS),
            (None, None) => self.over.or(Some(now)),
            _ => None,
        };
        match event {
            FeedEvent::Link(link) => !std::mem::replace(&mut self.is_up, link.is_up),
            _ => was != driver,
        }
    }

    /// Tells when the disk does not answer, and when it does again.
    fn check(&mut self, car: &Car) {
        let was_hung = std::mem::replace(&mut self.is_hung, self.file.is_hung());
        if self.is_hung {
            car.recorded(None, Some(HUNG));
        } else if was_hung && self.file.has_begun() {
            car.recorded(Some(self.file.path()), None);
        }
    }

    fn tick(&mut self, tick: Tick) {
        // One that is late is of the link that is down.
        if tick.service_port == self.port && self.is_up {
            self.clock.tick(tick.clock_ms, now_ns());
        }
    }

    fn picture(&mut self, picture: Picture) -> Result<(), NoMore> {
        let heard_ns = now_ns();
        let at_ns = self.clock.here(picture.captured_ms(), heard_ns);
        self.write(Body::Picture(picture), at_ns, heard_ns)
    }

    fn write(&mut self, body: Body, at_ns: u64, heard_ns: u64) -> Result<(), NoMore> {
        let entry = Entry {
            body,
            at_ns,
            heard_ns,
        };
        if !self.file.write(entry)? {
            self.missed += 1;
        }
        Ok(())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for the next picture.
async fn next(pictures: &mut watch::Receiver<Option<Picture>>) -> Picture {
    loop {
        if pictures.changed().await.is_err() {
            // The camera lives as long as its car: there is nothing to wait for.
            std::future::pending::<()>().await;
        }
        if let Some(picture) = pictures.borrow_and_update().clone() {
            return picture;
        }
    }
}

/// Facts about a recording's car, for who opens the file.
fn facts(link: &LinkInfo) -> BTreeMap<String, String> {
    [
        ("link", link.name.to_string()),
        ("service_port", link.service_port.to_string()),
        ("lease_ms", link.lease_ms.to_string()),
        ("stop", link.stop.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The time in nanoseconds since 1970.
fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The time as it is in the name of a file.
fn file_time() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    use mcap::MessageStream;
    use p2p_shared::protocol::{ControlEnd, StopCause};

    use super::*;
    use crate::config::RecordConfig;

    const HOUR_MS: u64 = 3_600_000;

    fn link() -> FeedEvent {
        let [name, stop] = ["car", "stop"];
        let link = LinkInfo::new(9000, name.parse().unwrap(), stop.parse().unwrap());
        FeedEvent::Link(Box::new(link))
    }

    /// Records these events after an hour of ticks, and then a stop of a car that has started anew and ticks no more.
    /// Returns by how many milliseconds the stop is dated before its arrival.
    async fn dated(events: Vec<FeedEvent>) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let recordings = Recordings::new(RecordConfig {
            dir: dir.path().to_owned(),
            most_bytes: 1 << 30,
        });
        let file = RecordingFile::begin(&recordings, "car", "20261201T031400Z", [].into());
        let mut drive = Drive::new(9000, file.unwrap().unwrap());
        let tick = Tick {
            service_port: 9000,
            clock_ms: HOUR_MS,
        };
        drive.event(&link()).unwrap();
        drive.tick(tick);
        for event in events {
            let is_down = matches!(event, FeedEvent::LinkDown { .. });
            drive.event(&event).unwrap();
            if is_down {
                // A tick of the old link that comes late.
                drive.tick(tick);
            }
        }
        let over = MotionEvent::Over {
            press: None,
            cause: StopCause::Beginning,
            clock_ms: Some(500),
            by: None,
        };
        let stop = FeedEvent::Motion {
            service_port: 9000,
            event: over,
            clock_ms: Some(500),
        };
        drive.event(&stop).unwrap();
        assert!(matches!(drive.file.end().await, Over::Full));
        let files = std::fs::read_dir(dir.path()).unwrap();
        let path = files.map(|file| file.unwrap().path()).next().unwrap();
        let bytes = std::fs::read(path).unwrap();
        let messages = MessageStream::new(&bytes).unwrap().map(Result::unwrap);
        let stop = messages
            .filter(|it| it.data.starts_with(b"{\"motion\""))
            .last();
        let stop = stop.unwrap();
        (stop.publish_time - stop.log_time) / 1_000_000
    }

    #[tokio::test]
    async fn what_a_car_tells_after_it_has_started_anew_is_not_dated_by_its_clock_before() {
        let down = FeedEvent::LinkDown {
            service_port: 9000,
            why: "silent for 6 s".into(),
        };
        assert!(dated(Vec::new()).await > HOUR_MS / 2, "a test of the test");
        assert_eq!(dated(vec![down]).await, 0);
        // The link may be replaced without having been down.
        assert_eq!(dated(vec![link()]).await, 0);
        // Who drives does not change the clock.
        let control = FeedEvent::Control {
            service_port: 9000,
            control: ControlInfo {
                ended: Some(ControlEnd::Given),
                ..ControlInfo::default()
            },
        };
        assert!(dated(vec![control]).await > HOUR_MS / 2);
    }
}
