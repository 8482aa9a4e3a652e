//! Work that others queue for a link.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use p2p_shared::names::RunId;
use p2p_shared::protocol::RunReport;
use tokio::sync::oneshot;

use crate::link::command_lists::CommandList;
use crate::link::runs::OpenRun;
use crate::run::RunOrder;

/// Time that an answer may take: a list of the commands, of a folder of thousands on a slow card.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Reason why the car's answer to a question did not come. Its text is the end of a sentence that
/// begins with the car's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("is not connected to the router: try again when it is back")]
    Away,
    #[error("did not answer within {} s: try again in a moment", ANSWER.as_secs())]
    Slow,
    /// Too many questions are open.
    #[error("has as many questions to answer as the router allows: try again in a moment")]
    Busy,
}

/// Work for a link. The queue has no bound of its own: each open run has at most one order, one
/// cancel and four grants in it, and open runs are bounded; each list and question has a caller who
/// waits for it.
///
/// Large parts are boxed: each link has room for 32 of these, mostly empty.
#[derive(Debug)]
pub(crate) enum ToLink {
    Run {
        order: Box<RunOrder>,
        open: Box<OpenRun>,
    },
    Window {
        run: RunId,
        more: u32,
    },
    Cancel(RunId),
    List(oneshot::Sender<Arc<CommandList>>),
    AskRun(RunId, oneshot::Sender<Result<Option<RunReport>, NoAnswer>>),
    AskPast(Duration, oneshot::Sender<Result<Bytes, NoAnswer>>),
    Notice(String),
}
