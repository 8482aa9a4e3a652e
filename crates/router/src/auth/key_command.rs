//! `p2p-router key add | list | revoke`: makes, shows and revokes keys in the state directory. The
//! running router follows the file; these commands never talk to it. In a mesh it leaves a note of who
//! has heard of a change.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::Subcommand;
use p2p_shared::key::{Fingerprint, Role};

use crate::auth::key_store::{HeardNote, KeyFile, KeyName, KeyRecord};
use crate::net::port_range::PortRange;

/// Shell command that reads a pasted key (ended with Ctrl-D) into the file where the programs look
/// for it. So the key gets into no shell history and no list of processes.
pub const KEEP_KEY_COMMAND: &str =
    "(umask 077; mkdir -p ~/.config/p2prouter && cat > ~/.config/p2prouter/key)";

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it, alone, on standard output
    Add {
        /// What to call it: any name that no other key has
        name: KeyName,
        /// What its holder may do
        #[arg(long, value_enum)]
        role: Role,
        /// The service ports that it is for, and no others: a car may ask for these, and an operator
        /// sees, drives and stops the cars at these; `any`: all that the router has
        /// [default: 9000-9999 for the role link, else any]
        #[arg(long, value_name = "LOW-HIGH", value_parser = range_or_any)]
        ports: Option<PortRange>,
    },
    /// Show the keys there are (never the keys themselves: the router has only their hashes)
    List,
    /// Make a key void at once, and close what it has open
    Revoke {
        /// The key's name, or its id
        name: KeyName,
    },
}

/// Proof of the router's identity for the holder of a new key.
#[derive(Debug, Default)]
pub struct Proof {
    /// Fingerprints of the router's public key, and of its next one if that is made; none: an
    /// authority's certificate.
    pub fingerprints: Vec<Fingerprint>,
    /// Note for the person who makes the key.
    pub note: Option<String>,
}

/// Runs a subcommand on the keys in `state_dir`; `proof` is called for a new key only. Blocks on
/// the disk.
///
/// # Errors
///
/// A sentence for the terminal.
pub fn run(
    command: KeyCommand,
    state_dir: &Path,
    proof: impl FnOnce() -> anyhow::Result<Proof>,
) -> anyhow::Result<()> {
    let file = KeyFile::in_dir(state_dir);
    run_on(command, &file, proof, &mut io::stdout(), &mut io::stderr())
}

fn run_on(
    command: KeyCommand,
    file: &KeyFile,
    proof: impl FnOnce() -> anyhow::Result<Proof>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        KeyCommand::Add { name, role, ports } => {
            let is_default = ports.is_none() && role.may_link();
            let ports = if is_default {
                Some(PortRange::CARS)
            } else {
                ports.filter(|ports| *ports != PortRange::ALL)
            };
            let Proof { fingerprints, note } = proof()?;
            if let Some(note) = note {
                // A closed standard error is no failure.
                let _ = writeln!(notes, "{note}");
            }
            let key = file.add(&name, role, ports)?.for_router(fingerprints);
            // A key that was never shown is useless, and its name would be taken.
            if let Err(error) = writeln!(out, "{}", key.expose()).and_then(|()| out.flush()) {
                file.revoke(&name)
                    .context("the key could not be printed, and is still in the file")?;
                return Err(error).context("the key could not be printed, so it was not made");
            }
            if is_default {
                let _ = writeln!(
                    notes,
                    "this key is for the service ports {} (--ports LOW-HIGH for others, --ports any for all that the router has)",
                    PortRange::CARS
                );
            }
            let place = if role.may_link() {
                "on the machine that runs p2p-inner"
            } else {
                "at the desk"
            };
            let _ = writeln!(
                notes,
                "this is the key `{name}` (role {role}); it is not shown again.\n\
                 {place}, run this, paste the key, and press Enter and Ctrl-D:\n  {KEEP_KEY_COMMAND}"
            );
        }
        KeyCommand::List => {
            let records = file.list()?;
            if records.is_empty() {
                let path = file.path().display();
                writeln!(
                    notes,
                    "there are no keys in {path} (p2p-router key add makes one)"
                )?;
                return Ok(());
            }
            out.write_all(table(&records).as_bytes())?;
            out.flush()?;
        }
        KeyCommand::Revoke { name } => {
            let KeyRecord { id, role, .. } = file.revoke(&name)?;
            writeln!(
                notes,
                "revoked the key `{name}` ({id}, role {role}); a running router closes what it has open"
            )?;
            if file.is_of_mesh() {
                writeln!(notes, "{}", said_by_mesh(file))?;
            }
            let is_admin = |role: Role| role.may_administer();
            if is_admin(role) && !file.list()?.iter().any(|record| is_admin(record.role)) {
                writeln!(
                    notes,
                    "no admin key is left: nobody can take control from another driver (p2p-router key add NAME --role admin makes one)"
                )?;
            }
        }
    }
    Ok(())
}

/// Says which routers of the mesh have heard of the last change.
fn said_by_mesh(file: &KeyFile) -> String {
    let note = HeardNote::wait_for(file.dir(), || file.digest());
    note.map_or_else(
        || "revoked in this state directory: no router that runs here has said in time which others have heard. They learn it from one that runs here with --mesh".to_owned(),
        |note| note.sentence(),
    )
}

fn range_or_any(text: &str) -> Result<PortRange, &'static str> {
    match text {
        "any" => Ok(PortRange::ALL),
        _ => text.parse(),
    }
}

