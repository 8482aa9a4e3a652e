//! The command directory with real files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::*;

fn folder() -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(folder.path()).unwrap();
    (folder, catalog)
}

fn put(folder: &Path, name: &str, mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn resolve(catalog: &Catalog, name: &str) -> Result<PathBuf, Unusable> {
    let found = catalog.resolve(&name.parse().unwrap());
    found.map(|found| found.file)
}

fn refusal(catalog: &Catalog, name: &str) -> (Refusal, String) {
    resolve(catalog, name).unwrap_err()
}

#[test]
fn executables_in_the_folder_and_below_it_are_commands() {
    let (folder, catalog) = folder();
    put(folder.path(), "go", 0o755);
    put(folder.path(), "a/b/c/go", 0o700);
    symlink("a/b/c/go", folder.path().join("inside")).unwrap();
    assert!(resolve(&catalog, "go").unwrap().ends_with("go"));
    assert!(resolve(&catalog, "a/b/c/go").is_ok());
    assert!(resolve(&catalog, "inside").is_ok());
}

#[test]
fn workers_are_found_in_the_folder_itself_and_are_no_commands() {
    let (folder, catalog) = folder();
    for name in [
        "b.worker",
        "a.worker",
        "go",
        ".hidden.worker",
        "deep/c.worker",
    ] {
        put(folder.path(), name, 0o755);
    }
    assert_eq!(catalog.workers().unwrap(), ["a.worker", "b.worker"]);
    assert!(catalog.worker("a.worker").is_ok());
    let (kind, sentence) = refusal(&catalog, "a.worker");
    assert_eq!(kind, Refusal::NotFound);
    assert!(sentence.contains("is a worker"), "{sentence}");
    let list = catalog.list().unwrap();
    let names: Vec<_> = list.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, ["deep/c.worker", "go"]);
    assert!(
        list[0]
            .problem
            .as_ref()
            .is_some_and(|problem| problem.raw().contains("move it"))
    );
}

#[test]
fn what_may_not_be_executed_says_the_chmod_that_mends_it() {
    let (folder, catalog) = folder();
    for (name, mode, mend) in [
        ("plain", 0o644, "chmod +x "),
        ("open", 0o777, "chmod o-w "),
        ("setuid", 0o4755, "chmod ug-s "),
        ("setgid", 0o2755, "chmod ug-s "),
        ("with space", 0o644, "chmod +x '"),
    ] {
        put(folder.path(), name, mode);
        let (kind, sentence) = refusal(&catalog, name);
        assert_eq!(kind, Refusal::NotExecutable);
        assert!(sentence.contains(mend), "{sentence}");
    }
}

#[test]
fn a_folder_on_the_way_into_which_anyone_may_write_is_refused() {
    let (folder, catalog) = folder();
    put(folder.path(), "a/b/go", 0o755);
    assert!(resolve(&catalog, "a/b/go").is_ok());
    let open = |mode| fs::Permissions::from_mode(mode);
    for way in ["a", "a/b", ""] {
        let way = folder.path().join(way);
        fs::set_permissions(&way, open(0o777)).unwrap();
        let (kind, sentence) = refusal(&catalog, "a/b/go");
        assert_eq!(kind, Refusal::NotExecutable);
        assert!(sentence.contains("chmod o-w"), "{sentence}");
        fs::set_permissions(&way, open(0o755)).unwrap();
    }
}

