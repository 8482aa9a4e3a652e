use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn address(text: &str) -> RouterAddress {
    text.parse().unwrap()
}

/// Logs in to a router by a key that is made for it.
fn log_in(dir: &Path, name: &str, at: &str) -> anyhow::Result<Key> {
    let key = Key::generate()?;
    let reserved = Routers::in_dir(dir.to_owned())?.reserve(name.parse().unwrap())?;
    reserved.keep(address(at), &key)?;
    Ok(key)
}

fn found(dir: &Path, said: &[&str]) -> Option<String> {
    let said: Vec<_> = said.iter().map(|it| it.parse().unwrap()).collect();
    let routers = Routers::in_dir(dir.to_owned()).unwrap();
    routers.find(&said).map(|it| it.name.to_string())
}

#[test]
fn what_was_used_last_is_opened_and_others_by_name_or_address() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Routers::in_dir(dir.path().to_owned()).unwrap();
    let found = |said: &[&str]| found(dir.path(), said);
    assert_eq!(found(&[]), None);
    let key = log_in(dir.path(), "home", "a.test:8888").unwrap();
    log_in(dir.path(), "lab", "[2001:db8::1]:7").unwrap();
    assert_eq!(found(&[]).as_deref(), Some("lab"));
    assert_eq!(found(&["home"]).as_deref(), Some("home"));
    assert_eq!(found(&["a.test:8888"]).as_deref(), Some("home"));
    assert_eq!(
        found(&["a.test:8888", "b.test:1"]),
        None,
        "several are as they were said"
    );
    let home = "home".parse().unwrap();
    open().use_first(&home).unwrap();
    assert_eq!(found(&[]).as_deref(), Some("home"));
    let file = open().key_file(&home);
    assert_eq!(fs::read_to_string(&file).unwrap(), key.expose() + "\n");
    for path in [&file, &dir.path().join(LIST)] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(open().forget(&home).unwrap());
    assert!(!open().forget(&home).unwrap());
    assert!(!file.exists());
    assert_eq!(found(&[]).as_deref(), Some("lab"));
    fs::remove_file(open().key_file(&"lab".parse().unwrap())).unwrap();
    assert!(open().forget(&"lab".parse().unwrap()).unwrap());
    assert_eq!(found(&[]), None);
}

#[test]
fn an_address_leads_there_alone_whatever_routers_are_called() {
    let dir = tempfile::tempdir().unwrap();
    let found = |said: &str| found(dir.path(), &[said]);
    log_in(dir.path(), "a.test", "a.test:9999").unwrap();
    log_in(dir.path(), "b.test", "c.test:8888").unwrap();
    assert_eq!(found("a.test:9999").as_deref(), Some("a.test"));
    for elsewhere in ["a.test:8888", "a.test", "b.test:8888", "b.test:7"] {
        assert_eq!(found(elsewhere), None, "{elsewhere}");
    }
    assert_eq!(found("b.test").as_deref(), Some("b.test"));
    assert_eq!(found("c.test").as_deref(), Some("b.test"));
}

#[test]
fn no_login_destroys_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Routers::in_dir(dir.path().to_owned()).unwrap();
    let key = log_in(dir.path(), "home", "a.test:8888").unwrap();
    let file = open().key_file(&"home".parse().unwrap());
    let kept = || fs::read_to_string(&file).unwrap() == key.expose() + "\n";
    for at in ["b.test:8888", "a.test:8888"] {
        let taken = log_in(dir.path(), "home", at).unwrap_err().to_string();
        assert!(taken.contains("say --name NAME"), "{taken}");
        assert!(kept());
    }
    fs::remove_file(dir.path().join(LIST)).unwrap();
    log_in(dir.path(), "home", "a.test:8888").unwrap_err();
    assert!(kept());
    // One that was killed before it had a key has no name.
    let lab = open().reserve("lab".parse().unwrap()).unwrap();
    let busy = log_in(dir.path(), "van", "b.test:8888").unwrap_err();
    assert!(busy.to_string().contains("another p2p-console"), "{busy}");
    drop(lab);
    log_in(dir.path(), "lab", "b.test:8888").unwrap();
    assert!(open().forget(&"home".parse().unwrap()).unwrap());
    assert!(!file.exists());
}

#[test]
fn a_name_is_a_part_of_a_files_name() {
    for fine in ["home", "a.test", "2001-db8--1", "A_1"] {
        assert_eq!(fine.parse::<RouterName>().unwrap().to_string(), fine);
    }
    for wrong in ["", "../x", ".x", "-x", "a b", "a/b", "ü", &"a".repeat(65)] {
        assert!(wrong.parse::<RouterName>().is_err(), "{wrong}");
    }
    assert_eq!(
        RouterName::of(&address("[fe80::1%eth0]:7"))
            .unwrap()
            .to_string(),
        "fe80--1-eth0-7"
    );
    assert_eq!(
        RouterName::of(&address("a.test:8888")).unwrap().to_string(),
        "a.test"
    );
}
