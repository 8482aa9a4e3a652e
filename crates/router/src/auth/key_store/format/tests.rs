//! Key files as they are written, and what is said of those that can't be read.

use std::time::{Duration, SystemTime};

use p2p_shared::key::{Key, Role};
use proptest::prelude::*;

use super::*;

fn record(name: &str, role: Role, ports: Option<&str>) -> KeyRecord {
    let key = Key::generate().unwrap();
    KeyRecord {
        id: key.id(),
        name: name.parse().unwrap(),
        role,
        ports: ports.map(|ports| ports.parse().unwrap()),
        hash: key.hash(),
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    }
}

fn set(records: Vec<KeyRecord>) -> KeySet {
    KeySet {
        records,
        ..KeySet::default()
    }
}

fn three() -> KeySet {
    set(vec![
        record("car", Role::Link, Some("9000-9099")),
        record("a \"quoted\" # name", Role::View, None),
        record("operator", Role::Admin, None),
    ])
}

/// With revoked keys, as in a mesh.
fn with_revoked(records: Vec<KeyRecord>) -> KeySet {
    let made = KeyTime(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let ids = ["aaaaaaab", "aaaaaaac", "aaaaaaad"].map(|id| id.parse().unwrap());
    KeySet {
        records,
        revoked: ids.map(|id| (id, made)).into(),
        forgotten: Some(KeyTime(SystemTime::UNIX_EPOCH)),
        is_shared: true,
    }
}

/// Returns the line that a garbled file is said to be wrong in.
fn line_of_error(error: &str) -> usize {
    let line = error
        .strip_prefix(", line ")
        .and_then(|rest| rest.split_once(": "));
    line.unwrap_or_else(|| panic!("no line: {error}"))
        .0
        .parse()
        .unwrap()
}

#[test]
fn the_file_has_the_documented_form() {
    let mut car = record("car", Role::Link, Some("9000-9099"));
    car.id = "aaaaaaaa".parse().unwrap();
    car.hash = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let zeros = "0".repeat(64);
    let expected = format!(
        "{HEADER}count = 1\nversion = 1\n\n[[key]]\nid = \"aaaaaaaa\"\nname = \"car\"\nrole = \"link\"\nports = \"9000-9099\"\nhash = \"sha256:{zeros}\"\ncreated = \"2027-01-15T08:00:00Z\"\n"
    );
    assert_eq!(to_text(&set(vec![car])).unwrap(), expected);
}

#[test]
fn revoked_keys_are_at_the_end_of_the_file_a_line_each() {
    let text = to_text(&with_revoked(Vec::new())).unwrap();
    let expected = "count = 3\nversion = 2\nforgotten = \"1970-01-01T00:00:00Z\"\nkey = []\n\n[revoked]\naaaaaaab = \"2027-01-15T08:00:00Z\"\naaaaaaac = \"2027-01-15T08:00:00Z\"\naaaaaaad = \"2027-01-15T08:00:00Z\"\n";
    assert_eq!(text, format!("{HEADER}{expected}"));
}

#[test]
fn a_key_that_is_there_and_revoked_is_revoked() {
    let mut keys = with_revoked(three().records);
    let text = to_text(&keys).unwrap();
    let text = text.replace("aaaaaaab", &keys.records[0].id.to_string());
    let read = from_text(&text).unwrap();
    keys.records.remove(0);
    assert_eq!(read.records, keys.records);
}

#[test]
fn records_survive_their_text() {
    for keys in [
        KeySet::default(),
        three(),
        with_revoked(Vec::new()),
        with_revoked(three().records),
    ] {
        assert_eq!(from_text(&to_text(&keys).unwrap()).unwrap(), keys);
    }
}

#[test]
fn a_file_written_by_hand_needs_no_count() {
    let text = to_text(&three()).unwrap().replace("count = 3\n", "");
    assert_eq!(from_text(&text).unwrap(), three_without_randomness(&text));
    assert_eq!(from_text("version = 1\n").unwrap(), KeySet::default());
}

fn three_without_randomness(text: &str) -> KeySet {
    let with_count = text.replace("version = 1\n", "count = 3\nversion = 1\n");
    from_text(&with_count).unwrap()
}

#[test]
fn a_file_cut_off_anywhere_is_refused_or_says_the_same() {
    for keys in [
        three(),
        KeySet::default(),
        with_revoked(three().records),
        with_revoked(Vec::new()),
    ] {
        let text = to_text(&keys).unwrap();
        for end in 0..text.len() {
            match from_text(&text[..end]) {
                Ok(read) => assert_eq!(read, keys, "cut at {end}"),
                Err(reason) => {
                    assert!(
                        line_of_error(&reason) <= last_line(&text) && !reason.contains('\n'),
                        "cut at {end}: {reason}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_newer_file_is_told_from_a_garbled_one() {
    let newer = "version = 3\nshape = 'unheard of'\n[key]\ncar = 1\n";
    let error = from_text(newer).unwrap_err();
    assert!(error.starts_with(" has version 3, "), "{error}");
    for wrong in [
        "",
        "version = 0",
        "version = 'x'",
        "version = -1",
        "{}",
        "[[key]]\nid=1",
    ] {
        line_of_error(&from_text(wrong).unwrap_err());
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_without_a_secret() {
    let text = to_text(&three()).unwrap();
    let secret = Key::generate().unwrap().expose();
    let line_of = |needle: &str| line_at(&text, text.find(needle).unwrap());
    let hash = text.lines().find(|line| line.starts_with("hash")).unwrap();
    let second_table = text.match_indices("[[key]]").nth(1).unwrap().0;
    let cases = [
        (
            "role = \"view\"",
            "role = \"king\"".to_owned(),
            line_of("role = \"view\""),
        ),
        (hash, format!("hash = \"{secret}\""), line_of("hash =")),
        ("9000-9099", "9099-9000".to_owned(), line_of("9000-9099")),
        (
            "\"operator\"",
            "\"car\"".to_owned(),
            line_of("name = \"operator\"") - 2,
        ),
        (
            "role = \"view\"",
            "role = \"view\"\nextra = 1".to_owned(),
            line_of("role = \"view\"") + 1,
        ),
        (
            "role = \"view\"\n",
            String::new(),
            line_at(&text, second_table),
        ),
        (
            "name = \"car\"",
            "name = \"\u{1b}\"".to_owned(),
            line_of("name = \"car\""),
        ),
        (
            "name = \"car\"",
            "name = \"\\u001b\"".to_owned(),
            line_of("name = \"car\""),
        ),
        ("2027-01-15", "yesterday".to_owned(), line_of("created")),
    ];
    for (old, new, expected) in cases {
        let Err(reason) = from_text(&text.replacen(old, &new, 1)) else {
            panic!("{new:?} was taken");
        };
        assert_eq!(line_of_error(&reason), expected, "{new:?}: {reason}");
        assert!(
            !reason.contains(&secret[14..30]) && !reason.contains('\u{1b}'),
            "{reason}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_at_all_is_read_without_a_panic(text in "(version = 1\n)?(\\[\\[key\\]\\]\n)?.*") {
        let _ = from_text(&text);
    }
}
