//! Helpers for the tests of several files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use p2p_shared::protocol::MotionInfo;

use crate::catalog::Catalog;
use crate::commands::Commands;
use crate::process::OsProcesses;

/// A car that goes forward and stops.
pub(crate) fn motion() -> MotionInfo {
    MotionInfo {
        commands: vec!["forward".parse().unwrap()].try_into().unwrap(),
        stop: "stop".parse().unwrap(),
        lease_ms: 400,
        limit_ms: 2000,
    }
}

/// The commands of this folder, whose processes are real.
pub(crate) fn commands(files: Catalog) -> Arc<Commands> {
    Commands::new(files, motion(), Arc::new(OsProcesses))
}

/// Writes a shell script, by another process. Otherwise a command that another test starts just
/// then could inherit the file open for writing, and the kernel executes no such file.
pub(crate) fn script(file: &Path, body: &str) {
    let mut writer = Command::new("tee")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text = format!("#!/bin/sh\n{body}\n");
    let mut to = writer.stdin.take().unwrap();
    to.write_all(text.as_bytes()).unwrap();
    drop(to);
    assert!(writer.wait().unwrap().success());
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}
