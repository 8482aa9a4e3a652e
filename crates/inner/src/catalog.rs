//! Finds the executable file of a command's name in the command directory, and never anything
//! outside of it.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use p2p_shared::bounded::Text;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{CommandInfo, Refusal};
use p2p_shared::text::Escaped;
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::process;

mod trust;

/// Most commands in a list.
const MAX_LISTED: usize = 10_000;
/// Most workers that are started.
const MAX_WORKERS: usize = 64;
/// Deepest directory that can hold a command: names have four parts.
const MAX_DEPTH: usize = 4;

/// Extension of workers' files, which are no commands themselves.
const WORKER: &str = ".worker";

/// Command directory. Its path may lead over symbolic links, which are followed anew for each
/// command: a new release counts as soon as its link is there.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    path: PathBuf,
}

/// The command directory as it is at this moment.
struct Folder {
    /// Without symbolic links.
    path: PathBuf,
    dir: Dir,
}

/// File of a command or worker, and the command directory, where it runs: paths without symbolic
/// links up to the command directory.
#[derive(Debug)]
pub(crate) struct CommandFile {
    pub file: PathBuf,
    pub folder: PathBuf,
}

/// Reason why a name can't be run: its kind, and a sentence that says what to do.
pub(crate) type Unusable = (Refusal, String);

impl Catalog {
    /// Opens a command directory; fails if there is none at the path, which is a mistake of whoever
    /// wrote the path. A directory that can't be read or trusted is opened: it may be the one whose
    /// commands moved the car before, and each command says why it isn't run.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let catalog = Self::at(path)?;
        let shown = shown(&catalog.path);
        match catalog.path.metadata() {
            Ok(metadata) => anyhow::ensure!(
                metadata.is_dir(),
                "the command directory {shown} is no folder"
            ),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "the command directory {shown} can't be used: make it, or say --commands DIR"
                    )
                });
            }
        }
        Ok(catalog)
    }

    /// Returns the catalog of a command directory that may be gone or refused at the moment.
    pub(crate) fn at(path: &Path) -> anyhow::Result<Self> {
        // For those who see it in a sentence.
        let path = std::path::absolute(path).context("the command directory")?;
        Ok(Self { path })
    }

    /// Returns the reason why no command at all can be run, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        match self.usable_folder() {
            Ok(folder) => self.check_way(&folder).err(),
            Err((_, why)) => Some(why),
        }
    }

    /// Returns the file of a command.
    pub(crate) fn resolve(&self, name: &CommandName) -> Result<CommandFile, Unusable> {
        if name.as_str().ends_with(WORKER) {
            let sentence = format!(
                "{} is a worker: ask for the commands that it serves (GET /commands lists them)",
                Escaped(name.as_str())
            );
            return Err((Refusal::NotFound, sentence));
        }
        self.find(name)
    }

    /// Returns the file of a worker.
    pub(crate) fn worker(&self, name: &str) -> Result<CommandFile, Unusable> {
        let parsed = name.parse::<CommandName>();
        let name = parsed.map_err(|error| unusable(format!("{}: {error}", Escaped(name))))?;
        self.find(&name)
    }

    /// Lists the workers in the directory, not in those below it.
    pub(crate) fn workers(&self) -> io::Result<Vec<String>> {
        let entries = self.folder()?.dir.entries()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names
            .filter(|name| name.ends_with(WORKER) && !name.starts_with('.'))
            .collect();
        names.sort();
        names.truncate(MAX_WORKERS);
        Ok(names)
    }

    /// Lists all commands, by name, with what is wrong with those that can't be run.
    pub(crate) fn list(&self) -> io::Result<Vec<CommandInfo>> {
        let mut commands = Vec::new();
        let folder = self.folder()?;
        let why_none = self.check_way(&folder).err();
        folder.list_into(&folder.dir, "", 1, why_none.as_deref(), &mut commands);
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(commands)
    }

    fn find(&self, name: &CommandName) -> Result<CommandFile, Unusable> {
        let folder = self.usable_folder()?;
        let found = folder.executable(name)?;
        self.check_way(&folder).map_err(unusable)?;
        Ok(found)
    }

    fn usable_folder(&self) -> Result<Folder, Unusable> {
        self.folder().map_err(|error| {
            unusable(match error.kind() {
                io::ErrorKind::NotFound => {
                    format!("the command directory is gone ({error}): put it back")
                }
                _ => format!(
                    "the command directory {} can't be read ({error}): let user {} read it",
                    shown(&self.path),
                    rustix::process::geteuid().as_raw()
                ),
            })
        })
    }

    /// Opens the directory anew each time, so that a replaced one (by a checkout, by rsync, by another
    /// symbolic link) is used.
    fn folder(&self) -> io::Result<Folder> {
        let path = self.path.canonicalize()?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
        Ok(Folder { path, dir })
    }

    /// Checks the way to the directory, with its symbolic links, and the directory itself.
    fn check_way(&self, folder: &Folder) -> Result<(), String> {
        trust::check(Path::new("/"), &self.path, true)?;
        trust::check_folder(&folder.path)
    }
}

