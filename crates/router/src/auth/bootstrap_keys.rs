//! Makes the invitations of the first start, one for a car and one for its operator, and prints the lines that
//! redeem them. No line has a key in it: shells keep a history.

use std::io::{IsTerminal, Write};
use std::path::Path;

use p2p_shared::key::{Fingerprint, Role};
use p2p_shared::net::dialer::RouterAddress;

use crate::auth::key_command::invite_line;
use crate::auth::key_store::{KeyFile, KeyStore};
use crate::net::port_range::PortRange;

/// Names and roles of the first keys: a car's, and its operator's. Whoever starts the router owns it, and no
/// other key could seize control.
const FIRST_KEYS: [(&str, Role); 2] = [("car", Role::Link), ("operator", Role::Admin)];

/// Prints the lines of the first keys if there is no key. Without a terminal the output may be kept, in a journal
/// or a file: then makes none, and logs how to make them.
///
/// # Errors
/// If the invitations can't be kept or printed. The next start makes others.
pub(crate) fn offer(
    keys: &KeyStore,
    address: &RouterAddress,
    fingerprint: Option<Fingerprint>,
    offered: PortRange,
) -> anyhow::Result<()> {
    if !keys.file().is_new()? {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    if !out.is_terminal() {
        tracing::warn!("{}", how_to_make(keys.file().dir()));
        return Ok(());
    }
    let text = lines(keys.file(), address, fingerprint, offered)?;
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Returns how to make the first keys at a terminal.
pub(crate) fn how_to_make(state_dir: &Path) -> String {
    let dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let dir = dir.to_string_lossy();
    // Only a NUL can't be quoted, and no path has one.
    let dir = shlex::try_quote(&dir).unwrap_or_default();
    let [car, operator] = FIRST_KEYS.map(|(name, role)| {
        format!("`p2p-router key add {name} --role {role} --invite --state-dir {dir}`")
    });
    format!(
        "this router has no keys yet, and no terminal to show invitations on. At one on this machine, run {car} for a car and {operator} for the desk"
    )
}

/// Makes the invitations at a router that offers these service ports, and returns what is said about them.
///
/// # Errors
/// If there are keys of these names, or the invitations can't be kept.
pub(crate) fn lines(
    file: &KeyFile,
    address: &RouterAddress,
    fingerprint: Option<Fingerprint>,
    offered: PortRange,
) -> anyhow::Result<String> {
    let [car, operator] = FIRST_KEYS.map(|(name, role)| {
        let ports = role.may_link().then_some(PortRange::of_cars(offered));
        let key = (name.parse()?, role, ports);
        invite_line(file, key, address.clone(), fingerprint)
    });
    Ok(format!(
        "\nRun this on the car, within 24 hours:\n\n  {}\n\n\
         And this at your desk:\n\n  {}\n\n\
         Each line is good once, and fetches a key; those that were printed before are void. Both say that others reach this router at {address}:\n\
         if they don't, use --public-host. `p2p-router key add NAME --role ROLE --invite` makes more lines.\n\n",
        car?, operator?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_invite_a_car_and_its_operator_and_have_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_dir(folder.path());
        let address: RouterAddress = "router.test:8888".parse().unwrap();
        let mut made = Vec::new();
        for _ in 0..2 {
            let text = lines(&file, &address, None, PortRange::ALL).unwrap();
            for command in ["p2p-inner setup p2pi1_", "p2p-console login p2pi1_"] {
                let of = |line: &&str| line.trim().starts_with(command);
                let [line] = text.lines().filter(of).collect::<Vec<_>>()[..] else {
                    panic!("{text}");
                };
                assert!(line.ends_with("_router.test"), "{line}");
                made.push(line.to_owned());
            }
            assert!(!text.contains("p2p1_"));
        }
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 4, "those of the second start are others");
        assert!(file.list().unwrap().is_empty());
    }

    #[test]
    fn a_folder_with_spaces_is_quoted_in_the_lines_that_invite() {
        let lines = how_to_make(Path::new("/a b"));
        let line = "`p2p-router key add car --role link --invite --state-dir '/a b'`";
        assert!(lines.contains(line), "{lines}");
    }
}
