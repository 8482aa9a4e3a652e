//! Decides whether a file can be executed as a command, and says why not.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cap_std::fs::Dir;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::Refusal;
use p2p_shared::text::Escaped;

/// Reason why a name can't be run: its kind, and a sentence that says what to do.
pub(crate) type Unusable = (Refusal, String);

pub(super) fn unusable(sentence: String) -> Unusable {
    (Refusal::NotExecutable, sentence)
}

/// Says why the command directory can't be used.
pub(super) fn unusable_folder(path: &Path, error: &io::Error) -> Unusable {
    unusable(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("the command directory is gone ({error}): put it back")
        }
        _ => format!(
            "the command directory {} can't be read ({error}): let user {} read it",
            shown(path),
            rustix::process::geteuid().as_raw()
        ),
    })
}

/// Says why a file can't be examined.
pub(super) fn unreachable_file(
    folder: &Dir,
    name: &CommandName,
    path: &Path,
    error: &io::Error,
) -> Unusable {
    let command = Escaped(name.as_str());
    match error.kind() {
        // cap-std's own refusal to leave the directory has no OS error number.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => unusable(format!(
            "{command} is a symbolic link that leaves the command directory: copy the file into it"
        )),
        io::ErrorKind::NotFound if folder.symlink_metadata(name.as_str()).is_ok() => (
            Refusal::NotFound,
            format!("{command} is a symbolic link to nothing"),
        ),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => (
            Refusal::NotFound,
            format!("there is no command {command}: GET /commands lists what there is"),
        ),
        _ => unusable(unseen(path, error)),
    }
}

pub(super) fn check(metadata: &Metadata, path: &Path) -> Result<(), Unusable> {
    let mode = metadata.mode();
    if metadata.is_file() && mode & 0o6000 == 0 && mode & 0o111 != 0 {
        return Ok(());
    }
    let (shown, mend) = (shown(path), quoted(path));
    if metadata.is_dir() {
        let sentence = format!("{shown} is a folder: ask for a file in it");
        return Err((Refusal::NotFound, sentence));
    }
    Err(unusable(if !metadata.is_file() {
        format!("{shown} is no regular file")
    } else if mode & 0o6000 != 0 {
        format!("{shown} runs as somebody else (set-uid or set-gid): chmod ug-s {mend}")
    } else {
        format!("{shown} is not executable: chmod +x {mend}")
    }))
}

/// Says why a file or folder can't be examined, and what its owner can do.
pub(super) fn unseen(path: &Path, error: &io::Error) -> String {
    let shown = shown(path);
    if error.kind() == io::ErrorKind::PermissionDenied {
        let own = rustix::process::geteuid().as_raw();
        return format!(
            "{shown} can't be looked at ({error}): let user {own}, as whom p2p-inner runs, enter the folders on the way to it"
        );
    }
    format!("{shown} can't be looked at: {error}")
}

pub(super) fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

/// Quotes the path as one word for a shell.
pub(super) fn quoted(path: &Path) -> String {
    shlex::try_quote(&shown(path))
        .unwrap_or_default()
        .into_owned()
}
