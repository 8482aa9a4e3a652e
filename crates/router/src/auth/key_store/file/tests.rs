//! Key files that are made, changed by several at a time, and refused.

use super::super::key_set::MAX_REVOKED;
use super::super::record::KeyTime;
use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn in_new_dir() -> (tempfile::TempDir, KeyFile) {
    let dir = tempfile::tempdir().unwrap();
    let file = KeyFile::in_dir(dir.path().join("deep/state"));
    (dir, file)
}

fn names(file: &KeyFile) -> Vec<String> {
    file.list()
        .unwrap()
        .into_iter()
        .map(|record| record.name.to_string())
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_that_is_added_is_listed_by_its_hash_until_it_is_revoked() {
    let (_dir, file) = in_new_dir();
    let ports = "9000-9099".parse().unwrap();
    let car = file.add(&name("car"), Role::Link, Some(ports)).unwrap();
    let desk = file.add(&name("desk"), Role::Drive, None).unwrap();
    let records = file.list().unwrap();
    assert_eq!(names(&file), ["car", "desk"]);
    assert_eq!((records[0].id, records[0].hash), (car.id(), car.hash()));
    assert_eq!(
        (records[0].role, records[0].ports),
        (Role::Link, Some(ports))
    );
    assert!(records[1].created.elapsed().unwrap().as_secs() < 60);
    assert_eq!(file.revoke(&name("car")).unwrap(), records[0]);
    assert_eq!(file.list().unwrap()[0].id, desk.id());
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains(&desk.expose()[14..]));
}

#[test]
fn the_files_are_for_the_owner_alone() {
    let (_dir, file) = in_new_dir();
    file.add(&name("car"), Role::Link, None).unwrap();
    assert_eq!(mode(file.dir()), 0o700);
    assert_eq!(mode(file.path()), 0o600);
    assert_eq!(mode(&file.dir().join("keys.lock")), 0o600);
    assert!(!file.dir().join("keys.toml.new").exists());
}

/// A state directory on a disk that can be filled; `None`: only root can make one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can make a small disk");
            return None;
        }
        let disk = Self(tempfile::tempdir().unwrap());
        disk.run("mount", &["-t", "tmpfs", "-o", "size=64k", "p2p-test"]);
        Some(disk)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = std::process::Command::new(program);
        let status = command.args(arguments).arg(self.0.path()).status();
        assert!(status.unwrap().success());
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut full = fs::File::create(self.0.path().join("full")).unwrap();
        while full.write_all(&[0; 512]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["--lazy"]);
    }
}

#[test]
fn a_key_is_revoked_on_a_full_disk_too() {
    let Some(disk) = SmallDisk::new() else { return };
    let file = KeyFile::in_dir(disk.0.path());
    for key in ["car", "flood", "desk"] {
        file.add(&name(key), Role::View, None).unwrap();
    }
    disk.fill();
    assert!(file.add(&name("more"), Role::View, None).is_err());
    file.revoke(&name("flood")).unwrap();
    assert_eq!(names(&file), ["car", "desk"]);
    file.revoke(&name("car")).unwrap();
    file.revoke(&name("desk")).unwrap();
    assert!(file.list().unwrap().is_empty());
    assert!(!disk.0.path().join("keys.toml.new").exists());
}

#[test]
fn a_name_is_used_once() {
    let (_dir, file) = in_new_dir();
    file.add(&name("car"), Role::Link, None).unwrap();
    let error = file.add(&name("car"), Role::View, None).unwrap_err();
    let said = "there is a key named `car` already: revoke it first";
    assert!(error.to_string().starts_with(said), "{error}");
    file.revoke(&name("car")).unwrap();
    file.add(&name("car"), Role::View, None).unwrap();
}

#[test]
fn revoking_an_unknown_name_lists_what_there_is_and_makes_nothing() {
    let (_dir, file) = in_new_dir();
    let error = file.revoke(&name("van")).unwrap_err().to_string();
    assert!(
        error.contains("`van`") && error.contains("no keys yet"),
        "{error}"
    );
    assert!(!file.dir().exists());
    for i in 0..22 {
        file.add(&name(&format!("car{i}")), Role::Link, None)
            .unwrap();
    }
    let error = file.revoke(&name("van")).unwrap_err().to_string();
    assert!(error.ends_with("car18, car19 and 2 more"), "{error}");
}

