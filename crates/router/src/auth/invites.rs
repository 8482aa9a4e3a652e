//! Owns the file by which a running router knows the invitations that it has made: for a key, for the mesh, for
//! a browser. Each is good once and for a limited time.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{anyhow, bail};
use p2p_shared::invitation::post::Redeemer;
use p2p_shared::key::{InviteCode, KeyHash, KeyId, Role};
use serde::{Deserialize, Serialize};

use crate::auth::key_store::KeyName;
use crate::net::port_range::PortRange;
use crate::ops::state_file::StateFile;

/// File in the state directory. It has no code that is good, only hashes.
const FILE_NAME: &str = "invites.toml";
/// Most bytes that are read of that file, and most invitations in it, of browsers and of all others. The oldest
/// that is open no more gives way.
const MAX_FILE: u64 = 128 * 1024;
const MOST: usize = 64;

/// Purpose of an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// A key, which is made then.
    Key {
        name: KeyName,
        role: Role,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ports: Option<PortRange>,
    },
    /// The secret of the mesh, for another router.
    Mesh,
    /// A browser's session as the holder of this key, at the page of the car with this port.
    Page { key: KeyId, port: u16 },
}

impl Purpose {
    /// Time for which the invitation is good.
    pub(crate) fn life(&self) -> Duration {
        Duration::from_secs(
            60 * match self {
                Self::Key { .. } => 24 * 60,
                Self::Mesh => 15,
                Self::Page { .. } => 5,
            },
        )
    }

    /// Time after it was made for which an invitation is remembered, to say why it is good no more.
    fn remembered(&self) -> Duration {
        match self {
            Self::Key { .. } | Self::Mesh => Duration::from_secs(48 * 3600),
            Self::Page { .. } => 2 * self.life(),
        }
    }

    /// Returns the program that redeems it; `None` for a browser.
    pub(crate) fn redeemer(&self) -> Option<Redeemer> {
        match self {
            Self::Key { role, .. } if role.may_link() => Some(Redeemer::Inner),
            Self::Key { .. } => Some(Redeemer::Console),
            Self::Mesh => Some(Redeemer::Router),
            Self::Page { .. } => None,
        }
    }

    /// Command that makes another.
    fn maker(&self) -> &'static str {
        match self {
            Self::Key { .. } => "p2p-router key add NAME --role ROLE --invite",
            Self::Mesh => "p2p-router mesh invite",
            Self::Page { .. } => "p2p-console qr",
        }
    }

    /// The end of the sentence about a stranger who has used it: what that one has now.
    fn loot(&self) -> String {
        match self {
            Self::Key { name, .. } => {
                format!("has the key `{name}`: revoke it (p2p-router key revoke NAME)")
            }
            Self::Mesh => "has the secret of the mesh".to_owned(),
            Self::Page { .. } => "is signed in: revoke the key (p2p-router key revoke)".to_owned(),
        }
    }

    /// Returns true if a new invitation for this takes the place of an open one for the other.
    fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key { name, .. }, Self::Key { name: other, .. }) => name == other,
            (Self::Page { key, .. }, Self::Page { key: other, .. }) => key == other,
            _ => false,
        }
    }

    fn is_for_browser(&self) -> bool {
        self.redeemer().is_none()
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Invites {
    #[serde(default)]
    invite: Vec<Invite>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Invite {
    hash: KeyHash,
    /// When it was made, in seconds since 1970.
    made: u64,
    #[serde(default)]
    is_used: bool,
    #[serde(flatten)]
    purpose: Purpose,
}

impl Invite {
    fn is_over(&self, now: u64) -> bool {
        // A clock that was set back by less than that gives it as much more time.
        self.made.abs_diff(now) > self.purpose.life().as_secs()
    }

    fn is_open(&self, now: u64) -> bool {
        !self.is_used && !self.is_over(now)
    }
}

/// Reason why an invitation is not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotInvited {
    #[error(
        "this router has not made this invitation, or has made another since: copy it again, or make one there (p2p-router key add NAME --role ROLE --invite)"
    )]
    Unknown,
    #[error("this invitation is for {0}, and is still good there")]
    ForOthers(String),
    #[error(
        "this invitation was used before, and each is good once: make another ({}). If it was not you who used it, a stranger {}", .0.maker(), .0.loot()
    )]
    Used(Purpose),
    #[error(
        "this invitation is older than {}: make another ({})", humantime::format_duration(.0.life()), .0.maker()
    )]
    Expired(Purpose),
    #[error("this invitation is as good as before, but {0:#}")]
    NotGiven(anyhow::Error),
    #[error("{0:#}")]
    Unreadable(anyhow::Error),
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn read(file: &StateFile) -> anyhow::Result<Invites> {
    let text = file.read(MAX_FILE)?.unwrap_or_default();
    toml::from_str(&text).map_err(|error| {
        anyhow!(
            "{} can't be used ({}): mend it, or remove it, which makes all open invitations void",
            file.path().display(),
            error.message()
        )
    })
}

fn file_in(state_dir: &Path) -> StateFile {
    StateFile::new(state_dir, FILE_NAME)
}

