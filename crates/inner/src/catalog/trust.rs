//! Decides whether somebody else could have put a file where it is, as `StrictModes` of OpenSSH does:
//! each folder and symbolic link on the way, and the file itself, have to belong to root or to the
//! user of this process, and nobody else may write to them.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use rustix::fs::lgetxattr;
use rustix::io::Errno;

use super::executable::{quoted, shown};

/// Most symbolic links on one way, as in the kernel.
const MAX_LINKS: usize = 40;

/// Extended attribute of a file that has an access control list, whose rights the mode shows as the
/// group's.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// User of this process, which never changes it.
static OWN_USER: LazyLock<u32> = LazyLock::new(|| rustix::process::geteuid().as_raw());

/// Kind, owner, group and mode of a file, folder or symbolic link.
#[derive(Debug, Clone, Copy)]
struct Rights {
    kind: Kind,
    owner: u32,
    group: u32,
    mode: u32,
    /// True if other users than the owner may have rights by name.
    has_list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    /// Outside of the command directory: `/tmp` is open to all, but there only its owner can replace
    /// what is in it.
    FolderOutside,
    Link,
}

/// User who may change a place on the way to a file, and so makes it untrusted.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Owner,
    Anyone,
    Group,
}

impl Rights {
    /// Finds what is wrong, for a process of the user `own`.
    fn fault(self, own: u32) -> Option<Fault> {
        let Self {
            kind,
            owner,
            group,
            mode,
            has_list,
        } = self;
        // As useradd(8) makes them, the group of a user's own has the user's number.
        let is_private = owner != 0 && group == owner && !has_list;
        if owner != 0 && owner != own {
            Some(Fault::Owner)
        } else if kind == Kind::Link || kind == Kind::FolderOutside && mode & 0o1000 != 0 {
            None
        } else if mode & 0o002 != 0 {
            Some(Fault::Anyone)
        } else {
            (mode & 0o020 != 0 && !is_private).then_some(Fault::Group)
        }
    }
}

/// Place to which a way leads.
#[derive(Debug)]
pub(super) struct Followed {
    /// Without symbolic links.
    pub place: PathBuf,
    pub metadata: Metadata,
    pub has_links: bool,
    /// Says what is wrong with the first place on the way that others may change, and what mends it.
    pub fault: Option<String>,
}

/// Follows the way from `start`, which is trusted, has no symbolic links and is absolute.
///
/// `is_outside`: the way leads to the command directory, not into it.
pub(super) fn follow(start: &Path, way: &Path, is_outside: bool) -> io::Result<Followed> {
    let mut place = start.to_owned();
    let mut found = None;
    let mut left = parts(way);
    let (mut links, mut fault) = (0, None);
    while let Some(part) = left.pop() {
        if part == Path::new("..") {
            place.pop();
            found = None;
            continue;
        }
        // The root replaces what is there.
        let next = place.join(part);
        let metadata = next.symlink_metadata()?;
        fault = fault.or_else(|| fault_of(&next, &metadata, is_outside));
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            left.extend(parts(&next.read_link()?));
        } else {
            place = next;
            found = Some(metadata);
        }
    }
    let metadata = match found {
        Some(metadata) => metadata,
        None => place.symlink_metadata()?,
    };
    Ok(Followed {
        place,
        metadata,
        has_links: links > 0,
        fault,
    })
}

/// Splits a path, the last part first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts
        .rev()
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

/// Says what is wrong with a place that others may change, and what mends it.
pub(super) fn fault_of(path: &Path, metadata: &Metadata, is_outside: bool) -> Option<String> {
    let kind = if metadata.is_symlink() {
        Kind::Link
    } else if !metadata.is_dir() {
        Kind::File
    } else if is_outside {
        Kind::FolderOutside
    } else {
        Kind::Folder
    };
    let rights = Rights {
        kind,
        owner: metadata.uid(),
        group: metadata.gid(),
        mode: metadata.mode(),
        // Without the group's right to write, no list gives it to anybody.
        has_list: metadata.mode() & 0o020 != 0 && lgetxattr(path, ACCESS_LIST, &mut [0; 0]).is_ok(),
    };
    let own = *OWN_USER;
    let fault = rights.fault(own)?;
    let (owner, group) = (rights.owner, rights.group);
    let is_file = !metadata.is_dir();
    let (shown, mend) = (shown(path), quoted(path));
    Some(match fault {
        Fault::Owner => format!(
            "{shown} belongs to user {owner}, neither to root nor to user {own}, as whom p2p-inner runs: chown -h {own} {mend}"
        ),
        Fault::Anyone if is_file => {
            format!("{shown} may be changed by anyone on its machine: chmod o-w {mend}")
        }
        Fault::Anyone => {
            format!("anyone on its machine may put commands into {shown}: chmod o-w {mend}")
        }
        Fault::Group if rights.has_list => {
            format!(
                "{shown} may be changed by users whom its access control list names: setfacl -b {mend}"
            )
        }
        Fault::Group if is_file => {
            format!("{shown} may be changed by all of group {group}: chmod g-w {mend}")
        }
        Fault::Group => {
            format!("all of group {group} may put commands into {shown}: chmod g-w {mend}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_ones_own_user_may_be_able_to_change_what_is_run() {
        use Kind::{File, Folder, FolderOutside, Link};
        let fault = |kind, owner, group, mode| {
            let rights = Rights {
                kind,
                owner,
                group,
                mode,
                has_list: false,
            };
            rights.fault(1000)
        };
        let shared = Rights {
            kind: Folder,
            owner: 1000,
            group: 1000,
            mode: 0o775,
            has_list: true,
        };
        assert_eq!(shared.fault(1000), Some(Fault::Group));
        for kind in [File, Folder, FolderOutside, Link] {
            for owner in [0, 1000] {
                assert_eq!(fault(kind, owner, 50, 0o755), None, "{kind:?} of {owner}");
            }
            assert_eq!(
                fault(kind, 1001, 1001, 0o700),
                Some(Fault::Owner),
                "{kind:?}"
            );
        }
        for kind in [File, Folder, FolderOutside] {
            assert_eq!(fault(kind, 1000, 50, 0o775), Some(Fault::Group), "{kind:?}");
            assert_eq!(fault(kind, 0, 0, 0o775), Some(Fault::Group), "{kind:?}");
            // The user's own group.
            assert_eq!(fault(kind, 1000, 1000, 0o775), None, "{kind:?}");
            assert_eq!(fault(kind, 0, 0, 0o757), Some(Fault::Anyone), "{kind:?}");
        }
        assert_eq!(fault(FolderOutside, 0, 0, 0o1777), None);
        assert_eq!(fault(FolderOutside, 1001, 0, 0o1777), Some(Fault::Owner));
        assert_eq!(fault(Folder, 0, 0, 0o1777), Some(Fault::Anyone));
        assert_eq!(fault(Link, 1000, 50, 0o777), None);
    }
}