#[test]
fn in_a_mesh_a_revoked_key_is_remembered_and_never_comes_back() {
    let (_dir, file) = in_new_dir();
    file.add(&name("car"), Role::Link, None).unwrap();
    let with_both = file.read().unwrap().unwrap();
    file.edit(|keys| {
        keys.is_shared = true;
        Ok(())
    })
    .unwrap();
    file.revoke(&name("car")).unwrap();
    file.edit(|keys| {
        *keys = keys.merge(&with_both);
        Ok(())
    })
    .unwrap();
    assert!(file.list().unwrap().is_empty());
    let text = fs::read_to_string(file.path()).unwrap();
    assert!(
        text.contains("version = 2\n") && text.contains("[revoked]\n"),
        "{text}"
    );
    // This is no first start.
    assert!(!file.is_new().unwrap());
    // Another one by the same name is another key.
    file.add(&name("car"), Role::Link, None).unwrap();
    assert_eq!(names(&file), ["car"]);
}

#[test]
fn of_two_keys_by_one_name_the_one_that_is_meant_is_said_by_its_id() {
    let [(_one, here), (_two, there)] = [(); 2].map(|()| in_new_dir());
    let keys = [&here, &there].map(|file| file.add(&name("car"), Role::Link, None).unwrap());
    let theirs = there.read().unwrap().unwrap();
    here.edit(|keys| {
        *keys = keys.merge(&theirs);
        keys.is_shared = true;
        Ok(())
    })
    .unwrap();
    assert_eq!(names(&here), ["car", "car"]);
    let error = here.revoke(&name("car")).unwrap_err().to_string();
    let [first, second] = keys.map(|key| key.id());
    assert!(error.starts_with("2 keys are named `car`"), "{error}");
    assert!(error.contains(&first.to_string()) && error.contains(&second.to_string()));
    assert_eq!(here.revoke(&name(&second.to_string())).unwrap().id, second);
    assert_eq!(here.revoke(&name("car")).unwrap().id, first);
}

#[test]
fn a_key_that_is_named_as_another_ones_id_hides_it_from_nobody() {
    let (_dir, file) = in_new_dir();
    let meant = file.add(&name("car"), Role::Link, None).unwrap().id();
    let by_id = name(&meant.to_string());
    let other = file.add(&by_id, Role::View, None).unwrap().id();
    let error = file.revoke(&by_id).unwrap_err().to_string();
    assert!(error.contains(&format!("of {meant}, {other}")), "{error}");
    file.revoke(&name(&other.to_string())).unwrap();
    assert_eq!(file.revoke(&by_id).unwrap().id, meant);
}

#[test]
fn a_key_of_any_role_may_have_ports() {
    let (_dir, file) = in_new_dir();
    let ports = Some("9000-9009".parse().unwrap());
    for role in Role::ALL {
        file.add(&name(role.as_str()), role, ports).unwrap();
    }
    let records = file.list().unwrap();
    assert_eq!(
        records.iter().map(|it| it.ports).collect::<Vec<_>>(),
        [ports; 4]
    );
}