impl Folder {
    /// Returns the file of this name, if it is one that can be executed and that nobody else could
    /// have put there.
    fn executable(&self, name: &CommandName) -> Result<CommandFile, Unusable> {
        let file = self.path.join(name.as_str());
        let metadata = self
            .dir
            .metadata(name.as_str())
            .map_err(|error| unreachable_file(&self.dir, name, &file, &error))?;
        check(&metadata, &file)?;
        trust::check(&self.path, Path::new(name.as_str()), false).map_err(unusable)?;
        check_execution(&file).map_err(unusable)?;
        Ok(CommandFile {
            file,
            folder: self.path.clone(),
        })
    }

    /// Adds the commands in `inside`; `why_none` says why none of them can be run.
    fn list_into(
        &self,
        inside: &Dir,
        prefix: &str,
        depth: usize,
        why_none: Option<&str>,
        commands: &mut Vec<CommandInfo>,
    ) {
        let Ok(entries) = inside.entries() else {
            return;
        };
        for entry in entries.flatten() {
            if commands.len() >= MAX_LISTED {
                return;
            }
            let Ok(file) = entry.file_name().into_string() else {
                continue;
            };
            let Ok(name) = CommandName::try_from(format!("{prefix}{file}")) else {
                continue;
            };
            // Symbolic links to directories are not followed: they could form a loop.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < MAX_DEPTH
                    && let Ok(inside) = entry.open_dir()
                {
                    let prefix = format!("{name}/");
                    self.list_into(&inside, &prefix, depth + 1, why_none, commands);
                }
                continue;
            }
            let problem = if !file.ends_with(WORKER) {
                let why_not = || Some(self.executable(&name).err()?.1);
                why_none.map(str::to_owned).or_else(why_not)
            } else if depth > 1 {
                let shown = Escaped(name.as_str());
                Some(format!(
                    "{shown} is not started: move it into the command directory itself"
                ))
            } else {
                continue;
            };
            let problem = problem.map(Text::new);
            commands.push(CommandInfo { name, problem });
        }
    }
}

fn unusable(sentence: String) -> Unusable {
    (Refusal::NotExecutable, sentence)
}

/// Says why a file can't be examined.
fn unreachable_file(folder: &Dir, name: &CommandName, path: &Path, error: &io::Error) -> Unusable {
    let command = Escaped(name.as_str());
    match error.kind() {
        // cap-std's own refusal to leave the directory has no OS error number.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => unusable(format!(
            "{command} is a symbolic link that leaves the command directory: copy the file into it"
        )),
        io::ErrorKind::NotFound if folder.symlink_metadata(name.as_str()).is_ok() => (
            Refusal::NotFound,
            format!("{command} is a symbolic link to nothing"),
        ),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => (
            Refusal::NotFound,
            format!("there is no command {command}: GET /commands lists what there is"),
        ),
        _ => unusable(format!("{} can't be looked at: {error}", shown(path))),
    }
}

fn check(metadata: &Metadata, path: &Path) -> Result<(), Unusable> {
    let mode = metadata.mode();
    if metadata.is_file() && mode & 0o6000 == 0 && mode & 0o111 != 0 {
        return Ok(());
    }
    let (shown, mend) = (shown(path), quoted(path));
    if metadata.is_dir() {
        let sentence = format!("{shown} is a folder: ask for a file in it");
        return Err((Refusal::NotFound, sentence));
    }
    Err(unusable(if !metadata.is_file() {
        format!("{shown} is no regular file")
    } else if mode & 0o6000 != 0 {
        format!("{shown} runs as somebody else (set-uid or set-gid): chmod ug-s {mend}")
    } else {
        format!("{shown} is not executable: chmod +x {mend}")
    }))
}

/// Checks what the kernel would not say clearly.
fn check_execution(file: &Path) -> Result<(), String> {
    let shown = shown(file);
    if statvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
        return Err(format!(
            "{shown} is on a file system that is mounted noexec, from which nothing can be executed: move the command directory, or mount it with exec"
        ));
    }
    if process::begins_with_mark(file) {
        return Err(format!(
            "{shown} begins with a byte order mark, which hides its first line from the kernel: save it as UTF-8 without one"
        ));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

/// Quotes the path as one word for a shell.
fn quoted(path: &Path) -> String {
    shlex::try_quote(&shown(path))
        .unwrap_or_default()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

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
}
