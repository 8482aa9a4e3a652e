//! Shows the settings that a process runs with, without secrets, for the first line of its log.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgMatches};

use super::layers::{key, parse};
use super::{CommandLine, Settings};
use crate::text::Escaped;

/// Most characters that are shown of a value.
const SHOWN_CHARS: usize = 120;

/// Logs which program this is, by the name of its log, its version, and its settings that are not the default. Call it
/// once the logs have started.
pub fn log_start<T: Settings>(program: &str) {
    let environment = |name: &str| std::env::var_os(name);
    let args: Vec<OsString> = std::env::args_os().collect();
    let settings = shown::<T>(&args, &environment);
    let command = T::command();
    let version = command.get_version().unwrap_or(env!("CARGO_PKG_VERSION"));
    tracing::info!(program, version, settings, "started");
}

/// Returns the settings that are not the default, as `key=value`, without secrets.
pub(super) fn shown<T: Settings>(
    args: &[OsString],
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> String {
    let command = T::command();
    // Who calls this has parsed the same before.
    let Ok(matches) = parse(command.clone(), T::used_by, args, environment) else {
        return String::new();
    };
    let said = command
        .get_arguments()
        .filter_map(|arg| of_setting(arg, &matches));
    said.collect::<Vec<_>>().join(" ")
}

fn of_setting(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    let values = matches.try_get_raw(arg.get_id().as_str()).ok()??;
    let values: Vec<&OsStr> = values.collect();
    let is_switch = !arg.get_action().takes_values();
    // A default of several values is one text with commas.
    let joined = |values: Vec<&OsStr>| values.join(OsStr::new(","));
    let defaults = arg.get_default_values().iter().map(|it| it.as_os_str());
    if values.is_empty() || joined(values.clone()) == joined(defaults.collect()) {
        return None;
    }
    if is_switch {
        let is_off = values
            .iter()
            .all(|value| *value == "false" || *value == "0");
        return (!is_off).then(|| key(arg));
    }
    let is_command = arg.get_value_parser().type_id() == TypeId::of::<CommandLine>();
    let shown = match is_command {
        true => program_of(values.first()?),
        false => {
            let values = values
                .iter()
                .map(|value| without_login(&value.to_string_lossy()));
            values.collect::<Vec<_>>().join(",")
        }
    };
    Some(format!("{}={}", key(arg), Escaped(&shown).cut(SHOWN_CHARS)))
}

/// Shows the first word of a command line: in the others may be passwords.
fn program_of(line: &OsStr) -> String {
    let line = line.to_string_lossy();
    let first = line.split_whitespace().next().unwrap_or_default();
    format!("{} …", without_login(first))
}

/// Shows a value without what is before its last `@`: a name and a password, or a token, with any characters in them.
fn without_login(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(name = "p2p-test", version)]
    struct Test {
        #[arg(long, default_value = "80")]
        port: u16,
        #[arg(long)]
        open: bool,
        #[arg(long)]
        quiet: bool,
        #[arg(long, value_delimiter = ',')]
        mesh: Vec<String>,
        #[arg(long)]
        camera: Option<CommandLine>,
        #[arg(long, value_delimiter = ',', default_value = "forward,back")]
        motion: Vec<String>,
    }

    impl Settings for Test {}

    #[test]
    fn settings_are_shown_wherever_they_come_from_and_without_secrets() {
        let args = [
            "p2p-test",
            "--open",
            "--mesh=nats://anna:secret@one:4222,nats://secret@two",
        ];
        let camera = "pull rtsp://anna:secret@camera/ --password secret";
        let environment = |name: &str| (name == "P2P_CAMERA").then(|| camera.into());
        let said = shown::<Test>(&args.map(OsString::from), &environment);
        assert_eq!(said, "open mesh=…@one:4222,…@two camera=pull …");
        assert_eq!(shown::<Test>(&["p2p-test".into()], &|_| None), "");
        let other = ["p2p-test".into(), "--port=81".into()];
        assert_eq!(shown::<Test>(&other, &|_| None), "port=81");
    }

    #[test]
    fn a_login_is_not_shown_whatever_is_in_it() {
        for login in [
            "anna:secret",
            "nats://u:se/cret",
            "nats://u:se@cret",
            "u:se://cret",
            "secret",
        ] {
            let args = [
                "p2p-test".into(),
                format!("--mesh={login}@host:4222").into(),
            ];
            let said = shown::<Test>(&args, &|_| None);
            assert_eq!(said, "mesh=…@host:4222", "{login}");
        }
        let args = ["p2p-test".into(), "--mesh=nats://host:4222".into()];
        assert_eq!(shown::<Test>(&args, &|_| None), "mesh=nats://host:4222");
    }
}
