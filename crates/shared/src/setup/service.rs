//! The service of a program: its user, its unit and its state, by the tools that every machine with systemd has.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use rustix::time::{ClockId, clock_gettime};

use super::{Owner, own_path, write_file};
use crate::text::{Escaped, EscapedBytes};

/// Time between two looks at a service.
const LOOK: Duration = Duration::from_millis(300);
/// Where systemd looks for a program, one after the other.
const PROGRAMS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
/// What systemd calls the time of a service's last start, in microseconds.
const STARTED: &str = "ExecMainStartTimestampMonotonic";
/// Most characters of what a tool says that are shown.
const SAID: usize = 500;

/// A service, and the user of the same name that it runs as.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Name of the program, its unit and its user.
    pub name: &'static str,
    /// The unit for a machine on which no package has put one.
    pub unit: &'static str,
}

/// What systemd says of a service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// `active`, `activating`, `failed`, …
    pub active: String,
    /// What the program says of itself (`STATUS=` of sd_notify(3)).
    pub status: String,
    /// Time of its last start, since that of the machine (`CLOCK_MONOTONIC`).
    pub started: Duration,
}

/// User of a service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceUser {
    /// Its number, and its group's.
    pub owner: Owner,
    /// True if it is new, or in a group in which it was not: a service has the groups that it was started with.
    pub has_changed: bool,
}

impl Service {
    /// Finds the service's user. Makes it if there is none, and puts it into those of these groups that the machine has.
    ///
    /// # Errors
    /// If it can't be made, or systemd would not find this program.
    pub fn user(self, groups: &[&str]) -> anyhow::Result<ServiceUser> {
        if !self.has_unit() {
            self.check_program()?;
        }
        let is_new = self.id("-u").is_err();
        if is_new {
            let home = format!("/var/lib/{}", self.name);
            let shell = "/usr/sbin/nologin";
            run(
                "useradd",
                &["--system", "--home-dir", &home, "--shell", shell, self.name],
            )?;
        }
        let present = run("id", &["-nG", self.name])?;
        let is_in = |group: &str| present.split_whitespace().any(|it| it == group);
        let is_there = |group: &str| run("getent", &["group", group]).is_ok();
        let missing = groups
            .iter()
            .filter(|group| !is_in(group) && is_there(group));
        let missing: Vec<&str> = missing.copied().collect();
        if !missing.is_empty() {
            run("usermod", &["-aG", &missing.join(","), self.name])?;
        }
        Ok(ServiceUser {
            owner: (self.id("-u")?, self.id("-g")?),
            has_changed: is_new || !missing.is_empty(),
        })
    }

    fn id(self, which: &str) -> anyhow::Result<u32> {
        let id = run("id", &[which, self.name])?;
        id.trim()
            .parse()
            .with_context(|| format!("id {which} {}", self.name))
    }

    fn has_unit(self) -> bool {
        run("systemctl", &["cat", self.name]).is_ok()
    }

    /// Checks that the unit, which has the program's name alone, starts this program, and that nobody but root can
    /// put another one in its place.
    fn check_program(self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("what this program is")?;
        let mut places = PROGRAMS
            .map(|folder| Path::new(folder).join(self.name))
            .into_iter();
        let found = places.find(|it| it.is_file());
        let is_this = found.is_some_and(|it| own_path(&it).is_ok_and(|it| it == program));
        ensure!(
            is_this,
            "the service would not start this program, or others than root may change it: \
             sudo install -m 755 {} /usr/local/bin/{name}, and run {name} setup again",
            program.display(),
            name = self.name
        );
        Ok(())
    }

    /// Returns true if the service runs.
    ///
    /// # Errors
    /// If systemd doesn't say.
    pub fn is_active(self) -> anyhow::Result<bool> {
        Ok(self.state()?.active == "active")
    }

    /// Returns true if one of these files has been written since the service began to run, which so goes by what was
    /// in it before: by whomever, also by a set-up that was broken off.
    ///
    /// # Errors
    /// If systemd doesn't say.
    pub fn is_older_than(self, files: &[&Path]) -> anyhow::Result<bool> {
        let uptime = Duration::try_from(clock_gettime(ClockId::Monotonic))?;
        let runs = uptime.saturating_sub(self.state()?.started);
        let now = SystemTime::now();
        // A file of the future was written before the clock was set back.
        let age = |file: &&Path| {
            now.duration_since(file.metadata().ok()?.modified().ok()?)
                .ok()
        };
        Ok(files.iter().filter_map(age).any(|age| age < runs))
    }

