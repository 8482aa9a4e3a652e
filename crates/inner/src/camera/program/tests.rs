//! Owns what is said of a program that can't be a camera.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;

fn supervisor(folder: &Path, word: &str) -> CameraSupervisor {
    let (_, watching) = watch::channel(None);
    let shared = CameraShared {
        watching,
        end: CancellationToken::new(),
        newest: watch::Sender::new(None),
        state: watch::Sender::new(None),
    };
    CameraSupervisor::new(vec![word.to_owned()], folder.to_owned(), shared)
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plain"), "hello").unwrap();
    for (word, what) in [
        ("no-such-camera", "no program no-such-camera in the PATH"),
        ("./no-such-camera", "seen from the folder of the commands"),
        ("./plain", "chmod +x"),
        ("no\u{1b}[31m", "no program no\\u{1b}[31m in the PATH"),
    ] {
        let why = supervisor(folder.path(), word)
            .start()
            .map(drop)
            .unwrap_err();
        assert!(why.contains(what), "{word}: {why}");
    }
}
