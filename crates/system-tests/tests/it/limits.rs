//! Limits: who has to go for whom, what wrong keys cost, and how much one party may have. A stop
//! is never too much.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common;
use crate::common::console::{self, FakeConsole};
use crate::common::peer::{FakeInner, dial, hello};
use crate::common::program::{self, RunningProgram};
use crate::common::raw::RawCaller;
use crate::common::{
    World, asking, get, get_with_key, inner_config, raw_from, router_config, soon, until_so,
};
use p2p_inner::{Config, Inner};
use p2p_router::auth::key_store::KeyFile;
use p2p_router::net::limits;
use p2p_shared::key::{Key, Role};
use p2p_shared::net::dialer::DialError;
use p2p_shared::protocol::{
    CommandInfo, ConsoleToRouter, InnerToRouter, RefusedReason, Rejection, RouterToInner, SendEvent,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Strangers that were answered once, and so are there.
async fn strangers(port: u16, count: usize) -> Vec<RawCaller> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut one = RawCaller::connect(port).await;
        assert_eq!(one.get("/healthz").await.status, 200);
        all.push(one);
    }
    all
}

async fn car(world: &World) -> (Inner, u16) {
    let key = Some(world.key("car", Role::Link).await);
    let config = inner_config(world);
    world.inner_with(Config { key, ..config }).await
}

#[tokio::test]
async fn a_stranger_of_the_same_address_goes_for_a_newcomer_and_whoever_has_a_key_stays() {
    p2p_router::net::limits::raise_open_files();
    let world = World::keyed();
    let (_car, port) = car(&world).await;
    let key = world.key("desk", Role::Drive).await;
    let mut known = RawCaller::connect(port).await;
    let list = format!(
        "GET /commands HTTP/1.1\r\nHost: car\r\nAuthorization: Bearer {}\r\n\r\n",
        key.expose()
    );
    known.send(&list).await;
    assert_eq!(known.answer().await.status, 200);

    let main = world.main_port();
    // Right keys came from this address: it has places in both rooms.
    let places = limits::UNAUTHENTICATED.of_one + limits::UNAUTHENTICATED.known;
    let mut crowd = JoinSet::new();
    for mut one in strangers(main, places).await {
        one.send("GET /healthz HTTP/1.1\r\nHost: r\r\nX-").await;
        crowd.spawn(async move { one.answer().await });
    }
    let mut newcomer = strangers(main, 1).await.remove(0);
    // Any one of all that were there.
    let answer = crowd.join_next().await.unwrap().unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "2");
    assert!(answer.text().contains("too many callers without a key"));
    assert_eq!(newcomer.get("/healthz").await.status, 200);

    known.send(&list).await;
    assert_eq!(known.answer().await.status, 200);
    drop(crowd);
    let sent_away = world.metric("p2p_router_strangers_sent_away_total").await;
    assert!(sent_away >= 1, "{sent_away}");
}

#[tokio::test]
async fn wrong_keys_put_off_their_address_and_no_right_key() {
    let world = World::keyed();
    let (_car, port) = car(&world).await;
    let good = world.key("desk", Role::Drive).await;
    let wrong = Key::generate().unwrap();
    assert_eq!(get_with_key(port, "/commands", &wrong).await.status, 401);
    let put_off = get_with_key(port, "/commands", &wrong).await;
    assert_eq!(put_off.verdict(), (429, "no"));
    let seconds: u64 = put_off.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(put_off.text().contains("this key is wrong or was revoked"));
    // A link's owner is told the same, and that it is its key.
    match dial(world.main_port(), Some(&wrong)).await {
        Err(DialError::Denied(_, said)) => assert!(said.contains("wrong keys"), "{said}"),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("let in"),
    }
    for _ in 0..20 {
        get_with_key(port, "/commands", &wrong).await;
        assert_eq!(get_with_key(port, "/commands", &good).await.status, 200);
    }
    // Without a key it is no wrong one.
    assert_eq!(get(port, "/commands").await.status, 401);
    let request = format!(
        "GET /commands HTTP/1.1\r\nHost: car\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        wrong.expose()
    );
    let elsewhere = raw_from([127, 0, 0, 2], common::local(port), request.as_bytes()).await;
    assert!(elsewhere.starts_with("HTTP/1.1 401 "), "{elsewhere}");
    assert!(world.metric("p2p_router_wrong_keys_total").await >= 24);
}

