//! Reads the group and the session of a process from `/proc`. getpgid(2) and getsid(2) may answer
//! 0, which rustix's type of a process can't hold: in a container (`docker exec`), a session or
//! group that began outside has no number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::OWNER_VARIABLE;

/// The group and session of a process; 0: not of this PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    pub group: i32,
    pub session: i32,
}

/// Returns the membership of the process with this folder in `/proc`; `None` if it is gone.
pub(super) fn membership(process: &Path) -> Option<Membership> {
    read(&fs::read_to_string(process.join("stat")).ok()?)
}

/// Parses a `/proc/PID/stat`: see proc(5). The name, in parentheses, may have any character.
fn read(stat: &str) -> Option<Membership> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(2);
    Some(Membership {
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
    })
}

/// Returns the process groups of this inner's commands, and of what they started. Only these
/// processes have the inner's number in their environment, so no list of groups has to be kept, and
/// another group that has got an old number isn't among them. A process with its own session
/// (`setsid`) is left out on purpose.
///
/// A command that is being started when the inner dies is found, too: until it is executed it holds
/// the inner's end of the guardian's pipe, so the guardian sees the inner's death only afterwards.
/// While the kernel executes it, its environment reads as empty: one look may miss it.
pub(super) fn groups_of(inner: u32) -> Vec<i32> {
    let mark = format!("{OWNER_VARIABLE}={inner}");
    let (Some(own), Ok(processes)) = (membership(Path::new("/proc/self")), fs::read_dir("/proc"))
    else {
        return Vec::new();
    };
    let groups: BTreeSet<i32> = processes
        .filter_map(|entry| Some(entry.ok()?.path()))
        // A process that has just ended, or is another user's, can't be read.
        .filter(|process| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|v| v == mark.as_bytes())
        })
        .filter_map(|process| membership(&process))
        .filter(|process| process.session == own.session)
        .map(|process| process.group)
        .filter(|group| *group > 0)
        .collect();
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_process_belongs_is_read_whatever_its_name() {
        let read = |stat| read(stat).map(|process| (process.group, process.session));
        assert_eq!(read("7 (stop) S 1 7 5 0 -1"), Some((7, 5)));
        assert_eq!(read("7 (a) R 9 8 (b) c) S 1 7 5 0 -1"), Some((7, 5)));
        assert_eq!(read("2 (cat) R 1 0 0 0 -1"), Some((0, 0)));
        for strange in ["", "7 stop S 1 7 5", "7 (stop) S 1", "7 (stop) S 1 x 5"] {
            assert_eq!(read(strange), None);
        }
    }
}