#[test]
fn where_a_link_leads_is_checked_too() {
    let (folder, catalog) = folder();
    put(folder.path(), "inside/go", 0o755);
    symlink("inside/go", folder.path().join("go")).unwrap();
    put(folder.path(), "good/go", 0o755);
    symlink("../good/go", folder.path().join("inside/over")).unwrap();
    symlink("inside/over", folder.path().join("over")).unwrap();
    let inside = folder.path().join("inside");
    let is_root = rustix::process::geteuid().is_root();
    for (mode, mend) in [
        (0o777, "chmod o-w "),
        (0o1777, "chmod o-w "),
        (0o775, "chmod g-w "),
    ] {
        // For others than root, the group may be the user's own.
        if !is_root && mode == 0o775 {
            continue;
        }
        fs::set_permissions(&inside, fs::Permissions::from_mode(mode)).unwrap();
        for name in ["go", "over"] {
            let (kind, sentence) = refusal(&catalog, name);
            assert_eq!(kind, Refusal::NotExecutable, "{name} {mode:o}");
            let place = format!("{mend}{}", inside.display());
            assert!(sentence.ends_with(&place), "{sentence}");
        }
    }
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["go", "over"] {
        assert!(resolve(&catalog, name).is_ok());
    }
}

#[test]
fn what_belongs_to_another_user_is_refused_wherever_it_is_on_the_way() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files to others");
        return;
    }
    let (folder, catalog) = folder();
    let commands = folder.path();
    let file = put(commands, "a/go", 0o755);
    for place in [file.as_path(), &commands.join("a"), commands] {
        std::os::unix::fs::lchown(place, Some(4711), None).unwrap();
        let (kind, sentence) = refusal(&catalog, "a/go");
        assert_eq!(kind, Refusal::NotExecutable);
        let owner = format!("{} belongs to user 4711", place.display());
        assert!(sentence.contains(&owner), "{sentence}");
        assert_eq!(
            catalog.list().unwrap()[0].problem,
            Some(Text::new(sentence))
        );
        std::os::unix::fs::lchown(place, Some(0), None).unwrap();
    }
    assert!(resolve(&catalog, "a/go").is_ok());
    // The link by which the command directory is found.
    let link = commands.join("current");
    symlink("a", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(4711), None).unwrap();
    put(commands, "a/forward", 0o755);
    let (kind, sentence) = refusal(&Catalog::open(&link).unwrap(), "forward");
    assert_eq!(kind, Refusal::NotExecutable);
    assert!(
        sentence.contains("current belongs to user 4711"),
        "{sentence}"
    );
}

#[test]
fn a_link_to_the_folder_is_followed_anew_for_each_command() {
    let (folder, _) = folder();
    let path = folder.path().canonicalize().unwrap();
    for release in ["1", "2"] {
        put(&path, &format!("releases/{release}/go"), 0o755);
        put(&path, &format!("releases/{release}/a.worker"), 0o755);
    }
    let link = path.join("current");
    symlink("releases/1", &link).unwrap();
    let catalog = Catalog::open(&link).unwrap();
    let found = || {
        let found = catalog.resolve(&"go".parse().unwrap()).unwrap();
        let worker = catalog.worker("a.worker").unwrap();
        assert_eq!(found.folder, worker.folder);
        assert_eq!(found.file, found.folder.join("go"));
        found.folder
    };
    assert_eq!(found(), path.join("releases/1"));
    fs::remove_file(&link).unwrap();
    symlink("releases/2", &link).unwrap();
    fs::remove_dir_all(path.join("releases/1")).unwrap();
    assert_eq!(found(), path.join("releases/2"));
}

#[test]
fn what_the_kernel_would_not_say_clearly_is_said() {
    let (folder, catalog) = folder();
    let file = put(folder.path(), "marked", 0o755);
    fs::write(&file, "\u{feff}#!/bin/sh\necho hello\n").unwrap();
    let (kind, sentence) = refusal(&catalog, "marked");
    assert_eq!(kind, Refusal::NotExecutable);
    assert!(
        sentence.contains("begins with a byte order mark"),
        "{sentence}"
    );
    assert_eq!(
        catalog.list().unwrap()[0].problem,
        Some(Text::new(sentence))
    );
    // Mounted so almost everywhere.
    let file = Path::new("/proc/version");
    let mount = statvfs(file).unwrap();
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let sentence = check_execution(file).unwrap_err();
        assert!(sentence.contains("mounted noexec"), "{sentence}");
    }
}

