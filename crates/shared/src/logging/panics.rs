//! Logs panics, by the panic hook.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Installs a hook that logs each panic as an error while `running`, with its place, its thread and,
/// if `RUST_BACKTRACE` is set, its backtrace (whole in the file, the beginning on the terminal).
///
/// The default hook prints to standard error at once: that can block on a stopped terminal, and
/// shows text from outside unescaped. So the default hook is called only when no log would show the
/// panic.
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
