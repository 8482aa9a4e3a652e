//! Questions about what a car did while it was not heard.

use super::*;
use p2p_shared::protocol::PastSource;

const FIRST: u64 = 62_000;

fn cars() -> Vec<p2p_shared::protocol::LinkInfo> {
    let mut car = testing::link(PORT, "car");
    car.past = true;
    vec![car]
}

/// The numbers of the questions that were sent, each with the time that is asked for.
fn questions(bench: &mut Bench) -> Vec<(u64, u64)> {
    let mut asked = Vec::new();
    for message in bench.messages() {
        if let ConsoleToRouter::AskPast {
            request, last_ms, ..
        } = message
        {
            asked.push((request, last_ms));
        }
    }
    asked
}

fn answer(bench: &mut Bench, request: u64, lines: &str) {
    bench.message(RouterToConsole::Past {
        request,
        source: PastSource::Car,
        lines: p2p_shared::bounded::Piece::first_of(lines.as_bytes()),
        more: false,
    });
}

/// A console that has just asked its car for the first time.
fn asking() -> (Bench, u64) {
    let mut bench = Bench::unconnected(SIZE);
    bench.connect(cars(), Vec::new());
    let asked = questions(&mut bench);
    let [(request, FIRST)] = asked[..] else {
        panic!("{asked:?}");
    };
    (bench, request)
}

#[test]
fn a_question_that_was_open_as_the_connection_broke_is_asked_again() {
    let (mut bench, _) = asking();
    bench.event(ConnectionEvent::Disconnected {
        why: "the connection was closed".to_owned(),
        retry_at: None,
    });
    bench.connect(cars(), Vec::new());
    let asked = questions(&mut bench);
    assert!(matches!(asked[..], [(_, FIRST..)]), "{asked:?}");
}

#[test]
fn a_question_that_nobody_answered_is_asked_three_times_more() {
    let (mut bench, mut request) = asking();
    for _ in 0..3 {
        answer(&mut bench, request, "");
        assert_eq!(questions(&mut bench), []);
        bench.pass(1_000);
        let asked = questions(&mut bench);
        let [(next, FIRST..)] = asked[..] else {
            panic!("{asked:?}");
        };
        request = next;
    }
    answer(&mut bench, request, "");
    bench.pass(5_000);
    assert_eq!(questions(&mut bench), []);
}

#[test]
fn an_answer_that_has_nothing_to_tell_is_one() {
    let (mut bench, request) = asking();
    let now = "{\"id\":1,\"clock_ms\":9,\"at_ms\":9,\"event\":\"now\"}\n";
    answer(&mut bench, request, now);
    bench.pass(5_000);
    assert_eq!(questions(&mut bench), []);
}

/// An inner that was killed while its car moved tells what it had written down, once it is back.
#[test]
fn what_the_console_has_seen_is_told_once_and_in_order_with_what_it_has_not() {
    let (mut bench, request) = asking();
    let now = "{\"id\":1,\"clock_ms\":9,\"at_ms\":9,\"event\":\"now\"}\n";
    answer(&mut bench, request, now);
    bench.pass(3_000);
    let begun_ms = bench.clock_ms();
    let begun = MotionEvent::Started(ActiveMotion {
        run: RunId::from_number(77),
        command: "forward".parse().unwrap(),
        press: None,
    });
    // The news took a while; the clock that came after it did not.
    bench.now += Duration::from_millis(15);
    bench.motion_at(begun, Some(begun_ms));
    bench.pass(100);
    bench.control(Some(bob()), None);
    bench.feed(FeedEvent::LinkDown {
        service_port: PORT,
        why: "gone".into(),
    });
    bench.pass(2_000);
    bench.feed(FeedEvent::Link(Box::new(cars().remove(0))));
    bench.pass(20);
    let asked = questions(&mut bench);
    let [(request, _)] = asked[..] else {
        panic!("{asked:?}");
    };
    let entry = |id: u64, clock_ms: u64, event: &str| {
        format!("{{\"id\":{id},\"clock_ms\":{clock_ms},\"at_ms\":{clock_ms},\"event\":{event}}}\n")
    };
    let run = "000000000000004d";
    let lines = entry(9, bench.clock_ms(), "\"now\"")
        + &entry(
            2,
            begun_ms,
            &format!(
                "{{\"motion\":{{\"started\":{{\"run\":\"{run}\",\"command\":\"forward\",\"press\":null}}}}}}"
            ),
        )
        + &entry(
            3,
            begun_ms + 300,
            r#"{"guardian":{"cause":"the inner is gone","press":null,"run":null,"clock_ms":0,"has_stopped":true}}"#,
        );
    answer(&mut bench, request, &lines);
    let events: Vec<_> = bench.app.link().unwrap().timeline.events().collect();
    let told = |what: &str| events.iter().filter(|(_, it)| it == what).count();
    let all: Vec<_> = events.iter().map(|(_, what)| what).collect();
    assert_eq!(told("forward started"), 1, "{all:?}");
    assert_eq!(
        told("stops: by its guardian (the inner is gone)"),
        1,
        "{all:?}"
    );
    assert_eq!(
        told("control: bob took it"),
        1,
        "the car does not know of it: {all:?}"
    );
    assert!(events.is_sorted_by(|a, b| a.0 >= b.0), "{all:?}");
}
