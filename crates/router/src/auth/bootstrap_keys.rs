//! Makes the keys of the first start, one for a car and one for its operator, and prints them with the
//! lines that put them where they belong. No line has a key in it: shells keep a history.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use p2p_shared::key::{Fingerprint, Key, Role};

use crate::auth::key_command::KEEP_KEY_COMMAND;
use crate::auth::key_store::KeyStore;
use crate::http::domain::Domain;
use crate::net::port_range::PortRange;

/// Service port of the first car.
const CAR: u16 = 9000;

/// Makes the first keys if there is no key, and prints them with the lines to run on the car and at
/// the desk. `without_ports` is the domain of cars that have host names alone. Without a terminal the output may be kept, in a journal or a file: then makes no keys, and
/// logs how to make them.
///
/// # Errors
/// If the keys can't be stored or printed. Then there are no keys, and the next start makes some.
pub fn offer(
    keys: &KeyStore,
    main_port: u16,
    fingerprint: Option<Fingerprint>,
    without_ports: Option<&Domain>,
) -> anyhow::Result<()> {
    let car = match without_ports {
        Some(domain) => format!("{CAR}.{}:{main_port}", domain.as_str()),
        None => format!("ROUTER:{CAR}"),
    };
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        return offer_on(keys, (main_port, &car), fingerprint, &mut out);
    }
    if keys.is_empty() {
        tracing::warn!("{}", how_to_make(keys.file().dir()));
    }
    Ok(())
}

fn how_to_make(state_dir: &Path) -> String {
    let dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let dir = dir.to_string_lossy();
    // Only a NUL can't be quoted, and no path has one.
    let dir = shlex::try_quote(&dir).unwrap_or_default();
    let line = |name, role| format!("`p2p-router key add {name} --role {role} --state-dir {dir}`");
    format!(
        "this router has no keys yet, and no terminal to show some on. At one on this machine, run {} for a car and {} for the desk",
        line("car", Role::Link),
        line("operator", Role::Admin),
    )
}

fn offer_on(
    keys: &KeyStore,
    ports: (u16, &str),
    fingerprint: Option<Fingerprint>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let file = keys.file();
    let Some(first) = file.create_first_keys()? else {
        return Ok(());
    };
    keys.reload()?;
    let first = first.map(|key| key.for_router(fingerprint));
    let printed = out.write_all(text(&first, ports).as_bytes());
    if let Err(error) = printed.and_then(|()| out.flush()) {
        // Keys that nobody has seen are of no use, and no start would show them again.
        file.revoke_first_keys()?;
        keys.reload()?;
        return Err(error).context("the first keys could not be printed, so they were not made");
    }
    Ok(())
}

fn text([car, operator]: &[Key; 2], (main_port, host): (u16, &str)) -> String {
    let pin = match car.fingerprints().first() {
        // curl checks the pinned public key even with `-k`.
        Some(fingerprint) => format!("-k --pinnedpubkey {} ", fingerprint.for_curl()),
        None => String::new(),
    };
    format!(
        "\nThis router had no keys yet. Here are two; they are not shown again.\n\
         (ROUTER stands for this host's name or address. The car's key is for the service ports\n\
         {ports}. `p2p-router key add` makes more.)\n\n\
         On the car, run this, paste the key below it, and press Enter and Ctrl-D:\n\n  \
         {keep} && p2p-inner ROUTER {main_port} {CAR} --name car\n\n{car}\n\n\
         At the desk, the same with this line and this key:\n\n  \
         {keep} && p2p-console --router ROUTER:{main_port}\n\n{operator}\n\n\
         Any HTTP client will do as well:\n\n  \
         printf 'Authorization: Bearer %s' \"$(cat ~/.config/p2prouter/key)\" | curl {pin}-H @- 'https://{host}/cgi?command=hello'\n\n",
        ports = PortRange::CARS,
        keep = KEEP_KEY_COMMAND,
        car = car.expose(),
        operator = operator.expose(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_prints_each_key_once_and_the_second_none() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(folder.path()).unwrap();
        let first = keys.file().create_first_keys().unwrap().unwrap();
        let text = text(&first, (8888, "ROUTER:9000"));
        // Alone in its line: what is run in a shell stays in its history.
        for key in &first {
            let lines = text.lines().filter(|line| line.contains(&key.bearer()));
            assert_eq!(lines.collect::<Vec<_>>(), [key.expose()]);
        }
        assert!(text.contains("p2p-inner ROUTER 8888 9000"));
        assert!(keys.file().create_first_keys().unwrap().is_none());
    }

    #[test]
    fn a_folder_with_spaces_is_quoted_in_the_lines_that_make_keys() {
        let lines = how_to_make(Path::new("/a b"));
        let line = "`p2p-router key add car --role link --state-dir '/a b'`";
        assert!(lines.contains(line), "{lines}");
    }

    #[test]
    fn keys_that_could_not_be_shown_are_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyStore::open(folder.path()).unwrap();
        let mut full_disk = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        assert!(offer_on(&keys, (8888, "ROUTER:9000"), None, &mut full_disk).is_err());
        let mut out = Vec::new();
        offer_on(&keys, (8888, "ROUTER:9000"), None, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("p2p1_"));
    }
}
