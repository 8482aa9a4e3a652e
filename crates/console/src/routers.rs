//! The routers that this desk has logged in to: names and addresses in one file, and a file for each key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use p2p_shared::key::{self, Key};
use p2p_shared::net::dialer::{MAIN_PORT, RouterAddress, parse_router};
use p2p_shared::setup::write_file;
use serde::{Deserialize, Serialize};

use crate::exit_code::Failure;

/// File of the list, the lock for changing it, and folder of the keys, in the user's folder of settings.
const LIST: &str = "routers.toml";
const LOCK: &str = "routers.lock";
/// More bytes than a key has.
const KEY_ROOM: usize = 512;
const KEYS: &str = "routers";

/// Name of a router at this desk: a part of a file's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RouterName(String);

impl RouterName {
    /// Makes a name of a router's address: its host, and its port if that is not the usual one.
    pub(crate) fn of(RouterAddress { host, port }: &RouterAddress) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        let name = match *port {
            MAIN_PORT => host.clone(),
            port => format!("{host}-{port}"),
        };
        let name = name.chars().map(|c| if fits(c) { c } else { '-' });
        name.collect::<String>().parse().ok()
    }
}

impl FromStr for RouterName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=64).contains(&text.len())
            || !text.chars().all(fits)
            || text.starts_with(['.', '-'])
        {
            return Err(
                "a router's name has 1 to 64 letters, digits, dots, dashes and underscores",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RouterName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RouterName> for String {
    fn from(name: RouterName) -> Self {
        name.0
    }
}

impl std::fmt::Display for RouterName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Router as `--router` says it: an address, or the name of one that this desk has logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidRouter {
    /// The address; of a name the one that it would be as a host.
    pub address: RouterAddress,
    /// True if a port was said: then it is no name.
    has_port: bool,
}

impl FromStr for SaidRouter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address: RouterAddress = parse_router(text)?;
        // An address of IPv6 without brackets has no port, and is no name either.
        let has_port = text.contains(':');
        Ok(Self { address, has_port })
    }
}

/// A router that this desk has logged in to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownRouter {
    pub name: RouterName,
    #[serde(with = "address")]
    pub address: RouterAddress,
}

/// All routers that this desk has logged in to: first the one that was used last.
#[derive(Debug, Default)]
pub(crate) struct Routers {
    dir: PathBuf,
    pub list: Vec<KnownRouter>,
}

#[derive(Default, Serialize, Deserialize)]
struct ListFile {
    #[serde(default)]
    router: Vec<KnownRouter>,
}

impl Routers {
    /// Reads the list of this user; without one it is empty.
    pub(crate) fn open() -> anyhow::Result<Self> {
        match key::config_dir() {
            Some(dir) => Self::in_dir(dir),
            None => Ok(Self::default()),
        }
    }

