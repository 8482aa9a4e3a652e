//! `p2p-router certificate show | next`: how the router's own certificate is changed without a new key
//! for anybody. A holder puts another fingerprint into the key; its secret stays.

use std::io::{self, Write};
use std::path::Path;

use anyhow::ensure;
use clap::Subcommand;

use crate::auth::certificate;
use crate::auth::key_command::Proof;

#[derive(Debug, Subcommand)]
pub enum CertificateCommand {
    /// Print the line that gives a key file the fingerprint of this router's certificate
    Show,
    /// Make the certificate that is to be the next one, and print the line that gives a key file the
    /// fingerprints of both
    Next,
}

/// Runs a subcommand on the certificates in `state_dir`; `proof` reads them. A new one is for these names. Blocks on the disk.
///
/// # Errors
/// A sentence for the terminal.
pub fn run(
    command: &CertificateCommand,
    state_dir: &Path,
    names: &[String],
    proof: impl Fn() -> anyhow::Result<Proof>,
) -> anyhow::Result<()> {
    let mut steps = String::new();
    if matches!(command, CertificateCommand::Next) {
        ensure!(
            !proof()?.fingerprints.is_empty(),
            "the router has a certificate of an authority: put the next one into its files, which are read again within a minute"
        );
        let [next, present] = certificate::make_next(state_dir, names)?;
        let [next, present] = [next, present].map(|path| path.to_string_lossy().into_owned());
        let quoted = |path| shlex::try_quote(path).unwrap_or_default();
        steps = format!(
            "\nwhen all know both, and the keys made from now on do: mv {} {}\n\
             and restart the router (kill -USR2, or systemctl reload p2p-router)",
            quoted(&next),
            quoted(&present)
        );
    }
    let Proof { fingerprints, note } = proof()?;
    let mut errors = io::stderr();
    if let Some(note) = note {
        // A closed standard error is no failure.
        let _ = writeln!(errors, "{note}");
    }
    let fingerprints: String = fingerprints.iter().map(|it| format!("_{it}")).collect();
    // The key may begin with a byte order mark and end with a carriage return. Without a key in the file
    // `grep` fails.
    let secret = "p2p1_[^_]*_[^_[:space:]]*";
    writeln!(
        io::stdout(),
        r"sed -i --follow-symlinks 's/\({secret}\).*/\1{fingerprints}/' ~/.config/p2prouter/key && grep -c '{secret}{fingerprints}$' ~/.config/p2prouter/key"
    )?;
    let _ = writeln!(
        errors,
        "update all programs first: older ones refuse a key with two fingerprints. Then run this line wherever a key is kept (there is no secret in it; it prints 1, or 0 if no key is there), and start the program there again{steps}"
    );
    Ok(())
}