#[tokio::test]
async fn one_party_has_so_many_ports_and_always_gets_its_own_back() {
    let config = p2p_router::Config {
        max_links: 2,
        ..router_config()
    };
    let world = World::with(config, tempfile::tempdir().unwrap());
    let main = world.main_port();
    let (_other, _) = FakeInner::welcome(main).await;
    let mut first = FakeInner::greeting(main, &hello("one", 0)).await;
    let (_, port) = first.is_welcomed().await;
    let mut third = FakeInner::greeting(main, &hello("three", 0)).await;
    let (rejection, sentence) = third.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    assert!(sentence.contains("--max-links"), "{sentence}");
    let mut again = FakeInner::greeting(main, &hello("one", port)).await;
    assert_eq!(again.is_welcomed().await.1, port);
}

#[tokio::test]
async fn one_party_has_so_many_runs_open_and_a_stop_on_top() {
    p2p_router::net::limits::raise_open_files();
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut open = Vec::new();
    for _ in 0..limits::RUNS {
        open.push(asking(port, "/cgi?command=a"));
    }
    let mut last = inner.is_asked_to_run().await.run;
    for _ in 1..limits::RUNS {
        last = inner.is_asked_to_run().await.run;
    }
    let refused = get(port, "/cgi?command=a").await;
    assert_eq!(refused.verdict(), (429, "no"));
    assert!(refused.text().contains("runs of this key"));
    let mut console = FakeConsole::open(world.main_port()).await;
    console.sends_command(1, port, "a").await;
    let SendEvent::Queued { .. } = console.receives_send_event(1).await else {
        panic!("not queued")
    };
    let told = console.receives_send_event(1).await;
    assert!(matches!(told, SendEvent::Refused { .. }), "{told:?}");

    let stop = asking(port, "/cgi?command=stop");
    let asked = inner.is_asked_to_run().await;
    assert_eq!(asked.command.to_string(), "stop");
    inner.starts(asked.run).await;
    inner.finishes(asked.run).await;
    assert_eq!(common::answered(stop).await.verdict(), (200, "yes"));

    // What ends makes room.
    inner.starts(last).await;
    inner.finishes(last).await;
    let next = tokio::spawn(async move {
        let mut answer = get(port, "/cgi?command=b").await;
        while answer.status == 429 {
            answer = get(port, "/cgi?command=b").await;
        }
        answer
    });
    let asked = inner.is_asked_to_run().await;
    inner.starts(asked.run).await;
    inner.finishes(asked.run).await;
    assert_eq!(common::answered(next).await.verdict(), (200, "yes"));
}

#[tokio::test]
async fn a_body_that_is_waited_for_counts_as_a_run() {
    p2p_router::net::limits::raise_open_files();
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let post = "POST /cgi?command=a HTTP/1.1\r\nHost: car\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    let mut half = Vec::new();
    for _ in 0..limits::RUNS {
        let mut caller = RawCaller::saying(port, post).await;
        assert_eq!(caller.answer().await.status, 100);
        half.push(caller);
    }
    let mut late = RawCaller::saying(port, post).await;
    assert_eq!(late.answer().await.verdict(), (429, "no"));
    let _stop = asking(port, "/cgi?command=stop");
    let asked = inner.is_asked_to_run().await;
    assert_eq!(asked.command.to_string(), "stop");
    // Who goes away makes room.
    drop(half.pop());
    until_so("there is room", async || {
        let mut next = RawCaller::saying(port, post).await;
        next.answer().await.status == 100
    })
    .await;
}

/// A caller who asks for this car's commands and reads nothing but the status.
async fn unread_list(port: u16, key: &Key) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    // So that little is on its way, and the rest waits in the router.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(common::local(port)).await.unwrap();
    let key = key.bearer();
    let request =
        format!("GET /commands HTTP/1.1\r\nHost: car\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    soon("a status", stream.read_exact(&mut status))
        .await
        .unwrap();
    (stream, String::from_utf8_lossy(&status).into_owned())
}

