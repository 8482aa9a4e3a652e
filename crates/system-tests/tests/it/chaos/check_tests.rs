//! Each promise, broken by a history made up for it.

use std::time::Duration;

use super::check::PromiseReport;
use super::history::{AnswerRecord, CallRecord, CarAct, History, ReportedOutcome};

const PROMISES: PromiseReport = PromiseReport {
    severs: true,
    router_dies: false,
    garbles: false,
    waits_unread: Duration::ZERO,
    stop_margin: Duration::from_millis(50),
    service_within: Duration::from_secs(2),
};

fn at(ms: u64) -> Duration {
    // Any time since 1970, so that what is compared with nothing is seen.
    Duration::from_secs(1_000_000) + Duration::from_millis(ms)
}

fn moves(motion: &str) -> CarAct {
    CarAct::Moves(motion.to_owned())
}

fn call(number: u64, asked: u64) -> CallRecord {
    let argument = format!("c0-{number}");
    let run = format!("run{number}");
    let answer = AnswerRecord {
        status: 200,
        executed: "yes".to_owned(),
        exit: "0".to_owned(),
        body: format!("{run} {argument}\n"),
        run,
    };
    CallRecord {
        command: "say",
        argument,
        asked: at(asked),
        answered: at(asked + 10),
        connected: true,
        answer: Some(answer),
    }
}

/// Driven until a fault at 1000 ms, which is over at 1500, and then again.
fn well() -> History {
    let mut history = History {
        calls: vec![call(1, 500), call(2, 1600)],
        proofs: [500, 600, 700, 800, 900, 1000, 1700, 1800].map(at).into(),
        presses: vec![(at(500), "forward"), (at(1700), "forward")],
        links: vec![1, 0, 1],
        acts: vec![
            (at(510), moves("forward")),
            (at(1400), CarAct::Stops),
            (at(1710), moves("forward")),
            (at(2200), CarAct::Stops),
        ],
        struck: at(1000),
        healed: Some(at(1500)),
        ..History::default()
    };
    for call in &history.calls {
        let run = call.answer.as_ref().unwrap().run.clone();
        history.witness.insert(run, vec![call.asked]);
    }
    history
}

/// What is said of a history that was made bad.
fn said(worsen: impl FnOnce(&mut History)) -> String {
    let mut history = well();
    worsen(&mut history);
    history.broken(PROMISES).join("; ")
}

fn answer(history: &mut History) -> &mut AnswerRecord {
    history.calls[0].answer.as_mut().unwrap()
}

#[test]
fn nothing_is_said_of_a_history_that_went_well() {
    assert_eq!(said(|_| {}), "");
}

#[test]
fn a_run_that_ran_twice_is_seen() {
    let twice = |history: &mut History| {
        let times = history.witness.get_mut("run1").unwrap();
        times.push(at(520));
    };
    assert!(said(twice).contains("run run1 was executed at"));
}

#[test]
fn a_lie_about_execution_is_seen() {
    let denied = said(|history| answer(history).executed = "no".to_owned());
    assert!(denied.contains("said not to be executed, and was"));
    let claimed = said(|history| history.witness.clear());
    assert!(claimed.contains("said to be executed, and was not"));
    let nothing = said(|history| answer(history).executed = String::new());
    assert!(nothing.contains("nothing is said of its execution"));
}

#[test]
fn a_lie_about_a_lost_run_is_seen() {
    let tells = |run: &'static str, story| {
        move |history: &mut History| {
            history.reported.insert(run.to_owned(), story);
        }
    };
    let told = |executed: &str| ReportedOutcome::Executed(executed.to_owned());
    assert!(said(tells("run1", told("no"))).contains("its story denies it"));
    assert!(said(tells("run9", told("yes"))).contains("its story says that it was"));
    assert!(said(tells("run1", ReportedOutcome::NotBegun)).contains("the car doesn't know it"));
}

#[test]
fn an_answer_that_is_anothers_or_none_is_seen() {
    let mixed = said(|history| answer(history).body = "run2 c0-2\n".to_owned());
    assert!(mixed.contains("the answer is another's"));
    let none = said(|history| history.calls[0].answer = None);
    assert!(none.contains("c0-1 was never answered"));
}

#[test]
fn what_began_too_late_is_seen() {
    let run = said(|history| {
        let times = history.witness.get_mut("run1").unwrap();
        *times = vec![at(500 + 5100)];
    });
    assert!(run.contains("c0-1 began 5.1s after it was asked"), "{run}");
    let press = said(|history| history.presses[1].0 = at(600));
    assert!(press.contains("forward began 1.11s after it was pressed"));
}

#[test]
fn a_car_that_moves_on_is_seen() {
    let alone = said(|history| history.acts[3].0 = at(2251));
    assert!(alone.contains("the car moved for 451ms without a driver"));
    let never = said(|history| history.acts.truncate(3));
    assert!(never.contains("the car was never stopped"));
    let late = said(|history| {
        history.acts[1].0 = at(1460);
        // Who drives was still heard of, though nothing of it should have come through.
        history.proofs.push(at(1300));
    });
    assert!(late.contains("the car stopped only 460ms after the fault"));
}

#[test]
fn two_drivers_at_a_time_are_seen() {
    let both = said(|history| {
        history.acts.insert(3, (at(1900), moves("back")));
        history.presses.push((at(1890), "back"));
    });
    assert!(both.contains("who holds back drove beside who holds forward"));
}

#[test]
fn two_links_for_a_port_are_seen() {
    let two = said(|history| history.links.extend([2, 2]));
    assert!(two.contains("[2, 2] links were up for one port"));
    assert_eq!(said(|history| history.links.extend([2, 1])), "");
}

#[test]
fn a_service_that_is_late_or_never_back_is_seen() {
    let late = said(|history| history.calls[1] = call(2, 3600));
    assert!(late.contains("service was back only after 2.11s"));
    let never = said(|history| history.calls.truncate(1));
    assert!(never.contains("there was no service"));
}
