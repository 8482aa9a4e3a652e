//! The programs as processes: killed, stopped, told to end, started wrongly, and with keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::peer::FakeRouter;
use crate::common::program::{
    RunningProgram, all_text_in, console, inner, inner_of, path, router, run,
};
use crate::common::raw::RawCaller;
use crate::common::{
    HttpAnswer, ReservedPort, answered, asking, away, get, get_with_key, is_alive, local, until,
    until_so,
};
use p2p_shared::invitation::post::{self, GivenKey, Redeemer};
use p2p_shared::key::Key;
use p2p_shared::timing;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;

/// A folder with some commands: `hello`; `env`; and `wait`, which leaves its number in the note
/// `process` and goes on when there is a note `gate`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let gate = format!("while [ -e {path}/process ] && [ ! -e {path}/gate ]; do sleep 0.01; done");
    let wait = format!("echo $$ > {path}/process; {gate}");
    for (name, body) in [
        ("hello", "echo hello"),
        ("env", "env"),
        ("wait", &format!("{wait}; echo done")),
        (
            "stay",
            &format!("echo $$ > {path}/process; exec sleep 1000"),
        ),
    ] {
        let file = folder.path().join("command").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// Asks for `wait` or `stay`, and waits until it runs.
async fn begun(folder: &Path, port: u16, target: &'static str) -> JoinHandle<HttpAnswer> {
    let process = folder.join("process");
    let asking = asking(port, target);
    until("the command runs", || is_alive(&process)).await;
    asking
}

async fn works(port: u16) {
    let answer = get(port, "/cgi?command=hello").await;
    assert_eq!(
        (answer.verdict(), answer.text().as_str()),
        ((200, "yes"), "hello\n")
    );
}

/// Waits until a port answers again, after the car was away.
async fn comes_back(port: u16) {
    until_so("the car is back", async || {
        TcpStream::connect(local(port)).await.is_ok() && get(port, "/commands").await.status == 200
    })
    .await;
    works(port).await;
}

#[tokio::test]
async fn an_inner_that_is_killed_leaves_its_caller_without_knowledge_and_takes_its_port_again() {
    let folder = folder();
    let reserved = ReservedPort::new();
    let service = reserved.port;
    let (_router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let mut car = RunningProgram::start(&mut inner_of(folder.path(), main, service));
    assert_eq!(car.service_port().await, service);
    let run = begun(folder.path(), service, "/cgi?command=wait").await;
    car.kill().await;
    let answer = answered(run).await;
    assert_eq!(answer.verdict(), (502, "unknown"));
    away(service).await;
    let car = RunningProgram::start(&mut inner_of(folder.path(), main, service));
    assert_eq!(car.service_port().await, service);
    works(service).await;
    fs::write(folder.path().join("gate"), "").unwrap();
}

#[tokio::test]
async fn a_router_that_is_killed_finds_its_inners_again_when_it_is_back() {
    let folder = folder();
    let (main, service) = (ReservedPort::new(), ReservedPort::new());
    let (mut first, _) = RunningProgram::open_router(folder.path(), main.port).await;
    let car = RunningProgram::start(&mut inner_of(folder.path(), main.port, service.port));
    car.service_port().await;
    let run = begun(folder.path(), service.port, "/cgi?command=wait").await;
    first.kill().await;
    drop(run);
    car.says("no link").await;
    let (_second, _) = RunningProgram::open_router(folder.path(), main.port).await;
    comes_back(service.port).await;
    // The command went on without anyone to hear it.
    let process = folder.path().join("process");
    assert!(is_alive(&process));
    fs::write(folder.path().join("gate"), "").unwrap();
    until("the command has ended", || !is_alive(&process)).await;
}

#[tokio::test]
async fn an_inner_that_is_stopped_is_found_dead_and_comes_back_when_it_goes_on() {
    let folder = folder();
    let (_router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let car = RunningProgram::start(&mut inner_of(folder.path(), main, 0));
    let port = car.service_port().await;
    let run = begun(folder.path(), port, "/cgi?command=wait").await;
    car.signal(Signal::STOP);
    let since = Instant::now();
    assert_eq!(answered(run).await.verdict(), (502, "unknown"));
    assert!(since.elapsed() < timing::PACE_BUSY.dead * 4);
    away(port).await;
    car.signal(Signal::CONT);
    comes_back(port).await;
    fs::write(folder.path().join("gate"), "").unwrap();
}

#[tokio::test]
async fn programs_that_are_told_to_end_end_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = folder();
        let (mut router, main) = RunningProgram::open_router(folder.path(), 0).await;
        let mut car = RunningProgram::start(&mut inner_of(folder.path(), main, 0));
        car.service_port().await;
        car.signal(signal);
        assert_eq!(car.end().await.code(), Some(0));
        // One that finds no router, too.
        let mut lost = RunningProgram::start(&mut inner_of(folder.path(), 1, 0));
        lost.says("no link").await;
        lost.signal(signal);
        assert_eq!(lost.end().await.code(), Some(0));
        router.signal(signal);
        assert_eq!(router.end().await.code(), Some(0));
    }
}

#[tokio::test]
async fn programs_that_are_told_to_end_let_their_runs_end() {
    let folder = folder();
    let (mut router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let mut car = RunningProgram::start(&mut inner_of(folder.path(), main, 0));
    let port = car.service_port().await;
    let run = begun(folder.path(), port, "/cgi?command=wait").await;
    for program in [&car, &router] {
        program.signal(Signal::TERM);
        program.says("ending: running commands have 30 s").await;
    }
    fs::write(folder.path().join("gate"), "").unwrap();
    let answer = answered(run).await;
    assert_eq!(
        (answer.verdict(), answer.text().as_str()),
        ((200, "yes"), "done\n")
    );
    assert_eq!(car.end().await.code(), Some(0));
    assert_eq!(router.end().await.code(), Some(0));
}

#[tokio::test]
async fn an_inner_that_is_told_twice_to_end_ends_at_once_and_its_commands_with_it() {
    let folder = folder();
    let (_router, main) = RunningProgram::open_router(folder.path(), 0).await;
    let mut car = RunningProgram::start(&mut inner_of(folder.path(), main, 0));
    let port = car.service_port().await;
    let run = begun(folder.path(), port, "/cgi?command=stay").await;
    let since = Instant::now();
    car.signal(Signal::TERM);
    car.says("(Ctrl-C, or SIGTERM again after a second, to end at once)")
        .await;
    // A second SIGTERM would be the same request for a second.
    car.signal(Signal::INT);
    assert_eq!(car.end().await.code(), Some(0));
    assert!(since.elapsed() < timing::DRAIN);
    let process = folder.path().join("process");
    until("the command is ended", || !is_alive(&process)).await;
    assert_eq!(answered(run).await.verdict(), (502, "unknown"));
}

#[tokio::test]
async fn a_second_router_on_the_same_port_says_so_and_makes_no_keys() {
    let folder = folder();
    let (_first, main) = RunningProgram::open_router(folder.path(), 0).await;
    let port = main.to_string();
    let second = run(router(folder.path()).args([&port, "--bind", "127.0.0.1"])).await;
    assert_eq!(second.code, Some(1));
    assert_eq!(second.out, "");
    let said = format!("the main port 127.0.0.1:{main} can't be opened");
    assert!(second.errors.contains(&said), "{}", second.errors);
    assert!(second.errors.contains("is another router running there?"));
    assert!(
        !folder
            .path()
            .join(".local/state/p2prouter/keys.toml")
            .exists()
    );
}

#[tokio::test]
async fn mistakes_on_the_command_line_end_with_2_and_name_what_is_wrong() {
    let folder = folder();
    for (arguments, named) in [
        (&["65536"][..], "65536"),
        (&["nine"], "nine"),
        (&["8888", "9999"], "9999"),
        (&["--nonesuch"], "--nonesuch"),
        (&["--bind", "localhost"], "--bind"),
        (&["--service-ports", "0-9"], "--service-ports"),
        (&["--service-ports", "2000-1000"], "--service-ports"),
        (&["--max-body", "1e6"], "--max-body"),
        (&["key", "add", "car"], "--role"),
        (&["key", "add", "car", "--role", "king"], "king"),
        (
            &["key", "add", "car", "--role", "view", "--ports", "2-1"],
            "--ports",
        ),
        (&["key", "add", "-x", "--role", "view"], "-x"),
    ] {
        let ended = run(router(folder.path()).args(arguments)).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(
            ended.errors.contains(named),
            "{arguments:?}: {}",
            ended.errors
        );
        assert_eq!(ended.out, "");
    }
    for (arguments, named) in [
        (&[][..], "ROUTER_HOST"),
        (&["host"], "ROUTER_PORT"),
        (&["host", "8888"], "SERVICE_PORT"),
        (&["host", "0", "9000"], "ROUTER_PORT"),
        (&["host", "65536", "9000"], "65536"),
        (&["host", "http", "9000"], "http"),
        (&["host", "8888", "65536"], "65536"),
        (&["host", "8888", "-1"], "-1"),
        (&["host", "8888", "nine"], "nine"),
        (&["host", "8888", "9000", "more"], "more"),
        (&["host", "8888", "9000", "--nonesuch"], "--nonesuch"),
        (&["host", "8888", "9000", "--timeout", "0"], "--timeout"),
        (&["host", "8888", "9000", "--max-runs", "0"], "--max-runs"),
        (&["host", "8888", "9000", "--name", "a\nb"], "--name"),
        (&["host", "8888", "9000", "--key", "p2p1_a_b"], "--key"),
    ] {
        let ended = run(inner(folder.path()).args(arguments)).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(
            ended.errors.contains(named),
            "{arguments:?}: {}",
            ended.errors
        );
    }
    let ended = run(router(folder.path()).env("P2P_PORT", "nine")).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("P2P_PORT"), "{}", ended.errors);
    // Nothing was begun: no logs, no keys.
    assert!(!folder.path().join("logs").exists());
    assert!(!folder.path().join(".local").exists());
}

#[tokio::test]
async fn what_an_inner_cannot_use_ends_it_with_1_and_says_what_to_do() {
    let folder = folder();
    let key = Key::generate().unwrap().expose();
    let key_file = folder.path().join("key");
    fs::write(&key_file, &key).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    let start = || inner_of(folder.path(), 1, 9000);
    let chmod = format!("chmod 600 {}", key_file.display());
    let (cut, nowhere) = (&key[..40], folder.path().join("nowhere"));
    for (command, says) in [
        (start().arg("--key-file").arg(&key_file), chmod.as_str()),
        (start().arg("--key-file").arg(&nowhere), "nowhere"),
        (start().env("P2P_KEY", cut), "P2P_KEY"),
        (
            start().arg("--commands").arg(&nowhere),
            "make it, or say --commands DIR",
        ),
        (start().env("HOME", ""), "--state-dir"),
    ] {
        let ended = run(command).await;
        assert_eq!(ended.code, Some(1), "{says}");
        assert!(ended.errors.contains(says), "{}", ended.errors);
        assert!(!ended.errors.contains(&key[14..30]), "{}", ended.errors);
    }
}

#[tokio::test]
async fn a_host_that_does_not_resolve_is_said_and_tried_again() {
    let folder = folder();
    let mut car =
        RunningProgram::start(inner(folder.path()).args(["nonesuch.invalid", "8888", "0", "-v"]));
    car.says("the name nonesuch.invalid does not resolve").await;
    car.says("check the host name and this machine's DNS").await;
    car.says("still no link").await;
    car.signal(Signal::TERM);
    assert_eq!(car.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_folder_that_cannot_be_written_is_said_and_stops_nobody() {
    let folder = folder();
    let logs = ["--log-dir", "/proc/nowhere"];
    let arguments = ["0", "--open", "--bind", "127.0.0.1"];
    let router = RunningProgram::start(router(folder.path()).args(arguments).args(logs));
    let main = router.main_port().await;
    let car = RunningProgram::start(inner_of(folder.path(), main, 0).args(logs));
    let port = car.service_port().await;
    works(port).await;
    for (program, name) in [(&router, "p2p-router"), (&car, "p2p-inner")] {
        // A guardian has a log of its own.
        let file = format!("can't write the log file /proc/nowhere/{name}.");
        program.says(&file).await;
        let errors = program.errors();
        assert_eq!(errors.matches(&file).count(), 1, "{errors}");
    }
}

#[tokio::test]
async fn however_much_strangers_ask_they_fill_no_log() {
    let folder = folder();
    let router = RunningProgram::start(router(folder.path()).args(["0", "--bind", "127.0.0.1"]));
    let mut caller = RawCaller::connect(router.main_port().await).await;
    let since = Instant::now();
    let wrong = format!(
        "Authorization: Bearer {}\r\n",
        Key::generate().unwrap().bearer()
    );
    for header in ["", "Origin: http://evil.test\r\n", &wrong] {
        for path in ["/link", "/admin"] {
            for _ in 0..100 {
                let request = format!("GET {path} HTTP/1.1\r\nHost: car\r\n{header}\r\n");
                caller.send(&request).await;
                assert!(caller.answer().await.status.is_client_error());
            }
        }
    }
    router.signal(Signal::INT);
    router.says("ending").await;
    let lines = router.errors().matches("refused").count() as u64;
    assert!(lines <= since.elapsed().as_secs() + 1, "{lines}");
}

/// Gets the keys of the two lines in a text, the car's first, as the programs that they start do.
async fn keys_of_lines(text: &str) -> [Key; 2] {
    let of = async |command: &str, redeemer| {
        let (_, rest) = text.split_once(command).unwrap();
        let word = rest.split([' ', '\n', '\r', '`']).next().unwrap();
        let answer = post::redeem(&word.parse().unwrap(), redeemer, 1 << 16).await;
        let given: GivenKey = serde_json::from_slice(&answer.unwrap().body).unwrap();
        given.key.parse().unwrap()
    };
    [
        of("p2p-inner setup ", Redeemer::Inner).await,
        of("p2p-console login ", Redeemer::Console).await,
    ]
}

#[tokio::test]
async fn the_first_start_prints_two_lines_for_keys_that_work_and_that_no_log_ever_shows() {
    let folder = folder();
    let arguments = ["0", "--bind", "127.0.0.1", "-vv"];
    let start = || {
        RunningProgram::start_at_terminal(
            router(folder.path())
                .args(arguments)
                .env("P2P_LOG", "trace"),
        )
    };
    let mut first = start();
    first.main_port().await;
    until("the lines are printed", || {
        first.out().contains("makes more lines")
    })
    .await;
    let keys = keys_of_lines(&first.out()).await;
    first.signal(Signal::TERM);
    assert_eq!(first.end().await.code(), Some(0));

    let second = start();
    let main = second.main_port().await;
    let (car_key, operator) = (&keys[0], &keys[1]);
    let mut car = inner_of(folder.path(), main, 0);
    car.env("P2P_KEY", car_key.expose()).env("P2P_LOG", "trace");
    let car = RunningProgram::start(car.arg("-vv"));
    let port = car.service_port().await;
    let answer = get_with_key(port, "/cgi?command=env", operator).await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert!(answer.text().contains("P2P_COMMAND=env"));
    let refused = get_with_key(port, "/cgi?command=env", car_key).await;
    assert_eq!(refused.status, 403);
    let denied = get_with_key(port, "/cgi?command=env", &Key::generate().unwrap()).await;
    assert_eq!(denied.status, 401);
    assert_eq!(second.out(), "");

    let state = folder.path().join(".local/state/p2prouter");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state.join("keys.toml")), 0o600);
    assert_eq!(mode(&state), 0o700);

    // The router's and the car's logs say much, and nothing of this; nor does a command know.
    let mut programs = [second, car];
    let mut told = answer.text() + &refused.text() + &denied.text() + &first.errors();
    for program in &mut programs {
        program.signal(Signal::TERM);
        program.end().await;
        told += &program.errors();
    }
    told += &all_text_in(folder.path());
    assert!(told.contains("link up"));
    for key in &keys {
        let secret = &key.bearer()[14..];
        for at in 0..secret.len() - 16 {
            assert!(
                !told.contains(&secret[at..at + 16]),
                "part of a key was told"
            );
        }
    }
}

#[tokio::test]
async fn without_a_terminal_the_first_start_makes_no_keys_and_says_how_to() {
    let folder = folder();
    let router = RunningProgram::start(router(folder.path()).args(["0", "--bind", "127.0.0.1"]));
    router.main_port().await;
    router.says("this router has no keys yet").await;
    let state = folder.path().join(".local/state/p2prouter");
    assert!(!state.join("keys.toml").exists());
    let errors = router.errors();
    let (_, line) = errors.split_once("this router has no keys yet").unwrap();
    let (line, _) = line.split_once('\n').unwrap();
    let lines: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    assert_eq!(lines.len(), 2, "{line}");
    let mut printed = String::new();
    for line in lines {
        let ended = run(&mut shell(folder.path(), line)).await;
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        printed += &ended.out;
    }
    let keys = keys_of_lines(&printed).await;
    let main = router.main_port().await;
    // A car that is denied would wait for a minute.
    until_so("the keys are known", async || {
        get_with_key(main, "/link", &keys[0]).await.status == 426
            && get_with_key(main, "/admin", &keys[1]).await.status == 426
    })
    .await;
    let car =
        RunningProgram::start(inner_of(folder.path(), main, 0).env("P2P_KEY", keys[0].expose()));
    let port = car.service_port().await;
    let answer = get_with_key(port, "/cgi?command=hello", &keys[1]).await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert_eq!(router.out(), "");
}

/// A line in a shell where the programs are on the `PATH`, and that note down what curl is
/// started with.
fn shell(folder: &Path, line: &str) -> tokio::process::Command {
    let programs = path("p2p-router");
    let programs = programs.parent().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let mut shell = tokio::process::Command::new("sh");
    let path = format!("{}:{}", programs.display(), path.display());
    let note = "curl() { printf '%s\\n' \"$@\" > arguments; command curl -q \"$@\"; }";
    shell.args(["-c", &format!("{note}; {line}")]);
    shell.env_clear().env("PATH", path).env("HOME", folder);
    shell.current_dir(folder);
    shell
}

#[tokio::test]
async fn the_lines_of_the_first_start_work_as_they_are_and_curl_gets_no_key_as_an_argument() {
    let folder = folder();
    let arguments = ["0", "--bind", "127.0.0.1"];
    let router = RunningProgram::start_at_terminal(router(folder.path()).args(arguments));
    router.main_port().await;
    until("the lines are printed", || {
        router.out().contains("makes more lines")
    })
    .await;
    let line = |out: &str, holds: &str| {
        let mut lines = out.lines().map(str::trim);
        lines.find(|line| line.contains(holds)).unwrap().to_owned()
    };
    // Who presses Enter alone takes the defaults.
    let set_up = line(&router.out(), "p2p-inner setup ");
    let set_up = format!("yes '' | {set_up} --user");
    let ended = run(&mut shell(folder.path(), &set_up)).await;
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let log_in = line(&router.out(), "p2p-console login ");
    let logged_in = run(&mut shell(folder.path(), &log_in)).await;
    assert_eq!(logged_in.code, Some(0), "{}", logged_in.errors);
    let car = RunningProgram::start(&mut inner(folder.path()));
    let port = car.service_port().await;
    // As the README has it, with what `login` says.
    let quoted = line(&logged_in.errors, "--pinnedpubkey");
    let pin = quoted.split('`').nth(1).unwrap();
    let kept = line(&logged_in.errors, "which is in ");
    let (_, key_file) = kept.split_once("which is in ").unwrap();
    let curl = format!(
        "printf 'Authorization: Bearer %s' \"$(cat '{key_file}')\" | \
         curl {pin} -H @- 'https://127.0.0.1:{port}/cgi?command=hello'"
    );
    let ended = run(&mut shell(folder.path(), &curl)).await;
    assert_eq!(ended.out, "hello\n", "{}", ended.errors);
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert!(!arguments.contains("p2p1_"), "{arguments}");
}

#[tokio::test]
async fn a_car_that_is_denied_waits_and_dials_at_once_when_it_is_told_to() {
    let folder = folder();
    let fake = FakeRouter::start().await;
    let denial = "HTTP/1.1 401 Unauthorized\r\ncontent-type: text/plain\r\n\r\nno such key\n";
    let car = RunningProgram::start(&mut inner_of(folder.path(), fake.port, 0));
    fake.answers(denial).await;
    car.says("needs a key, and there is none in").await;
    for _ in 0..3 {
        let since = Instant::now();
        car.signal(Signal::HUP);
        fake.answers(denial).await;
        // Else it would be a minute.
        assert!(since.elapsed() < Duration::from_secs(30));
    }
    car.signal(Signal::HUP);
    fake.link().await;
    car.says("link up").await;
}

#[tokio::test]
async fn why_there_is_no_link_is_said_once_however_often_it_is_tried() {
    let version = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n\
                   this router speaks p2p.v9 and the peer p2p.v1: update the older of the two\n";
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<h1>It works!</h1>";
    for (answer, says) in [
        (version, "this router speaks p2p.v9 and the peer p2p.v1"),
        (
            page,
            "is not a p2p-router that speaks p2p.v1 (HTTP error: 200 OK)",
        ),
        ("", "is not a p2p-router that speaks p2p.v1"),
    ] {
        let folder = folder();
        let fake = FakeRouter::start().await;
        let mut car = RunningProgram::start(&mut inner_of(folder.path(), fake.port, 0));
        for _ in 0..6 {
            match answer {
                "" => drop(fake.connection().await),
                answer => fake.answers(answer).await,
            }
        }
        car.says(says).await;
        car.signal(Signal::TERM);
        car.end().await;
        // Whether a connection is closed or reset is chance: either is said once.
        let errors = car.errors();
        let reasons: Vec<&str> = errors
            .lines()
            .filter_map(|line| line.split_once("no link")?.1.split_once("retry_ms"))
            .map(|(reason, _)| reason)
            .collect();
        let mut different = reasons.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), reasons.len(), "{errors}");
        assert!(!reasons.is_empty(), "{errors}");
    }
}

