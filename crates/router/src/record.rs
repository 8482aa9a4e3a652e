//! Records drives: what happened to a car and what its camera saw, from when control is taken until a while after it is
//! given back, or while somebody has asked for it, in one MCAP file (<https://mcap.dev/spec>). `record/drive` follows
//! one drive, `record/file` writes a file, `record/message` has the formats.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use p2p_shared::protocol::{ControlInfo, FeedEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{Id, JoinSet};

use crate::config::RecordConfig;
use crate::context::Context;
use crate::net::port_range::PortRange;
use crate::record::file::Recordings;

mod drive;
mod file;
mod message;
#[cfg(test)]
mod tests;

/// Records each drive of a car that has its link here, until the router closes.
pub(crate) async fn run(context: Arc<Context>, config: RecordConfig) {
    let mut recorder = Recorder {
        context,
        recordings: Recordings::new(config),
        drives: Drives::default(),
    };
    let closed = recorder.context.shutdown.closed.clone();
    let mut events = recorder.begin_all(PortRange::ALL);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => recorder.on_event(&event),
                Err(RecvError::Lagged(_)) => events = recorder.begin_all(PortRange::ALL),
                Err(RecvError::Closed) => return,
            },
            Some(port) = recorder.drives.ended() => {
                // The next file of a long drive, or the next try.
                recorder.begin_all(PortRange::one(port));
            }
            () = closed.cancelled() => break,
        }
    }
    while recorder.drives.ended().await.is_some() {}
}

struct Recorder {
    context: Arc<Context>,
    recordings: Recordings,
    drives: Drives,
}

impl Recorder {
    /// Begins to record those of the cars with these ports that somebody drives, or wants recorded. Returns the events from then on.
    fn begin_all(&mut self, ports: PortRange) -> tokio::sync::broadcast::Receiver<Arc<FeedEvent>> {
        let mut subscription = self.context.registry.subscribe(ports);
        for link in subscription.snapshot.take().0 {
            self.on_control(link.service_port, &link.control);
        }
        subscription.events
    }

    fn on_event(&mut self, event: &FeedEvent) {
        match event {
            FeedEvent::Control {
                service_port,
                control,
            } => self.on_control(*service_port, control),
            FeedEvent::Link(link) => self.on_control(link.service_port, &link.control),
            _ => {}
        }
    }

    fn on_control(&mut self, port: u16, control: &ControlInfo) {
        let is_asked = (control.recording.as_ref()).is_some_and(|it| it.asked.is_some());
        if (control.driver.is_some() || is_asked) && !self.drives.has(port) {
            let (context, recordings) = (self.context.clone(), self.recordings.clone());
            let drive = async move {
                let record = drive::record(&context, &recordings, port);
                if AssertUnwindSafe(record).catch_unwind().await.is_err() {
                    // The log has the panic. One after the other would leave file after file.
                    let pause = tokio::time::sleep(drive::RETRY);
                    context.shutdown.closed.run_until_cancelled(pause).await;
                }
            };
            self.drives.begin(port, drive);
        }
    }
}

/// The drives that are recorded: a task each.
#[derive(Default)]
struct Drives {
    tasks: JoinSet<()>,
    ports: HashMap<Id, u16>,
}

impl Drives {
    fn has(&self, port: u16) -> bool {
        self.ports.values().any(|it| *it == port)
    }

    fn begin(&mut self, port: u16, drive: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(drive);
        self.ports.insert(task.id(), port);
    }

    /// Waits for the end of one, by a panic too. Returns its port; `None`: there is none.
    async fn ended(&mut self) -> Option<u16> {
        let ended = self.tasks.join_next_with_id().await?;
        let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
        self.ports.remove(&task)
    }
}
