//! Owns the file of service ports and their holders. After a restart, however the router ended, those
//! that were open are open again at once, answer that the car is away, and wait for their owners. Those
//! of cars that are gone stay closed, and nobody else gets them. `p2p-router port free` marks a port in
//! the file, and the router frees it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use p2p_shared::names::{Identity, LinkName};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::net::client_net::QuotaOwner;
use crate::ops::state_file::{FileFingerprint, StateFile};

/// Most bytes of the file: enough for as many links as there are ports.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Delay in which changes are collected: otherwise each of ten thousand links that come at once
/// would write all of them.
const TOGETHER: Duration = Duration::from_millis(500);
/// Pause after which a write that failed is tried again, though nothing changes: a disk that was full
/// may have room again.
const AGAIN: Duration = Duration::from_secs(10);
/// Interval of the checks whether another program has changed the file.
const LOOK: Duration = Duration::from_secs(1);
/// Most ports that an error lists.
const PORTS_LISTED: usize = 20;

/// A service port and its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPort {
    pub service_port: u16,
    /// The name that the inner asked for.
    #[serde(deserialize_with = "older_name")]
    pub name: LinkName,
    /// The name that the car had; `None` in a file of an older router.
    #[serde(default, deserialize_with = "older_called")]
    pub called: Option<LinkName>,
    pub identity: Identity,
    #[serde(rename = "party")]
    pub owner: QuotaOwner,
    #[serde(default, skip_serializing_if = "PortState::is_open")]
    pub state: PortState,
    /// The moment from which a key has had the port, by the mesh; 0: not known.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub held_since: u64,
}

fn is_unknown(moment: &u64) -> bool {
    *moment == 0
}

/// Reads a name that an older router allowed, with spaces that nobody sees: whatever the name is, the port
/// stays with its key.
fn older_name<'de, D: Deserializer<'de>>(from: D) -> Result<LinkName, D::Error> {
    let text = String::deserialize(from)?;
    let plain = text.replace(char::is_whitespace, " ");
    let name = plain.trim().parse();
    name.or_else(|_| "car".parse()).map_err(D::Error::custom)
}

fn older_called<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LinkName>, D::Error> {
    #[derive(Deserialize)]
    struct Called(#[serde(deserialize_with = "older_name")] LinkName);
    Ok(Option::<Called>::deserialize(from)?.map(|called| called.0))
}

/// State of a saved port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PortState {
    /// The port is open: its car is up, or was so lately.
    #[default]
    Open,
    /// The port is closed, and kept for the key that had it last.
    Kept,
    /// The port is to be anybody's.
    Freed,
}

impl PortState {
    fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// Marks a service port in the file as free, and returns its entry. A running router frees the port
/// then, unless its car is up. Blocks on the disk.
///
/// # Errors
/// If nobody has the port, or the file can't be read or written.
pub(super) fn free(file: &StateFile, port: u16) -> anyhow::Result<SavedPort> {
    // The lock would make a folder where no router has been.
    let has_lock = file.path().exists() || file.is_of_mesh();
    let _lock = has_lock.then(|| file.lock()).transpose()?;
    let mut ports = read(file)?;
    let is_known = |saved: &SavedPort| saved.service_port == port;
    if file.is_of_mesh() && !ports.iter().any(is_known) {
        // Another router may have it: the running one tells all of them.
        ports.push(SavedPort {
            service_port: port,
            name: "car".parse()?,
            called: None,
            identity: "freed".to_owned().try_into()?,
            owner: QuotaOwner::At(IpAddr::from(Ipv4Addr::LOCALHOST).into()),
            state: PortState::Freed,
            held_since: 0,
        });
    }
    let Some(saved) = ports.iter_mut().find(|saved| is_known(saved)) else {
        let taken = ports.iter().filter(|saved| saved.state != PortState::Freed);
        let taken = taken.map(|saved| saved.service_port.to_string());
        let taken: Vec<_> = taken.take(PORTS_LISTED).collect();
        let taken = match &taken[..] {
            [] => "none (is this the router? For one with another main port: p2p-router MAIN_PORT port free PORT)".to_owned(),
            some => some.join(", "),
        };
        let path = file.path().display();
        bail!("nobody has the service port {port}, by {path}; taken are: {taken}");
    };
    saved.state = PortState::Freed;
    let freed = saved.clone();
    file.replace(&serde_json::to_string(&ports)?)?;
    Ok(freed)
}

/// Reads the saved ports; none without a file.
///
/// # Errors
/// If the file is there and can't be read.
pub(crate) fn read(file: &StateFile) -> anyhow::Result<Vec<SavedPort>> {
    let Some(text) = file.read(MAX_FILE)? else {
        return Ok(Vec::new());
    };
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not a list of links: remove it, the inners come back by themselves",
            file.path().display()
        )
    })?;
    let read = |entry| {
        serde_json::from_value(entry)
            .inspect_err(
                |why| tracing::warn!(%why, "a service port of the list is not known any more"),
            )
            .ok()
    };
    Ok(entries.into_iter().filter_map(read).collect())
}

