//! The operator's terminal program: watches every link of a router, and drives the car.
//!
//! ```text
//!   terminal ──┐                        ┌── effects ──▶ terminal
//!              ├─▶ event_loop ──▶ app ──┤
//! connection ──┘    (the loop)  (pure)  └── messages ─▶ connection
//!                                │
//!                              view (draws the app)
//! ```

use std::process::ExitCode;

use p2p_shared::{logging, settings};

pub mod app;
pub mod camera;
mod cli;
pub mod config;
pub mod connection;
mod desk_log;
pub mod drive;
mod event_loop;
mod exit_code;
pub mod keymap;
pub mod picture;
pub mod routers;
pub mod screen;
mod terminal;
#[cfg(test)]
mod testing;
pub mod text;
pub mod view;

use config::{Options, Task};
pub use event_loop::AppParts;

/// Does what the command line says, and gives the exit code.
pub fn run(options: Options) -> ExitCode {
    run_with(options, AppParts::default())
}

/// Does what [`run`] does, with other parts: tests make one fail, and check terminal and car.
pub fn run_with(options: Options, parts: AppParts) -> ExitCode {
    match &options.task {
        Some(Task::Common(task)) => task.run::<Options>(),
        _ => exit_code::report(start(options, parts)),
    }
}

fn start(options: Options, parts: AppParts) -> anyhow::Result<ExitCode> {
    let mut log_options = options.common.log_options("p2p-console");
    // Standard error is for the command's own output; of the log, only errors are printed there.
    log_options.verbosity -= 2;
    let _logs = logging::start(log_options);
    settings::log_start::<Options>("p2p-console");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(Box::pin(cli::run(options, parts)));
    // A name lookup that hangs would delay the exit.
    runtime.shutdown_background();
    ended
}
