//! `setup` as root on a machine with systemd: the real programs in a namespace with an `/etc` of its own, where the
//! machine's tools are scripts that write down what they are told.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use p2p_shared::key::Key;

use crate::common::program::{ProgramResult, RunningProgram, command, path, router, run};

/// Number of the service's user.
const USER: u32 = 4242;

/// Makes the namespace in `$1`, and runs the rest there.
const NAMESPACE: &str = r#"
dir=$1; shift
mount --bind "$dir/etc" /etc
mount --bind "$dir/var" /var/lib
mount --bind "$dir/bin" /usr/local/bin
for name in p2p-inner p2p-router; do
    mount --bind "$PROGRAMS/$name" /usr/local/bin/$name
done
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
exec "$@"
"#;

/// Tools of the machine; each knows the folder as `$dir`.
const TOOLS: [(&str, &str); 6] = [
    (
        "systemctl",
        r#"
        echo "$*" >> "$dir/told"
        case $1 in
        cat) test -e "/etc/systemd/system/$2.service" ;;
        start | restart)
            # In hundredths of a second, and later than what was written before.
            sleep 0.02; sed 's/\.//; s/ .*//' /proc/uptime > "$dir/active" ;;
        show)
            test ! -e "$dir/active" || echo ActiveState=active
            echo "ExecMainStartTimestampMonotonic=$(cat "$dir/active")0000"
            echo "StatusText=$(cat "$dir/status")" ;;
        esac"#,
    ),
    (
        "id",
        r#"
        test -e "$dir/groups" || exit 1
        case $1 in
        -nG) cat "$dir/groups" ;;
        *) echo 4242 ;;
        esac"#,
    ),
    ("useradd", r#"echo p2p > "$dir/groups""#),
    ("usermod", r#"test "$1" = -aG; echo "$2" >> "$dir/groups""#),
    ("getent", r#"test "$2" = gpio"#),
    ("rpicam-vid", "echo Available cameras"),
];

struct Machine(tempfile::TempDir);

impl Machine {
    /// `None` where no namespace can be made.
    async fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let is_root = fs::metadata(dir.path()).unwrap().uid() == 0;
        let tried = run(command(Path::new("unshare"), dir.path()).args(["-m", "true"])).await;
        if !is_root || tried.code != Some(0) {
            eprintln!("skipped: no namespace can be made here");
            return None;
        }
        let machine = Self(dir);
        for folder in ["etc/systemd/system", "var", "bin", "tools"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        for name in ["p2p-inner", "p2p-router"] {
            fs::write(machine.path("bin").join(name), "").unwrap();
        }
        for (name, text) in TOOLS {
            let path = machine.path("tools").join(name);
            let dir = machine.0.path().display();
            fs::write(&path, format!("#!/bin/sh\nset -e\ndir={dir}\n{text}\n")).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        machine.says("link up: https://router.test:9000/");
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Lets systemd say this of the service.
    fn says(&self, status: &str) {
        fs::write(self.path("status"), status).unwrap();
    }

    /// Writes a file of the machine, for root alone.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Returns mode and owner.
    fn rights(&self, name: &str) -> (u32, u32) {
        let file = fs::metadata(self.path(name)).unwrap();
        (file.mode() & 0o777, file.uid())
    }

    /// Runs a program there, and returns whether the service was restarted, too.
    async fn run(&self, program: &Path, words: &str) -> (ProgramResult, bool) {
        let programs = path("p2p-inner").parent().unwrap().to_owned();
        let usual = std::env::var("PATH").unwrap();
        let tools = format!("{}:{usual}", self.path("tools").display());
        fs::write(self.path("told"), "").unwrap();
        let mut command = command(Path::new("unshare"), self.0.path());
        command
            .args(["-m", "sh", "-ec", NAMESPACE, "sh"])
            .args([self.0.path(), program])
            .args(words.split(' '))
            .env("PROGRAMS", programs)
            .env("PATH", tools);
        let done = run(&mut command).await;
        let was_restarted = self.text("told").contains("restart ");
        (done, was_restarted)
    }

    async fn set_up(&self, words: &str) -> (String, bool) {
        let program = Path::new("/usr/local/bin/p2p-inner");
        let (done, was_restarted) = self.run(program, &format!("setup {words}")).await;
        assert_eq!(done.code, Some(0), "{words}: {}", done.errors);
        (done.errors, was_restarted)
    }
}

async fn invite(public: &Path, name: &str) -> String {
    let words = ["key", "add", name, "--role", "link", "--invite"];
    let added = run(router(public).args(words)).await;
    assert_eq!(added.code, Some(0), "{}", added.errors);
    added.out.split_whitespace().last().unwrap().to_owned()
}

async fn start_router(public: &Path, words: &[&str]) -> (RunningProgram, u16) {
    let mut router = router(public);
    router.args(["0", "--bind", "127.0.0.1"]).args(words);
    let running = RunningProgram::start(&mut router);
    let port = running.main_port().await;
    (running, port)
}

#[tokio::test]
async fn a_service_is_restarted_only_if_something_has_changed() {
    let Some(machine) = Machine::new().await else {
        return;
    };
    let public = tempfile::tempdir().unwrap();
    let (_router, _) = start_router(public.path(), &[]).await;
    let invitation = invite(public.path(), "car").await;

    // What others could change is no service, and what fails fails before the invitation is redeemed.
    let first = format!("setup --yes --camera none {invitation}");
    let (refused, _) = machine.run(&path("p2p-inner"), &first).await;
    assert!(
        refused.errors.contains("sudo install"),
        "{}",
        refused.errors
    );
    machine.write("etc/p2prouter/inner.key/folder", "");
    let (refused, _) = machine.run(Path::new("p2p-inner"), &first).await;
    assert!(refused.errors.contains("is a folder"), "{}", refused.errors);
    fs::remove_dir_all(machine.path("etc/p2prouter")).unwrap();

    let (said, was_restarted) = machine.set_up(&first["setup ".len()..]).await;
    assert!(
        said.contains("link up: https://router.test:9000/"),
        "{said}"
    );
    assert!(was_restarted);
    assert_eq!(machine.rights("etc/p2prouter/inner.key"), (0o600, USER));
    assert_eq!(machine.rights("etc/p2prouter/inner.env"), (0o600, 0));
    assert!(machine.path("etc/p2prouter/commands/stop").exists());
    let unit = machine.text("etc/systemd/system/p2p-inner.service");
    assert!(
        unit.contains("\nExecStart=p2p-inner $ROUTER_HOST "),
        "{unit}"
    );
    assert_eq!(machine.text("groups"), "p2p\ngpio\n");

    let (said, was_restarted) = machine.set_up("--yes").await;
    assert!(said.contains("nothing has changed"), "{said}");
    assert!(!was_restarted);
    let (said, was_restarted) = machine.set_up("--yes --name van").await;
    assert!(said.contains("which stops the car"), "{said}");
    assert!(was_restarted);
    let settings = machine.text("etc/p2prouter/inner.env");
    assert!(settings.contains("P2P_NAME=\"van\"\n"), "{settings}");
    assert!(!settings.contains("CAMERA"), "{settings}");

    // One that was broken off before the restart, or a hand that wrote the file.
    machine.write("etc/p2prouter/inner.env", &settings);
    assert!(machine.set_up("--yes").await.1);
    assert!(!machine.set_up("--yes").await.1);
    let key = machine.text("etc/p2prouter/inner.key");
    fs::write(machine.path("etc/p2prouter/inner.key"), key).unwrap();
    assert!(machine.set_up("--yes").await.1);
    assert!(!machine.set_up("--yes").await.1);

    // A user who was made before the group.
    fs::write(machine.path("groups"), "p2p\n").unwrap();
    assert!(machine.set_up("--yes").await.1);

    let commands = machine.path("etc/p2prouter/commands");
    fs::set_permissions(&commands, PermissionsExt::from_mode(0o700)).unwrap();
    let (said, _) = machine.set_up("--yes").await;
    assert!(said.contains("ermission denied"), "{said}");

    machine.says("refused: the router refuses the link: port 9000 is van's");
    let program = Path::new("p2p-inner");
    let (refused, _) = machine.run(program, "setup --yes").await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.errors.contains("is van's"), "{}", refused.errors);
}

#[tokio::test]
async fn root_puts_no_commands_where_a_person_can_lead_it() {
    let Some(machine) = Machine::new().await else {
        return;
    };
    machine.write("etc/p2prouter/inner.env", "ROUTER_HOST=a\nP2P_KEY=k\n");
    let home = machine.path("var/pi");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(1000), None).unwrap();
    let words = "setup --yes --commands /var/lib/pi/command";
    let (refused, _) = machine.run(Path::new("p2p-inner"), words).await;
    assert_eq!(refused.code, Some(1));
    let said = "belongs to another user than root";
    assert!(refused.errors.contains(said), "{}", refused.errors);
    assert_eq!(fs::read_dir(home).unwrap().count(), 0);
}

#[tokio::test]
async fn a_machine_that_was_installed_by_hand_keeps_its_key_ports_and_routers() {
    let Some(machine) = Machine::new().await else {
        return;
    };
    let key = Key::generate().unwrap().expose();
    machine.write("etc/p2prouter/key", &key);
    let before = "ROUTER_HOST=a.test,b.test\nSERVICE_PORT=9000\nP2P_NAME=Tom's car\n\
                  P2P_KEY_FILE=/etc/p2prouter/key\n";
    machine.write("etc/p2prouter/inner.env", before);
    machine.set_up("--yes").await;
    let after = machine.text("etc/p2prouter/inner.env");
    let added = "P2P_COMMANDS=\"/etc/p2prouter/commands\"\n";
    assert_eq!(after, format!("{before}{added}"));
    assert!(!machine.path("etc/p2prouter/inner.key").exists());

    let state = machine.path("var/p2p-router");
    let words = ["--state-dir", state.to_str().unwrap()];
    let (_router, port) = start_router(machine.0.path(), &words).await;
    let add = ["key", "add", "car", "--role", "link", words[0], words[1]];
    assert_eq!(run(router(machine.0.path()).args(add)).await.code, Some(0));
    machine.write(
        "etc/p2prouter/router.env",
        &format!("ROUTER_PORT={port}\nP2P_BIND=127.0.0.1\n"),
    );
    fs::write(machine.path("active"), "").unwrap();
    let program = Path::new("p2p-router");
    for is_first in [true, false] {
        let words = "setup --yes --public-host router.test";
        let (done, was_restarted) = machine.run(program, words).await;
        assert_eq!(done.code, Some(0), "{}", done.errors);
        assert_eq!(was_restarted, is_first);
    }
    let settings = machine.text("etc/p2prouter/router.env");
    assert!(
        settings.contains("P2P_SERVICE_PORTS=\"1024-65535\"\n"),
        "{settings}"
    );
    assert_eq!(machine.rights("etc/p2prouter/router.env"), (0o600, 0));
}
