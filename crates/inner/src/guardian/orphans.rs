//! Owns how the commands of an inner that has died are found: each has the inner's number in its
//! environment, which nothing else has. So no list of them has to be kept while they run, and a
//! number that became another's can't be taken for theirs.
//!
//! A command that is being started when the inner dies is found, too: until it is executed it
//! holds the inner's end of the guardian's pipe, so the guardian doesn't see the inner's death
//! before. While the kernel executes it, its environment reads as empty: who looks once may miss it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::process::{GroupId, OWNER_VARIABLE, membership};

/// The process groups in which a command of this inner, or what it started, runs. What has a
/// session of its own (`setsid`) was left on purpose.
pub(super) fn of(inner: u32) -> Vec<GroupId> {
    let mark = format!("{OWNER_VARIABLE}={inner}");
    let (Some(own), Ok(processes)) = (membership(Path::new("/proc/self")), fs::read_dir("/proc"))
    else {
        return Vec::new();
    };
    let groups: BTreeMap<i32, GroupId> = processes
        .filter_map(|entry| Some(entry.ok()?.path()))
        // One that ends meanwhile, and others' processes, can't be read.
        .filter(|process| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|v| v == mark.as_bytes())
        })
        .filter_map(|process| membership(&process))
        .filter(|process| process.session == own.session)
        .filter_map(|process| GroupId::from_raw(process.group))
        .map(|group| (group.as_raw(), group))
        .collect();
    groups.into_values().collect()
}
