//! What can't be started, and with what the rest starts.

use std::fs;

use super::car::Car;
use crate::common::{self, get};

#[tokio::test]
async fn what_the_system_cannot_execute_says_why() {
    let car = Car::new().await;
    let mark = car.note("mark");
    // A header for a machine that there is not, and behind it what a shell would run.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\xff\x01\0\0\0".to_vec();
    elf.resize(120, 0);
    elf.extend(format!("\necho ran > {}\n", mark.display()).bytes());
    let script = format!("\necho ran > {}\n", mark.display());
    let with = |first: &str| format!("{first}{script}").into_bytes();
    for (name, content, why) in [
        (
            "absent",
            with("#!/no/such/interpreter -x"),
            "(#!/no/such/interpreter -x)",
        ),
        ("dos", with("#!/bin/sh\r"), "(#!/bin/sh\\r)"),
        ("folder", with("#!/tmp"), "can't be executed by the user"),
        ("elf", elf, "for this kind of machine"),
        ("zeros", vec![0; 1000], "for this kind of machine"),
    ] {
        car.world.file(name, &content, 0o755);
        let answer = car.run(name).await;
        assert_eq!(answer.verdict(), (500, "no"), "{name}: {}", answer.text());
        let text = answer.text();
        assert!(text.contains(why), "{text}");
        assert!(text.contains(&format!("/{name} ")), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert!(!mark.exists());
    car.is_unharmed().await;
}

#[tokio::test]
async fn an_empty_file_is_a_command_that_does_nothing() {
    let car = Car::new().await;
    car.world.file("empty", "", 0o755);
    let answer = car.run("empty").await;
    assert_eq!(
        (answer.verdict(), answer.text().as_str()),
        ((200, "yes"), "")
    );
}

#[tokio::test]
async fn a_command_directory_that_is_gone_is_missed_until_it_is_back() {
    let car = Car::new().await;
    let commands = car.world.commands();
    fs::remove_dir_all(&commands).unwrap();
    let answer = car.run("hello").await;
    assert_eq!(answer.verdict(), (500, "no"));
    assert!(answer.text().contains("put it back"), "{}", answer.text());
    let list = get(car.port, "/commands").await;
    assert_eq!(list.text(), "{\"commands\":[]}");
    fs::create_dir(&commands).unwrap();
    assert_eq!(car.run("hello").await.verdict(), (404, "no"));
    car.script("hello", "echo hello");
    car.is_unharmed().await;
}

#[tokio::test]
async fn no_secret_of_ours_reaches_a_command() {
    let test = "bad_commands::start::no_secret_of_ours_reaches_a_command";
    let secrets = [
        ("P2P_KEY", "secret"),
        ("P2P_KEY_FILE", "secret"),
        ("P2P_ROUTER_HOST", "secret"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("LD_PRELOAD_", "secret"),
        ("BASH_ENV", "secret"),
        ("ENV", "secret"),
    ];
    if !common::is_alone(test, &secrets) {
        return;
    }
    let car = Car::new().await;
    // As the kernel has it, before a shell adds its own.
    car.script("env", "exec cat /proc/$$/environ");
    let answer = car.run("env").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    let text = answer.text();
    assert!(!text.contains("secret"), "{text}");
    let mut names: Vec<_> = text
        .split_terminator('\0')
        .map(|variable| variable.split_once('=').unwrap().0)
        .filter(|name| !["HOME", "LANG", "PWD", "OLDPWD", "TMPDIR", "USER"].contains(name))
        .collect();
    names.sort_unstable();
    let ours = [
        "P2P_COMMAND",
        "P2P_INNER",
        "P2P_LINK",
        "P2P_REMOTE_ADDR",
        "P2P_RUN",
    ];
    assert_eq!(names, [&ours[..], &["PATH"]].concat());
}

#[tokio::test]
async fn a_command_has_three_open_files_and_no_signal_held_back() {
    let test = "bad_commands::start::a_command_has_three_open_files_and_no_signal_held_back";
    if !common::is_alone(test, &[]) {
        return;
    }
    // What this process was started with, it would hand on too.
    let inherited = std::process::Command::new("ls")
        .arg("/proc/self/fd")
        .output();
    let inherited = String::from_utf8(inherited.unwrap().stdout).unwrap();
    let car = Car::new().await;
    car.script("files", "exec ls /proc/self/fd");
    for answer in [
        car.run("files").await,
        common::post(car.port, "/cgi?command=files", "input").await,
    ] {
        assert_eq!(answer.text(), inherited);
    }
    car.script("input", "exec readlink /proc/self/fd/0");
    assert_eq!(car.run("input").await.text(), "/dev/null\n");
    car.script("signals", "exec grep -E '^Sig(Blk|Ign)' /proc/self/status");
    let text = car.run("signals").await.text();
    let mask = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk"), 0);
    // We ignore SIGPIPE, and `yes | head` must end.
    assert_eq!(mask("SigIgn") & (1 << (13 - 1)), 0);
}
