//! Finds the state directory of the machine's service, for the subcommands of root.

use std::io::{self, Write as _};
use std::path::Path;

use super::Options;

/// State directory of the machine's service.
pub(crate) const SERVICE_STATE: &str = "/var/lib/p2p-router";
/// Where the unit of the service may be (systemd.unit(5)).
const UNITS: [&str; 4] = [
    "etc/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
const UNIT: &str = "p2p-router.service";

impl Options {
    /// Takes the state directory of the service for root on a machine that has one, if none is said, and says so.
    pub fn take_service_state(&mut self) {
        if self.take_service_state_of(rustix::process::geteuid().is_root(), Path::new("/")) {
            // A closed standard error is no failure.
            let _ = writeln!(
                io::stderr(),
                "this is about the router that systemd runs, in {SERVICE_STATE} (--state-dir for another)"
            );
        }
    }

    fn take_service_state_of(&mut self, is_root: bool, files: &Path) -> bool {
        let has_service = UNITS.iter().any(|dir| files.join(dir).join(UNIT).exists());
        let is_meant = self.state_dir.is_none() && is_root && has_service;
        if is_meant {
            self.state_dir = Some(SERVICE_STATE.into());
        }
        is_meant
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn root_gets_the_services_directory_and_others_and_who_says_one_their_own() {
        let files = tempfile::tempdir().unwrap();
        let taken = |is_root, words: &[&str]| {
            let mut options = Options::parse_from(["p2p-router"].iter().chain(words));
            options.take_service_state_of(is_root, files.path());
            options.state_dir
        };
        assert_eq!(taken(true, &[]), None, "there is no service");
        let dir = files.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(UNIT), "").unwrap();
        assert_eq!(taken(true, &[]), Some(SERVICE_STATE.into()));
        assert_eq!(taken(false, &[]), None);
        assert_eq!(taken(true, &["--state-dir", "x"]), Some("x".into()));
    }
}
