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
