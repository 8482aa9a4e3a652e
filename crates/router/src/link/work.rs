//! Work that others queue for a link.

use std::sync::Arc;

use p2p_shared::names::RunId;
use p2p_shared::protocol::RunReport;
use tokio::sync::oneshot;

use crate::link::command_lists::CommandList;
use crate::link::handle::NoAnswer;
use crate::link::runs::OpenRun;
use crate::run::RunOrder;

/// Work for a link. The queue has no bound of its own: each open run has at most one order, one
/// cancel and four grants in it, and open runs are bounded; each list and question has a caller who
/// waits for it.
#[derive(Debug)]
pub(crate) enum ToLink {
    Run { order: Box<RunOrder>, open: OpenRun },
    Window { run: RunId, more: u32 },
    Cancel(RunId),
    List(oneshot::Sender<Arc<CommandList>>),
    AskRun(RunId, oneshot::Sender<Result<Option<RunReport>, NoAnswer>>),
    Notice(String),
}
