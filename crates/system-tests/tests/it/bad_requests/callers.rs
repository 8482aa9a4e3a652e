//! Callers that go away, don't read, say nothing, or speak the HTTP of 1996.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};

use super::fixture::{Fixture, assert_form, assert_refusal, soon_out_of};
use crate::common::raw::{ConnectionEnd, RawCaller};
use crate::common::{self, is_alive, soon, until};

/// A command that says `begun`, writes its number to a note, and never ends.
fn endless(fixture: &Fixture, name: &str) -> std::path::PathBuf {
    let note = fixture.world.note(name);
    let body = format!("echo $$ > {}; echo begun; exec sleep 1000", note.display());
    fixture.world.script(name, &body);
    note
}

#[tokio::test]
async fn a_caller_that_goes_away_in_any_manner_ends_its_run() {
    let fixture = Fixture::new().await;
    let note = endless(&fixture, "endless");
    let get = "GET /cgi?command=endless HTTP/1.1\r\nHost: car\r\n\r\n";
    let streamed = get.replace("endless", "endless&stream=1");
    for (request, is_streamed) in [(get, false), (&streamed, true)] {
        for manner in ["close", "reset"] {
            let mut caller = RawCaller::saying(fixture.port, request).await;
            until("it runs", || is_alive(&note)).await;
            if is_streamed {
                let mut begun = [0; 12];
                let read = tokio::io::AsyncReadExt::read_exact(&mut caller.stream, &mut begun);
                soon("it streams", read).await.unwrap();
            }
            if manner == "reset" {
                caller.reset();
            } else {
                drop(caller);
            }
            until("it has ended", || !is_alive(&note)).await;
            std::fs::remove_file(&note).unwrap();
        }
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_caller_that_closes_its_side_too_early_is_told_that_this_ends_its_run() {
    let fixture = Fixture::new().await;
    let note = endless(&fixture, "endless");
    let get = "GET /cgi?command=endless HTTP/1.1\r\nHost: car\r\n\r\n";
    let mut caller = RawCaller::saying(fixture.port, get).await;
    until("it runs", || is_alive(&note)).await;
    caller.finish().await;
    let answer = caller.answer().await;
    assert_eq!(answer.verdict(), (400, "unknown"));
    assert_form(&answer, "half-closed");
    until("it has ended", || !is_alive(&note)).await;
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_caller_that_never_reads_holds_up_nobody() {
    let fixture = Fixture::new().await;
    let world = &fixture.world;
    world.script("flood", "exec head -c 100000000 /dev/zero");
    let mut caller = RawCaller::saying(
        fixture.port,
        "GET /cgi?command=flood HTTP/1.1\r\nHost: car\r\n\r\n",
    )
    .await;
    soon("it streams", caller.stream.readable()).await.unwrap();
    for _ in 0..20 {
        let begun = Instant::now();
        fixture.is_unharmed().await;
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }
    // Late, it gets everything.
    let answer = caller.answer().await;
    assert!(answer.complete);
    assert_eq!(answer.body.len(), 100_000_000);
}

#[tokio::test]
async fn a_caller_that_takes_nothing_for_too_long_is_given_up() {
    let fixture = Fixture::impatient(soon_out_of(|it, soon| it.reading = soon)).await;
    let note = fixture.world.note("flood");
    let body = format!(
        "echo $$ > {}; exec head -c 100000000 /dev/zero",
        note.display()
    );
    fixture.world.script("flood", &body);
    let patient = p2p_inner::Config {
        identity: "identity2".parse().unwrap(),
        timeout: Duration::from_secs(3600),
        ..common::inner_config(&fixture.world)
    };
    let (_inner, port) = fixture.world.inner_with(patient).await;
    let mut caller =
        RawCaller::saying(port, "GET /cgi?command=flood HTTP/1.1\r\nHost: car\r\n\r\n").await;
    until("it runs", || is_alive(&note)).await;
    until("it is ended", || !is_alive(&note)).await;
    assert!(!caller.answer().await.complete);
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn two_thousand_connections_that_say_nothing_keep_nobody_from_being_served() {
    let fixture = Fixture::new().await;
    let mut silent = Vec::new();
    for n in 0..2000 {
        let mut caller = RawCaller::connect(fixture.port).await;
        if n % 2 == 0 {
            caller.send("GET /cgi?command=mark").await;
        }
        silent.push(caller);
        if n % 500 == 499 {
            fixture.is_unharmed().await;
        }
    }
    drop(silent);
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn http_1_0_gets_whole_answers_without_chunks() {
    let fixture = Fixture::new().await;
    fixture
        .world
        .script("long", "exec head -c 1000000 /dev/zero");
    fixture.world.script("cat", "exec cat");
    for (request, length) in [
        ("GET /cgi?command=hello HTTP/1.0\r\n\r\n", 6),
        ("GET /cgi?command=hello&stream=1 HTTP/1.0\r\n\r\n", 6),
        ("GET /cgi?command=long HTTP/1.0\r\n\r\n", 1_000_000),
        ("GET /cgi?command=long&stream=1 HTTP/1.0\r\n\r\n", 1_000_000),
        (
            "POST /cgi?command=cat HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
            3,
        ),
    ] {
        let mut caller = RawCaller::saying(fixture.port, request).await;
        let answer = caller.answer().await;
        assert_eq!(answer.verdict(), (200, "yes"), "{request}");
        assert_form(&answer, request);
        assert_eq!(answer.header("transfer-encoding"), "");
        assert_eq!(answer.body.len(), length, "{request}");
        assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
    }
    let answer = fixture.answer_to("GET /nowhere HTTP/1.0\r\n\r\n").await;
    assert_refusal(&answer, 404, "HTTP/1.0");
}

#[tokio::test]
async fn to_http_1_0_a_broken_transfer_does_not_look_complete() {
    let fixture = Fixture::new().await;
    let config = p2p_inner::Config {
        identity: "identity2".parse().unwrap(),
        timeout: Duration::from_secs(1),
        ..common::inner_config(&fixture.world)
    };
    let (_inner, port) = fixture.world.inner_with(config).await;
    let length = 100_000;
    fixture.world.script(
        "stuck",
        &format!("head -c {length} /dev/zero; exec sleep 1000"),
    );
    for stream in ["", "&stream=1"] {
        let request = format!("GET /cgi?command=stuck{stream} HTTP/1.0\r\n\r\n");
        let answer = RawCaller::saying(port, request).await.answer().await;
        assert_eq!(answer.verdict(), (200, "yes"));
        assert!(!answer.complete, "it looks complete");
        assert_eq!(answer.body.len(), length);
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_slow_reader_gets_all_that_was_written() {
    let fixture = Fixture::new().await;
    // Ends with its pipe full, since nobody reads; what dd says tells how much it wrote.
    let (said, child) = (fixture.world.note("said"), fixture.world.note("child"));
    let body = format!(
        "sleep 1000 > /dev/null 2>&1 & echo $! > {}\n\
         timeout -s INT 1 dd if=/dev/zero bs=1000 2> {}\n\
         exit 0",
        child.display(),
        said.display()
    );
    fixture.world.script("full", &body);
    let mut caller = RawCaller::new(with_small_buffer(fixture.port).await);
    caller
        .send("GET /cgi?command=full HTTP/1.1\r\nHost: car\r\n\r\n")
        .await;
    until("it runs", || is_alive(&child)).await;
    // Killed when the command has ended and what it left has had its time.
    until("what it left is killed", || !is_alive(&child)).await;
    let answer = caller.answer().await;
    let said = std::fs::read_to_string(said).unwrap();
    let written = said.lines().last().unwrap().split(' ').next().unwrap();
    assert!(answer.complete);
    assert_eq!(answer.body.len(), written.parse::<usize>().unwrap());
}

/// A connection that takes little ahead of its reader.
async fn with_small_buffer(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    soon("a connection", socket.connect(address)).await.unwrap()
}

#[tokio::test]
async fn who_offers_another_protocol_is_answered_in_this_one() {
    let fixture = Fixture::new().await;
    let world = &fixture.world;
    world.script("whole", "exec head -c 60000 /dev/zero");
    world.script("long", "exec head -c 3000000 /dev/zero");
    let offer = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA";
    let mut caller = RawCaller::connect(fixture.port).await;
    for (command, length) in [("hello", 6), ("whole", 60_000), ("long", 3_000_000)] {
        let get = format!("GET /cgi?command={command} HTTP/1.1\r\nHost: car\r\n{offer}\r\n");
        caller
            .send(format!("{get}Connection: Upgrade\r\n\r\n"))
            .await;
        assert_eq!(caller.answer().await.body.len(), length);
        let mut last = RawCaller::new(with_small_buffer(fixture.port).await);
        last.send(format!("{get}Connection: Upgrade, close\r\n\r\n"))
            .await;
        soon("an answer begins", last.stream.readable())
            .await
            .unwrap();
        // Whatever is answered to others meanwhile, this one's answer waits for its reader.
        fixture.is_unharmed().await;
        let answer = last.answer().await;
        assert!(answer.complete, "{command}: {} bytes", answer.body.len());
        assert_eq!(answer.body.len(), length);
    }
    let post = format!(
        "POST /cgi?command=mark HTTP/1.1\r\nHost: car\r\nContent-Length: 4000000\r\n{offer}\r\n"
    );
    let mut caller =
        RawCaller::saying(fixture.port, format!("{post}Connection: Upgrade\r\n\r\n")).await;
    caller.send(vec![b'x'; 4_000_000]).await;
    assert_refusal(&caller.answer().await, 413, "a large body");
    assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
}

#[tokio::test]
async fn bad_callers_leave_nothing_open() {
    if !common::is_alone("bad_requests::callers::bad_callers_leave_nothing_open", &[]) {
        return;
    }
    let fixture = Fixture::impatient(soon_out_of(|it, soon| {
        it.headers = soon;
        it.body = soon;
    }))
    .await;
    fixture.is_unharmed().await;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let body = "POST /cgi?command=mark HTTP/1.1\r\nHost: car\r\nContent-Length: 10\r\n\r\n12345";
    for words in ["", "GET", "garbage\r\n\r\n", body] {
        for n in 0..60 {
            let mut caller = RawCaller::saying(fixture.port, words).await;
            match n % 3 {
                0 => drop(caller),
                1 => caller.reset(),
                _ => caller.finish().await,
            }
        }
    }
    // One connection of a caller before may have ended meanwhile.
    until("all are closed", || open() <= before).await;
    fixture.is_unharmed().await;
}
