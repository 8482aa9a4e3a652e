//! Callers with and without a valid key, and revoked keys.

use p2p_shared::key::Role;
use proptest::prelude::*;

use super::*;
use crate::ops::state_file::{MESH_FILE, StateFile};

fn store_with(role: Role, ports: Option<&str>) -> (tempfile::TempDir, KeyStore, Key) {
    let dir = tempfile::tempdir().unwrap();
    let ports = ports.map(|ports| ports.parse().unwrap());
    let name = "car".parse().unwrap();
    let key = KeyFile::in_dir(dir.path()).add(&name, role, ports).unwrap();
    let store = KeyStore::open(dir.path()).unwrap();
    (dir, store, key)
}

fn show(store: &KeyStore, key: &str) -> Result<KeyRecord, AuthError> {
    store.authenticate(Some(format!("Bearer {key}").as_bytes()))
}

#[test]
fn a_key_gives_what_it_was_made_for() {
    let (_dir, store, key) = store_with(Role::Link, Some("9000-9099"));
    let expected = (
        key.id(),
        "car",
        Role::Link,
        Some("9000-9099".parse().unwrap()),
    );
    let shown = show(&store, &key.expose()).unwrap();
    assert_eq!(
        (shown.id, shown.name.as_str(), shown.role, shown.ports),
        expected
    );
    for scheme in ["bearer", "BEARER", "Bearer "] {
        let header = format!("{scheme} {}", key.expose());
        assert!(
            store.authenticate(Some(header.as_bytes())).is_ok(),
            "{scheme}"
        );
    }
}

#[test]
fn each_refusal_says_what_to_do() {
    let (_dir, store, key) = store_with(Role::Drive, None);
    assert_eq!(store.authenticate(None), Err(AuthError::Missing));
    let key = key.expose();
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        &key,
        &format!("Basic {key}"),
    ] {
        assert_eq!(
            store.authenticate(Some(header.as_bytes())),
            Err(AuthError::Malformed)
        );
    }
    assert_eq!(
        store.authenticate(Some(b"Bearer \xff")),
        Err(AuthError::Malformed)
    );
    assert_eq!(show(&store, &key[..60]), Err(AuthError::Malformed));
    assert_eq!(
        show(&store, &format!("{key}_newer")),
        Err(AuthError::Malformed)
    );
}

#[test]
fn an_unknown_id_and_a_wrong_secret_get_the_same_answer() {
    let (_dir, store, key) = store_with(Role::Drive, None);
    let (key, other) = (key.expose(), Key::generate().unwrap().expose());
    let known_id_other_secret = format!("{}{}", &key[..14], &other[14..]);
    let unknown_id_known_secret = format!("{}{}", &other[..14], &key[14..]);
    for wrong in [&other, &known_id_other_secret, &unknown_id_known_secret] {
        assert_eq!(show(&store, wrong), Err(AuthError::Wrong));
    }
}

#[test]
fn a_revoked_key_is_void_after_a_reload_and_the_others_are_not() {
    let (dir, store, key) = store_with(Role::Link, None);
    let file = KeyFile::in_dir(dir.path());
    let other = file
        .add(&"desk".parse().unwrap(), Role::View, None)
        .unwrap();
    let changes = store.changes();
    file.revoke(&"car".parse().unwrap()).unwrap();
    assert!(store.is_live(&key.id()), "nobody has told the store yet");

    assert!(store.reload().unwrap());
    assert!(changes.has_changed().unwrap());
    assert!(!store.is_live(&key.id()) && store.is_live(&other.id()));
    assert_eq!(show(&store, &key.expose()), Err(AuthError::Wrong));
    assert!(show(&store, &other.expose()).is_ok());
}

#[test]
fn a_file_that_says_the_same_wakes_nobody() {
    let (_dir, store, _key) = store_with(Role::Link, None);
    let changes = store.changes();
    store.reload().unwrap();
    assert!(!changes.has_changed().unwrap());
}