#[tokio::test]
async fn a_sentence_about_a_key_or_a_file_is_printed_once() {
    let folder = folder();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    file("key", "no key\n");
    file("p2p.toml", "timeout = \n");
    fs::create_dir(folder.path().join("state")).unwrap();
    file("state/keys.toml", "no keys");
    let key = ["--key-file", "key"];
    let config = ["--config", "p2p.toml"];
    let inner = || inner_of(folder.path(), 1, 0);
    let console = || Command::from(console(folder.path(), 1));
    let router = |state: &str, words: &[&str]| {
        let mut router = router(folder.path());
        router.args(["0", "--state-dir", state]).args(words);
        router
    };
    let add = ["key", "add", "bob", "--role", "drive"];
    for (code, mut command) in [
        (1, with(inner(), &key)),
        (1, with(console(), &["list", "--key-file", "key"])),
        (2, with(inner(), &config)),
        (2, with(console(), &["list", "--config", "p2p.toml"])),
        (2, router("state", &["check", "--config", "p2p.toml"])),
        (1, router("state", &add)),
        (1, router("state", &["check"])),
        // A folder that can't be made.
        (1, router("key/state", &add)),
        (1, router("key/state", &[])),
        (
            1,
            router("state", &["check", "--tls-cert", "key", "--tls-key", "key"]),
        ),
        (1, with(inner(), &["--commands", "nowhere"])),
        (1, with(inner(), &["--state-dir", "key/state"])),
    ] {
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(code), "{}", ended.errors);
        let line = ended
            .errors
            .lines()
            .find(|line| line.starts_with("error: "));
        let mut parts: Vec<&str> = line.unwrap().split(": ").collect();
        parts.sort_unstable();
        let all = parts.len();
        parts.dedup();
        assert_eq!(parts.len(), all, "{}", ended.errors);
    }
}

fn with(mut command: Command, words: &[&str]) -> Command {
    command.args(words);
    command
}

#[tokio::test]
async fn a_router_takes_more_connections_than_the_usual_limit_of_files_allows() {
    let folder = folder();
    p2p_router::net::limits::raise_open_files();
    let program = router(folder.path());
    let mut shell = tokio::process::Command::new("sh");
    let line = "ulimit -Sn 128; exec \"$0\" 0 --open --bind 127.0.0.1 --host-names car.test";
    shell
        .arg("-c")
        .arg(line)
        .arg(program.as_std().get_program());
    shell.current_dir(folder.path()).env("HOME", folder.path());
    let router = RunningProgram::start(&mut shell);
    let main = router.main_port().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(local(main)).await.unwrap());
    }
    let car = RunningProgram::start(&mut inner_of(folder.path(), main, 0));
    works(car.service_port().await).await;
    drop(silent);
}
