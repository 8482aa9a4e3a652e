//! Owns the file of open service ports and their holders. After a restart, however the router ended,
//! these ports are open again at once, answer that the car is away, and wait for their owners.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use p2p_shared::names::{Identity, LinkName};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::net::client_net::QuotaOwner;
use crate::ops::state_file::StateFile;

/// Most bytes of the file: enough for as many links as there are ports.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Delay in which changes are collected: otherwise each of ten thousand links that come at once
/// would write all of them.
const TOGETHER: Duration = Duration::from_millis(500);
/// Pause after which a write that failed is tried again, though nothing changes: a disk that was full
/// may have room again.
const AGAIN: Duration = Duration::from_secs(10);

/// A service port and its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPort {
    pub service_port: u16,
    /// The name that the inner asked for.
    pub name: LinkName,
    pub identity: Identity,
    #[serde(rename = "party")]
    pub owner: QuotaOwner,
}

/// Reads the saved ports; none without a file.
///
/// # Errors
/// If the file is there and can't be read.
pub(crate) fn read(file: &StateFile) -> anyhow::Result<Vec<SavedPort>> {
    let Some(text) = file.read(MAX_FILE)? else {
        return Ok(Vec::new());
    };
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not a list of links: remove it, the inners come back by themselves",
            file.path().display()
        )
    })
}

/// Writes the ports of `known` whenever they have `changed`, until `closed`.
pub(crate) async fn sync(
    file: StateFile,
    mut changed: watch::Receiver<()>,
    known: impl Fn() -> Vec<SavedPort>,
    closed: CancellationToken,
) {
    let file = Arc::new(file);
    let mut has_failed = false;
    loop {
        let is_time = async {
            tokio::select! {
                changed = changed.changed() => changed.is_ok(),
                () = sleep(AGAIN), if has_failed => true,
            }
        };
        if closed.run_until_cancelled(is_time).await != Some(true) {
            return;
        }
        if closed.run_until_cancelled(sleep(TOGETHER)).await.is_none() {
            // The ports were written before the links were ended.
            return;
        }
        changed.mark_unchanged();
        let (links, file) = (known(), file.clone());
        let written = tokio::task::spawn_blocking(move || write(&file, &links)).await;
        match written {
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "the open service ports can't be kept: after a restart they are closed until the inners are back"
                );
            }
            Ok(result) => has_failed = result.is_err(),
            // The write panicked, and the log says so.
            Err(_) => {}
        }
    }
}

/// Writes the ports as they are before all links are ended.
pub(crate) async fn write_last(file: StateFile, links: Vec<SavedPort>) {
    let written = tokio::task::spawn_blocking(move || write(&file, &links)).await;
    if let Ok(Err(error)) = written {
        let error = format!("{error:#}");
        tracing::warn!(error, "the open service ports are not kept");
    }
}

fn write(file: &StateFile, links: &[SavedPort]) -> anyhow::Result<()> {
    let _lock = file.lock()?;
    file.replace(&serde_json::to_string(links)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use p2p_shared::key::Key;

    use super::*;
    use crate::net::client_net::ClientNet;

    #[test]
    fn what_is_written_is_read_and_what_is_no_list_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path(), "links-8888.json");
        assert_eq!(read(&file).unwrap(), []);
        let at =
            |address: &str| QuotaOwner::At(ClientNet::from(address.parse::<IpAddr>().unwrap()));
        let owners = [
            QuotaOwner::Key(Key::generate().unwrap().id()),
            at("192.0.2.1"),
            at("2001:db8::1"),
        ];
        let links: Vec<_> = (9000..)
            .zip(owners)
            .map(|(service_port, owner)| SavedPort {
                service_port,
                name: "car".parse().unwrap(),
                identity: "abcd2345".to_owned().try_into().unwrap(),
                owner,
            })
            .collect();
        write(&file, &links).unwrap();
        assert_eq!(read(&file).unwrap(), links);
        let text = file.read(MAX_FILE).unwrap().unwrap();
        assert!(
            text.contains(r#""party":{"address":"192.0.2.1"}"#),
            "{text}"
        );
        assert!(text.contains(r#""party":{"key":""#), "{text}");
        file.replace("{").unwrap();
        let error = read(&file).unwrap_err();
        assert!(format!("{error:#}").contains("links-8888.json is not a list of links: remove it"));
    }

    /// Waits for a few more tries of the write.
    async fn until_it_is(file: &StateFile) {
        for _ in 0..5 {
            if file.read(MAX_FILE).unwrap().is_some() {
                return;
            }
            sleep(AGAIN).await;
        }
        panic!("it is never written");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_written_is_written_when_there_is_room_though_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("state");
        // A file in the folder's place: nothing can be kept there.
        std::fs::write(&dir, "").unwrap();
        let file = StateFile::new(&dir, "links-8888.json");
        let (change, changed) = watch::channel(());
        let closed = CancellationToken::new();
        let keeping = sync(file.clone(), changed, Vec::new, closed.clone());
        let keeping = tokio::spawn(keeping);
        change.send_replace(());
        sleep(AGAIN / 2).await;
        std::fs::remove_file(&dir).unwrap();
        until_it_is(&file).await;
        closed.cancel();
        keeping.await.unwrap();
    }
}
