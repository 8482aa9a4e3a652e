//! Invitations into a mesh: the line that `p2p-router mesh invite` prints, and the file by which the running
//! router knows which lines are good. Each is good for some minutes, once.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use p2p_shared::key::Fingerprint;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::mesh::id::MemberAddress;
use crate::ops::state_file::StateFile;

/// Path on the main port at which a line is redeemed.
pub(crate) const PATH: &str = "/mesh/join";
/// Time for which a line is good.
pub(crate) const LIFE: Duration = Duration::from_secs(15 * 60);
/// Time for which it is remembered, to say why it is good no more.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// File in the state directory. It has no line that is good, only hashes.
const FILE_NAME: &str = "mesh-invites.toml";
/// Most bytes that are read of that file, and most lines in it: the oldest gives way.
const MAX_FILE: u64 = 64 * 1024;
const MOST: usize = 64;

/// Beginning of every line of this version, and of any.
const PREFIX: &str = "p2pmesh1_";
const ANY_PREFIX: &str = "p2pmesh";
/// 128 bits, of which each guess counts as a wrong key.
const BYTES: usize = 16;

/// What whoever shows it may join by, once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct InviteToken([u8; BYTES]);

impl InviteToken {
    fn hash(&self) -> String {
        HEXLOWER.encode(digest::digest(&digest::SHA256, &self.0).as_ref())
    }

    /// Returns the text, which nobody else is to see.
    pub(crate) fn expose(&self) -> String {
        format!("{PREFIX}{}", HEXLOWER.encode(&self.0))
    }
}

/// No log has it.
impl fmt::Debug for InviteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteToken")
    }
}

impl FromStr for InviteToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(digits) = text.strip_prefix(PREFIX) else {
            return Err(if text.starts_with(ANY_PREFIX) {
                "it is of a newer p2p-router: update this one"
            } else {
                "it does not begin with p2pmesh1_"
            });
        };
        let bytes = HEXLOWER.decode(digits.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("its first part is not whole")
    }
}

/// The line: `p2pmesh1_TOKEN@HOST:PORT#FINGERPRINT`, without a fingerprint where the router has a certificate of
/// an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    pub token: InviteToken,
    pub router: MemberAddress,
    pub fingerprint: Option<Fingerprint>,
}

impl Invitation {
    pub(crate) fn expose(&self) -> String {
        let fingerprint = self
            .fingerprint
            .map(|fingerprint| format!("#{fingerprint}"));
        let fingerprint = fingerprint.unwrap_or_default();
        format!("{}@{}{fingerprint}", self.token.expose(), self.router)
    }
}

/// The text is no such line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no line of `p2p-router mesh invite`, p2pmesh1_…@HOST:PORT#…: {0}")]
pub(crate) struct NotAnInvitation(String);

impl FromStr for Invitation {
    type Err = NotAnInvitation;

    fn from_str(text: &str) -> Result<Self, NotAnInvitation> {
        let not = |why: &str| NotAnInvitation(why.to_owned());
        let (token, rest) = text.trim().split_once('@').unwrap_or((text.trim(), ""));
        let token = token.parse().map_err(not)?;
        let (router, fingerprint) = match rest.split_once('#') {
            Some((router, fingerprint)) => (router, Some(fingerprint)),
            None => (rest, None),
        };
        let fingerprint = fingerprint.map(str::parse).transpose();
        Ok(Self {
            token,
            router: router.parse().map_err(NotAnInvitation)?,
            fingerprint: fingerprint.map_err(|_| not("its last part is not whole"))?,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Invites {
    #[serde(default)]
    invite: Vec<Invite>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Invite {
    hash: String,
    /// When it was made, in seconds since 1970.
    made: u64,
    #[serde(default)]
    is_used: bool,
}

/// Reason why a line is not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotInvited {
    #[error(
        "this router has not made this line: copy it again, or make another there (p2p-router mesh invite)"
    )]
    Unknown,
    #[error(
        "this line was used before, and each is good once: make another (p2p-router mesh invite). If it was not you who used it, a stranger has the secret of the mesh"
    )]
    Used,
    #[error(
        "this line is older than {} minutes: make another (p2p-router mesh invite)",
        LIFE.as_secs() / 60
    )]
    Expired,
    #[error("what one that joins needs: {0:#}")]
    Unreadable(anyhow::Error),
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn read(file: &StateFile) -> anyhow::Result<Invites> {
    match file.read(MAX_FILE)? {
        Some(text) => Ok(toml::from_str(&text)?),
        None => Ok(Invites::default()),
    }
}

/// Makes a token that is good from now on. Blocks on the disk.
///
/// # Errors
/// If it can't be kept, or there is no random number.
pub(crate) fn make(state_dir: &Path, now: SystemTime) -> anyhow::Result<InviteToken> {
    let mut token = InviteToken([0; BYTES]);
    getrandom::fill(&mut token.0).map_err(anyhow::Error::msg)?;
    let file = StateFile::new(state_dir, FILE_NAME);
    let _lock = file.lock()?;
    let mut invites = read(&file).unwrap_or_default();
    let now = seconds(now);
    let is_remembered = |it: &Invite| it.made + REMEMBERED.as_secs() > now;
    invites.invite.retain(is_remembered);
    let beyond = (invites.invite.len() + 1).saturating_sub(MOST);
    invites.invite.drain(..beyond);
    invites.invite.push(Invite {
        hash: token.hash(),
        made: now,
        is_used: false,
    });
    file.replace(&toml::to_string(&invites)?)?;
    Ok(token)
}