fn table(records: &[KeyRecord]) -> String {
    let mut rows = vec![["NAME", "ID", "ROLE", "PORTS", "CREATED"].map(str::to_owned)];
    rows.extend(records.iter().map(row));
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let [w0, w1, w2, w3] = [width(0), width(1), width(2), width(3)];
    let lines = rows.iter().map(|[name, id, role, ports, created]| {
        format!("{name:w0$}  {id:w1$}  {role:w2$}  {ports:w3$}  {created}\n")
    });
    lines.collect()
}

fn row(record: &KeyRecord) -> [String; 5] {
    let ports = record.ports.map(|ports| ports.to_string());
    [
        record.name.to_string(),
        record.id.to_string(),
        record.role.to_string(),
        ports.unwrap_or_else(|| "any".to_owned()),
        humantime::format_rfc3339_seconds(record.created).to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use p2p_shared::key::Key;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        command: KeyCommand,
    }

    /// Runs a subcommand. Returns its standard output and its notes.
    fn key(dir: &Path, arguments: &str) -> anyhow::Result<(String, String)> {
        let words = std::iter::once("key").chain(arguments.split(' '));
        let program = Program::try_parse_from(words)?;
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        run_on(
            program.command,
            &KeyFile::in_dir(dir),
            || Ok(Proof::default()),
            &mut out,
            &mut notes,
        )?;
        Ok((String::from_utf8(out)?, String::from_utf8(notes)?))
    }

    fn usage_error(dir: &Path, arguments: &str) -> String {
        let error = key(dir, arguments).unwrap_err();
        let error = error.downcast_ref::<clap::Error>().unwrap();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn add_prints_the_key_alone_and_says_where_to_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let (out, notes) = key(dir.path(), "add car --role link --ports 9000-9099").unwrap();
        let made: Key = out.strip_suffix('\n').unwrap().parse().unwrap();
        assert_eq!(out, made.expose() + "\n");
        assert!(
            notes.contains(KEEP_KEY_COMMAND) && notes.contains("p2p-inner"),
            "{notes}"
        );
        assert!(!notes.contains(&out[14..66]), "{notes}");
        assert!(!notes.contains("9000-9999"), "{notes}");
        let (_, notes) = key(dir.path(), "add van --role link").unwrap();
        assert!(
            notes.contains("is for the service ports 9000-9999 (") && notes.contains("--ports any"),
            "{notes}"
        );
        let (_, notes) = key(dir.path(), "add desk --role drive").unwrap();
        assert!(
            notes.contains("desk") && !notes.contains("9000-9999"),
            "{notes}"
        );
    }

    #[test]
    fn list_shows_a_table_and_no_hash() {
        let dir = tempfile::tempdir().unwrap();
        let (out, notes) = key(dir.path(), "list").unwrap();
        assert!(out.is_empty() && notes.contains("no keys"), "{notes}");
        for arguments in [
            "car --role link --ports 9000-9099",
            "Räuber --role link --ports any",
            "van --role link",
            "me --role admin",
            "bob --role drive --ports 9000",
        ] {
            key(dir.path(), &format!("add {arguments}")).unwrap();
        }
        let (out, notes) = key(dir.path(), "list").unwrap();
        assert!(notes.is_empty(), "{notes}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 6);
        let columns =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(
            columns(lines[0]),
            ["NAME", "ID", "ROLE", "PORTS", "CREATED"]
        );
        for (line, [name, role, ports]) in lines[1..].iter().zip([
            ["car", "link", "9000-9099"],
            ["Räuber", "link", "any"],
            ["van", "link", "9000-9999"],
            ["me", "admin", "any"],
            ["bob", "drive", "9000"],
        ]) {
            let columns = columns(line);
            assert_eq!([&columns[0], &columns[2], &columns[3]], [name, role, ports]);
            assert_eq!(
                line.chars()
                    .position(|c| c == ' ')
                    .map(|_| line.chars().count()),
                Some(lines[1].chars().count())
            );
        }
        assert!(!out.contains("sha256"), "{out}");
    }

    #[test]
    fn revoking_the_last_admin_key_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for add in [
            "add desk --role admin",
            "add spare --role admin",
            "add car --role link",
        ] {
            key(dir.path(), add).unwrap();
        }
        let is_told = |name: &str| {
            let (_, notes) = key(dir.path(), &format!("revoke {name}")).unwrap();
            notes.contains("no admin key is left")
        };
        assert!(!is_told("spare"));
        assert!(!is_told("car"));
        assert!(is_told("desk"));
    }

    #[test]
    fn revoke_says_what_it_did_and_an_unknown_name_lists_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        key(dir.path(), "add car --role link").unwrap();
        let error = key(dir.path(), "revoke van").unwrap_err().to_string();
        assert!(
            error.contains("`van`") && error.ends_with("there are: car"),
            "{error}"
        );
        let (out, notes) = key(dir.path(), "revoke car").unwrap();
        assert!(
            out.is_empty() && notes.contains("revoked the key `car`"),
            "{notes}"
        );
        assert!(key(dir.path(), "list").unwrap().0.is_empty());
    }

    #[test]
    fn what_cannot_be_is_a_usage_error_and_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        usage_error(dir.path(), "add desk");
        usage_error(dir.path(), "add desk --role king");
        usage_error(dir.path(), "add desk --role link --ports 9099-9000");
        let name = usage_error(dir.path(), "add --role link -- -x");
        assert!(name.contains("does not begin with `-`"), "{name}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_key_that_cannot_be_printed_is_not_made() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::in_dir(dir.path());
        let add = KeyCommand::Add {
            name: "car".parse().unwrap(),
            role: Role::Link,
            ports: None,
        };
        let proof = || Ok(Proof::default());
        run_on(add, &file, proof, &mut Full, &mut Vec::new()).unwrap_err();
        assert!(file.list().unwrap().is_empty());
    }
}
