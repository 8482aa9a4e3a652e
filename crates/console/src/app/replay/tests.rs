use std::time::Duration;

use bytes::Bytes;
use crossterm::event::KeyCode;
use proptest::prelude::*;

use super::testing::{BEGAN, JPEG, drive};
use super::*;
use crate::app::contact::Contact;
use crate::app::timeline::Sign;
use crate::testing::Bench;

fn ms(at: Duration) -> u64 {
    p2p_shared::timing::millis(at) - BEGAN
}

/// What a file tells, with milliseconds since its beginning.
fn told(file: &[u8]) -> Vec<(u64, String)> {
    let recording = read(&Bytes::copy_from_slice(file)).unwrap();
    let events = recording.events().into_iter();
    events.map(|(_, at, said)| (ms(at), said)).collect()
}

fn bench() -> Bench {
    let mut bench = Bench::unconnected((120, 40));
    bench
        .app
        .replay("car.mcap".to_owned(), read(&Bytes::from(drive())).unwrap());
    bench
}

/// Time of the moment that is shown, since the beginning.
fn shown(bench: &Bench) -> u64 {
    bench.app.clock.unix_ms(bench.app.now) - BEGAN
}

#[test]
fn a_recording_tells_each_stop_at_its_time() {
    let told = told(&drive());
    let expected = [
        (10, "control: anna took it"),
        (3_040, "forward started"),
        (5_500, "stops: key released"),
        (5_510, "stop: exit 0, 3 ms (key released)"),
        (5_512, "stands"),
        (14_050, "left started"),
        (15_450, "stops: it heard nothing for 400 ms"),
        (15_550, "no answer"),
        (17_000, "answers again"),
        (17_010, "stop: exit 0, 3 ms (the lease ran out)"),
        (17_012, "stands"),
        (20_000, "control: anna gave control back"),
        (25_000, "3 messages are missing: the disk was too slow  "),
        (30_000, "link down: silent for 6 s"),
    ];
    assert_eq!(told, expected.map(|(at, said)| (at, said.to_owned())));
}

#[test]
fn a_recording_that_was_cut_off_is_shown_up_to_there() {
    let whole = drive();
    let recording = read(&Bytes::from(whole.clone())).unwrap();
    assert_eq!(recording.problem, None);
    assert_eq!(recording.cars["car"].pictures.len(), 100);
    assert!(recording.cars["car"].pictures[0].1 == JPEG);
    let mut most = 0;
    for length in (0..whole.len()).step_by(97) {
        let Ok(cut) = read(&Bytes::copy_from_slice(&whole[..length])) else {
            assert_eq!(most, 0, "{length}");
            continue;
        };
        let count = cut.events().len();
        // Without its summary nothing is missing.
        assert!(cut.problem.is_some() || count == 14, "{length}");
        assert!(count >= most, "{length}");
        most = count;
    }
    assert_eq!(most, 14);
}

#[test]
fn files_of_others_get_a_sentence() {
    let said = |file: &[u8]| read(&Bytes::copy_from_slice(file)).unwrap_err();
    for foreign in ["{\"a\":1}\n", "hello\nworld\n", "\x7fELF\0\0", "[1,2]\n"] {
        assert!(
            said(foreign.as_bytes()).contains("this is no recording"),
            "{foreign:?}"
        );
    }
    assert!(said(b"\n\n").contains("the file is empty"));
    let other = "{\"timestamp\":\"2026-11-22T17:02:04Z\",\"message\":\"listening\"}\n";
    assert!(said(other.as_bytes()).ends_with("in 1 lines"));
    assert!(said(mcap::MAGIC).contains("there is nothing in this MCAP file"));
    let cut = [mcap::MAGIC, b"\x06\xff"].concat();
    assert!(said(&cut).contains("a record is not whole"));
}

const RUN: &str = r#"{"timestamp":"2026-11-22T17:02:03.456Z","level":"INFO","message":"run","link":"car","run":"0000019f00000001","command":"forward","arguments":"[\"a\", \"b c\"]","from":"192.0.2.7:1","key":"desk","status":500,"executed":"yes","exit":"SIGKILL","bytes":3,"link_ms":1.25,"exec_ms":30.5,"why":"it was killed"}"#;

