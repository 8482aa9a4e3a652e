//! Keys: who may do what, what the others are told, and what happens to what a key has open when
//! it is revoked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use crate::common;
use crate::common::console::{ConsoleSnapshot, FakeConsole};
use crate::common::peer::{dial, hello};
use crate::common::raw::RawCaller;
use crate::common::{
    HttpAnswer, PATIENCE, ReservedPort, World, answered, ask, get, get_with_key, inner_config,
    is_alive, link_down, local, raw_from, request, router_config, send, soon, until, until_so,
};
use http_body_util::{BodyExt, Full};
use p2p_inner::{Config, Inner};
use p2p_router::auth::key_store::{KeyFile, KeyStore};
use p2p_shared::key::{Key, Role};
use p2p_shared::names::RunId;
use p2p_shared::net::dialer::DialError;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlRequest, InnerToRouter, PressId, RefusedReason, Rejection,
    RouterToConsole, RouterToInner, RunAnswer, SendEvent,
};
use p2p_shared::timing;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A linked inner with a key of its own, named `car`.
async fn car(world: &World) -> (Inner, u16) {
    let key = world.key("car", Role::Link).await;
    world
        .inner_with(Config {
            key: Some(key),
            // A command that ends in a test was ended for its key.
            timeout: PATIENCE * 2,
            ..inner_config(world)
        })
        .await
}

fn asking_with_key(port: u16, target: &'static str, key: &Key) -> JoinHandle<HttpAnswer> {
    let key = key.clone();
    tokio::spawn(async move { get_with_key(port, target, &key).await })
}

/// A command that leaves its number in a note and stays.
fn staying(world: &World, first: &str) -> std::path::PathBuf {
    let process = world.note("process");
    let line = format!("{first}; echo $$ > {}; exec sleep 1000", process.display());
    world.script("stay", &line);
    process
}

