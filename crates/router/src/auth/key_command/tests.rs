use clap::Parser;
use p2p_shared::key::Key;

use super::*;
use crate::ops::state_file::{MESH_FILE, StateFile};

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
        "29000-29010".parse().unwrap(),
        || Ok(Proof::default()),
        || Ok("router.test:8888".parse().unwrap()),
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
    assert!(!notes.contains("29000-29010"), "{notes}");
    let (_, notes) = key(dir.path(), "add van --role link").unwrap();
    assert!(
        notes.contains("is for the service ports 29000-29010 (") && notes.contains("--ports any"),
        "{notes}"
    );
    let (_, notes) = key(dir.path(), "add desk --role drive").unwrap();
    assert!(
        notes.contains("desk") && !notes.contains("29000-29010"),
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
        ["van", "link", "29000-29010"],
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
fn an_invitation_is_a_line_with_no_key_is_listed_and_can_be_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let (out, notes) = key(dir.path(), "add car --role link --invite").unwrap();
    let word = out.strip_prefix("p2p-inner setup ").unwrap();
    let invitation: Invitation = word.parse().unwrap();
    assert_eq!(invitation.router.to_string(), "router.test:8888");
    assert!(
        notes.contains("within 24 hours") && notes.contains("at router.test:8888: if they don't"),
        "{notes}"
    );
    let (out, _) = key(dir.path(), "add desk --role drive --ports 9000 --invite").unwrap();
    assert!(out.starts_with("p2p-console login p2pi1_"), "{out}");
    key(dir.path(), "add van --role link").unwrap();
    let taken = key(dir.path(), "add van --role link --invite").unwrap_err();
    assert!(
        taken.to_string().contains("a key named `van` already"),
        "{taken}"
    );
    let (list, _) = key(dir.path(), "list").unwrap();
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[2][..5],
        ["car", "-", "link", "29000-29010", "invited,"]
    );
    assert_eq!(lines[3][..5], ["desk", "-", "drive", "9000", "invited,"]);
    let (_, notes) = key(dir.path(), "revoke car").unwrap();
    assert_eq!(notes, "the invitation for `car` is void\n");
    assert!(!key(dir.path(), "list").unwrap().0.contains("car "));
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
fn in_a_mesh_a_revoked_key_waits_for_the_others_and_a_router_that_has_left_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = StateFile::new(dir.path(), MESH_FILE);
    mesh.replace("").unwrap();
    for name in ["car", "desk"] {
        key(dir.path(), &format!("add {name} --role view")).unwrap();
    }
    HeardNote::new(7).leave(dir.path()).unwrap();
    let is_noted = || {
        let now = std::time::Duration::ZERO;
        HeardNote::wait_for(dir.path(), now, || Ok(7)).is_some()
    };
    key(dir.path(), "revoke van").unwrap_err();
    assert!(is_noted(), "nothing has changed");
    let (_, said) = key(dir.path(), "revoke car").unwrap();
    assert!(said.contains("no router that runs here"), "{said}");
    assert!(!is_noted());
    mesh.remove().unwrap();
    let (_, said) = key(dir.path(), "revoke desk").unwrap();
    assert!(!said.contains("no router that runs here"), "{said}");
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
        invite: false,
    };
    let proof = || Ok(Proof::default());
    let address = || anyhow::bail!("nobody is invited");
    run_on(
        add,
        &file,
        PortRange::CARS,
        proof,
        address,
        &mut Full,
        &mut Vec::new(),
    )
    .unwrap_err();
    assert!(file.list().unwrap().is_empty());
}

#[test]
fn what_becomes_of_invitations_keeps_no_key_from_being_revoked_or_listed() {
    let dir = tempfile::tempdir().unwrap();
    key(dir.path(), "add car --role link --invite").unwrap();
    key(dir.path(), "add car --role link").unwrap();
    // As a stopped `key add --invite` has it.
    let lock = StateFile::new(dir.path(), "invites.toml").lock().unwrap();
    let (_, notes) = key(dir.path(), "revoke car").unwrap();
    assert!(
        notes.contains("revoked the key `car`") && notes.contains("is invited is not known"),
        "{notes}"
    );
    drop(lock);
    key(dir.path(), "add van --role link").unwrap();
    std::fs::write(dir.path().join("invites.toml"), "newer").unwrap();
    let (list, notes) = key(dir.path(), "list").unwrap();
    assert!(list.contains("van"), "{list}");
    assert!(notes.contains("invites.toml can't be used"), "{notes}");
}