#[test]
fn there_are_at_most_10_000_keys_and_they_fit_in_the_file() {
    let mut records = Vec::new();
    let ports = Some("10000-10001".parse().unwrap());
    for i in 0..MAX_KEYS {
        // A control character would take the most room, but is not allowed; a quote is.
        let longest = name(&format!("{}{i:05}", "\"'".repeat(29)));
        records.push(KeyRecord {
            id: Key::generate().unwrap().id(),
            name: longest,
            role: Role::Link,
            ports,
            hash: Key::generate().unwrap().hash(),
            created: SystemTime::now(),
        });
    }
    let (_dir, file) = in_new_dir();
    file.edit(|all| {
        all.records = records;
        // As many as may be, too.
        let ids = (0..MAX_REVOKED).map(|_| Key::generate().unwrap().id());
        let made = KeyTime(SystemTime::now());
        all.revoked = ids.map(|id| (id, made)).collect();
        Ok(())
    })
    .unwrap();
    assert!(fs::metadata(file.path()).unwrap().len() < MAX_FILE / 2);
    let error = file.add(&name("one more"), Role::View, None).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("there are 10000 keys, which is as many"),
        "{error}"
    );
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_left_alone() {
    let (_dir, file) = in_new_dir();
    file.add(&name("car"), Role::Link, None).unwrap();
    let whole = fs::read_to_string(file.path()).unwrap();
    let cases = [
        (whole[..whole.len() / 2].to_owned(), "keys.toml, line "),
        (String::new(), "keys.toml, line 1"),
        (whole.replace("version = 1", "version = 7"), "has version 7"),
        ("\0\0\0\0".to_owned(), "keys.toml, line 1"),
    ];
    for (text, said) in cases {
        fs::write(file.path(), &text).unwrap();
        let errors = [
            file.add(&name("van"), Role::Link, None).unwrap_err(),
            file.revoke(&name("car")).unwrap_err(),
            file.list().unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains(said), "{error}");
            assert!(
                error.contains(&file.path().display().to_string()),
                "{error}"
            );
        }
        assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
    }
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_line_that_closes_it() {
    let (_dir, file) = in_new_dir();
    file.add(&name("car"), Role::Link, None).unwrap();
    fs::set_permissions(file.path(), Permissions::from_mode(0o640)).unwrap();
    let error = file.list().unwrap_err().to_string();
    assert!(
        error.ends_with(&format!("chmod 600 {}", file.path().display())),
        "{error}"
    );
}

#[test]
fn what_a_killed_program_left_over_does_no_harm() {
    let (_dir, file) = in_new_dir();
    file.add(&name("car"), Role::Link, None).unwrap();
    fs::write(file.dir().join("keys.toml.new"), "half of a fi").unwrap();
    file.add(&name("desk"), Role::View, None).unwrap();
    assert_eq!(names(&file), ["car", "desk"]);
    assert_eq!(mode(file.path()), 0o600);
}

#[test]
fn keys_added_at_the_same_time_are_all_there() {
    let (_dir, file) = in_new_dir();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let file = &file;
            scope.spawn(move || {
                for i in 0..5 {
                    file.add(&name(&format!("{thread}.{i}")), Role::Link, None)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(names(&file).len(), 40);
}

#[test]
fn a_file_made_by_root_belongs_to_the_owner_of_the_directory() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_dir, file) = in_new_dir();
    fs::create_dir_all(file.dir()).unwrap();
    std::os::unix::fs::chown(file.dir(), Some(12345), Some(12346)).unwrap();
    for new in ["car", "desk"] {
        file.add(&name(new), Role::Link, None).unwrap();
        for path in [file.path(), &file.dir().join("keys.lock")] {
            let metadata = fs::metadata(path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (12345, 12346));
        }
    }
}

#[test]
fn a_lock_that_leads_elsewhere_is_not_followed_and_gives_nothing_away() {
    let (dir, file) = in_new_dir();
    file.add(&name("car"), Role::Link, None).unwrap();
    let lock = file.dir().join("keys.lock");
    let others = dir.path().join("others");
    fs::write(&others, "").unwrap();
    let owner = || fs::metadata(&others).unwrap().uid();
    let before = owner();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(file.path(), Some(before + 1), None).unwrap();
    }
    for is_symbolic in [false, true] {
        fs::remove_file(&lock).unwrap();
        if is_symbolic {
            std::os::unix::fs::symlink(&others, &lock).unwrap();
        } else {
            fs::hard_link(&others, &lock).unwrap();
        }
        let added = file.add(&name("van"), Role::Link, None);
        assert_eq!(owner(), before);
        if is_symbolic || is_root {
            let error = added.unwrap_err().to_string();
            assert!(error.contains("keys.lock"), "{error}");
        }
    }
}