#[test]
fn a_routers_log_has_runs_and_what_became_of_links() {
    let down =
        r#"{"timestamp":"2026-11-22T17:02:04Z","message":"link down","link":"car","why":"silent"}"#;
    let text = format!("{RUN}\n{down}\n{}", &RUN[..40]);
    let recording = read(&Bytes::from(text.clone())).unwrap();
    assert_eq!(recording.log.shown().count(), 2);
    let run = recording.log.shown().last().unwrap();
    let result = run.result.as_ref().unwrap();
    assert_eq!(result.end, Some(p2p_shared::protocol::End::Signal(9)));
    assert_eq!((result.link_us, result.exec_us), (1_250, Some(30_500)));
    assert_eq!(run.arguments.len(), 2);
    let said: Vec<_> = told(text.as_bytes());
    assert_eq!(said[0].0, 3_456);
    assert_eq!(said[1], (4_000, "link down: silent".to_owned()));
}

/// Makes a line of a router's log: second, message and fields.
fn log_line(second: &str, rest: &str) -> String {
    format!("{{\"timestamp\":\"2026-11-22T17:02:{second}Z\",\"message\":{rest}}}\n")
}

/// Replays lines of a router's log.
fn replayed(lines: &[String]) -> Bench {
    let recording = read(&Bytes::from(lines.concat())).unwrap();
    let mut bench = Bench::unconnected((80, 24));
    bench.app.replay("log".to_owned(), recording);
    bench.letters(" ");
    bench
}

/// What is known at a second after the beginning: the contact, and whether the car moves.
fn known(bench: &mut Bench, second: u32) -> (&'static str, Option<bool>) {
    bench.key(KeyCode::Home);
    for _ in 0..second {
        bench.letters(".");
    }
    let contact = bench.app.chosen_contact();
    let link = bench.app.link().unwrap();
    let word = match contact {
        Contact::Answers => "answers",
        Contact::Silent(_) => "silent",
        Contact::Lost => "lost",
        Contact::NotKnown => "not known",
    };
    let moves = contact.knows_motion(link).then_some(link.moving.is_some());
    (word, moves)
}