#[tokio::test]
async fn each_role_may_do_what_the_contract_says_and_no_more() {
    let world = World::keyed();
    world.script("hello", "echo hello");
    let (_car, port) = car(&world).await;
    for (role, run, list, link) in [
        (Role::Link, 403, 403, true),
        (Role::View, 403, 200, false),
        (Role::Drive, 200, 200, false),
        (Role::Admin, 200, 200, false),
    ] {
        let key = world.key(&format!("of-{role}"), role).await;
        for (target, status) in [("/cgi?command=hello", run), ("/commands", list)] {
            let answer = get_with_key(port, target, &key).await;
            assert_eq!(answer.status.as_u16(), status, "{role} {target}");
            if status == 403 {
                assert_eq!(answer.header("p2p-executed"), "no");
                assert_eq!(answer.header("www-authenticate"), "");
                let sentence = format!("the key 'of-{role}' has the role {role}, which may not");
                assert!(answer.text().starts_with(&sentence), "{}", answer.text());
            }
        }
        match dial(world.main_port(), Some(&key)).await {
            Ok(_) => assert!(link, "{role}"),
            Err(DialError::Denied(_, said)) => {
                assert!(!link && said.contains("may not be a link"), "{said}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn without_a_good_key_there_is_a_401_that_asks_for_a_bearer_key_and_never_for_a_password() {
    let world = World::keyed();
    let mark = world.note("mark");
    world.script("touch", &format!("touch {}", mark.display()));
    let (_car, port) = car(&world).await;
    let good = world.key("desk", Role::Drive).await.expose();
    let other = Key::generate().unwrap().expose();
    let headers = [
        String::new(),
        "Authorization:\r\n".to_owned(),
        format!("Authorization: Bearer {other}\r\n"),
        format!("Authorization: Bearer {}{}\r\n", &good[..14], &other[14..]),
        format!("Authorization: Bearer {}\r\n", &good[..60]),
        format!("Authorization: Bearer {good}x\r\n"),
        format!("Authorization: Basic {good}\r\n"),
        format!("Authorization: {good}\r\n"),
        format!("X-Key: {good}\r\n"),
        "Authorization: Bearer \u{1f511}\r\n".to_owned(),
    ];
    // From one address they would be put off.
    let mut from = (1..=250).map(|n| [127, 0, 3, n]);
    for header in headers {
        for target in ["/cgi?command=touch", "/commands"] {
            let text =
                format!("GET {target} HTTP/1.1\r\nHost: car\r\n{header}Connection: close\r\n\r\n");
            let from = from.next().unwrap();
            let answer = raw_from(from, local(port), text.as_bytes()).await;
            let answer = answer.to_lowercase();
            assert!(answer.starts_with("http/1.1 401 "), "{header}{answer}");
            assert!(
                answer.contains("\r\nwww-authenticate: bearer\r\n"),
                "{answer}"
            );
            assert!(answer.contains("\r\np2p-executed: no\r\n"), "{answer}");
            assert!(!answer.contains("basic"), "{answer}");
            assert!(!answer.contains(&good[14..40]) && !answer.contains(&other[14..40]));
        }
        let text = format!("GET /link HTTP/1.1\r\nHost: car\r\n{header}Connection: close\r\n\r\n");
        let main = world.router.address();
        let answer = raw_from(from.next().unwrap(), main, text.as_bytes()).await;
        let answer = answer.to_lowercase();
        assert!(answer.starts_with("http/1.1 401 "), "{header}{answer}");
        assert!(
            answer.contains("\r\nwww-authenticate: bearer\r\n"),
            "{answer}"
        );
    }
    assert!(!mark.exists());
}

#[tokio::test]
async fn two_authorization_headers_are_not_the_better_one_of_them() {
    let world = World::keyed();
    world.script("hello", "echo hello");
    let (_car, port) = car(&world).await;
    let good = world.key("desk", Role::Drive).await.expose();
    let bad = Key::generate().unwrap().expose();
    let request = request("GET", "/cgi?command=hello")
        .header("authorization", format!("Bearer {bad}"))
        .header("authorization", format!("Bearer {good}"));
    let answer = ask(port, request.body(Full::default()).unwrap()).await;
    assert_eq!(answer.verdict(), (401, "no"));
}

#[tokio::test]
async fn what_tells_nothing_needs_no_key() {
    let world = World::keyed();
    let answer = get(world.main_port(), "/healthz").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "ok\n")
    );
}

#[tokio::test]
async fn a_key_has_ports_and_its_inner_gets_one_of_those() {
    let world = World::keyed();
    let (own, another) = (ReservedPort::new(), ReservedPort::new());
    let range = own.port.to_string().parse().unwrap();
    let key = world.key_for("car", Role::Link, Some(range)).await;
    let greet = async |port| {
        let mut inner = dial(world.main_port(), Some(&key)).await.unwrap();
        inner.send(InnerToRouter::Hello(hello("any", port))).await;
        inner
    };
    let (rejection, sentence) = greet(another.port).await.is_rejected().await;
    assert_eq!(rejection, Rejection::PortUnavailable);
    let expected = format!(
        "this key allows the service ports {}, not {}",
        own.port, another.port
    );
    assert!(sentence.contains(&expected), "{sentence}");
    assert_eq!(greet(0).await.is_welcomed().await.1, own.port);
}

#[tokio::test]
async fn a_key_with_ports_sees_drives_stops_and_is_told_of_its_cars_only() {
    let world = World::keyed();
    world.script("hello", "echo hello");
    let (_car, own) = car(&world).await;
    let van = Config {
        key: Some(world.key("van", Role::Link).await),
        name: "van".parse().unwrap(),
        ..inner_config(&world)
    };
    let (_van, other) = world.inner_with(van).await;
    let ports = Some(own.to_string().parse().unwrap());
    let desk = world.key("desk", Role::Admin).await;
    let bob = world.key_for("bob", Role::Admin, ports).await;

    let refusal = format!("the key 'bob' is for the service ports {own}, not for {other}");
    for target in [
        "/",
        "/cgi?command=hello",
        "/cgi?command=stop",
        "/commands",
        "/run/0000000000000001",
        "/frame.jpg",
        "/video",
        "/frames",
        "/drive",
    ] {
        let answer = get_with_key(other, target, &bob).await;
        assert_eq!(answer.verdict(), (403, "no"), "{target}");
        assert!(answer.text().starts_with(&refusal), "{}", answer.text());
        assert_ne!(
            get_with_key(own, target, &bob).await.status,
            403,
            "{target}"
        );
    }

    for port in [other, own] {
        get_with_key(port, "/cgi?command=hello", &desk).await;
    }
    let mut console = FakeConsole::with(world.main_port(), Some(&bob), false).await;
    let ConsoleSnapshot { links, runs, .. } = &console.picture;
    let seen = links.iter().map(|link| link.service_port);
    assert_eq!(seen.collect::<Vec<_>>(), [own]);
    assert!(!runs.is_empty() && runs.iter().all(|run| run.service_port == own));
    let press = PressId {
        epoch: 1,
        number: 1,
    };
    console.requests_control(other, ControlRequest::Seize).await;
    console.presses(other, press, "forward", 0).await;
    console.stops(other).await;
    for _ in 0..3 {
        let (reason, sentence) = console.is_refused().await;
        assert_eq!(reason, RefusedReason::Offline);
        assert_eq!(sentence, format!("no car has the service port {other}"));
    }
    for command in ["hello", "stop"] {
        console.sends_command(1, other, command).await;
        let event = console.receives_send_event(1).await;
        assert!(matches!(event, SendEvent::Refused { .. }), "{event:?}");
    }
    let (run, service_port) = (RunId::from_number(1), other);
    let questions = [
        ConsoleToRouter::ListCommands {
            request: 2,
            service_port,
        },
        ConsoleToRouter::AskRun {
            request: 3,
            service_port,
            run,
        },
    ];
    for question in questions {
        console.send(question).await;
    }
    let is_list_empty = console.receives(|message| match message {
        RouterToConsole::Commands { commands, .. } => Some(commands.is_empty()),
        _ => None,
    });
    assert!(is_list_empty.await);
    let answer = console.receives(|message| match message {
        RouterToConsole::Run { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    assert_eq!(answer.await, RunAnswer::Away);

    for port in [other, own] {
        get_with_key(port, "/cgi?command=hello", &desk).await;
    }
    // The other car's run was over before.
    let told = console.sees_run(|run| run.result.is_some()).await;
    assert_eq!(told.service_port, own);
    console.takes(own).await;
    console.sends_command(4, own, "hello").await;
    let event = console.receives_send_event(4).await;
    assert!(matches!(event, SendEvent::Queued { .. }), "{event:?}");
}

#[tokio::test]
async fn an_inner_is_who_its_key_says_whatever_it_says_itself() {
    let world = World::keyed();
    let (one, two) = (
        world.key("one", Role::Link).await,
        world.key("two", Role::Link).await,
    );
    let greet = async |key: &Key, identity: &str, port| {
        let mut inner = dial(world.main_port(), Some(key)).await.unwrap();
        inner
            .send(InnerToRouter::Hello(hello(identity, port)))
            .await;
        inner
    };
    let mut owner = greet(&one, "same", 0).await;
    let (_, port) = owner.is_welcomed().await;
    let (_, sentence) = greet(&two, "same", port).await.is_rejected().await;
    assert!(sentence.contains("an inner with another key"), "{sentence}");
    greet(&one, "different", port).await.is_welcomed().await;
    assert_eq!(owner.is_rejected().await.0, Rejection::TakenOver);
}

#[tokio::test]
async fn a_service_port_that_is_taken_for_the_main_port_is_recognised() {
    let world = World::keyed();
    let (_inner, port) = car(&world).await;
    let key = world.key("desk", Role::Drive).await;
    for key in [None, Some(&key)] {
        for error in [
            dial(port, key).await.map(drop).unwrap_err(),
            common::console::dial(port, key)
                .await
                .map(drop)
                .unwrap_err(),
        ] {
            assert!(matches!(error, DialError::ServicePort(_)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_revoked_key_closes_its_link_and_its_port_at_once() {
    let world = World::keyed();
    let (inner, port) = car(&world).await;
    let key = world.key("van", Role::Link).await;
    let mut van = dial(world.main_port(), Some(&key)).await.unwrap();
    van.send(InnerToRouter::Hello(hello("any", 0))).await;
    let (_, van_port) = van.is_welcomed().await;

    world.revoke("van");
    let (rejection, sentence) = van.is_rejected().await;
    assert_eq!(rejection, Rejection::Denied);
    assert!(sentence.contains("the key was revoked"), "{sentence}");
    let is_closed = async |port| TcpStream::connect(local(port)).await.is_err();
    until_so("its port is closed", async || is_closed(van_port).await).await;
    let again = dial(world.main_port(), Some(&key)).await;
    assert!(matches!(again, Err(DialError::Denied(..))));
    assert!(!is_closed(port).await);

    world.revoke("car");
    link_down(&inner).await;
    until_so("its port is closed", async || is_closed(port).await).await;
}

#[tokio::test]
async fn a_revoked_key_frees_the_port_of_a_car_that_is_away_at_once() {
    let world = World::keyed();
    let [car, van] = [
        world.key("car", Role::Link).await,
        world.key("van", Role::Link).await,
    ];
    let greet = async |key: &Key, port| {
        let mut inner = dial(world.main_port(), Some(key)).await.unwrap();
        inner.send(InnerToRouter::Hello(hello("any", port))).await;
        inner
    };
    let mut inner = greet(&car, 0).await;
    let (_, port) = inner.is_welcomed().await;
    drop(inner);
    let (_, why) = greet(&van, port).await.is_rejected().await;
    assert!(why.contains("'fake'"), "{why}");
    let since = Instant::now();
    world.revoke("car");
    until_so("another gets the port", async || {
        let mut inner = greet(&van, port).await;
        matches!(inner.receive().await, Some(RouterToInner::Welcome { .. }))
    })
    .await;
    assert!(since.elapsed() < timing::PORT_KEPT / 2);
}

#[tokio::test]
async fn a_key_that_is_revoked_before_the_hello_gets_no_link() {
    let world = World::keyed();
    let key = world.key("car", Role::Link).await;
    let mut inner = dial(world.main_port(), Some(&key)).await.unwrap();
    world.revoke("car");
    let id = key.id();
    until("the key is void", || {
        !world.keys.as_ref().unwrap().is_live(&id)
    })
    .await;
    inner.send(InnerToRouter::Hello(hello("any", 0))).await;
    assert_eq!(inner.is_rejected().await.0, Rejection::Denied);
}

#[tokio::test]
async fn a_key_whose_role_is_changed_by_hand_loses_its_link() {
    let world = World::keyed();
    let (inner, _) = car(&world).await;
    let path = world.folder.path().join("state/keys.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"link\"", "\"view\"")).unwrap();
    link_down(&inner).await;
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_the_run_that_it_waits_for() {
    let world = World::keyed();
    let process = staying(&world, ":");
    let (_car, port) = car(&world).await;
    let operator = world.key("desk", Role::Drive).await;
    let run = asking_with_key(port, "/cgi?command=stay", &operator);
    until("the command runs", || is_alive(&process)).await;
    world.revoke("desk");
    let answer = answered(run).await;
    // The car tells of a start some milliseconds later than we see it.
    let (status, executed) = answer.verdict();
    assert_eq!(status, 401);
    assert!(matches!(executed, "yes" | "unknown"), "{executed}");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert!(answer.text().contains("the key was revoked"));
    until("the command is ended", || !is_alive(&process)).await;
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_the_output_that_it_reads() {
    let world = World::keyed();
    let process = staying(&world, "echo begun");
    let (_car, port) = car(&world).await;
    let operator = world.key("desk", Role::Drive).await;
    let bearer = format!("Bearer {}", operator.expose());
    let request = request("GET", "/cgi?command=stay&stream=1").header("authorization", bearer);
    let response = send(port, request.body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let first = soon("the first output", body.frame())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.into_data().unwrap(), "begun\n");
    until("the command runs", || is_alive(&process)).await;
    world.revoke("desk");
    let rest = soon("the end of the output", body.frame()).await;
    assert!(matches!(rest, Some(Err(_))), "the transfer was completed");
    until("the command is ended", || !is_alive(&process)).await;
}

#[tokio::test]
async fn a_run_that_may_have_begun_when_its_key_was_revoked_is_not_called_unexecuted() {
    let world = World::keyed();
    let key = world.key("car", Role::Link).await;
    let mut inner = dial(world.main_port(), Some(&key)).await.unwrap();
    inner.send(InnerToRouter::Hello(hello("any", 0))).await;
    let (_, port) = inner.is_welcomed().await;
    let operator = world.key("desk", Role::Drive).await;
    let run = asking_with_key(port, "/cgi?command=a", &operator);
    inner.is_asked_to_run().await;
    world.revoke("desk");
    let answer = answered(run).await;
    assert_eq!(answer.verdict(), (401, "unknown"));
}

#[tokio::test]
async fn a_key_that_is_revoked_while_a_body_comes_runs_nothing() {
    let world = World::keyed();
    let mark = world.note("mark");
    world.script("touch", &format!("touch {}", mark.display()));
    let (_car, port) = car(&world).await;
    let operator = world.key("desk", Role::Drive).await;
    let mut caller = RawCaller::connect(port).await;
    let head = format!(
        "POST /cgi?command=touch HTTP/1.1\r\nHost: car\r\nAuthorization: Bearer {}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
        operator.bearer()
    );
    caller.send(head).await;
    assert_eq!(caller.answer().await.status, 100);
    world.revoke("desk");
    let keys = world.keys.as_ref().unwrap();
    until("the key is void", || !keys.is_live(&operator.id())).await;
    caller.send("body").await;
    let answer = caller.answer().await;
    assert_eq!(answer.verdict(), (401, "no"));
    assert!(
        answer.text().contains("the key was revoked"),
        "{}",
        answer.text()
    );
    assert!(!mark.exists());
}

#[tokio::test]
async fn revoking_the_keys_of_others_ends_nothing() {
    let world = World::keyed();
    world.gated("wait", "echo done");
    let (inner, port) = car(&world).await;
    let operator = world.key("desk", Role::Drive).await;
    world.key("other-car", Role::Link).await;
    world.key("other-desk", Role::Admin).await;
    let run = asking_with_key(port, "/cgi?command=wait", &operator);
    world.has_begun().await;
    for name in ["other-car", "other-desk"] {
        world.revoke(name);
    }
    let other = world.key("later", Role::View).await;
    assert_eq!(get_with_key(port, "/commands", &other).await.status, 200);
    world.open_gate();
    assert_eq!(answered(run).await.verdict(), (200, "yes"));
    assert!(matches!(
        *inner.link_state().borrow(),
        p2p_inner::LinkState::Up { .. }
    ));
}

#[tokio::test]
async fn a_car_whose_key_is_revoked_ends_no_command_and_nobody_knows() {
    let world = World::keyed();
    let mark = world.note("mark");
    world.gated("wait", &format!("touch {}", mark.display()));
    let (_car, port) = car(&world).await;
    let operator = world.key("desk", Role::Drive).await;
    let run = asking_with_key(port, "/cgi?command=wait", &operator);
    world.has_begun().await;
    world.revoke("car");
    let answer = answered(run).await;
    assert_eq!(answer.verdict(), (502, "unknown"));
    world.open_gate();
    until("the command has gone on to its end", || mark.exists()).await;
}

#[tokio::test]
async fn keys_that_others_may_read_keep_the_router_from_starting_and_say_the_chmod() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_dir(folder.path());
    file.add(&"desk".parse().unwrap(), Role::Admin, None)
        .unwrap();
    let mode = |mode| fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let error = KeyStore::open(folder.path()).unwrap_err().to_string();
    let line = format!("chmod 600 {}", file.path().display());
    assert!(error.contains(&line), "{error}");
    mode(0o600);
    KeyStore::open(folder.path()).unwrap();
}

#[tokio::test]
async fn no_error_and_no_debug_output_shows_a_key() {
    let world = World::keyed();
    let wrong = Key::generate().unwrap();
    let secret = wrong.expose().split_off(14);
    let config = Config {
        key: Some(wrong.clone()),
        ..inner_config(&world)
    };
    let denied = match dial(world.main_port(), Some(&wrong)).await {
        Err(error) => format!("{error} {error:?}"),
        Ok(_) => panic!("a wrong key was let in"),
    };
    let router = p2p_router::Config {
        keys: world.keys.clone(),
        ..router_config()
    };
    let operator = world.key("desk", Role::Drive).await;
    let known = operator.expose().split_off(14);
    for shown in [
        denied,
        format!("{config:?} {config:#?}"),
        format!("{router:?} {router:#?}"),
        format!("{wrong:?} {:?}", wrong.hash()),
    ] {
        assert!(!shown.contains(&secret), "{shown}");
        assert!(!shown.contains(&known), "{shown}");
    }
}
