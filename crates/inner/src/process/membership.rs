//! Owns where a process belongs: its group and session, as `/proc` has them. Not by getpgid(2) and
//! getsid(2): their answer may be 0, which rustix's type of a process can't hold. In a container
//! (`docker exec`), a session or group that began outside of it has no number.

use std::fs;
use std::path::Path;

/// The group and session of a process; 0: not of this PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    pub group: i32,
    pub session: i32,
}

/// Of the process with this folder in `/proc`; `None` if it is gone.
pub(crate) fn membership(process: &Path) -> Option<Membership> {
    read(&fs::read_to_string(process.join("stat")).ok()?)
}

/// From a `/proc/PID/stat`: see proc(5). The name, in parentheses, may have any character.
fn read(stat: &str) -> Option<Membership> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(2);
    Some(Membership {
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
    })
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