#[tokio::test]
async fn lists_that_nobody_reads_are_bounded_for_each_key_and_no_other_key_is_refused() {
    let world = World::keyed();
    let car = world.key("car", Role::Link).await;
    let (mut inner, port) = FakeInner::with_key(world.main_port(), &car).await;
    let command = |_| CommandInfo {
        name: "long".parse().unwrap(),
        problem: Some("x".repeat(2000).as_str().into()),
    };
    let part: Vec<_> = (0..20).map(command).collect();
    let listing = tokio::spawn(async move {
        while let Some(message) = inner.receive().await {
            let RouterToInner::ListCommands { request } = message else {
                continue;
            };
            for n in 0..20 {
                let commands = part.clone().try_into().unwrap();
                let more = n < 19;
                let answer = InnerToRouter::Commands {
                    request,
                    commands,
                    more,
                };
                inner.send(answer).await;
            }
        }
    });
    let [bob, eve] = [
        world.key("bob", Role::View).await,
        world.key("eve", Role::View).await,
    ];
    let (mut unread, first) = unread_list(port, &bob).await;
    assert_eq!(first, "HTTP/1.1 200");
    for _ in 0..40 {
        let (_, status) = unread_list(port, &bob).await;
        assert_eq!(status, "HTTP/1.1 429");
    }
    assert_eq!(get_with_key(port, "/commands", &bob).await.status, 429);
    assert_eq!(get_with_key(port, "/commands", &eve).await.status, 200);
    let read = async { unread.read_exact(&mut vec![0; 800_000]).await.unwrap() };
    soon("the whole list", read).await;
    drop(unread);
    until_so("there is room", async || {
        get_with_key(port, "/commands", &bob).await.status == 200
    })
    .await;
    listing.abort();
}

#[tokio::test]
async fn one_party_has_so_many_consoles() {
    let world = World::open();
    let mut open = Vec::new();
    for _ in 0..limits::CONSOLES {
        open.push(FakeConsole::open(world.main_port()).await);
    }
    match console::dial(world.main_port(), None).await {
        Err(DialError::Refused(_, said, retry_after)) => {
            assert!(said.contains("close one"), "{said}");
            assert_eq!(retry_after, Some(Duration::from_secs(10)));
        }
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("let in"),
    }
    open.pop();
    until_so("there is room", async || {
        console::dial(world.main_port(), None).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_console_that_asks_too_much_is_refused_and_stops_all_the_same() {
    let world = World::open();
    let (mut inner, port) = FakeInner::welcome(world.main_port()).await;
    let mut console = FakeConsole::open(world.main_port()).await;
    let service_port = Some(port);
    for _ in 0..5000 {
        console.send(ConsoleToRouter::Watch { service_port }).await;
    }
    let (reason, sentence) = console.is_refused().await;
    assert_eq!(reason, RefusedReason::Denied);
    assert!(sentence.contains("requests a second"), "{sentence}");
    console.sends_command(7, port, "stop").await;
    assert_eq!(inner.is_asked_to_run().await.command.to_string(), "stop");
}

#[tokio::test]
async fn handshakes_that_are_never_finished_make_room_as_well() {
    p2p_router::net::limits::raise_open_files();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let config = p2p_router::Config {
        keys: Some(p2p_router::auth::key_store::KeyStore::open(&state).unwrap()),
        certificate: Some(p2p_router::auth::certificate::Certificate::own(&state).unwrap()),
        ..router_config()
    };
    let world = World::with(config, folder);
    let mut half = JoinSet::new();
    for _ in 0..=limits::UNAUTHENTICATED.of_one {
        // A record that promises more than ever comes.
        let mut one = RawCaller::saying(world.main_port(), b"\x16\x03\x01\x02\x00\x01").await;
        half.spawn(async move { one.end().await });
    }
    let (said, _) = half.join_next().await.unwrap().unwrap();
    assert!(said.is_empty());
    let sent_away = world.metric("p2p_router_strangers_sent_away_total").await;
    assert!(sent_away >= 1, "{sent_away}");
}

/// A flood from another address: connections that are given up at once, and come again.
async fn flood(port: u16) {
    let mut all = JoinSet::new();
    for n in 0..64 {
        let from = Ipv4Addr::new(127, 0, 3, 1);
        all.spawn(async move {
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                // Half of them stay for a while.
                let stay = Duration::from_millis(if n % 2 == 0 { 0 } else { 200 });
                if socket.bind((from, 0).into()).is_ok() {
                    let connecting = socket.connect((Ipv4Addr::LOCALHOST, port).into());
                    let stream = tokio::time::timeout(Duration::from_millis(500), connecting).await;
                    tokio::time::sleep(stay).await;
                    if let Ok(Ok(stream)) = stream {
                        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    }
                }
                tokio::task::yield_now().await;
            }
        });
    }
    all.join_next().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_from_one_address_holds_up_nobody_else() {
    p2p_router::net::limits::raise_open_files();
    let world = World::open();
    let main = world.main_port();
    let flood = tokio::spawn(flood(main));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(10), get(main, "/healthz")).await;
        times.push(begun.elapsed().as_secs_f64());
        assert_eq!(answer.expect("an answer in time").status, 200, "{times:?}");
    }
    flood.abort();
    times.sort_by(f64::total_cmp);
    assert!(times[10] < 0.5 && times[19] < 3.0, "{times:?}");
}

/// A router that may have so few files open, in this folder.
async fn cramped_router(folder: &Path) -> (RunningProgram, u16) {
    let mut router = program::router(folder);
    let router = router.args(["0", "--bind", "127.0.0.1"]).as_std();
    let mut cramped = program::command(Path::new("sh"), folder);
    cramped.args(["-c", "ulimit -n 300 && exec \"$@\"", "sh"]);
    cramped.arg(router.get_program()).args(router.get_args());
    let router = RunningProgram::start(&mut cramped);
    let port = router.main_port().await;
    (router, port)
}

/// Connections from other addresses, on which nothing is said.
async fn silent(port: u16, count: u8) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for n in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        let from = Ipv4Addr::new(127, 0, 4, n / 8 + 1);
        socket.bind((from, 0).into()).unwrap();
        let connecting = socket.connect(common::local(port));
        let stream = tokio::time::timeout(Duration::from_secs(1), connecting).await;
        all.extend(stream.ok().and_then(Result::ok));
    }
    all
}