#[test]
fn what_this_user_may_not_look_at_says_who_needs_which_right() {
    let denied = io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error());
    let sentence = executable::unseen(Path::new("/closed/go"), &denied);
    let own = rustix::process::geteuid().as_raw();
    let mend = format!("let user {own}, as whom p2p-inner runs, enter");
    assert!(sentence.contains(&mend), "{sentence}");
}

#[test]
fn links_that_leave_the_folder_are_refused() {
    let (folder, catalog) = folder();
    symlink("/bin/sh", folder.path().join("absolute")).unwrap();
    symlink("../../../../bin/sh", folder.path().join("upwards")).unwrap();
    symlink("/bin", folder.path().join("folder")).unwrap();
    symlink("absolute", folder.path().join("by-another")).unwrap();
    for name in ["absolute", "upwards", "folder/sh", "by-another"] {
        let (kind, sentence) = refusal(&catalog, name);
        assert_eq!(kind, Refusal::NotExecutable, "{name}");
        assert!(
            sentence.contains("leaves the command directory"),
            "{sentence}"
        );
    }
    symlink("nothing", folder.path().join("dangling")).unwrap();
    assert_eq!(refusal(&catalog, "dangling").0, Refusal::NotFound);
}

#[test]
fn folders_and_absent_names_are_not_found() {
    let (folder, catalog) = folder();
    put(folder.path(), "dir/go", 0o755);
    for name in ["dir", "absent", "dir/go/deeper", "absent/go"] {
        assert_eq!(refusal(&catalog, name).0, Refusal::NotFound, "{name}");
    }
}

#[test]
fn a_folder_that_is_replaced_is_the_one_that_counts() {
    let (folder, _) = folder();
    let commands = folder.path().join("command");
    put(&commands, "old", 0o755);
    let catalog = Catalog::open(&commands).unwrap();
    fs::rename(&commands, folder.path().join("away")).unwrap();
    assert_eq!(refusal(&catalog, "old").0, Refusal::NotExecutable);
    put(&commands, "new", 0o755);
    assert!(resolve(&catalog, "new").is_ok());
}

#[test]
fn a_folder_into_which_anyone_may_write_is_opened_and_each_of_its_commands_is_refused() {
    let (folder, _) = folder();
    put(folder.path(), "go", 0o755);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let catalog = Catalog::open(folder.path()).unwrap();
    let problem = catalog.problem().unwrap();
    assert!(problem.contains("chmod o-w"), "{problem}");
    let why = (Refusal::NotExecutable, problem.clone());
    assert_eq!(refusal(&catalog, "go"), why);
    let list = catalog.list().unwrap();
    assert_eq!(list[0].problem, Some(Text::new(problem)));
    assert_eq!(refusal(&catalog, "absent").0, Refusal::NotFound);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(resolve(&catalog, "go").is_ok());
    assert_eq!(catalog.problem(), None);
}

#[test]
fn a_path_at_which_no_folder_is_is_a_mistake() {
    let (folder, _) = folder();
    let file = put(folder.path(), "file", 0o755);
    for (path, what) in [
        (file.clone(), "is no folder"),
        (folder.path().join("absent"), "make it, or say --commands"),
        (file.join("below"), "make it, or say --commands"),
    ] {
        let error = format!("{:#}", Catalog::open(&path).unwrap_err());
        assert!(error.contains(what), "{error}");
        assert!(Catalog::at(&path).unwrap().problem().is_some());
    }
}

#[test]
fn the_list_has_the_names_and_what_is_wrong() {
    let (folder, catalog) = folder();
    put(folder.path(), "go", 0o755);
    put(folder.path(), "dir/sub", 0o644);
    put(folder.path(), ".hidden", 0o755);
    put(folder.path(), "a/b/c/d/too-deep", 0o755);
    let list = catalog.list().unwrap();
    let names: Vec<_> = list.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, ["dir/sub", "go"]);
    assert!(
        list[0]
            .problem
            .as_ref()
            .is_some_and(|problem| problem.raw().contains("chmod +x"))
    );
    assert_eq!(list[1].problem, None);
}
