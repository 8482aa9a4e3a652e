//! Sample commands for a directory that has none, and what the machine has for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use p2p_shared::setup::write_file;

use crate::config::setup_options::SampleKind;

/// A file that is a command, a worker, or only read by commands.
type Sample = (&'static str, &'static str, bool);

/// Makes the list of sample files in a folder of `scripts`.
macro_rules! samples {
    ($folder:literal: $($name:literal)*; $($read:literal)*) => {
        &[
            $(($name, include_str!(concat!("../../../../scripts/", $folder, "/", $name)), true),)*
            $(($read, include_str!(concat!("../../../../scripts/", $folder, "/", $read)), false),)*
        ]
    };
}

const TEXT: &[Sample] =
    samples!("commands": "stop" "back" "forward" "hello" "left" "right" "status"; ".car.sh");
const GPIOZERO: &[Sample] = samples!("examples/workers": "stop" "car.worker";);
const PINCTRL: &[Sample] = samples!("examples/pinctrl": "stop" "back" "forward" "left" "right";);

fn files(kind: SampleKind) -> &'static [Sample] {
    match kind {
        SampleKind::Text => TEXT,
        SampleKind::Gpiozero => GPIOZERO,
        SampleKind::Pinctrl => PINCTRL,
        SampleKind::None => &[],
    }
}

/// Writes the sample commands into a directory that has none of them: what is read by commands and `stop` first, so
/// that nothing moves that can't be stopped, should this end early.
pub(super) fn write(kind: SampleKind, directory: &Path) -> anyhow::Result<()> {
    let (commands, read): (Vec<_>, Vec<_>) = files(kind).iter().partition(|it| it.2);
    for &(name, text, is_executable) in read.into_iter().chain(commands) {
        let mode = if is_executable { 0o755 } else { 0o644 };
        write_file(&directory.join(name), text, mode, None)?;
    }
    Ok(())
}

/// Returns the camera's command line for what this machine has, as docs/camera.md has it.
pub(super) fn camera() -> Option<&'static str> {
    let lists = |program| {
        // It may hang on a driver.
        let words = ["10", program, "--list-cameras"];
        let listed = Command::new("timeout").args(words).output().ok()?;
        let said = [listed.stdout, listed.stderr].concat();
        String::from_utf8_lossy(&said)
            .contains("Available cameras")
            .then_some(())
    };
    if is_there("rpicam-vid") && lists("rpicam-vid").is_some() {
        return Some(
            "rpicam-vid -t 0 -n --width 640 --height 480 --framerate 30 --codec mjpeg --quality 50 --flush -o -",
        );
    }
    let has_webcam = Path::new("/dev/video0").exists() && is_there("ffmpeg");
    has_webcam.then_some(
        "ffmpeg -loglevel error -f v4l2 -i /dev/video0 -q:v 7 -flush_packets 1 -f mjpeg -",
    )
}

/// Returns true if there is such a program, in one of the folders of `PATH` unless it has a path of its own.
pub(super) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn each_kind_but_none_can_stop_and_its_commands_are_executable() {
        for kind in [SampleKind::Text, SampleKind::Gpiozero, SampleKind::Pinctrl] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let dir = tempfile::tempdir().unwrap();
            write(kind, dir.path()).unwrap();
            for (name, ..) in files(kind) {
                let mode = dir
                    .path()
                    .join(name)
                    .metadata()
                    .unwrap()
                    .permissions()
                    .mode();
                assert_eq!(mode & 0o111 != 0, *name != ".car.sh", "{name}");
            }
            let commands: Vec<_> = files(kind).iter().filter(|it| it.2).collect();
            assert_eq!(commands[0].0, "stop", "it is written first");
        }
        let dir = tempfile::tempdir().unwrap();
        write(SampleKind::Text, dir.path()).unwrap();
        for command in Catalog::at(dir.path()).unwrap().list().unwrap() {
            assert_eq!(command.problem, None, "{}", command.name);
        }
        assert!(is_there("sh") && is_there("/bin/sh"));
        assert!(!is_there("no-such-program") && !is_there("/no/such/program"));
        let dir = tempfile::tempdir().unwrap();
        write(SampleKind::None, dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!("motor".parse::<SampleKind>().is_err());
    }
}
