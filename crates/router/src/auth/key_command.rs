//! `p2p-router key add | list | revoke`: makes, shows and revokes keys in the state directory. The
//! running router follows the file; these commands never talk to it. In a mesh it leaves a note of who
//! has heard of a change.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, anyhow, ensure};
use clap::Subcommand;
use p2p_shared::invitation::Invitation;
use p2p_shared::invitation::post::Redeemer;
use p2p_shared::key::{Fingerprint, Role};
use p2p_shared::net::dialer::RouterAddress;

use crate::auth::invites::{self, Purpose};
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
        /// [default for the role link: 9000-9999 if the router has any of them, else all that it has; else any]
        #[arg(long, value_name = "LOW-HIGH", value_parser = range_or_any)]
        ports: Option<PortRange>,
        /// In place of the key, print the command that fetches it on its holder's machine, by an invitation that is
        /// good once, for a day
        #[arg(long)]
        invite: bool,
    },
    /// Show the keys there are (never the keys themselves: the router has only their hashes), and the invitations
    /// that nobody has redeemed yet
    List,
    /// Make a key void at once, and close what it has open; or an invitation for it
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

/// Runs a subcommand on the keys in `state_dir`; `ports` are those of a car's key for which none are said, `proof` is
/// called for a new key only, and `address` for an invitation. Blocks on the disk.
///
/// # Errors
///
/// A sentence for the terminal.
pub fn run(
    command: KeyCommand,
    state_dir: &Path,
    ports: PortRange,
    proof: impl FnOnce() -> anyhow::Result<Proof>,
    address: impl FnOnce() -> anyhow::Result<RouterAddress>,
) -> anyhow::Result<()> {
    let file = KeyFile::in_dir(state_dir);
    let (mut out, mut notes) = (io::stdout(), io::stderr());
    run_on(command, &file, ports, proof, address, &mut out, &mut notes)
}

