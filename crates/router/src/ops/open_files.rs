//! The limit of open files: the router's own, and that of the programs that it starts.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Variable that tells a router that replaces this one the limit of [`open_files_before`].
pub(crate) const OPEN_FILES_BEFORE: &str = "P2PROUTER_OPEN_FILES_BEFORE";

static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the limit of open files as far as the system allows: each link takes two, its own and its
/// service port's, and the usual limit of 1024 is for programs that use `select`.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let told = std::env::var(OPEN_FILES_BEFORE).ok();
    let _ = BEFORE.set(told.and_then(|told| told.parse().ok()).or(limit.current));
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            let limit = limit.current;
            tracing::warn!(%error, limit, "the limit of open files can't be raised");
        }
    }
}

/// Returns how many files the router may have open.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the limit of open files before this router, or the one that it replaced, raised it;
/// `None`: there was none, or it was not raised. Programs that the router starts get that limit.
pub(crate) fn open_files_before() -> Option<u64> {
    BEFORE.get().copied().flatten()
}