    /// Switches the service on, now and at boot. One that runs goes on as it is, unless something `has_changed`.
    ///
    /// # Errors
    /// If systemd refuses, or the service fails at once.
    pub fn start(self, has_changed: bool) -> anyhow::Result<()> {
        let path = format!("/etc/systemd/system/{}.service", self.name);
        let path = Path::new(&path);
        if !self.has_unit() || fs::read_to_string(path).is_ok_and(|text| self.wrote_once(&text)) {
            write_file(path, self.unit, 0o644, None)?;
        }
        run("systemctl", &["daemon-reload"])?;
        run("systemctl", &["enable", self.name])?;
        let start = if has_changed { "restart" } else { "start" };
        let started = run("systemctl", &[start, self.name]);
        started.map(drop).with_context(|| self.last_words())
    }

    /// Returns true for an older unit that a set-up wrote, and nobody else.
    fn wrote_once(self, text: &str) -> bool {
        text != self.unit && text.lines().next() == self.unit.lines().next()
    }

    /// Says what the service said last.
    fn last_words(self) -> String {
        let name = self.name;
        let said = run(
            "journalctl",
            &["-u", name, "-n", "1", "-o", "cat", "--no-pager"],
        );
        match said.as_deref().map(str::trim) {
            Ok(said) if !said.is_empty() => format!("{name} does not start: {}", Escaped(said)),
            _ => format!("{name} does not start: `journalctl -eu {name}` says why"),
        }
    }

    /// Waits until `look` returns something.
    ///
    /// # Errors
    /// If that takes longer than `patience`, or the service fails.
    pub fn wait_for<T>(
        self,
        patience: Duration,
        mut look: impl FnMut(&ServiceState) -> Option<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + patience;
        loop {
            let state = self.state()?;
            if let Some(found) = look(&state) {
                return Ok(found);
            }
            let name = self.name;
            if state.active == "failed" {
                bail!("{}", self.last_words());
            }
            if Instant::now() >= end {
                let seconds = patience.as_secs();
                let said = match state.status.as_str() {
                    "" => format!("`journalctl -eu {name}` may say why"),
                    status => format!("it says: {status}"),
                };
                bail!("{name} runs, but is not ready after {seconds} s: {said}");
            }
            std::thread::sleep(LOOK);
        }
    }

    fn state(self) -> anyhow::Result<ServiceState> {
        let properties = format!("--property=ActiveState,StatusText,{STARTED}");
        Ok(parse(&run("systemctl", &["show", &properties, self.name])?))
    }
}

fn parse(properties: &str) -> ServiceState {
    let value = |name: &str| {
        let of = |line: &str| {
            line.strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        };
        properties.lines().find_map(of).unwrap_or_default()
    };
    ServiceState {
        active: value("ActiveState"),
        status: value("StatusText"),
        started: Duration::from_micros(value(STARTED).parse().unwrap_or(0)),
    }
}

/// Runs a tool, and returns what it prints.
fn run(tool: &str, arguments: &[&str]) -> anyhow::Result<String> {
    // `su` leaves those of root out.
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    let output = Command::new(tool)
        .args(arguments)
        .env("PATH", path)
        .output();
    let output = output.with_context(|| format!("can't run {tool}"))?;
    let said = EscapedBytes(output.stderr.trim_ascii()).cut(SAID);
    ensure!(
        output.status.success(),
        "{tool} {}: {said}",
        arguments.join(" ")
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_what_systemctl_shows() {
        let state = parse(
            "ActiveState=active\nStatusText=link up: https://a:9000/?x=1\n\
             ExecMainStartTimestampMonotonic=1500000\n",
        );
        assert_eq!(state.started, Duration::from_millis(1500));
        assert_eq!(state.active, "active");
        assert_eq!(state.status, "link up: https://a:9000/?x=1");
        assert_eq!(parse("StatusText=\n"), ServiceState::default());
    }

    #[test]
    fn a_tool_that_fails_or_is_not_there_is_named() {
        let said = |tool, words| format!("{:#}", run(tool, words).unwrap_err());
        assert!(said("ls", &["/nowhere"]).starts_with("ls /nowhere: "));
        assert!(said("no-such-tool", &[]).contains("no-such-tool"));
    }
}
