//! The bodies of the fuzz targets as properties: the seeds, everything near to them, and anything.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

#[path = "../../../../fuzz/bodies.rs"]
mod bodies;

/// One way to change a seed.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    // Bytes that mean something to somebody, and any.
    let byte = || {
        prop_oneof![
            prop::sample::select(b"./\\%&=-_\0\x1b\n\"[]#\x81\xc4\xff".to_vec()),
            any::<u8>()
        ]
    };
    prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), vec(byte(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (at(), 1..40_usize).prop_map(|(at, times)| Change::Repeat(at, times)),
        at().prop_map(Change::Cut),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len();
        match change {
            Change::Insert(at, new) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, new.iter().copied());
            }
            _ if length == 0 => {}
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Remove(at, most) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + most));
            }
            Change::Repeat(at, times) => {
                let at = at.index(length);
                let piece = bytes[at..length.min(at + 4)].repeat(*times);
                bytes.splice(at..at, piece);
            }
            Change::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

/// What holds for every seed, for what is up to six changes away from one, and for any bytes.
fn holds(target: &str, body: fn(&[u8]), cases: u32) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let seeds: Vec<Vec<u8>> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!seeds.is_empty());
    for seed in &seeds {
        body(seed);
    }
    let near = (prop::sample::select(seeds), vec(change(), 1..7))
        .prop_map(|(seed, changes)| changed(seed, &changes));
    let any_bytes = prop_oneof![4 => near, 1 => vec(any::<u8>(), 0..200)];
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&any_bytes, |bytes| {
            body(&bytes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn frames_of_each_direction() {
    holds("frames", bodies::frames, 20_000);
}

#[test]
fn names() {
    holds("names", bodies::names, 20_000);
}

#[test]
fn pictures() {
    holds("pictures", bodies::pictures, 10_000);
}

#[test]
fn queries() {
    holds("query", bodies::query, 20_000);
}

#[test]
fn keys() {
    holds("key", bodies::key, 20_000);
}

#[test]
fn key_files() {
    // Each is a file that is locked, written and synced.
    holds("key_file", bodies::key_file, 500);
}

#[test]
fn settings() {
    holds("config", bodies::config, 1_000);
}

#[test]
fn what_members_of_a_mesh_say() {
    holds("mesh", bodies::mesh, 2_000);
}

#[test]
fn headers_of_balancers() {
    holds("proxy_header", bodies::proxy_header, 20_000);
}

#[test]
fn what_is_shown() {
    holds("escape", bodies::escape, 10_000);
}