#[tokio::test]
async fn a_link_and_a_list_get_through_though_strangers_and_one_party_have_all_that_they_can() {
    p2p_router::net::limits::raise_open_files();
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::in_dir(folder.path().join(".local/state/p2prouter"));
    let make = |name: &str, role| keys.add(&name.parse().unwrap(), role, None).unwrap();
    let [car, greedy_car] = ["car", "greedy car"].map(|name| make(name, Role::Link));
    let [desk, greedy] = ["desk", "greedy"].map(|name| make(name, Role::Admin));
    let (_router, main) = cramped_router(folder.path()).await;

    let (_first, port) = FakeInner::with_key(main, &greedy_car).await;
    let mut links = Vec::new();
    loop {
        let mut inner = dial(main, Some(&greedy_car)).await.unwrap();
        inner.send(InnerToRouter::Hello(hello("any", 0))).await;
        match inner.receive().await {
            Some(RouterToInner::Welcome { .. }) => links.push(inner),
            Some(RouterToInner::Rejected { .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    let mut consoles = Vec::new();
    while let Ok(console) = console::dial(main, Some(&greedy)).await {
        consoles.push(console);
    }
    let request = format!(
        "GET /cgi HTTP/1.1\r\nHost: car\r\nAuthorization: Bearer {}\r\n\r\n",
        greedy.bearer()
    );
    let mut callers = Vec::new();
    for _ in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 5, 1], 0).into()).unwrap();
        let stream = socket.connect(common::local(port)).await.unwrap();
        let mut caller = RawCaller::new(stream);
        caller.send(&request).await;
        if caller.try_answer().await.is_some() {
            callers.push(caller);
        }
    }
    let _strangers = [silent(main, 240).await, silent(port, 240).await];

    let (_honest, honest_port) = FakeInner::with_key(main, &car).await;
    let answer = get_with_key(honest_port, "/cgi", &desk).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let mut list = tokio::process::Command::from(program::console(folder.path(), main));
    list.arg("list");
    list.env("P2P_KEY", desk.expose()).env("P2P_OPEN", "1");
    let listed = program::run(&mut list).await;
    assert_eq!(listed.code, Some(0), "{}", listed.errors);
    assert!(
        listed.out.contains(&honest_port.to_string()),
        "{}",
        listed.out
    );
}

