//! Follows one drive: puts what happens to the car and what its camera shows into a file, until control was given back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_shared::protocol::{FeedEvent, LinkInfo, MotionEvent, Picture};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;

use super::car_clock::CarClock;
use super::file::{Entry, NoMore, Over, RecordingFile, Recordings};
use super::message::{Body, Level, bodies};
use crate::context::Context;
use crate::feed::Tick;
use crate::net::port_range::PortRange;

/// Time for which a recording goes on after control was given back.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// Longest recording in one file.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Time until the next try where a recording can't be written.
const RETRY: Duration = Duration::from_secs(10);

/// Records the drive of the car with this service port in one file.
pub(super) async fn record(context: &Arc<Context>, recordings: &Recordings, port: u16) {
    let mut ticks = context.feed.ticks();
    let mut subscription = context.registry.subscribe(PortRange::one(port));
    let (links, _) = subscription.snapshot.take();
    let (Some(link), Some(car)) = (links.into_iter().next(), context.registry.car(port)) else {
        return;
    };
    let closed = &context.shutdown.closed;
    let retry = || closed.run_until_cancelled(tokio::time::sleep(RETRY));
    let name = link.name.clone();
    let file = RecordingFile::begin(recordings, name.as_str(), &file_time(), facts(&link));
    let file = match file {
        Ok(Some(file)) => file,
        Ok(None) => {
            retry().await;
            return;
        }
        Err(error) => {
            tracing::warn!(%error, link = %name, "a drive is not recorded; next try in 10 s");
            retry().await;
            return;
        }
    };
    let said = file.path().display().to_string();
    let mut drive = Drive {
        port,
        file,
        clock: CarClock::default(),
        missed: 0,
        over: None,
    };
    let watching = car.camera.watch();
    let mut pictures = car.camera.newest();
    let longest = Instant::now() + LONGEST;
    let mut written = drive.event(&FeedEvent::Link(Box::new(link)));
    while written.is_ok() {
        let end = drive.over.unwrap_or(longest).min(longest);
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
            () = tokio::time::sleep_until(end) => break,
            () = closed.cancelled() => break,
        };
    }
    drop(watching);
    let ending = drive.file.end();
    if written.is_ok() && !closed.is_cancelled() {
        // What happens meanwhile is for the next file.
        context.shutdown.connections.spawn(ending);
        return;
    }
    if let Over::Failed(error) = ending.await
        && !closed.is_cancelled()
    {
        let file = said;
        tracing::warn!(link = %name, file, error, "the recording has ended; next try in 10 s");
        retry().await;
    }
}

/// A drive that is recorded.
struct Drive {
    port: u16,
    file: RecordingFile,
    clock: CarClock,
    /// Number of messages that are not in the file, since it was said.
    missed: u64,
    /// End of the recording, since nobody drives.
    over: Option<Instant>,
}

impl Drive {
    fn event(&mut self, event: &FeedEvent) -> Result<(), NoMore> {
        if event.service_port() != self.port {
            return Ok(());
        }
        let control = match event {
            FeedEvent::Control { control, .. } => Some(control),
            FeedEvent::Link(link) => Some(&link.control),
            _ => None,
        };
        match control.map(|control| control.driver.is_some()) {
            Some(true) => self.over = None,
            Some(false) => self.over = self.over.or(Some(Instant::now() + AFTERWARDS)),
            None => {}
        }
        let heard_ns = now_ns();
        let at_ns = match event {
            FeedEvent::Motion {
                event:
                    MotionEvent::Over {
                        clock_ms: Some(ms), ..
                    },
                ..
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
        bodies(event).try_for_each(|body| self.write(body, at_ns, heard_ns))
    }

    fn tick(&mut self, tick: Tick) {
        if tick.service_port == self.port {
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
