//! The task of a member: takes messages from the bus, lets the time go on, and sends what is to be sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::mesh::Mesh;
use crate::mesh::bus::{Bus, BusEnd};
use crate::mesh::members::MemberEvent;
use crate::mesh::seal::Sealer;
use crate::mesh::state::Opened;

/// Most messages that are taken from the bus before anything else is looked at.
const AT_A_TIME: usize = 8;
/// Time for the last messages to go out.
const FAREWELL: Duration = Duration::from_millis(500);

impl Mesh {
    /// Works as a member until `closed`, and tells the others then. Does so once.
    pub(crate) async fn run(self: Arc<Self>, end: BusEnd, closed: CancellationToken) {
        let BusEnd {
            bus,
            mut incoming,
            mut is_connected,
            task,
        } = end;
        let Some(mut sealer) = self.sealer.lock().take() else {
            return;
        };
        let mut was_connected = false;
        loop {
            let connected = *is_connected.borrow_and_update();
            self.note_bus(connected, &mut was_connected);
            let next = self.poll(connected);
            self.publish(&*bus, &mut sealer);
            tokio::select! {
                biased;
                () = closed.cancelled() => break,
                () = self.wake.notified() => {}
                () = changed(&mut is_connected) => {}
                first = next_message(&mut incoming) => {
                    self.receive(&first, &mut incoming);
                }
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
        self.state.write().leave(p2p_shared::timing::now());
        self.publish(&*bus, &mut sealer);
        drop(bus);
        if let Some(task) = task {
            let _ = tokio::time::timeout(FAREWELL, task).await;
        }
    }

    fn note_bus(&self, is_connected: bool, was_connected: &mut bool) {
        self.metrics.bus_up.set(i64::from(is_connected));
        if std::mem::replace(was_connected, is_connected) == is_connected {
            return;
        }
        if is_connected {
            tracing::info!("mesh: NATS is connected");
        } else {
            tracing::warn!(
                "mesh: NATS is lost: the router goes on with what it knows of the others, and connects again by itself"
            );
        }
    }

    fn poll(&self, is_connected: bool) -> std::time::Instant {
        let now = self.now();
        let mut state = self.state.write();
        state.load = self.metrics.load();
        let events = state.poll(is_connected, now);
        let next = state.next_poll(now.instant);
        drop(state);
        for event in &events {
            log(event);
        }
        next
    }

    /// Takes a message, and those that are there already.
    fn receive(&self, first: &Bytes, incoming: &mut mpsc::Receiver<Bytes>) {
        let now = self.now();
        let key_of = |of| self.state.read().members.key(of);
        let take = |message: &Bytes| {
            let opened = Opened::new(message, self.start, &self.secret, key_of);
            self.state.write().take(opened, now)
        };
        let mut events = Vec::from_iter(take(first));
        for message in (1..AT_A_TIME).map_while(|_| incoming.try_recv().ok()) {
            events.extend(take(&message));
        }
        self.metrics
            .refused(&mut self.state.write().refused_messages);
        for event in &events {
            log(event);
            if let MemberEvent::Joined(member) = event
                && *member.address == self.address
            {
                tracing::warn!(
                    "mesh: another member says that it is reached at {}, too: give each its own --mesh-address",
                    self.address
                );
            }
        }
    }

    /// Sends what is to be sent, and tells whoever waits for changes.
    fn publish(&self, bus: &dyn Bus, sealer: &mut Sealer) {
        let mut state = self.state.write();
        let out = state.take_out();
        let changed = state.take_changed();
        let orphans = state.take_orphans();
        let members = state.members.present().count() + 1;
        self.tell_key_news(&mut state);
        drop(state);
        self.metrics
            .members
            .set(i64::try_from(members).unwrap_or(i64::MAX));
        self.tell_changes(changed, orphans);
        self.answered.notify_waiters();
        for (to, message) in out {
            let sealed = message.encode().and_then(|bytes| sealer.seal(to, &bytes));
            match sealed {
                Some(sealed) => bus.publish(to, sealed),
                None => {
                    self.metrics.dropped.inc();
                }
            }
        }
    }
}

async fn changed(is_connected: &mut watch::Receiver<bool>) {
    if is_connected.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn next_message(incoming: &mut mpsc::Receiver<Bytes>) -> Bytes {
    match incoming.recv().await {
        Some(message) => message,
        None => std::future::pending().await,
    }
}

fn log(event: &MemberEvent) {
    match event {
        MemberEvent::Joined(member) => tracing::info!(%member, "mesh: a member joined"),
        MemberEvent::Back(member) => tracing::info!(%member, "mesh: a member is back"),
        MemberEvent::Away(member) => tracing::warn!(
            %member,
            "mesh: a member is away: its cars can't be reached until they have dialled another router"
        ),
        MemberEvent::Gone(member) => tracing::info!(%member, "mesh: a member is gone"),
    }
}
