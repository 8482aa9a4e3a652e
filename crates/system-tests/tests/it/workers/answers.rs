//! What is asked of a worker, and what comes of its answers.

use p2p_shared::protocol::{End, SendEvent};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::car::{Car, UnstartedCar};
use crate::common::console::FakeConsole;
use crate::common::{HttpAnswer, asking, get, inner_config, local, post, soon, until};

#[tokio::test]
async fn each_request_gets_its_own_answer_in_whatever_order_they_come() {
    // It answers eight at a time, the newest first.
    let car = Car::with_worker(
        "echo",
        "push @::open, $r; next if @::open < 8;
         answer($_, output => $_->{args}[0]) for reverse @::open; @::open = ();",
    )
    .await;
    let port = car.port;
    let asks: Vec<_> = (0..64)
        .map(|n| {
            tokio::spawn(async move { (n, get(port, &format!("/cgi?command=echo&arg={n}")).await) })
        })
        .collect();
    for ask in asks {
        let (n, answer) = soon("an answer", ask).await.unwrap();
        assert_eq!(answer.verdict(), (200, "yes"));
        assert_eq!(answer.text(), n.to_string());
    }
}

#[tokio::test]
async fn they_are_not_counted_among_the_commands_that_may_run() {
    let unstarted = UnstartedCar::new().worker(
        "car",
        "wait",
        "push @::open, $r; next if @::open < 20; answer($_) for @::open;",
    );
    let config = p2p_inner::Config {
        max_runs: 1,
        ..inner_config(&unstarted.world)
    };
    let car = unstarted.start_with(config, "wait").await;
    let all: Vec<_> = (0..20)
        .map(|_| asking(car.port, "/cgi?command=wait"))
        .collect();
    for one in all {
        let answer = soon("an answer", one).await.unwrap();
        assert_eq!(answer.verdict(), (200, "yes"));
    }
}

#[tokio::test]
async fn arguments_and_a_body_arrive_as_text_and_what_is_no_text_is_refused() {
    let car = Car::with_worker("tell", "utf8::decode($line); answer($r, output => $line);").await;
    let told = |answer: HttpAnswer| -> serde_json::Value {
        assert_eq!(answer.verdict(), (200, "yes"));
        serde_json::from_slice(&answer.body).unwrap()
    };
    let answer = get(
        car.port,
        "/cgi?command=tell&arg=a%20b&arg=%C3%A4%0A%22&arg=",
    )
    .await;
    let run = answer.header("p2p-run").to_owned();
    let first = told(answer);
    assert_eq!(first["command"], "tell");
    assert_eq!(first["args"], serde_json::json!(["a b", "ä\n\"", ""]));
    assert_eq!(
        (&first["run"], &first["from"]),
        (&run.into(), &"127.0.0.1".into())
    );
    assert_eq!(first.get("input"), None);
    let body = "{\"one\": 1}\nzwölf\u{0}".as_bytes();
    let second = told(car.run_with("tell", body).await);
    assert_eq!(second["input"], "{\"one\": 1}\nzwölf\u{0}");
    assert_ne!(first["id"], second["id"]);
    for refused in [
        get(car.port, "/cgi?command=tell&arg=%ff").await,
        post(car.port, "/cgi?command=tell", &b"\xff"[..]).await,
    ] {
        assert_eq!(refused.verdict(), (500, "no"));
        assert!(
            refused.text().contains("UTF-8 text only"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(told(car.run("tell").await)["args"], serde_json::json!([]));
}

#[tokio::test]
async fn an_exit_code_is_a_failure_and_the_error_text_says_why() {
    let car = Car::with_worker(
        "fail",
        "my %with = @{$r->{args}}; answer($r, exit => 3, %with);",
    )
    .await;
    let silent = car.run("fail&arg=error&arg=the+battery%20is%20empty").await;
    assert_eq!(silent.verdict(), (500, "yes"));
    assert_eq!(silent.header("p2p-exit"), "3");
    assert_eq!(silent.text(), "the battery is empty");
    let both = car.run("fail&arg=error&arg=why&arg=output&arg=half").await;
    assert_eq!(
        (both.verdict(), both.text()),
        ((500, "yes"), "half".to_owned())
    );
}

#[tokio::test]
async fn long_output_comes_whole() {
    let car = Car::with_worker("long", "answer($r, output => 'x' x $r->{args}[0] . '!');").await;
    for kib in [16, 50, 900] {
        for stream in ["", "&stream=1"] {
            let long = car
                .run(&format!("long&arg={}{stream}", kib * 1024 - 1))
                .await;
            assert_eq!(long.verdict(), (200, "yes"));
            assert!(long.complete);
            assert_eq!(long.body.len(), kib * 1024);
            assert!(long.body.ends_with(b"x!"));
        }
    }
}

#[tokio::test]
async fn a_console_that_sends_a_command_gets_output_and_exit_code() {
    let car = Car::with_worker(
        "lights",
        "answer($r, output => 'x' x 50_000, error => 'no fuse', exit => 7);",
    )
    .await;
    let mut console = FakeConsole::open(car.world.main_port()).await;
    console.sends_command(1, car.port, "lights").await;
    let mut output = 0;
    loop {
        match console.receives_send_event(1).await {
            SendEvent::Output(bytes) => output += bytes.len(),
            SendEvent::Finished { end, stderr, .. } => {
                assert_eq!((end, &stderr[..]), (End::Exit(7), &b"no fuse"[..]));
                break;
            }
            SendEvent::Queued { .. } | SendEvent::Started => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(output, 50_000);
}

#[tokio::test]
async fn a_caller_that_goes_away_from_a_long_answer_leaves_nothing_open() {
    let car = Car::with_worker(
        "long",
        "answer($r, output => 'x' x 900_000); note('did', 'answered');",
    )
    .await;
    let mut caller = TcpStream::connect(local(car.port)).await.unwrap();
    socket2::SockRef::from(&caller)
        .set_recv_buffer_size(4096)
        .unwrap();
    let request = b"GET /cgi?command=long&stream=1 HTTP/1.1\r\nHost: car.test\r\n\r\n";
    caller.write_all(request).await.unwrap();
    car.does("answered").await;
    drop(caller);
    // It would wait for a reader for ever.
    soon("the inner's end", car.inner.shut_down()).await;
}

#[tokio::test]
async fn what_a_worker_is_asked_waits_for_nobody_while_another_command_takes_its_time() {
    let car = UnstartedCar::new()
        .worker("slow", "wait", "1 until exists_note('gate'); answer($r);")
        .worker("fast", "hello", "answer($r, output => 'hello');")
        .start("wait")
        .await;
    car.serves("hello").await;
    let waiting = asking(car.port, "/cgi?command=wait");
    car.answers_hello().await;
    assert!(!waiting.is_finished());
    car.let_go("gate");
    let waited = soon("its answer", waiting).await.unwrap();
    assert_eq!(waited.verdict(), (200, "yes"));
    until("both ran", || car.folder().pids().len() == 2).await;
}
