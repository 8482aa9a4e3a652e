//! The layers, on command lines in small that are those of router and inner.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use tempfile::TempDir;

use super::*;

#[derive(Parser, Debug)]
#[command(name = "p2p-router", version, subcommand_negates_reqs = true)]
struct Router {
    /// The main port
    #[arg(default_value_t = 8888)]
    port: u16,

    #[arg(long, default_value = "[::]")]
    bind: String,

    /// No keys
    #[arg(long)]
    open: bool,

    #[arg(long, value_name = "LOW-HIGH", default_value = "1024-65535")]
    service_ports: String,

    #[arg(long, value_name = "DIR", global = true, default_value = "state")]
    state_dir: PathBuf,

    #[command(flatten)]
    common: CommonOptions,

    #[command(subcommand)]
    task: Option<RouterTask>,
}

impl Settings for Router {
    fn used_by(subcommand: &str) -> Option<&'static [&'static str]> {
        (subcommand == "key").then_some(&["state-dir"])
    }
}

#[derive(Subcommand, Debug)]
enum RouterTask {
    #[command(subcommand)]
    Key(KeyTask),
    Completions {
        shell: Shell,
    },
    Man,
}

#[derive(Subcommand, Debug)]
enum KeyTask {
    Add {
        name: String,
        #[arg(long)]
        role: Role,
    },
    List,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Role {
    Link,
    View,
}

#[test]
fn a_subcommands_help_has_the_settings_that_it_uses_and_no_others() {
    let help = |args: &str| {
        let args = ["p2p-router"].into_iter().chain(args.split(' '));
        let error = try_parse_from::<Router>(args, &|_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
        error.to_string()
    };
    for (args, shown) in [
        ("key add --help", vec!["--role", "--state-dir", "--config"]),
        ("help key", vec!["--state-dir", "--config"]),
        ("completions --help", vec![]),
    ] {
        let help = help(args);
        for option in ["--role", "--state-dir", "--config", "--verbose"] {
            assert_eq!(
                help.contains(option),
                shown.contains(&option),
                "{args}: {help}"
            );
        }
    }
}

#[derive(Parser, Debug)]
#[command(name = "p2p-inner", version, subcommand_negates_reqs = true)]
struct Inner {
    #[arg(required = true)]
    router_host: Option<String>,
    #[arg(required = true, value_parser = clap::value_parser!(u16).range(1..))]
    router_port: Option<u16>,
    #[arg(required = true, value_parser = clap::value_parser!(u16).range(1..))]
    service_port: Option<u16>,

    /// Longest run
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    timeout: f64,
    #[arg(
        long,
        value_name = "A,B,C,D",
        value_delimiter = ',',
        default_value = "forward,back"
    )]
    motion: Vec<String>,
    #[arg(long, ignore_case = true, default_value = "link")]
    role: Role,

    #[command(flatten)]
    common: CommonOptions,

    #[command(subcommand)]
    task: Option<InnerTask>,
}

impl Settings for Inner {}

#[derive(Subcommand, Debug)]
enum InnerTask {
    Completions { shell: Shell },
    Man,
}

/// Parses words separated by spaces, in an environment, with a file if there is one.
struct Setup {
    temp: TempDir,
    environment: HashMap<String, OsString>,
}

