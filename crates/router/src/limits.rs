//! Owns what the system allows this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows as many open files as the system does: each link takes two, its own and that of its
/// service port, and the usual limit of 1024 is for programs that use `select`.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
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
