//! The real program without a terminal: output and exit codes.

use std::process::{Command, Output, Stdio};

use super::fake_router::{FakeRouter, program};

async fn run(mut command: Command) -> Output {
    let run = move || command.stdin(Stdio::null()).output().unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn send_passes_output_on_and_ends_with_the_commands_code() {
    let router = FakeRouter::start().await;
    for (command, code) in [
        ("hello", 0),
        ("seven", 7),
        ("slow", 124),
        ("lost", 4),
        ("locked", 5),
    ] {
        let output = run(program(router.port, &["send", "car", command])).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{command}: {}",
            text(&output.stderr)
        );
        if command != "locked" {
            // Into a pipe, byte for byte.
            assert_eq!(text(&output.stdout), "\x1b[31mone\n");
        }
    }
}

#[tokio::test]
async fn each_failure_has_its_code_and_its_sentence() {
    let router = FakeRouter::start().await;
    for (arguments, code, says) in [
        (&["send", "away", "hello"][..], 4, "away is offline"),
        (
            &["send", "nobody", "hello"],
            4,
            "the links there: car, away",
        ),
        (&["send", "awai", "hello"], 4, "did you mean away?"),
        (
            &["send", "car", "helo"],
            1,
            "there is no command helo: did you mean hello? All that it can do: p2p-console commands car",
        ),
        (
            &["--link", "nobody", "watch"],
            4,
            "no link is called nobody",
        ),
        (&["commands", "away"], 4, "away is offline"),
        (&["snd", "car", "hello"], 2, "send"),
        (&["--readonly", "send", "car", "hello"], 5, "--readonly"),
        (&["send", "car", "../x"], 2, "begins with"),
        (&["send", "car", "ls", "-l"], 2, "send car ls -- -l"),
        (
            &["record", "away"],
            3,
            "p2p-console list says whether the car is recorded",
        ),
        (&["record", "away", "--off"], 3, "p2p-console list"),
        (&["record", "car"], 1, "--record DIR"),
        (&["--readonly", "record", "away"], 5, "--readonly"),
        (&["send", "--help"], 0, ""),
        (&["nonsense"], 2, "nonsense"),
    ] {
        let output = run(program(router.port, arguments)).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
    let output = run(program(1, &["list"])).await;
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[tokio::test]
async fn list_is_a_line_a_link_and_json_says_whose_code_it_is() {
    let router = FakeRouter::start().await;
    let output = run(program(router.port, &["list"])).await;
    let lines = text(&output.stdout);
    assert!(
        lines
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("car   up     9000"),
        "{lines}"
    );
    let output = run(program(router.port, &["send", "car", "seven", "--json"])).await;
    let last = text(&output.stdout).lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (&last["code"], &last["code_of"]),
        (&7.into(), &"command".into())
    );
}

#[tokio::test]
async fn commands_are_a_line_each_with_what_is_wrong() {
    let router = FakeRouter::start().await;
    let output = run(program(router.port, &["commands", "car"])).await;
    let lines = "hello\nseven  can't be run: it is not executable: chmod +x seven\n";
    assert_eq!(text(&output.stdout), lines);
    let output = run(program(router.port, &["commands", "9000", "--json"])).await;
    let first = text(&output.stdout).lines().next().unwrap().to_owned();
    assert_eq!(first, r#"{"name":"hello","problem":null}"#);
}

#[tokio::test]
async fn what_is_no_router_gets_a_sentence() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let output = run(program(port, &["list"])).await;
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is not a p2p-router that speaks"));
}

#[tokio::test]
async fn a_router_of_another_version_gets_a_sentence() {
    let router = FakeRouter::of_another_version().await;
    for arguments in [&["list"][..], &["send", "car", "hello"]] {
        let output = run(program(router.port, arguments)).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("update it or this console"), "{stderr}");
    }
}