#[tokio::test]
async fn of_hundreds_of_stops_at_a_time_each_is_told_what_became_of_it() {
    let world = World::open();
    world.script("stop", "echo stopped >> ../stops; sleep 0.2; echo done");
    let (_inner, port) = world.inner().await;
    let mut callers = Vec::new();
    for _ in 0..200 {
        callers.push(RawCaller::connect(port).await);
    }
    // Nothing is waited for in between: the router finds all of them at once.
    for caller in &callers {
        let request = b"GET /cgi?command=stop HTTP/1.1\r\nHost: car\r\n\r\n";
        assert_eq!(caller.stream.try_write(request).unwrap(), request.len());
    }
    for mut caller in callers {
        let answer = caller.answer().await;
        assert_eq!(answer.verdict(), (200, "yes"), "{}", answer.text());
        assert_eq!(answer.text(), "done\n");
    }
    let stops = std::fs::read_to_string(world.note("stops")).unwrap();
    assert!(stops.lines().count() < 20, "{stops}");
}

#[tokio::test]
async fn nothing_runs_that_strangers_could_end_and_a_stop_gets_through_though_keys_have_all_connections()
 {
    p2p_router::net::limits::raise_open_files();
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::in_dir(folder.path().join(".local/state/p2prouter"));
    let make = |name: &str, role| keys.add(&name.parse().unwrap(), role, None).unwrap();
    let car = make("car", Role::Link);
    let busy: Vec<_> = (0..5)
        .map(|n| make(&format!("busy {n}"), Role::Drive))
        .collect();
    let (_router, main) = cramped_router(folder.path()).await;
    let (mut inner, port) = FakeInner::with_key(main, &car).await;
    let asks = async |key: &Key, command: &str| {
        let bearer = key.bearer();
        let request = format!(
            "GET /cgi?command={command} HTTP/1.1\r\nHost: car\r\nAuthorization: Bearer {bearer}\r\n\r\n"
        );
        RawCaller::saying(port, request).await
    };
    let of_one = limits::OpenFileLimits::of(300).connections;
    let mut running = Vec::new();
    for _ in 0..of_one {
        running.push(asks(&busy[0], "a").await);
        let run = inner.is_asked_to_run().await.run;
        inner.starts(run).await;
    }
    let mut one_more = asks(&busy[0], "a").await;
    let refused = one_more.answer().await;
    assert_eq!(refused.verdict(), (429, "no"));
    assert!(refused.text().contains("connections open"));

    let mut stop = asks(&busy[0], "stop").await;
    let asked = inner.is_asked_to_run().await;
    assert_eq!(asked.command.to_string(), "stop");
    let _strangers = silent(port, 240).await;
    inner.starts(asked.run).await;
    inner.finishes(asked.run).await;
    let stopped = stop.answer().await;
    assert_eq!(stopped.verdict(), (200, "yes"));
    assert_eq!(stopped.header("connection"), "close");

    // The other keys take what is left for all.
    let mut refused = None;
    for n in of_one..5 * of_one {
        let mut caller = asks(&busy[n / of_one], "a").await;
        tokio::select! {
            answer = caller.try_answer() => refused = Some(answer),
            asked = inner.is_asked_to_run() => {
                inner.starts(asked.run).await;
                running.push(caller);
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("no end").expect("closed without an answer");
    assert_eq!(refused.verdict(), (429, "no"));
    let mut stop = asks(&busy[4], "stop").await;
    let asked = inner.is_asked_to_run().await;
    assert_eq!(asked.command.to_string(), "stop");
    inner.starts(asked.run).await;
    inner.finishes(asked.run).await;
    assert_eq!(stop.answer().await.verdict(), (200, "yes"));
}
