//! The main job: a request becomes a run on the car, and its output the answer.

use crate::common;
use crate::common::{World, ask, get, inner_config, post, raw, request, soon, until};
use http_body_util::{BodyExt, Full};

#[tokio::test]
async fn a_command_runs_and_its_output_comes_back_byte_for_byte() {
    let world = World::open();
    world.script("hello", "printf 'hello\\000\\377\\n'");
    let (_inner, port) = world.inner().await;
    let answer = get(port, "/cgi?command=hello").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert_eq!(&answer.body[..], b"hello\0\xff\n");
    assert_eq!(answer.header("p2p-exit"), "0");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("p2p-run").len(), 16);
    let timing = answer.header("server-timing");
    assert!(
        timing.starts_with("link;dur=") && timing.contains(", exec;dur="),
        "{timing}"
    );
}

#[tokio::test]
async fn arguments_arrive_as_they_are_and_no_shell_sees_them() {
    let world = World::open();
    world.script("args", "printf '<%s>' \"$@\"");
    let (_inner, port) = world.inner().await;
    let answer = get(
        port,
        "/cgi?command=args&arg=a%20b&arg=$(reboot)&arg=&arg=%3B*'%2B&arg=a+b",
    )
    .await;
    assert_eq!(answer.text(), "<a b><$(reboot)><><;*'+><a b>");
}

#[tokio::test]
async fn a_command_gets_a_clean_environment_and_the_command_directory() {
    let world = World::open();
    world.script("env", "env; pwd; echo \"$0\"");
    let (_inner, port) = world.inner().await;
    let answer = get(port, "/cgi?command=env").await;
    let text = answer.text();
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.sort_unstable();
    let known = [
        "HOME", "LANG", "PATH", "PWD", "TMPDIR", "USER", "OLDPWD", "SHLVL", "_",
    ];
    assert!(
        names
            .iter()
            .all(|name| known.contains(name) || name.starts_with("P2P_")),
        "{text}"
    );
    assert!(text.contains("P2P_COMMAND=env\n"), "{text}");
    assert!(text.contains("P2P_LINK=car\n"), "{text}");
    assert!(text.contains("P2P_REMOTE_ADDR=127.0.0.1\n"), "{text}");
    assert!(
        text.contains(&format!("P2P_RUN={}\n", answer.header("p2p-run"))),
        "{text}"
    );
    let folder = world.commands().canonicalize().unwrap();
    assert!(
        text.ends_with(&format!("{0}\n{0}/env\n", folder.display())),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_becomes_the_input_whole_whatever_its_size() {
    let world = World::open();
    world.script("count", "wc -c");
    world.script("cat", "cat");
    let (_inner, port) = world.inner().await;
    for size in [0, 1, 16 * 1024, 16 * 1024 + 1, 1 << 20] {
        let answer = post(port, "/cgi?command=count", vec![b'x'; size]).await;
        assert_eq!(answer.text().trim(), size.to_string());
    }
    let body: Vec<u8> = (0..500_000_u32)
        .flat_map(u32::to_le_bytes)
        .take(1 << 20)
        .collect();
    let answer = post(port, "/cgi?command=cat", body.clone()).await;
    assert!(answer.complete && answer.body == body);
    let get = get(port, "/cgi?command=count").await;
    assert_eq!(get.text().trim(), "0");
}

#[tokio::test]
async fn a_command_that_fails_is_a_500_with_its_output_or_else_its_errors() {
    let world = World::open();
    world.script("talks", "echo out; echo err >&2; exit 3");
    world.script("errs", "echo err >&2; exit 4");
    world.script("silent", "exit 5");
    world.script("killed", "kill -9 $$");
    let (_inner, port) = world.inner().await;
    for (name, exit, body) in [
        ("talks", "3", "out\n"),
        ("errs", "4", "err\n"),
        (
            "silent",
            "5",
            "the command ended with 5 and printed nothing\n",
        ),
        (
            "killed",
            "SIGKILL",
            "the command ended with SIGKILL and printed nothing\n",
        ),
    ] {
        let answer = get(port, &format!("/cgi?command={name}")).await;
        assert_eq!(answer.verdict(), (500, "yes"), "{name}");
        assert_eq!(answer.header("p2p-exit"), exit);
        assert_eq!(answer.text(), body);
    }
}

#[tokio::test]
async fn a_file_without_an_interpreter_is_run_by_sh() {
    let world = World::open();
    world.file("plain", "echo \"plain $0 $1\"\n", 0o755);
    let (_inner, port) = world.inner().await;
    let answer = get(port, "/cgi?command=plain&arg=x").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    let folder = world.commands().canonicalize().unwrap();
    assert_eq!(
        answer.text(),
        format!("plain {}/plain x\n", folder.display())
    );
}

#[tokio::test]
async fn streamed_output_comes_as_it_is_written() {
    let world = World::open();
    let gate = world.note("gate");
    world.script(
        "slow",
        &format!(
            "echo one; while [ ! -e {} ]; do sleep 0.01; done; echo two",
            gate.display()
        ),
    );
    let (_inner, port) = world.inner().await;
    let request = request("GET", "/cgi?command=slow&stream=1").header("te", "trailers");
    let response = common::send(port, request.body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let first = soon("the first line", body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "one\n");
    std::fs::write(gate, "").unwrap();
    let rest = soon("the rest", body.collect()).await.unwrap();
    assert_eq!(rest.trailers().unwrap()["p2p-exit"], "0");
    assert_eq!(rest.to_bytes(), "two\n");
}

#[tokio::test]
async fn long_output_is_streamed_by_itself_and_its_exit_is_in_the_trailer() {
    let world = World::open();
    world.script("long", "head -c 10000000 /dev/zero; exit 7");
    let (_inner, port) = world.inner().await;
    let with_trailers = request("GET", "/cgi?command=long").header("te", "trailers");
    let answer = ask(port, with_trailers.body(Full::default()).unwrap()).await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert_eq!(answer.body.len(), 10_000_000);
    assert!(answer.complete);
    assert_eq!(answer.trailers["p2p-exit"], "7");
    assert!(
        answer.trailers["server-timing"]
            .to_str()
            .unwrap()
            .contains("exec;dur=")
    );
    let without = get(port, "/cgi?command=long").await;
    assert!(without.complete && without.trailers.is_empty());
}

#[tokio::test]
async fn the_commands_there_are_are_listed() {
    let world = World::open();
    world.script("b/deep", "");
    world.script("a", "");
    world.file("not-executable", "", 0o644);
    let (_inner, port) = world.inner().await;
    let answer = get(port, "/commands").await;
    assert_eq!(answer.verdict(), (200, "no"));
    assert_eq!(answer.header("content-type"), "application/json");
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let commands = json["commands"].as_array().unwrap();
    let names: Vec<_> = commands
        .iter()
        .map(|command| command["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b/deep", "not-executable"]);
    assert!(
        commands[2]["problem"]
            .as_str()
            .unwrap()
            .contains("chmod +x")
    );
}

#[tokio::test]
async fn only_so_many_run_at_a_time_and_the_next_is_told_to_wait() {
    let world = World::open();
    let gate = world.note("gate");
    world.script(
        "wait",
        &format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display()),
    );
    let (_inner, port) = world
        .inner_with(p2p_inner::Config {
            max_runs: 2,
            ..inner_config(&world)
        })
        .await;
    let one = tokio::spawn(get(port, "/cgi?command=wait"));
    let two = tokio::spawn(get(port, "/cgi?command=wait"));
    let mut refused = None;
    soon("a refusal", async {
        while refused.is_none() {
            let answer = tokio::time::timeout(
                std::time::Duration::from_millis(300),
                get(port, "/cgi?command=wait"),
            );
            refused = answer.await.ok();
        }
    })
    .await;
    let refused = refused.unwrap();
    assert_eq!(refused.verdict(), (429, "no"));
    assert_eq!(refused.header("retry-after"), "1");
    std::fs::write(gate, "").unwrap();
    for answer in [one, two] {
        let answer = soon("the end", answer).await.unwrap();
        assert!([200, 429].contains(&answer.status.as_u16()));
    }
}

#[tokio::test]
async fn head_is_answered_where_monitors_ask() {
    let world = World::open();
    for (path, status) in [("/healthz", 200), ("/metrics", 200), ("/link", 405)] {
        let words = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw(world.router.address(), words.as_bytes()).await;
        let head = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&head), "{path}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{path} has a body: {answer}");
    }
}

