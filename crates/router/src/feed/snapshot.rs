//! Owns the picture that a console begins with: cut into messages that are small enough, made one
//! by one as there is room for them.

use std::sync::Arc;

use p2p_shared::key::Role;
use p2p_shared::names::Argument;

use p2p_shared::protocol::{LinkInfo, RouterToConsole, RunInfo, SessionId};

/// A message is full at this size, by a rough count: half of what one may have, and what one more
/// entry adds is far below the other half.
const FULL: usize = 32 * 1024;
/// Bytes of an entry beside its texts, the names of its fields included.
const FIELDS: usize = 500;

/// The state at one moment; the parts that are yet to be sent.
#[derive(Debug)]
pub(crate) struct Snapshot {
    links: std::vec::IntoIter<LinkInfo>,
    runs: std::vec::IntoIter<Arc<RunInfo>>,
    begun: bool,
}

/// The console itself, as each part names it.
#[derive(Debug, Clone)]
pub(crate) struct Addressee {
    pub session: SessionId,
    pub key: String,
    pub role: Role,
}

impl Snapshot {
    pub(super) fn new(links: Vec<LinkInfo>, runs: Vec<Arc<RunInfo>>) -> Self {
        Self {
            links: links.into_iter(),
            runs: runs.into_iter(),
            begun: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.begun && self.links.len() == 0 && self.runs.len() == 0
    }

    /// Takes the next part. There is at least one.
    pub(crate) fn part(&mut self, to: &Addressee, missed: u64) -> RouterToConsole {
        let first = !std::mem::replace(&mut self.begun, true);
        let mut size = 0;
        let mut links = Vec::new();
        while size < FULL
            && let Some(link) = self.links.next()
        {
            size += link_size(&link);
            links.push(link);
        }
        let mut runs = Vec::new();
        while size < FULL
            && let Some(run) = self.runs.next()
        {
            size += run_size(&run);
            runs.push(Arc::unwrap_or_clone(run));
        }
        RouterToConsole::Snapshot {
            first,
            last: self.is_over(),
            session: to.session,
            key: to.key.clone(),
            role: to.role,
            missed,
            links,
            runs,
        }
    }
}

fn link_size(link: &LinkInfo) -> usize {
    let motion: usize = link.motion.iter().map(|name| name.as_str().len() + 4).sum();
    let people = (link.control.driver.iter())
        .chain(link.control.request.as_ref().map(|(driver, _)| driver))
        .map(|driver| driver.name.len() + 40)
        .sum::<usize>();
    let moving = (link.moving.as_ref()).map_or(0, |moving| moving.command.as_str().len() + 60);
    FIELDS
        + link.name.as_str().len()
        + motion
        + link.stop.as_str().len()
        + people
        + moving
        + 5 * link.rtts_us.len()
}

fn run_size(run: &RunInfo) -> usize {
    let arguments: usize = (run.arguments.iter().map(Argument::as_bytes))
        .map(|argument| argument.len() + 5)
        .sum();
    let result = (run.result.as_ref()).map_or(0, |result| {
        result.why.len() + result.output.len() + result.stderr.len()
    });
    FIELDS
        + run.command.as_str().len()
        + run.link.as_str().len()
        + run.from.len()
        + run.key.len()
        + arguments
        + result
}
