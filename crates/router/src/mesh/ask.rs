//! Asks the other members, for the registry, whether an inner may have a port.

use std::sync::Arc;
use std::time::Duration;

use p2p_shared::timing;
use parking_lot::RwLock;
use tokio::time::sleep_until;

use crate::mesh::Mesh;
use crate::mesh::claims::{ClaimRefused, Outcome, PortClaim};
use crate::mesh::record::LinkStamp;
use crate::mesh::state::{Begun, State};

/// Time for the other members to answer whether they know of a port.
const ANSWERS: Duration = Duration::from_secs(1);
/// Time after which those that have not answered are asked again: a message may be lost.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// Time for which a claim waits for the first news of the others.
const NEWS: Duration = Duration::from_secs(1);
/// Time between looks whether there are news.
const LOOK: Duration = Duration::from_millis(50);

/// Grant of a port. Nobody else gets the port while this is held: it is dropped after [`Mesh::held`].
#[derive(Debug)]
pub(crate) struct GrantedPort {
    pub stamp: LinkStamp,
    /// For [`held_since`](super::record::PortRecord::held_since).
    pub held_since: u64,
    _reservation: Reservation,
}

/// Keeps a port from others while it is granted, and not told yet.
#[derive(Debug)]
struct Reservation {
    state: Arc<RwLock<State>>,
    number: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.state.write().claims.close(self.number);
    }
}

impl Mesh {
    /// Asks whether an inner may have this port. At once, if that is known; else all members that are
    /// present are asked. For a port that this member holds itself the registry decides.
    pub(crate) async fn claim(&self, claim: &PortClaim) -> Result<GrantedPort, ClaimRefused> {
        self.news(claim.port).await;
        let begun = self.state.write().begin(claim, self.now())?;
        let (number, known) = match begun {
            Begun::Granted(number, known) => (number, Some(known)),
            Begun::Asks(number) => (number, None),
        };
        // From here on, however this ends, the claim is closed.
        let reservation = Reservation {
            state: self.state.clone(),
            number,
        };
        let outcome = match known {
            Some(known) => known,
            None => {
                self.wake.notify_one();
                self.outcome(number).await
            }
        };
        if let Some(why) = outcome.refused {
            return Err(ClaimRefused(why));
        }
        let now = self.now();
        let state = self.state.read();
        let epoch = state.next_epoch(claim.port, outcome.epoch, now);
        let held_since = (outcome.held_since).unwrap_or_else(|| state.new_holder(claim.port, now));
        drop(state);
        Ok(GrantedPort {
            stamp: LinkStamp {
                instance: claim.instance,
                dial: claim.dial,
                epoch,
            },
            held_since,
            _reservation: reservation,
        })
    }

    /// Waits for the first news of the others, if nobody is known to hold this port, or this router since before
    /// its start: another may have given the car a link since.
    async fn news(&self, port: u16) {
        let end = tokio::time::Instant::now() + NEWS;
        loop {
            let is_informed = {
                let state = self.state.read();
                let holder = state.directory.holder(port);
                let is_known = holder
                    .is_some_and(|(start, it)| start != self.start || it.record.link.is_some());
                is_known || state.is_informed(timing::now())
            };
            if is_informed || tokio::time::Instant::now() >= end {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all have answered a claim, or one refuses, or it has taken too long.
    async fn outcome(&self, number: u64) -> Outcome {
        let begun = tokio::time::Instant::now();
        let end = begun + ANSWERS;
        let mut again = begun + ASK_AGAIN;
        loop {
            let answered = self.answered.notified();
            if let Some(outcome) = self.state.read().claims.outcome(number) {
                return outcome;
            }
            tokio::select! {
                biased;
                () = answered => {}
                () = sleep_until(end) => {
                    let settled = self.state.write().claims.settle(number);
                    return settled.unwrap_or_default();
                }
                () = sleep_until(again) => {
                    again += ASK_AGAIN;
                    self.state.write().ask_again(number);
                    self.wake.notify_one();
                }
            }
        }
    }
}