#[test]
fn what_can_not_be_written_is_in_force_and_told_only_when_it_is_written() {
    let (dir, store, key) = store_with(Role::Link, None);
    assert_eq!(*store.digest().borrow(), 0, "nobody asks for it");
    store.share().unwrap();
    let (_elsewhere, others, from_there) = store_with(Role::Drive, None);
    let told = store.digest();
    let before = *told.borrow();
    assert_eq!(before, store.file().digest().unwrap());
    // As by a command that was stopped in the middle.
    let lock = StateFile::new(dir.path(), "keys.toml").lock().unwrap();
    store.merge(&others.to_text().unwrap()).unwrap();
    assert!(store.is_live(&from_there.id()) && store.is_live(&key.id()));
    assert!(
        store
            .to_text()
            .unwrap()
            .contains(&from_there.id().to_string())
    );
    assert!(store.keep().is_err());
    store.reload().unwrap();
    assert!(store.is_live(&from_there.id()), "the file still lacks it");
    assert!(store.0.known.lock().is_unkept);
    assert_eq!(*told.borrow(), before, "a restart would forget it");
    drop(lock);
    store.keep().unwrap();
    assert!(!store.0.known.lock().is_unkept);
    assert_eq!(*told.borrow(), store.file().digest().unwrap());
    let again = KeyStore::open(dir.path()).unwrap();
    assert!(again.is_live(&from_there.id()) && again.is_live(&key.id()));
    store
        .file()
        .revoke(&key.id().to_string().parse().unwrap())
        .unwrap();
    store.reload().unwrap();
    assert!(!store.is_live(&key.id()));
}

#[test]
fn a_member_of_a_mesh_forgets_no_key_and_no_revoked_one_whatever_becomes_of_its_file() {
    let (dir, store, key) = store_with(Role::Link, None);
    let (file, path) = (store.file(), store.file().path());
    let desk = file.add(&"desk".parse().unwrap(), Role::View, None);
    let desk = desk.unwrap().id();
    let alone = std::fs::read_to_string(path).unwrap();
    store.share().unwrap();
    store.keep().unwrap();
    let shared = std::fs::read_to_string(path).unwrap();
    // Programs that know no mesh would forget what was revoked: they refuse this.
    assert!(shared.contains("version = 2\n"), "{shared}");
    // Though there is no mesh.toml, as when it was moved away.
    file.revoke(&"car".parse().unwrap()).unwrap();
    store.reload().unwrap();
    let is_right = |store: &KeyStore| !store.is_live(&key.id()) && store.is_live(&desk);
    assert!(is_right(&store));
    for copy in [Some(alone), Some(shared), None] {
        std::fs::remove_file(path).unwrap();
        if let Some(copy) = copy {
            StateFile::new(dir.path(), "keys.toml")
                .replace(&copy)
                .unwrap();
        }
        store.reload().unwrap();
        assert!(is_right(&store));
        assert!(store.0.known.lock().is_unkept);
        store.keep().unwrap();
        assert!(is_right(&KeyStore::open(dir.path()).unwrap()));
        assert!(!store.0.known.lock().is_unkept);
    }
}

#[test]
fn a_key_is_revoked_for_ever_in_a_mesh_though_its_router_could_not_write_the_file_yet() {
    let (dir, store, key) = store_with(Role::Link, None);
    let file = store.file();
    let alone = std::fs::read_to_string(file.path()).unwrap();
    store.share().unwrap();
    StateFile::new(dir.path(), MESH_FILE).replace("").unwrap();
    file.revoke(&"car".parse().unwrap()).unwrap();
    store.reload().unwrap();
    assert!(!store.is_live(&key.id()));
    // Nor does another router bring it back.
    let started = KeyStore::open(dir.path()).unwrap();
    started.merge(&alone).unwrap();
    assert!(!started.is_live(&key.id()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_key_with_any_one_changed_character_opens_nothing(
        replacements in proptest::collection::vec("[ -~]", 66),
    ) {
        let (_dir, store, key) = store_with(Role::Admin, None);
        let key = key.expose();
        for (at, new) in replacements.iter().enumerate().filter(|(at, new)| key[*at..=*at] != ***new) {
            let changed = format!("{}{new}{}", &key[..at], &key[at + 1..]);
            prop_assert!(show(&store, &changed).is_err(), "character {}", at);
        }
    }
}