/// Writes the ports whenever they have `changed`, or the file has, until `closed`. `exchange` takes
/// what the file has, frees the ports that are marked so there, and returns those that are known.
pub(crate) async fn sync(
    file: StateFile,
    mut changed: watch::Receiver<()>,
    exchange: impl Fn(Vec<SavedPort>) -> Vec<SavedPort> + Clone + Send + 'static,
    closed: CancellationToken,
) {
    let file = Arc::new(file);
    let (mut has_failed, mut ours) = (false, file.fingerprint());
    loop {
        let is_time = async {
            tokio::select! {
                changed = changed.changed() => changed.is_ok(),
                () = sleep(AGAIN), if has_failed => true,
                () = has_changed(&file, ours.as_ref()), if !has_failed => true,
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
        let (exchange, shared) = (exchange.clone(), file.clone());
        let written = tokio::task::spawn_blocking(move || write(&shared, exchange)).await;
        match written {
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "the open service ports can't be kept: after a restart they are closed until the inners are back"
                );
            }
            Ok(Ok(written)) => (has_failed, ours) = (false, written),
            // The log has it, or it panicked, which the log has, too.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Waits until another program has changed the file that we wrote.
async fn has_changed(file: &StateFile, ours: Option<&FileFingerprint>) {
    while file.fingerprint().as_ref() == ours {
        sleep(LOOK).await;
    }
}

/// Writes the ports as they are before all links are ended.
pub(crate) async fn write_last(
    file: StateFile,
    exchange: impl FnOnce(Vec<SavedPort>) -> Vec<SavedPort> + Send + 'static,
) {
    let written = tokio::task::spawn_blocking(move || write(&file, exchange)).await;
    if let Ok(Err(error)) = written {
        let error = format!("{error:#}");
        tracing::warn!(error, "the open service ports are not kept");
    }
}

fn write(
    file: &StateFile,
    exchange: impl FnOnce(Vec<SavedPort>) -> Vec<SavedPort>,
) -> anyhow::Result<Option<FileFingerprint>> {
    let _lock = file.lock()?;
    // Whatever can't be read frees nothing.
    let ports = exchange(read(file).unwrap_or_default());
    file.replace(&serde_json::to_string(&ports)?)?;
    Ok(file.fingerprint())
}

#[cfg(test)]
mod tests {
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
                called: Some("car-2".parse().unwrap()),
                owner,
                state: PortState::Open,
                held_since: u64::from(service_port - 9000),
            })
            .collect();
        write(&file, |found| {
            assert_eq!(found, []);
            links.clone()
        })
        .unwrap();
        assert_eq!(read(&file).unwrap(), links);
        let text = file.read(MAX_FILE).unwrap().unwrap();
        assert!(
            text.contains(r#""party":{"address":"192.0.2.1"}"#),
            "{text}"
        );
        assert!(text.contains(r#""party":{"key":""#), "{text}");
        assert_eq!(text.matches("held_since").count(), 2, "{text}");
        let older = text.replace(r#""called":"car-2","#, "");
        assert_ne!(older, text);
        file.replace(&older).unwrap();
        assert!(
            read(&file)
                .unwrap()
                .iter()
                .all(|saved| saved.called.is_none())
        );
        file.replace("{").unwrap();
        let error = read(&file).unwrap_err();
        assert!(format!("{error:#}").contains("links-8888.json is not a list of links: remove it"));
    }

    #[test]
    fn a_port_stays_with_its_key_though_its_name_is_not_allowed_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path(), "links-8888.json");
        let read_as = |name: &str, called: &str| {
            let ports = serde_json::json!([{
                "service_port": 9000, "name": name, "called": called,
                "identity": "abcd2345", "party": { "key": "aaaaaaaa" }
            }]);
            file.replace(&ports.to_string()).unwrap();
            let ports = read(&file).unwrap();
            ports
                .into_iter()
                .map(|port| (port.name.to_string(), port.called.unwrap().to_string()))
                .collect::<Vec<_>>()
        };
        for (name, called, expected) in [
            ("my\u{a0}car", "my\u{3000}car-2", ("my car", "my car-2")),
            ("car ", " car", ("car", "car")),
            (" 9000", "ok", ("car", "ok")),
        ] {
            let (name_now, called_now) = expected;
            assert_eq!(
                read_as(name, called),
                [(name_now.to_owned(), called_now.to_owned())]
            );
        }
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
        let keeping = sync(file.clone(), changed, |_| Vec::new(), closed.clone());
        let keeping = tokio::spawn(keeping);
        change.send_replace(());
        sleep(AGAIN / 2).await;
        std::fs::remove_file(&dir).unwrap();
        until_it_is(&file).await;
        closed.cancel();
        keeping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_is_marked_as_free_is_freed_though_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path(), "links-8888.json");
        let saved = SavedPort {
            service_port: 9000,
            name: "car".parse().unwrap(),
            called: None,
            identity: "abcd2345".to_owned().try_into().unwrap(),
            owner: QuotaOwner::Key(Key::generate().unwrap().id()),
            state: PortState::Kept,
            held_since: 0,
        };
        let error = free(&file, 9000).unwrap_err().to_string();
        assert!(
            error.contains("nobody has the service port 9000"),
            "{error}"
        );
        write(&file, |_| vec![saved.clone()]).unwrap();
        let (_change, changed) = watch::channel(());
        let closed = CancellationToken::new();
        let exchange = |mut found: Vec<SavedPort>| {
            found.retain(|saved| saved.state != PortState::Freed);
            found
        };
        let keeping = tokio::spawn(sync(file.clone(), changed, exchange, closed.clone()));
        sleep(2 * LOOK).await;
        let error = free(&file, 9001).unwrap_err().to_string();
        assert!(error.contains("taken are: 9000"), "{error}");
        assert_eq!(free(&file, 9000).unwrap().name, saved.name);
        let mut tries = 0;
        while !read(&file).unwrap().is_empty() {
            tries += 1;
            assert!(tries < 10, "it is never freed");
            sleep(LOOK).await;
        }
        closed.cancel();
        keeping.await.unwrap();
    }
}