/// Uses a token up. Blocks on the disk.
///
/// # Errors
/// If it is not good, or was used; or it can't be noted that it is used now.
pub(crate) fn redeem(
    state_dir: &Path,
    token: &InviteToken,
    now: SystemTime,
) -> Result<(), NotInvited> {
    let file = StateFile::new(state_dir, FILE_NAME);
    let unreadable = |error: anyhow::Error| NotInvited::Unreadable(error);
    let hash = token.hash();
    let check = |invites: &Invites| {
        let invite = invites.invite.iter().find(|it| it.hash == hash);
        let invite = invite.ok_or(NotInvited::Unknown)?;
        if invite.is_used {
            return Err(NotInvited::Used);
        }
        // A clock that was set back makes none good for longer.
        match invite.made.abs_diff(seconds(now)) > LIFE.as_secs() {
            true => Err(NotInvited::Expired),
            false => Ok(()),
        }
    };
    // Only a line that is good gets the lock.
    check(&read(&file).map_err(unreadable)?)?;
    let _lock = file.lock_soon().map_err(|error| unreadable(error.into()))?;
    let mut invites = read(&file).map_err(unreadable)?;
    check(&invites)?;
    for invite in invites.invite.iter_mut().filter(|it| it.hash == hash) {
        invite.is_used = true;
    }
    let text = toml::to_string(&invites).map_err(|error| unreadable(error.into()))?;
    file.replace(&text)
        .map_err(|error| unreadable(error.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_good_once_and_for_a_quarter_of_an_hour() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let [one, two] = [(); 2].map(|()| make(dir.path(), now).unwrap());
        let file = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert!(!file.contains(&one.expose()[PREFIX.len()..]));
        redeem(dir.path(), &one, now + LIFE).unwrap();
        let why = |token, now| redeem(dir.path(), token, now).unwrap_err();
        assert!(matches!(why(&one, now), NotInvited::Used));
        let late = now + LIFE + Duration::from_secs(1);
        assert!(matches!(why(&two, late), NotInvited::Expired));
        let early = now - LIFE - Duration::from_secs(2);
        assert!(matches!(why(&two, early), NotInvited::Expired));
        let stranger = InviteToken([7; BYTES]);
        assert!(matches!(why(&stranger, now), NotInvited::Unknown));
        redeem(dir.path(), &two, now).unwrap();
        // After a day nobody needs to know of it.
        make(dir.path(), now + REMEMBERED).unwrap();
        assert!(matches!(why(&one, now), NotInvited::Unknown));
    }

    #[test]
    fn who_has_a_used_line_does_not_wait_for_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let [one, two] = [(); 2].map(|()| make(dir.path(), now).unwrap());
        redeem(dir.path(), &one, now).unwrap();
        let _lock = StateFile::new(dir.path(), FILE_NAME).lock().unwrap();
        let why = |token| redeem(dir.path(), token, now).unwrap_err();
        assert!(matches!(why(&one), NotInvited::Used));
        // It is said that the lock is held, and by whom maybe.
        assert!(why(&two).to_string().contains("another program has it"));
    }

    #[test]
    fn of_many_lines_the_last_are_good() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = make(dir.path(), now).unwrap();
        let others: Vec<_> = (0..MOST).map(|_| make(dir.path(), now).unwrap()).collect();
        assert!(redeem(dir.path(), &first, now).is_err());
        redeem(dir.path(), &others[MOST - 1], now).unwrap();
    }

    #[test]
    fn a_line_survives_its_text_and_each_wrong_one_says_what_is_wrong() {
        let whole = format!(
            "p2pmesh1_{}@a.example.org:8888#{}",
            "07".repeat(16),
            "a".repeat(52)
        );
        let line: Invitation = format!(" {whole}\n").parse().unwrap();
        assert_eq!(line.expose(), whole);
        assert!(!format!("{line:?}").contains("0707"));
        let without = whole.split('#').next().unwrap();
        assert_eq!(without.parse::<Invitation>().unwrap().expose(), without);
        for (text, said) in [
            (String::new(), "does not begin with p2pmesh1_"),
            (whole.replace("p2pmesh1", "p2pmesh2"), "newer p2p-router"),
            (
                whole.replace("p2pmesh1_07", "p2pmesh1_"),
                "first part is not whole",
            ),
            (whole.replace(":8888", ""), "HOST:PORT"),
            (whole.replace("#aa", "#"), "last part is not whole"),
            (whole[..20].to_owned(), "first part is not whole"),
        ] {
            let error = text.parse::<Invitation>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("0707"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(p2pmesh1_)?[0-9a-f]{0,40}@?.*") {
            let _ = text.parse::<Invitation>();
        }
    }
}
