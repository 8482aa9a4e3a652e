//! Ends what a dead inner left running.

use std::collections::BTreeSet;
use std::sync::Arc;

use p2p_shared::timing::KILL_GRACE;
use tokio::time::{Instant, sleep};

use crate::motion::MOTION_GRACE;
use crate::process::{GroupId, Spawn};

/// Ends the commands of this inner, with the grace that a command has at its time limit.
pub(super) async fn end_orphans(processes: &Arc<dyn Spawn>, inner: u32) {
    let groups = || -> Vec<GroupId> {
        let numbers = processes.groups_of(inner).into_iter();
        numbers
            .filter_map(|number| GroupId::new(number, processes))
            .collect()
    };
    let patience = Instant::now() + KILL_GRACE;
    let mut terminated = BTreeSet::new();
    let mut were_none = false;
    while Instant::now() < patience {
        let groups = groups();
        // Two checks: a command that is just being executed has no environment for a moment.
        if groups.is_empty() && were_none {
            return;
        }
        were_none = groups.is_empty();
        let mut new = 0;
        for group in groups {
            if terminated.insert(group.number()) {
                group.terminate();
                new += 1;
            }
        }
        if new > 0 {
            tracing::warn!(groups = new, "the inner is gone: what it ran is ended");
        }
        sleep(MOTION_GRACE).await;
    }
    // Listed anew: a number may belong to another group by now.
    let groups = groups();
    for group in &groups {
        group.kill();
    }
    if !groups.is_empty() {
        tracing::warn!(groups = groups.len(), "what did not end was killed");
    }
}
