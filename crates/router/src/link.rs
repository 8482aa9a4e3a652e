//! The connection of an inner: the task that owns its socket, the handle by which others speak to
//! it, and the queues between the two.

mod command_lists;
pub(crate) mod handle;
mod inner_clock;
pub(crate) mod priority_queue;
mod run_queries;
mod runs;
pub(crate) mod task;