    fn in_dir(dir: PathBuf) -> anyhow::Result<Self> {
        let path = dir.join(LIST);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("can't read {}", path.display()))?,
        };
        let list: ListFile = toml::from_str(&text).with_context(|| {
            format!(
                "{} can't be used: mend it, or remove it and log in again",
                path.display()
            )
        })?;
        Ok(Self {
            dir,
            list: list.router,
        })
    }

    /// Finds the router that these words of the command line are for: the one used last if there are none, else the
    /// one at that address, or of that name, if it can be no host of one that is known.
    pub(crate) fn find(&self, said: &[SaidRouter]) -> Option<&KnownRouter> {
        let [said] = said else {
            return self.list.first().filter(|_| said.is_empty());
        };
        let host = &said.address.host;
        let mut all = self.list.iter();
        if let Some(there) = all.clone().find(|it| it.address == said.address) {
            return Some(there);
        }
        let is_host = said.has_port || all.clone().any(|it| it.address.host == *host);
        all.find(|it| !is_host && it.name.0 == *host)
    }

    /// Returns the file of the key for this router.
    pub(crate) fn key_file(&self, name: &RouterName) -> PathBuf {
        self.dir.join(KEYS).join(format!("{name}.key"))
    }

    /// Makes sure that a key for a router can be kept by this name, which no other may have.
    ///
    /// # Errors
    /// If the name is taken, or there is no place for the key.
    pub(crate) fn reserve(self, name: RouterName) -> anyhow::Result<ReservedName> {
        ensure!(
            self.dir.is_absolute(),
            "there is no place for the key, as HOME is not set"
        );
        let file = self.key_file(&name);
        let (routers, lock) = self.locked()?;
        let is_listed = routers.list.iter().any(|it| it.name == name);
        // Without the list a key may be there all the same.
        if is_listed || fs::metadata(&file).is_ok_and(|file| file.len() > 0) {
            let why = format!(
                "there is a router called {name} at this desk already, and its key would be lost: say --name NAME, or `p2p-console login --forget {name}` first"
            );
            return Err(Failure::usage(why).into());
        }
        // What can't be written is said now, rather than when nobody can get the key again.
        write_file(&file, &" ".repeat(KEY_ROOM), 0o600, None)?;
        fs::remove_file(&file)?;
        Ok(ReservedName {
            routers,
            name,
            _lock: lock,
        })
    }

    /// Makes this router the one that is opened if nobody says which. Where somebody else changes the list, or nothing
    /// can be written, the next one has to say it again.
    pub(crate) fn use_first(self, name: &RouterName) -> anyhow::Result<()> {
        let (mut routers, _lock) = self.locked()?;
        match routers.list.iter().position(|it| it.name == *name) {
            None | Some(0) => Ok(()),
            Some(at) => {
                routers.list[..=at].rotate_right(1);
                routers.write()
            }
        }
    }

    /// Forgets a router and its key. Returns false if there is none of this name.
    pub(crate) fn forget(self, name: &RouterName) -> anyhow::Result<bool> {
        let (mut routers, _lock) = self.locked()?;
        let before = routers.list.len();
        routers.list.retain(|it| it.name != *name);
        let is_listed = routers.list.len() < before;
        if is_listed {
            routers.write()?;
        }
        let path = routers.key_file(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(is_listed),
            removed => removed
                .map(|()| true)
                .with_context(|| format!("can't remove {}", path.display())),
        }
    }

    /// Reads the list again, for a change, which only one program at a time can make.
    fn locked(self) -> anyhow::Result<(Self, File)> {
        let path = self.dir.join(LOCK);
        let lock = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.dir)?;
            let lock = (OpenOptions::new().write(true).create(true).truncate(false))
                .mode(0o600)
                .open(&path)?;
            lock.try_lock()?;
            Ok::<_, std::io::Error>(lock)
        };
        let lock = lock().with_context(|| {
            format!(
                "can't lock {}: is another p2p-console logging in?",
                path.display()
            )
        })?;
        Ok((Self::in_dir(self.dir)?, lock))
    }

    fn write(&self) -> anyhow::Result<()> {
        let list = ListFile {
            router: self.list.clone(),
        };
        write_file(&self.dir.join(LIST), &toml::to_string(&list)?, 0o600, None)
    }
}

/// A name under which a key is going to be kept.
pub(crate) struct ReservedName {
    routers: Routers,
    name: RouterName,
    _lock: File,
}

impl ReservedName {
    /// Keeps the key of the router at this address. Returns the key's file.
    pub(crate) fn keep(mut self, address: RouterAddress, key: &Key) -> anyhow::Result<PathBuf> {
        let file = self.routers.key_file(&self.name);
        write_file(&file, &(key.expose() + "\n"), 0o600, None)?;
        let name = self.name;
        self.routers.list.insert(0, KnownRouter { name, address });
        let written = self.routers.write();
        written
            .with_context(|| format!("the key is in {}, but not in the list", file.display()))?;
        Ok(file)
    }
}

mod address {
    //! An address as `HOST:PORT`.

    use p2p_shared::net::dialer::RouterAddress;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(it: &RouterAddress, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(it)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<RouterAddress, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