#[tokio::test]
async fn head_and_options_run_nothing() {
    let world = World::open();
    let note = world.note("ran");
    world.script("touch", &format!("touch {}", note.display()));
    let (_inner, port) = world.inner().await;
    for method in ["HEAD", "OPTIONS"] {
        let request = request(method, "/cgi?command=touch")
            .body(Full::default())
            .unwrap();
        let answer = ask(port, request).await;
        assert_eq!(answer.verdict(), (204, "no"));
        assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, POST");
    }
    for (method, path) in [
        ("PUT", "/cgi?command=touch"),
        ("DELETE", "/cgi"),
        ("POST", "/commands"),
    ] {
        let answer = ask(port, request(method, path).body(Full::default()).unwrap()).await;
        assert_eq!(answer.verdict(), (405, "no"));
        assert!(answer.header("allow").starts_with("GET"));
    }
    assert!(!note.exists());
}

#[tokio::test]
async fn many_callers_each_get_their_own_answer() {
    let world = World::open();
    world.script("echo", "echo \"$1\"");
    let config = p2p_inner::Config {
        max_runs: 64,
        ..inner_config(&world)
    };
    let (_inner, port) = world.inner_with(config).await;
    let asks: Vec<_> = (0..64)
        .map(|n| {
            tokio::spawn(async move { (n, get(port, &format!("/cgi?command=echo&arg={n}")).await) })
        })
        .collect();
    for ask in asks {
        let (n, answer) = ask.await.unwrap();
        assert_eq!(answer.text(), format!("{n}\n"));
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_run_and_its_whole_group() {
    let world = World::open();
    let (child, parent) = (world.note("child"), world.note("parent"));
    world.script(
        "stay",
        &format!(
            "sleep 1000 & echo $! > {}; echo $$ > {}; wait",
            child.display(),
            parent.display()
        ),
    );
    let (_inner, port) = world.inner().await;
    let asking = tokio::spawn(get(port, "/cgi?command=stay"));
    until("both processes run", || {
        common::is_alive(&child) && common::is_alive(&parent)
    })
    .await;
    asking.abort();
    until("both are gone", || {
        !common::is_alive(&child) && !common::is_alive(&parent)
    })
    .await;
}

#[tokio::test]
async fn output_in_many_small_pieces_comes_whole() {
    let world = World::open();
    // More pieces than the run's window has room for, and fewer bytes than are kept.
    world.script(
        "drip",
        "i=0; while [ $i -lt 30000 ]; do echo x; i=$((i+1)); done",
    );
    let (_inner, port) = world.inner().await;
    let answer = get(port, "/cgi?command=drip").await;
    assert_eq!(answer.verdict(), (200, "yes"));
    assert_eq!(answer.body.len(), 60_000);
}