/// Makes a code that is good from now on. One that was made before for the same is void. Blocks on the disk.
///
/// # Errors
/// If it can't be kept, as many as there may be are open, or there is no random number.
pub(crate) fn make(
    state_dir: &Path,
    purpose: Purpose,
    now: SystemTime,
) -> anyhow::Result<InviteCode> {
    let code = InviteCode::generate()?;
    let file = file_in(state_dir);
    let _lock = file.lock_soon()?;
    let mut all = read(&file)?.invite;
    let now = seconds(now);
    all.retain(|it| {
        let is_remembered = it.made + it.purpose.remembered().as_secs() > now;
        is_remembered && !(it.is_open(now) && purpose.replaces(&it.purpose))
    });
    let is_alike = |it: &Invite| it.purpose.is_for_browser() == purpose.is_for_browser();
    if all.iter().filter(|it| is_alike(it)).count() >= MOST {
        let is_over = |it: &Invite| is_alike(it) && !it.is_open(now);
        let Some(oldest) = all.iter().position(is_over) else {
            bail!(
                "{MOST} invitations are open, which is as many as there may be: wait until some are redeemed or over, or withdraw some (p2p-router key revoke NAME)"
            );
        };
        all.remove(oldest);
    }
    all.push(Invite {
        hash: code.hash(),
        made: now,
        is_used: false,
        purpose,
    });
    file.replace(&toml::to_string(&Invites { invite: all })?)?;
    Ok(code)
}

/// Uses a code up, and returns what was given for it: at most once, whoever else has the code. What was given is
/// taken back if it can't be noted that the code is used. Blocks on the disk.
///
/// # Errors
/// If it is not good, or was used, or is for another redeemer, or nothing can be given. It is as good as before then.
pub(crate) fn redeem<T>(
    state_dir: &Path,
    code: &InviteCode,
    redeemer: Option<Redeemer>,
    now: SystemTime,
    give: impl FnOnce(&Purpose) -> Result<T, NotInvited>,
    take_back: impl FnOnce(T),
) -> Result<T, NotInvited> {
    let file = file_in(state_dir);
    let (hash, now) = (code.hash(), seconds(now));
    let check = |invites: &Invites| {
        let found = invites.invite.iter().find(|it| it.hash == hash);
        let found = found.cloned().ok_or(NotInvited::Unknown)?;
        match found.purpose.redeemer() {
            _ if found.is_used => Err(NotInvited::Used(found.purpose)),
            _ if found.is_over(now) => Err(NotInvited::Expired(found.purpose)),
            other if other != redeemer => Err(NotInvited::ForOthers(other.map_or_else(
                || "the browser of a phone".to_owned(),
                |other| format!("`{}`", other.command()),
            ))),
            _ => Ok(found.purpose),
        }
    };
    // Only a code that is good gets the lock.
    check(&read(&file).map_err(NotInvited::Unreadable)?)?;
    let _lock = file.lock_soon().map_err(not_given)?;
    let mut invites = read(&file).map_err(NotInvited::Unreadable)?;
    let given = give(&check(&invites)?)?;
    for invite in invites.invite.iter_mut().filter(|it| it.hash == hash) {
        invite.is_used = true;
    }
    let text = toml::to_string(&invites).map_err(not_given);
    match text.and_then(|text| file.replace(&text).map_err(not_given)) {
        Ok(()) => Ok(given),
        Err(error) => {
            take_back(given);
            Err(error)
        }
    }
}

fn not_given(error: impl Into<anyhow::Error>) -> NotInvited {
    NotInvited::NotGiven(error.into())
}

/// Invitations for keys that are open, each with the time until which it is good. Blocks on the disk.
///
/// # Errors
/// If the file can't be read.
pub(crate) fn open_for_keys(
    state_dir: &Path,
    now: SystemTime,
) -> anyhow::Result<Vec<(Purpose, SystemTime)>> {
    let now = seconds(now);
    let open = read(&file_in(state_dir))?.invite.into_iter();
    let open = open.filter(|it| it.is_open(now) && matches!(it.purpose, Purpose::Key { .. }));
    let until = |it: &Invite| UNIX_EPOCH + Duration::from_secs(it.made) + it.purpose.life();
    Ok(open.map(|it| (it.purpose.clone(), until(&it))).collect())
}

/// Makes the open invitation for a key of this name void. Returns false if there is none. Blocks on the disk.
///
/// # Errors
/// If the file can't be read or written.
pub(crate) fn withdraw(state_dir: &Path, name: &KeyName, now: SystemTime) -> anyhow::Result<bool> {
    let file = file_in(state_dir);
    let now = seconds(now);
    let is_meant = |it: &Invite| {
        it.is_open(now) && matches!(&it.purpose, Purpose::Key { name: its, .. } if its == name)
    };
    if !read(&file)?.invite.iter().any(is_meant) {
        return Ok(false);
    }
    let _lock = file.lock_soon()?;
    let mut invites = read(&file)?;
    invites.invite.retain(|it| !is_meant(it));
    file.replace_by_shorter(&toml::to_string(&invites)?)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
