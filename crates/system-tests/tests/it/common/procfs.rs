//! Processes of this machine as `/proc` shows them.

use std::fs;
use std::time::Duration;

/// Numbers of all processes.
pub fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether a process exists and is no zombie.
pub fn is_running(process: i32) -> bool {
    stat(process).is_some_and(|(_, fields)| fields[0] != "Z")
}

/// The process of this name with this parent, unless it is a zombie.
pub fn child_named(parent: i32, name: &str) -> Option<i32> {
    let parent = parent.to_string();
    let is_it = |process: &i32| {
        stat(*process).is_some_and(|(called, fields)| {
            called == name && fields[0] != "Z" && fields[1] == parent
        })
    };
    processes().find(is_it)
}

/// Numbers and names of a process's children, zombies too.
pub fn children(parent: i32) -> Vec<(i32, String)> {
    let parent = parent.to_string();
    let of_it = |process| {
        let (name, fields) = stat(process)?;
        (fields[1] == parent).then_some((process, name))
    };
    processes().filter_map(of_it).collect()
}

/// CPU time of all threads of a process.
pub fn cpu(process: i32) -> Duration {
    let (_, fields) = stat(process).unwrap();
    // proc(5): user and system time, in ticks of 10 ms.
    let ticks = fields[11..13].iter().map(|field| field.parse::<u64>());
    Duration::from_millis(10 * ticks.map(Result::unwrap).sum::<u64>())
}

/// A number of `/proc/PID/status`, such as `VmRSS` in KiB; `None` if the process is gone.
pub fn status(process: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let is_it = |line: &&str| line.split(':').next() == Some(name);
    let line = status.lines().find(is_it)?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Name, and the fields of `/proc/PID/stat` behind it, from the state on.
fn stat(process: i32) -> Option<(String, Vec<String>)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, parentheses too.
    let (before, fields) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    let fields = fields.split_whitespace().map(str::to_owned).collect();
    Some((name.to_owned(), fields))
}
