//! Panics as log events. It owns the panic hook.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// From now on a panic is logged as an error while `running`, with its place, its thread and,
/// if `RUST_BACKTRACE` asks for it, its backtrace (whole in the file, its start on the terminal).
///
/// The hook that was there before prints to standard error at once: that can block on a stopped
/// terminal, and shows whatever outside text the message holds. So it has its turn only when no
/// log would show the panic.
pub(super) fn log_them(running: Arc<AtomicBool>) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !running.load(Ordering::Acquire) || !tracing::enabled!(tracing::Level::ERROR) {
            return before(panic);
        }
        let message = panic.payload_as_str().unwrap_or("without a message");
        let at = panic.location().map(tracing::field::display);
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        let captured = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = captured.then(|| tracing::field::display(&backtrace));
        tracing::error!(
            at,
            thread = thread.name(),
            backtrace,
            "internal error (panic): {message}"
        );
    }));
}