fn run_on(
    command: KeyCommand,
    file: &KeyFile,
    ports_of_cars: PortRange,
    proof: impl FnOnce() -> anyhow::Result<Proof>,
    address: impl FnOnce() -> anyhow::Result<RouterAddress>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        KeyCommand::Add {
            name,
            role,
            ports,
            invite,
        } => {
            let is_default = ports.is_none() && role.may_link();
            let ports = if is_default {
                Some(ports_of_cars)
            } else {
                ports.filter(|ports| *ports != PortRange::ALL)
            };
            let Proof { fingerprints, note } = proof()?;
            if let Some(note) = note {
                // A closed standard error is no failure.
                let _ = writeln!(notes, "{note}");
            }
            if is_default {
                let _ = writeln!(
                    notes,
                    "this key is for the service ports {ports_of_cars} (--ports LOW-HIGH for others, --ports any for all that the router has)"
                );
            }
            if invite {
                let address = address()?;
                let said = format!(
                    "run this {}, within 24 hours: the invitation is good once, and whoever uses it gets the key. It says that others reach this router at {address}: if they don't, use --public-host",
                    place(role)
                );
                let fingerprint = fingerprints.first().copied();
                let line = invite_line(file, (name, role, ports), address, fingerprint)?;
                writeln!(out, "{line}")?;
                let _ = writeln!(notes, "{said}");
                return Ok(());
            }
            let key = file.add(&name, role, ports)?.for_router(fingerprints);
            // A key that was never shown is useless, and its name would be taken.
            if let Err(error) = writeln!(out, "{}", key.expose()).and_then(|()| out.flush()) {
                file.unmake(&key)
                    .context("the key could not be printed, and is still in the file")?;
                return Err(error).context("the key could not be printed, so it was not made");
            }
            let place = place(role);
            let _ = writeln!(
                notes,
                "this is the key `{name}` (role {role}); it is not shown again.\n\
                 {place}, run this, paste the key, and press Enter and Ctrl-D:\n  {KEEP_KEY_COMMAND}"
            );
        }
        KeyCommand::List => {
            let records = file.list()?;
            let invited = invites::open_for_keys(file.dir(), SystemTime::now());
            let invited = invited.unwrap_or_else(|error| {
                let _ = writeln!(notes, "which invitations are open is not known: {error:#}");
                Vec::new()
            });
            if records.is_empty() && invited.is_empty() {
                let path = file.path().display();
                writeln!(
                    notes,
                    "there are no keys in {path} (p2p-router key add makes one)"
                )?;
                return Ok(());
            }
            out.write_all(table(&records, &invited).as_bytes())?;
            out.flush()?;
        }
        KeyCommand::Revoke { name } => {
            // At once, whatever becomes of the invitation.
            let revoked = file.revoke(&name);
            match invites::withdraw(file.dir(), &name, SystemTime::now()) {
                Ok(true) => {
                    writeln!(notes, "the invitation for `{name}` is void")?;
                    if revoked.is_err() && !file.list()?.iter().any(|it| it.name == name) {
                        return Ok(());
                    }
                }
                Ok(false) => {}
                Err(error) => {
                    writeln!(notes, "whether `{name}` is invited is not known: {error:#}")?
                }
            }
            let KeyRecord { id, name, role, .. } =
                revoked.map_err(|error| match file.is_of_mesh() {
                    true => {
                        anyhow!("{error:#}. An invitation is withdrawn at the router that made it")
                    }
                    false => error,
                })?;
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
    let note = HeardNote::wait_for(file.dir(), HeardNote::WAIT, || file.digest());
    note.map_or_else(
        || "revoked in this state directory: no router that runs here has said in time which others have heard. They learn it from one that runs here with --mesh".to_owned(),
        |note| note.sentence(SystemTime::now()),
    )
}

/// Makes an invitation for a key that no other has the name of. Returns the line that redeems it.
pub(crate) fn invite_line(
    file: &KeyFile,
    (name, role, ports): (KeyName, Role, Option<PortRange>),
    address: RouterAddress,
    fingerprint: Option<Fingerprint>,
) -> anyhow::Result<String> {
    ensure!(
        file.list()?.iter().all(|record| record.name != name),
        "there is a key named `{name}` already: revoke it first (p2p-router key revoke NAME), or choose another name"
    );
    let purpose = Purpose::Key { name, role, ports };
    let command = purpose.redeemer().map_or("", Redeemer::command);
    let code = invites::make(file.dir(), purpose, SystemTime::now())?;
    let invitation = Invitation::new(code, address, fingerprint);
    Ok(format!("{command} {}", invitation.expose()))
}

/// Says where a key of this role is used.
fn place(role: Role) -> &'static str {
    if role.may_link() {
        "on the machine that runs p2p-inner"
    } else {
        "at the desk"
    }
}

fn range_or_any(text: &str) -> Result<PortRange, &'static str> {
    match text {
        "any" => Ok(PortRange::ALL),
        _ => text.parse(),
    }
}

fn table(records: &[KeyRecord], invited: &[(Purpose, SystemTime)]) -> String {
    let mut rows = vec![["NAME", "ID", "ROLE", "PORTS", "CREATED"].map(str::to_owned)];
    rows.extend(records.iter().map(row));
    rows.extend(invited.iter().filter_map(invited_row));
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
    [
        record.name.to_string(),
        record.id.to_string(),
        record.role.to_string(),
        ports_or_any(record.ports),
        humantime::format_rfc3339_seconds(record.created).to_string(),
    ]
}

fn invited_row((purpose, until): &(Purpose, SystemTime)) -> Option<[String; 5]> {
    let Purpose::Key { name, role, ports } = purpose else {
        return None;
    };
    let until = humantime::format_rfc3339_seconds(*until);
    Some([
        name.to_string(),
        "-".to_owned(),
        role.to_string(),
        ports_or_any(*ports),
        format!("invited, until {until}"),
    ])
}

fn ports_or_any(ports: Option<PortRange>) -> String {
    ports.map_or_else(|| "any".to_owned(), |ports| ports.to_string())
}

#[cfg(test)]
mod tests;