impl Setup {
    fn new() -> Self {
        Self {
            temp: TempDir::new().unwrap(),
            environment: HashMap::new(),
        }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// The file is named by P2P_CONFIG.
    fn file(self, text: &str) -> Self {
        fs::write(self.path(), text).unwrap();
        let path = self.path().to_str().unwrap().to_owned();
        self.variable("P2P_CONFIG", &path)
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("p2p.toml")
    }

    fn parse<T: Settings>(&self, args: &str) -> Result<T, clap::Error> {
        let name = T::command().get_name().to_owned();
        let args = [name]
            .into_iter()
            .chain(args.split_whitespace().map(str::to_owned));
        try_parse_from(args, &|name| self.environment.get(name).cloned())
    }

    fn router(&self, args: &str) -> Router {
        self.parse(args).unwrap_or_else(|error| panic!("{error}"))
    }

    fn inner(&self, args: &str) -> Inner {
        self.parse(args).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The first line of a usage error, without the folder of the file.
    fn mistake<T: Settings + std::fmt::Debug>(&self, args: &str) -> String {
        let error = self.parse::<T>(args).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error
            .to_string()
            .replace(&format!("{}/", self.temp.path().display()), "");
        text.split("\n\nUsage").next().unwrap().to_owned()
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let setup = Setup::new();
    assert_eq!(setup.router("").service_ports, "1024-65535");
    let setup = setup.file("service-ports = '2000-3000'\nport = 9000");
    assert_eq!(setup.router("").service_ports, "2000-3000");
    assert_eq!(setup.router("").port, 9000);
    let setup = setup
        .variable("P2P_SERVICE_PORTS", "4000-5000")
        .variable("P2P_PORT", "9001");
    assert_eq!(setup.router("").service_ports, "4000-5000");
    assert_eq!(setup.router("").port, 9001);
    assert_eq!(
        setup.router("9002 --service-ports 1-2").service_ports,
        "1-2"
    );
    assert_eq!(setup.router("9002").port, 9002);
}

#[test]
fn an_empty_variable_is_not_set() {
    let setup = Setup::new().file("bind = '::1'\nopen = true");
    let setup = setup.variable("P2P_BIND", "").variable("P2P_OPEN", "");
    assert_eq!(setup.router("").bind, "::1");
    assert!(setup.router("").open);
}

#[test]
fn config_on_the_command_line_beats_the_variable() {
    let setup = Setup::new().file("port = 1");
    let other = setup.temp.path().join("other.toml");
    fs::write(&other, "port = 2\nstate-dir = 'other'").unwrap();
    let other = other.to_str().unwrap();
    let router = setup.router(&format!("--config {other}"));
    assert_eq!((router.port, router.common.config), (2, Some(other.into())));
    assert_eq!(setup.router("").common.config, Some(setup.path()));
    let listed = setup.router(&format!("key list --config={other}"));
    assert_eq!(listed.state_dir, PathBuf::from("other"));
}

#[test]
fn switches_take_the_words_that_people_write() {
    for (word, on) in [
        ("true", true),
        ("1", true),
        ("YES", true),
        ("false", false),
        ("0", false),
        ("no", false),
    ] {
        let setup = Setup::new().file("open = true").variable("P2P_OPEN", word);
        assert_eq!(setup.router("").open, on, "{word}");
        assert!(setup.router("--open").open);
    }
    assert!(Setup::new().file("open = true").router("").open);
    assert!(!Setup::new().file("open = false").router("").open);
    assert_eq!(
        Setup::new()
            .variable("P2P_OPEN", "maybe")
            .mistake::<Router>(""),
        "error: P2P_OPEN in the environment: 'maybe' is not valid; valid are true, false"
    );
}

#[test]
fn verbosity_is_one_setting_with_two_flags() {
    let setup = Setup::new();
    for (args, level) in [
        ("", 0),
        ("-v", 1),
        ("-vvvv", 2),
        ("-q", -1),
        ("-qq", -2),
        ("-vq", 0),
    ] {
        assert_eq!(setup.router(args).common.verbosity(), level, "{args}");
    }
    let setup = setup.file("verbose = 2");
    assert_eq!(setup.router("").common.verbosity(), 2);
    assert_eq!(setup.router("-q").common.verbosity(), -1);
    assert_eq!(
        Setup::new()
            .file("quiet = true")
            .router("")
            .common
            .verbosity(),
        -1
    );
    assert_eq!(
        Setup::new()
            .variable("P2P_VERBOSE", "1")
            .router("")
            .common
            .verbosity(),
        1
    );
}

#[test]
fn a_file_may_begin_with_a_byte_order_mark_and_have_lines_of_windows() {
    let setup = Setup::new().file("\u{feff}port = 9000\r\nbind = '::1'\r\n");
    assert_eq!(setup.router("").port, 9000);
    assert_eq!(setup.router("").bind, "::1");
}

#[test]
fn lists_and_numbers_come_from_the_file_as_toml_has_them() {
    let setup = Setup::new().file("motion = ['go', 'return']\ntimeout = 1.5\nrole = 'VIEW'");
    let inner = setup.inner("host 1 2");
    assert_eq!(inner.motion, ["go", "return"]);
    assert_eq!((inner.timeout, inner.role), (1.5, Role::View));
    assert_eq!(
        Setup::new().file("motion = 'a,b'").inner("host 1 2").motion,
        ["a", "b"]
    );
    assert_eq!(
        Setup::new().file("timeout = 7").inner("host 1 2").timeout,
        7.0
    );
    assert_eq!(setup.inner("host 1 2 --motion x,y").motion, ["x", "y"]);
}

#[test]
fn required_positionals_come_from_any_layer() {
    let all = |inner: Inner| {
        (
            inner.router_host.unwrap(),
            inner.router_port,
            inner.service_port,
        )
    };
    let setup = Setup::new().file("router-host = 'f'\nrouter-port = 1\nservice-port = 2");
    assert_eq!(all(setup.inner("")), ("f".into(), Some(1), Some(2)));
    assert_eq!(all(setup.inner("h 3")), ("h".into(), Some(3), Some(2)));
    let setup = setup.variable("P2P_ROUTER_HOST", "e");
    assert_eq!(all(setup.inner("")), ("e".into(), Some(1), Some(2)));
    assert_eq!(all(setup.inner("h 3 4")), ("h".into(), Some(3), Some(4)));
}

#[test]
fn required_positionals_that_no_layer_has_are_named() {
    let none = Setup::new().mistake::<Inner>("h");
    assert!(none.contains("<ROUTER_PORT>\n  <SERVICE_PORT>"), "{none}");
    let setup = Setup::new()
        .variable("P2P_ROUTER_HOST", "e")
        .variable("P2P_SERVICE_PORT", "5");
    assert_eq!(
        setup.mistake::<Inner>(""),
        "error: the following required arguments were not provided:\n  <ROUTER_PORT>"
    );
    assert_eq!(
        setup.parse::<Inner>("").unwrap_err().kind(),
        ErrorKind::MissingRequiredArgument
    );
}

#[test]
fn subcommands_need_no_positionals_whatever_the_layers_hold() {
    for setup in [Setup::new(), Setup::new().variable("P2P_ROUTER_HOST", "e")] {
        assert!(matches!(setup.inner("man").task, Some(InnerTask::Man)));
        let task = setup.inner("completions bash").task;
        assert!(matches!(
            task,
            Some(InnerTask::Completions { shell: Shell::Bash })
        ));
    }
    let setup = Setup::new().file("port = 9000").variable("P2P_OPEN", "1");
    let task = setup.router("key add car --role link").task;
    assert!(
        matches!(task, Some(RouterTask::Key(KeyTask::Add { name, role: Role::Link })) if name == "car")
    );
    assert!(matches!(
        setup.router("key list").task,
        Some(RouterTask::Key(KeyTask::List))
    ));
    assert!(matches!(setup.router("man").task, Some(RouterTask::Man)));
    assert!(matches!(
        setup.router("completions zsh").task,
        Some(RouterTask::Completions { .. })
    ));
}

#[test]
fn what_the_command_line_says_or_a_subcommand_does_not_use_may_be_wrong_elsewhere() {
    // As Kubernetes sets it by itself, for a service of this name.
    let setup = Setup::new().variable("P2P_PORT", "tcp://10.0.0.1:8888");
    let setup = setup.variable("P2P_ROUTER_PORT", "tcp://10.0.0.1:8888");
    assert_eq!(setup.router("9000").port, 9000);
    assert_eq!(setup.inner("h 1 2").router_port, Some(1));
    for fine in [
        "key list",
        "key add car --role link",
        "man",
        "completions zsh",
    ] {
        assert_eq!(setup.router(fine).port, 8888, "{fine}");
    }
    assert!(
        setup
            .mistake::<Router>("")
            .contains("P2P_PORT in the environment")
    );
    // What uses nothing needs no file.
    let setup = setup.variable("P2P_CONFIG", "/nowhere");
    assert!(matches!(setup.inner("man").task, Some(InnerTask::Man)));
    assert!(setup.mistake::<Router>("key list").contains("/nowhere"));
    // What is used is checked.
    let setup = Setup::new().file("state-dir = []");
    assert!(setup.mistake::<Router>("key list").contains("`state-dir`"));
}

#[test]
fn global_settings_reach_subcommands_from_every_layer() {
    let state = |setup: &Setup, args: &str| setup.router(args).state_dir;
    let setup = Setup::new().file("state-dir = 'file'");
    assert_eq!(state(&setup, "key list"), PathBuf::from("file"));
    let setup = setup.variable("P2P_STATE_DIR", "env");
    assert_eq!(state(&setup, "key list"), PathBuf::from("env"));
    assert_eq!(
        state(&setup, "key list --state-dir flag"),
        PathBuf::from("flag")
    );
    assert_eq!(
        state(&setup, "--state-dir flag key list"),
        PathBuf::from("flag")
    );
}

#[test]
fn an_unknown_key_is_told_with_the_one_that_was_meant() {
    let said = Setup::new()
        .file("servce-ports = '1-2'")
        .mistake::<Router>("");
    assert_eq!(
        said,
        "error: `servce-ports` in p2p.toml is not a setting; `service-ports` is one. All there \
         are: port, bind, open, service-ports, state-dir, key-file, log-dir, \
         log-size, verbose, quiet"
    );
    for text in [
        "help = true",
        "config = 'x'",
        "[inner]\nname = 'x'",
        "'' = 1",
        "\"\\u001b\" = 1",
    ] {
        let said = Setup::new().file(text).mistake::<Router>("");
        assert!(said.contains("in p2p.toml is not a setting"), "{said}");
        assert!(!said.contains('\x1b'));
    }
}

#[test]
fn a_secret_is_refused_in_the_file() {
    let said = Setup::new().file("key = 'abc123'").mistake::<Router>("");
    assert!(
        said.starts_with("error: `key` in p2p.toml: a secret does not belong"),
        "{said}"
    );
    assert!(!said.contains("abc123"));
}

#[test]
fn a_wrong_value_is_told_with_its_place() {
    let router = |text: &str| Setup::new().file(text).mistake::<Router>("");
    let inner = |text: &str| Setup::new().file(text).mistake::<Inner>("h");
    for (said, expected) in [
        (
            router("port = 99999"),
            "`port` in p2p.toml: '99999' is not valid: 99999 is not in 0..=65535",
        ),
        (
            router("port = 'x'"),
            "`port` in p2p.toml: 'x' is not valid: invalid digit found in string",
        ),
        (
            router("port = [1]"),
            "`port` in p2p.toml: one value is wanted, not a list",
        ),
        (
            router("bind = {a = 1}"),
            "`bind` in p2p.toml: a plain value is wanted, not table",
        ),
        (
            router("open = 'yes'"),
            "`open` in p2p.toml: true or false is wanted",
        ),
        (
            router("verbose = 'x'"),
            "`verbose` in p2p.toml: a number, true or false is wanted",
        ),
        (
            router("verbose = 300"),
            "`verbose` in p2p.toml: '300' is not valid: 300 is not in 0..=255",
        ),
        (
            inner("motion = []"),
            "`motion` in p2p.toml: an empty list says nothing",
        ),
        (
            inner("motion = ['a,b']"),
            "`motion` in p2p.toml: 'a,b' has a ',' in it",
        ),
        (
            inner("role = 'x'"),
            "`role` in p2p.toml: 'x' is not valid; valid are link, view",
        ),
        (
            inner("router-port = 0"),
            "`router-port` in p2p.toml: '0' is not valid: 0 is not in 1..=65535",
        ),
    ] {
        assert_eq!(said, format!("error: {expected}"));
    }
    assert_eq!(
        Setup::new()
            .variable("P2P_TIMEOUT", "\x1b[2J")
            .mistake::<Inner>("h 1 2"),
        r"error: P2P_TIMEOUT in the environment: '\u{1b}[2J' is not valid: invalid float literal"
    );
}

#[test]
fn a_file_that_cannot_be_read_or_understood_is_told() {
    let setup = Setup::new();
    assert_eq!(
        setup.mistake::<Router>("--config /nowhere/p2p.toml"),
        "error: can't read the settings in /nowhere/p2p.toml: No such file or directory (os error 2)"
    );
    let said = setup.file("port = 1\nbind = \n").mistake::<Router>("");
    assert!(said.starts_with("error: p2p.toml, line 2: "), "{said}");
}

#[test]
fn a_mistake_on_the_command_line_is_claps_as_ever() {
    let setup = Setup::new().file("port = 1");
    assert!(
        setup
            .mistake::<Router>("--opne")
            .contains("unexpected argument '--opne'")
    );
    assert!(
        setup
            .mistake::<Router>("x")
            .contains("invalid value 'x' for '[PORT]'")
    );
    assert!(setup.mistake::<Router>("key add car").contains("--role"));
    let wrong = Setup::new().mistake::<Inner>("h x 3");
    assert!(wrong.contains("'x' for '<ROUTER_PORT>'"), "{wrong}");
    let unknown = Setup::new().parse::<Inner>("--opne").unwrap_err();
    let usage = "<ROUTER_HOST> <ROUTER_PORT> <SERVICE_PORT>";
    assert!(unknown.to_string().contains(usage), "{unknown}");
}

#[test]
fn help_shows_variables_and_never_looks_at_file_or_environment() {
    let setup = Setup::new()
        .variable("P2P_CONFIG", "/nowhere")
        .variable("P2P_PORT", "x");
    let help = setup.parse::<Router>("--help").unwrap_err();
    assert_eq!(help.exit_code(), 0);
    let help = help.to_string();
    assert!(help.contains("[env: P2P_SERVICE_PORTS]"), "{help}");
    assert!(help.contains("[env: P2P_LOG_DIR]"), "{help}");
    assert_eq!(
        setup.parse::<Router>("--version").unwrap_err().exit_code(),
        0
    );
}

#[test]
fn the_miniatures_are_sound_command_lines() {
    Router::command().debug_assert();
    Inner::command().debug_assert();
}