#[test]
fn a_car_that_does_something_has_a_link_and_answers_and_one_without_a_past_is_not_shown() {
    let line = log_line;
    let run = r#""run","link":"car","run":"00000000000000aa","command":"hello","source":"http","from":"127.0.0.1","status":200,"executed":"yes","exit":"0","exec_ms":1.5,"link_ms":0.5,"total_ms":2.0"#;
    let text = [
        line("00", r#""recording asked for","link":"alpha","by":"anna""#),
        line("01", r#""link up","link":"car","port":9000"#),
        line("02", r#""link up","link":"car","port":9000"#),
        line("02", r#""link down","link":"car","why":"replaced""#),
        line(
            "03",
            r#""press","link":"car","driver":"anna","command":"forward","press":"1.1""#,
        ),
        line(
            "04",
            r#""press dropped: too old","link":"car","press":"1.1""#,
        ),
        line(
            "05",
            r#""motion started","link":"car","command":"forward","press":"1.2""#,
        ),
        line("06", r#""car stands","link":"car""#),
        line("07", r#""no answer","link":"car","silent_ms":500"#),
        line("08", run),
    ];
    let recording = read(&Bytes::from(text.concat())).unwrap();
    assert_eq!(recording.cars.keys().collect::<Vec<_>>(), ["car"]);
    let mut bench = Bench::unconnected((80, 24));
    bench.app.replay("log".to_owned(), recording);
    let at = |bench: &mut Bench, second: u32| {
        bench.key(KeyCode::Home);
        for _ in 1..second {
            bench.letters(".");
        }
        let link = bench.app.link().unwrap();
        let key = bench.app.replay.as_ref().unwrap().key();
        (link.info.is_up, link.silent_since.is_some(), key.is_some())
    };
    assert_eq!(at(&mut bench, 3), (false, false, true));
    assert_eq!(at(&mut bench, 4), (false, false, false));
    assert_eq!(at(&mut bench, 5), (true, false, true));
    assert_eq!(at(&mut bench, 7), (true, true, false));
    assert_eq!(at(&mut bench, 8), (true, false, false));
}

#[test]
fn nothing_is_known_of_a_car_from_its_routers_end_to_its_link() {
    let line = log_line;
    let text = [
        line("00", r#""link up","link":"car","port":9000"#),
        line(
            "00",
            r#""control taken","link":"car","driver":"anna","how":"it was free""#,
        ),
        line("01", r#""motion started","link":"car","command":"forward""#),
        line("03", r#""stop","link":"car","by":"anna""#),
        line("08", r#""started","program":"p2p-router""#),
        line("09", r#""listening on 127.0.0.1:8888""#),
        line("10", r#""link up","link":"car","port":9000"#),
    ];
    let mut bench = replayed(&text);
    assert_eq!(known(&mut bench, 1), ("answers", Some(true)));
    assert!(bench.app.link().unwrap().info.control.driver.is_some());
    assert_eq!(known(&mut bench, 5), ("not known", None));
    assert_eq!(known(&mut bench, 10), ("answers", None));
    assert!(bench.app.link().unwrap().info.control.driver.is_none());
}

#[test]
fn what_a_log_has_not_told_yet_is_not_known() {
    let press = r#""press","link":"car","driver":"anna","command":"forward","press":"1.1""#;
    let mut bench = replayed(&[
        log_line("00", press),
        log_line(
            "02",
            r#""motion over","link":"car","press":"1.1","cause":"key released""#,
        ),
        log_line("04", r#""car stands","link":"car""#),
        log_line("06", r#""link down","link":"car","why":"silent for 6 s""#),
        log_line("08", r#""link up","link":"car""#),
        log_line("10", r#""motion started","link":"car","command":"forward""#),
    ]);
    assert_eq!(known(&mut bench, 0), ("not known", None));
    // The car is heard, and has not told what moves it.
    assert_eq!(known(&mut bench, 2), ("answers", None));
    assert_eq!(known(&mut bench, 4), ("answers", Some(false)));
    assert_eq!(known(&mut bench, 6), ("lost", None));
    assert_eq!(known(&mut bench, 8), ("answers", None));
    assert_eq!(known(&mut bench, 10), ("answers", Some(true)));
    let replay = bench.app.replay.as_ref().unwrap();
    let signs = |ms: u64| {
        let at = |ms| replay.span.0 + Duration::from_millis(ms);
        let [_, car, link] = replay.timeline.rows(at(ms), at(ms + 100), 1);
        (car[0], link[0])
    };
    assert_eq!(signs(500), (Sign::Doubt, Sign::Doubt));
    assert_eq!(signs(4_500), (Sign::Calm, Sign::Calm));
    assert_eq!(signs(8_500), (Sign::Doubt, Sign::Calm));
}

#[test]
fn the_end_of_a_link_that_was_replaced_is_not_the_end_of_the_one_that_replaced_it() {
    let mut bench = replayed(&[
        log_line("00", r#""link up","link":"car","link_id":"0a.1""#),
        log_line("01", r#""link up","link":"car","link_id":"0a.2""#),
        log_line(
            "02",
            r#""link down","link":"car","link_id":"0a.1","why":"replaced""#,
        ),
        log_line(
            "03",
            r#""link down","link":"car","link_id":"0a.2","why":"silent""#,
        ),
    ]);
    assert_eq!(known(&mut bench, 2).0, "answers");
    assert_eq!(known(&mut bench, 3).0, "lost");
}

#[test]
fn a_silence_ends_when_the_log_says_so() {
    let mut bench = replayed(&[
        log_line("00", r#""link up","link":"car""#),
        log_line("01", r#""car stands","link":"car""#),
        log_line("02", r#""no answer","link":"car","silent_ms":500"#),
        log_line("04", r#""answers again","link":"car","silent_ms":2500"#),
        log_line("06", r#""stop","link":"car","by":"anna""#),
    ]);
    assert_eq!(known(&mut bench, 1), ("answers", Some(false)));
    assert_eq!(known(&mut bench, 3), ("silent", None));
    assert_eq!(known(&mut bench, 5), ("answers", Some(false)));
}

#[test]
fn what_a_car_remembers_is_known_also_while_its_router_does_not_hear_it() {
    let line = |second: u64, from: &str, told: &str| {
        let at_ms = BEGAN + second * 1000;
        format!("{{\"at_ms\":{at_ms},\"from\":\"{from}\",\"text\":\"x\",\"told\":{told}}}\n")
    };
    let entry = |second, event: &str| {
        let entry = format!(r#"{{"id":1,"clock_ms":1,"at_ms":1,"event":{event}}}"#);
        line(second, "car", &entry)
    };
    let moves =
        r#"{"motion":{"started":{"run":"0000019f00000001","command":"forward","press":null}}}"#;
    let mut bench = replayed(&[
        line(
            0,
            "desk",
            r#"{"message":"press","command":"forward","link":"car"}"#,
        ),
        entry(1, moves),
        line(
            2,
            "router",
            r#"{"message":"no answer","silent_ms":550,"link":"car"}"#,
        ),
        line(
            4,
            "router",
            r#"{"message":"link down","why":"silent","link":"car"}"#,
        ),
        entry(6, r#"{"start":{"software":"p2p-inner"}}"#),
        entry(7, r#"{"motion":"stands"}"#),
    ]);
    assert_eq!(known(&mut bench, 0), ("not known", None));
    assert_eq!(known(&mut bench, 1), ("not known", Some(true)));
    assert_eq!(known(&mut bench, 2), ("silent", Some(true)));
    assert_eq!(known(&mut bench, 4), ("lost", Some(true)));
    assert_eq!(known(&mut bench, 6), ("lost", None));
    assert_eq!(known(&mut bench, 7), ("lost", Some(false)));
}

#[test]
fn an_incident_is_shown_in_its_own_words() {
    let line = |at_ms: u64, from: &str, text: &str, told: &str| {
        let at_ms = BEGAN + at_ms;
        format!("{{\"at_ms\":{at_ms},\"from\":\"{from}\",\"text\":\"{text}\",\"told\":{told}}}\n")
    };
    let entry = |event: &str| format!(r#"{{"id":1,"clock_ms":1,"at_ms":1,"event":{event}}}"#);
    let moves = r#"{"motion":{"started":{"run":"0000019f00000001","command":"forward","press":{"epoch":3,"number":1}}}}"#;
    let guardian = r#"{"guardian":{"cause":"the inner is silent","press":{"epoch":3,"number":1},"run":null,"clock_ms":1,"has_stopped":true}}"#;
    let file = [
        line(
            0,
            "desk",
            "the key for forward is pressed: press 3.1",
            r#"{"message":"press","command":"forward","link":"truck"}"#,
        ),
        line(
            20,
            "car",
            "forward moves the car: press 3.1 of anna",
            &entry(moves),
        ),
        line(
            900,
            "desk",
            "NO ANSWER: router → car is silent",
            r#"{"message":"no answer","hop":"router → car"}"#,
        ),
        line(
            950,
            "router",
            "no answer from the car for 550 ms",
            r#"{"message":"no answer","silent_ms":550,"link":"truck","timestamp":"x"}"#,
        ),
        line(
            1_000,
            "car",
            "its guardian ran the stop command",
            &entry(guardian),
        ),
        line(
            2_000,
            "desk",
            "the screen says: stop",
            r#"{"message":"shown"}"#,
        ),
        line(
            3_000,
            "desk",
            "answers again",
            r#"{"message":"answers again"}"#,
        ),
    ];
    let recording = read(&Bytes::from(file.concat())).unwrap();
    assert!(!recording.is_log);
    let mut bench = Bench::unconnected((80, 24));
    bench.app.replay("incident".to_owned(), recording);
    let link = |bench: &Bench| bench.app.link().unwrap().clone();
    assert_eq!(link(&bench).info.name.as_str(), "truck");
    assert_eq!(bench.app.replay.as_ref().unwrap().key(), Some('▲'));
    bench.key(KeyCode::Up);
    assert_eq!(link(&bench).moving.unwrap().0.command.as_str(), "forward");
    bench.key(KeyCode::Up);
    assert!(bench.app.chosen_contact().silence().is_some());
    bench.key(KeyCode::Up);
    bench.key(KeyCode::Up);
    let stop = link(&bench).stopped.unwrap();
    assert!(link(&bench).moving.is_none() && stop.guardian.unwrap().has_stopped);
    bench.key(KeyCode::End);
    assert!(bench.app.chosen_contact().silence().is_none());
    let said: Vec<_> = told(file.concat().as_bytes());
    assert_eq!(said[3].1, "router: no answer from the car for 550 ms");
    assert_eq!(said[5], (2_000, "desk: the screen says: stop".to_owned()));
}

#[test]
fn it_plays_pauses_and_goes_where_it_is_told_and_sends_nothing() {
    let mut bench = bench();
    assert_eq!(shown(&bench), 0);
    bench.pass(1_000);
    assert_eq!(shown(&bench), 1_000);
    bench.letters(" ");
    bench.pass(1_000);
    assert_eq!(shown(&bench), 1_000);
    bench.key(KeyCode::Right);
    assert_eq!(shown(&bench), 6_000);
    bench.key(KeyCode::Left);
    bench.key(KeyCode::Left);
    assert_eq!(shown(&bench), 0, "not before its beginning");
    bench.letters(" +");
    bench.pass(1_000);
    assert_eq!(shown(&bench), 2_000);
    bench.letters("+++");
    bench.pass(1_000);
    assert_eq!(shown(&bench), 6_000);
    bench.letters("----");
    bench.pass(1_000);
    assert_eq!(shown(&bench), 6_500);
    bench.key(KeyCode::Up);
    assert_eq!(shown(&bench), 14_050);
    bench.key(KeyCode::Down);
    assert_eq!(shown(&bench), 5_512);
    bench.key(KeyCode::End);
    assert_eq!(shown(&bench), 30_000);
    bench.letters(" ");
    assert_eq!(shown(&bench), 0, "from its end it begins again");
    bench.letters("aSgnL x");
    bench.control_key('x');
    assert_eq!(bench.messages(), []);
    assert!(bench.app.state() != crate::drive::DriveState::Armed);
    // A machine that slept goes on from where it was.
    let before = shown(&bench);
    bench.now += Duration::from_secs(3_600);
    bench.pass(20);
    assert!(shown(&bench) <= before + 2_000);
}

#[test]
fn what_the_car_did_is_so_at_each_moment_whichever_way_it_is_come_to() {
    let mut bench = bench();
    bench.letters(" ");
    let mut states = Vec::new();
    for _ in 0..6 {
        bench.key(KeyCode::Right);
        states.push(state(&bench));
    }
    for expected in states.iter().rev() {
        assert_eq!(state(&bench), *expected);
        bench.key(KeyCode::Left);
    }
    // After 5, 10, 15, 20, 25 and 30 s.
    let [moves, stands] = [Some("forward".to_owned()), None];
    assert_eq!(states[0], (moves, Some('▲'), true));
    assert_eq!(states[1], (stands.clone(), None, true));
    assert_eq!(states[2], (Some("left".to_owned()), Some('◀'), true));
    assert_eq!(states[5], (stands, None, false));
}

/// The motion, the key that is held, and whether the link is up.
fn state(bench: &Bench) -> (Option<String>, Option<char>, bool) {
    let link = bench.app.link().unwrap();
    let moving = link.moving.as_ref();
    (
        moving.map(|(moving, _)| moving.command.to_string()),
        bench.app.replay.as_ref().unwrap().key(),
        link.info.is_up,
    )
}

#[test]
fn each_picture_is_asked_for_once_and_is_that_of_the_moment() {
    let mut bench = bench();
    let pictures = |bench: &mut Bench| {
        let sent = std::mem::take(&mut bench.sent).into_iter();
        let taken = sent.filter_map(|effect| match effect {
            Effect::PastPicture(picture) => Some(picture.taken_ms - BEGAN),
            _ => None,
        });
        taken.collect::<Vec<_>>()
    };
    bench.pass(1_000);
    assert!(pictures(&mut bench).is_empty());
    bench.pass(1_240);
    assert_eq!(pictures(&mut bench), [2_000, 2_100, 2_200]);
    bench.letters(" ");
    bench.key(KeyCode::Right);
    bench.pass(1_000);
    assert_eq!(pictures(&mut bench), [7_200]);
    bench.letters("vv");
    assert_eq!(pictures(&mut bench), [7_200], "large, and then none");
    bench.letters("v");
    bench.key(KeyCode::End);
    assert_eq!(pictures(&mut bench).last(), Some(&11_900));
}

#[test]
fn from_the_log_it_goes_to_the_run_that_is_selected() {
    let line = |at: &str, link: &str, run: u64| {
        RUN.replace("02:03.456", at)
            .replace("\"car\"", link)
            .replace("00000001", &format!("{run:08}"))
    };
    let file = [
        line("02:03.456", "\"car\"", 1),
        line("02:08.000", "\"truck\"", 2),
        line("02:09.000", "\"car\"", 3),
    ];
    let mut bench = Bench::unconnected((80, 24));
    let recording = read(&Bytes::from(file.join("\n"))).unwrap();
    bench.app.replay("log".to_owned(), recording);
    assert_eq!(bench.app.link().unwrap().info.name.as_str(), "car");
    bench.letters("3");
    bench.key(KeyCode::Down);
    bench.letters("2");
    assert_eq!(bench.app.link().unwrap().info.name.as_str(), "truck");
    assert_eq!(shown(&bench), 8_000);
}

#[test]
fn restarts_without_end_cost_no_more_than_their_lines() {
    let cars = (0..1000).map(|car| log_line("00", &format!(r#""link up","link":"car{car}""#)));
    let starts = (0..3000).map(|_| log_line("01", r#""listening on 127.0.0.1:8888""#));
    let file: String = cars.chain(starts).collect();
    let recording = read(&Bytes::from(file)).unwrap();
    assert_eq!(recording.cars.len(), 1000);
    assert!(recording.cars.values().all(|car| car.events.len() == 3));
}

#[test]
fn what_is_left_out_of_a_file_is_said() {
    let runs = |count: u64| {
        let lines = (0..count).map(|run| RUN.replace("00000001", &format!("{run:08}")) + "\n");
        read(&Bytes::from(lines.collect::<String>())).unwrap()
    };
    assert_eq!(runs(2000).problem, None);
    let problem = runs(2001).problem.unwrap();
    assert!(problem.contains("more than 2000 runs"), "{problem}");
}

#[test]
fn of_a_run_that_the_file_has_no_end_of_nothing_says_that_it_runs() {
    let mut bench = bench();
    let run = bench.app.log.shown().next().unwrap();
    assert!(run.result.is_none());
    assert_eq!(bench.app.outcome(&run), "unknown");
    bench.key(KeyCode::End);
    assert_eq!(bench.app.outcome(&run), "unknown");
}

proptest! {
    #[test]
    fn no_spoilt_file_does_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = drive();
        for (at, value) in changes {
            let length = file.len();
            file[at.index(length)] = value;
        }
        if let Ok(recording) = read(&Bytes::from(file)) {
            recording.events();
            let mut bench = Bench::unconnected((80, 24));
            bench.app.replay("spoilt".to_owned(), recording);
            bench.pass(40);
            bench.key(KeyCode::End);
            bench.key(KeyCode::Home);
        }
    }
}
