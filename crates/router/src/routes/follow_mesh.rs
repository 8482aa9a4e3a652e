//! Serves the ports of cars that other routers have, as the mesh hears of them.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::mesh::record::HeldState;
use crate::mesh::{Mesh, Orphan};
use crate::routes::service_port;

/// Pause between attempts to open ports that could not be opened: whatever had them may be gone.
const RETRY: Duration = Duration::from_secs(2);

/// Opens and closes ports for the cars of other routers, as the mesh hears of them.
pub(crate) async fn run(context: Arc<Context>, mesh: Arc<Mesh>) {
    loop {
        let changed = tokio::select! {
            biased;
            changed = mesh.changes() => changed,
            () = tokio::time::sleep(RETRY) => context.registry.not_opened(),
        };
        for port in changed {
            // There may be tens of thousands at once.
            tokio::task::coop::consume_budget().await;
            if let Some(port) = context.registry.follow(port) {
                service_port::begin(&context, port);
            }
        }
        for Orphan { record, away } in mesh.take_orphans() {
            context.registry.adopt(&record);
            if record.state == HeldState::Kept {
                continue;
            }
            let why = "its router is gone, and it did not come to another";
            context.on_link.down(record.port, &record.name, away, why);
        }
    }
}
