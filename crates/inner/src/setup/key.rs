//! Gets the key of an inner that is set up, by an invitation, and knows the routers that it is for.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::bail;
use p2p_shared::invitation::Invitation;
use p2p_shared::invitation::post::{self, Redeemer};
use p2p_shared::key;
use p2p_shared::names::LinkName;
use p2p_shared::net::dialer::{self, DialError, RouterAddress};
use p2p_shared::protocol::LINK_PATH;
use p2p_shared::setup::{NextFile, SettingsFile, clock_problem, say};

use super::{Setup, path_text};

impl Setup {
    /// Redeems the invitation for a key and keeps that, or checks the key that is there.
    pub(super) async fn take_key(&mut self) -> anyhow::Result<()> {
        let given = self.options.invitation.take();
        let mut invitation: Invitation = match given.map(|text| text.parse()).transpose()? {
            None if self.has_key() => return self.check_key().await,
            given => self.questions.ask("The invitation", given, None)?,
        };
        if let Some(router) = &self.options.router {
            invitation.router = router.clone();
        }
        // Nobody gets this key again, so all that can fail comes before it.
        let path = self.place.dir.join("inner.key");
        let path_in_settings = path_text(&path)?;
        let owner = self.user.map(|user| user.owner);
        let file = NextFile::make(&path, 0o600, owner)?;
        let (given, key, date) = post::redeem_key(&invitation, Redeemer::Inner).await?;
        file.put(&(key.expose() + "\n"))?;
        say(&format!(
            "the key `{}` is in {path_in_settings}",
            given.name
        ));
        let clock = date.and_then(|date| clock_problem(SystemTime::now(), date));
        clock.iter().for_each(|sentence| say(sentence));
        set_router(&mut self.settings, &invitation.router);
        // A key in the settings would count for more than a file.
        self.settings.set("key", None);
        self.settings.set("key-file", Some(&path_in_settings));
        if self.settings.get("name").is_none() {
            self.settings.set(
                "name",
                given.name.parse::<LinkName>().ok().map(|_| &*given.name),
            );
        }
        self.settings.write()?;
        Ok(())
    }

    fn has_key(&self) -> bool {
        self.settings.get("key").is_some() || self.key_file().exists()
    }

    /// Path of the key that is used now.
    pub(super) fn key_file(&self) -> PathBuf {
        let known = self.settings.get("key-file").map(PathBuf::from);
        known.unwrap_or_else(|| self.place.dir.join("inner.key"))
    }

    /// Checks the key that is there, unless the service is going to say more.
    async fn check_key(&mut self) -> anyhow::Result<()> {
        if let Some(router) = &self.options.router {
            set_router(&mut self.settings, router);
        }
        let Some(host) = self.settings.get("router-host") else {
            bail!(
                "{} says no router: say --router HOST:PORT",
                self.settings.path().display()
            );
        };
        if self.place.is_service {
            return Ok(());
        }
        let key = key::load(Some(&self.key_file()))?;
        // Of several routers the first one is asked.
        let host = host.split(',').next().unwrap_or_default();
        let router = RouterAddress {
            host: dialer::parse_host(host).map_err(anyhow::Error::msg)?,
            port: self.port().parse()?,
        };
        match dialer::dial(None, &router, LINK_PATH, key.as_ref(), false).await {
            Err(
                error @ (DialError::Denied(..) | DialError::NoKey(_) | DialError::ServicePort(_)),
            ) => Err(error.into()),
            // It may be there when the car is.
            Err(error) => {
                say(&format!("the key could not be tried: {error}"));
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Sets the router. Those that stand by stay, as long as they have the same port.
fn set_router(settings: &mut SettingsFile, RouterAddress { host, port }: &RouterAddress) {
    let before = settings.get("router-host").unwrap_or_default();
    let known: Vec<&str> = before
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    let port_before = settings.get("router-port");
    let is_same_port = port_before.map_or(*port == dialer::MAIN_PORT, |it| it == port.to_string());
    let hosts = match known.contains(&host.as_str()) {
        true if is_same_port => before.clone(),
        false if is_same_port && !known.is_empty() => format!("{host},{before}"),
        _ => host.clone(),
    };
    settings.set("router-host", Some(&hosts));
    if !(is_same_port && settings.get("router-port").is_none() && !known.is_empty()) {
        settings.set("router-port", Some(&port.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use p2p_shared::setup::SettingsForm;

    use super::*;

    #[test]
    fn routers_that_stand_by_stay_and_one_that_is_known_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let after = |before: &str, router: &str| {
            let path = dir.path().join("inner.env");
            std::fs::write(&path, before).unwrap();
            let mut file = SettingsFile::read(&path, SettingsForm::Environment).unwrap();
            set_router(&mut file, &router.parse().unwrap());
            let has_changed = file.write().unwrap();
            let get = |name| file.get(name).unwrap_or_default();
            (get("router-host"), get("router-port"), has_changed)
        };
        let hosts = |hosts: &str, port: &str, changed| (hosts.to_owned(), port.to_owned(), changed);
        let two = "ROUTER_HOST=a,b\n";
        assert_eq!(after("", "a:8888"), hosts("a", "8888", true));
        assert_eq!(after(two, "b:8888"), hosts("a,b", "", false));
        assert_eq!(after(two, "c:8888"), hosts("c,a,b", "", true));
        assert_eq!(after(two, "b:7"), hosts("b", "7", true));
        let other = "ROUTER_HOST=a,b\nROUTER_PORT=7\n";
        assert_eq!(after(other, "b:7"), hosts("a,b", "7", false));
    }
}
