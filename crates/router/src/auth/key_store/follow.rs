//! Keeps a `KeyStore` up to date with its file: checks a few times a second whether the file has
//! changed, and reloads it. Never writes.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::KeyStore;
use crate::ops::shutdown::spawn_blocking;

/// Interval of the checks, each one `stat`. inotify would not report changes that another machine
/// makes on a network file system.
pub(in crate::auth) const POLL_EVERY: Duration = Duration::from_millis(250);

/// Time for which a file may be missing or half written before that counts: some editors save in
/// two steps.
const SETTLE: Duration = Duration::from_millis(100);

/// Result of a reload: there is a file or none, or the file can't be used.
type Outcome = Result<bool, String>;

/// Follows the file for ever.
pub(super) async fn follow(store: &KeyStore, poll_every: Duration) {
    let path = store.file().path();
    let (mut loaded, mut outcome) = (None, Ok(false));
    loop {
        // Taken before the file is read, so that the next check sees a later change.
        let found = Some(store.file().fingerprint());
        if found != loaded {
            if !path.exists() {
                sleep(SETTLE).await;
            }
            let mut new = reload(store).await;
            if new.is_err() {
                sleep(SETTLE).await;
                new = reload(store).await;
            }
            match (news(path, &outcome, &new), &new) {
                (Some(text), Ok(true)) => tracing::info!("{text}"),
                (Some(text), _) => tracing::warn!("{text}"),
                (None, _) => {}
            }
            (loaded, outcome) = (found, new);
        }
        sleep(poll_every).await;
    }
}

async fn reload(store: &KeyStore) -> Outcome {
    let store = store.clone();
    match spawn_blocking(move || store.reload()).await {
        Ok(reloaded) => reloaded.map_err(|error| error.to_string()),
        // The runtime is going down.
        Err(_) => std::future::pending().await,
    }
}

/// Returns what the log is to say of a new outcome: each state of the file once.
fn news(path: &Path, before: &Outcome, now: &Outcome) -> Option<String> {
    let path = path.display();
    match (before, now) {
        (before, now) if before == now => None,
        (_, Err(why)) => Some(format!("the keys stay as they were before: {why}")),
        (_, Ok(false)) => Some(format!(
            "{path} is gone: no key is valid now, unless the router is in a mesh: then it writes again what it knows"
        )),
        (Err(_), Ok(true)) => Some(format!("{path} is in order again")),
        (Ok(_), Ok(true)) => None,
    }
}

#[cfg(test)]
mod tests;
