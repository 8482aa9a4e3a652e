use super::*;
use crate::names::RunId;
use crate::protocol::{ActiveMotion, End, PressId};

/// This desk's time at which the car answered.
const NOW: u64 = 1_796_000_100_000;
const PRESS: PressId = PressId {
    epoch: 7,
    number: 1,
};

/// An entry of a car whose time of day is an hour behind, this long before it answered.
fn entry(ago_ms: u64, event: PastEvent) -> String {
    let entry = PastEntry {
        id: NOW - ago_ms,
        boot: None,
        clock_ms: 500_000 - ago_ms,
        at_ms: NOW - 3_600_000 - ago_ms,
        event,
        who: Some("anna".into()),
        left_ms: None,
        rtt_ms: Some(80),
    };
    serde_json::to_string(&entry).unwrap() + "\n"
}

fn told(lines: String) -> Told {
    Told {
        lines: lines.into_bytes(),
        answered: Some((NOW, Duration::from_millis(12))),
        missing: "it is away".to_owned(),
    }
}

fn desk(lines: &str) -> Own<'_> {
    Own {
        name: "desk",
        lines: lines.as_bytes(),
    }
}

/// The page, with times as seconds before now.
fn page_of(incident: &Incident) -> String {
    let subject = Subject {
        car: "car",
        service_port: 9000,
        router: "example.org:8888",
        last: Duration::from_secs(60),
        until: "now".to_owned(),
    };
    incident.page(&subject, &|ms| format!("T-{}", (NOW - ms) / 1000))
}

fn log(at_ms: u64, fields: &str) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(at_ms);
    let at = humantime::format_rfc3339_millis(at);
    format!("{{\"timestamp\":\"{at}\",{fields}}}\n")
}

fn incident() -> Incident {
    let motion = PastEvent::Motion;
    let begun = ActiveMotion {
        run: RunId::from_number(9),
        command: "forward".parse().unwrap(),
        press: Some(PRESS),
    };
    let over = MotionEvent::Over {
        press: Some(PRESS),
        cause: StopCause::Lease,
        clock_ms: Some(500_000 - 28_000),
        by: None,
    };
    let guardian = PastEvent::Guardian {
        cause: "the inner is silent".into(),
        press: Some(PRESS),
        run: None,
        clock_ms: 500_000 - 27_980,
        has_stopped: true,
    };
    let stopped = MotionEvent::Stopped {
        cause: StopCause::Lease,
        end: End::Exit(0),
        exec_us: 3000,
        failure: None,
    };
    let why: Text = "the router was silent for 6 s".into();
    let car = entry(0, PastEvent::Now)
        + &entry(30_000, motion(MotionEvent::Started(begun)))
        + &entry(27_970, guardian)
        + &entry(25_000, motion(over))
        + &entry(24_990, motion(stopped))
        + &entry(24_980, motion(MotionEvent::Stands))
        + &entry(22_000, PastEvent::LinkLost { why })
        + "{\"id\":1,\"cut";
    // The router's clock is 2 s ahead.
    let at = |ago: u64| NOW + 2000 - ago;
    let router = format!("{{\"now_ms\":{}}}\n", NOW + 2000)
        + &log(
            at(31_000),
            r#""message":"control taken","link":"car","driver":"anna","how":"it was free""#,
        )
        + &log(
            at(30_050),
            r#""message":"press","link":"car","driver":"anna","command":"forward","press":"7.1","from":"10.0.0.7:99""#,
        )
        + &log(
            at(29_900),
            r#""message":"motion started","link":"car","command":"forward""#,
        )
        + &log(
            at(28_100),
            r#""message":"no answer","link":"car","silent_ms":500"#,
        )
        + &log(
            at(22_000),
            r#""message":"link down","link":"car","why":"silent for 6 s""#,
        )
        + &log(at(15_000), r#""message":"listening on [::]:8888""#);
    let desk = log(
        NOW - 30_100,
        r#""message":"press","link":"car","command":"forward","press":"7.1""#,
    ) + &log(
        NOW - 27_500,
        r#""message":"no answer","link":"car","hop":"router → car""#,
    ) + &log(NOW - 61_000, r#""message":"stop","link":"car""#);
    Incident::of(&told(car), &told(router), self::desk(&desk), NOW - 60_000)
}

#[test]
fn three_clocks_become_one() {
    let incident = incident();
    let order: Vec<(u64, &str)> = incident
        .lines
        .iter()
        .map(|line| (NOW - line.at_ms, line.source))
        .collect();
    assert_eq!(
        order,
        [
            (31_000, "router"),
            (30_100, "desk"),
            (30_050, "router"),
            (30_000, "car"),
            (28_100, "router"),
            (28_000, "car"),
            (27_980, "car"),
            (27_500, "desk"),
            (24_990, "car"),
            (24_980, "car"),
            (22_000, "car"),
            (22_000, "router"),
            (15_000, "router"),
        ]
    );
}

#[test]
fn the_page_says_who_drove_what_stopped_the_car_and_when() {
    let page = page_of(&incident());
    for said in [
        "Incident report: car (port 9000) at example.org:8888, the last 1m to now\n\nIn short",
        "T-31  anna takes control (it was free).",
        "T-30  anna drove forward.",
        "T-28  no answer from the car for 500 ms.",
        "T-28  The car's own lease ended forward",
        "T-27  The guardian stopped the car, because the inner is silent.",
        "T-22  At the car: its link is lost: the router was silent for 6 s.",
        "T-15  The router started",
        "the car's is 3600.000 s behind (±12 ms)",
        "the router's is 2.000 s ahead",
        "T-30  router  anna presses forward (press 7.1) from 10.0.0.7:99",
    ] {
        assert!(page.contains(said), "{said}\n{page}");
    }
    assert!(!page.contains("motion started"), "{page}");
}

#[test]
fn each_line_for_programs_is_whole() {
    let json = incident().json();
    let lines: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 13);
    assert_eq!(lines[3]["from"], "car");
    assert_eq!(lines[3]["told"]["who"], "anna");
}

#[test]
fn a_name_with_braces_is_told_as_it_is() {
    let taken = log(
        NOW - 1000,
        r#""message":"control taken","link":"car","driver":"{1}anna}","how":"it was free""#,
    );
    let router = format!("{{\"now_ms\":{NOW}}}\n") + &taken;
    let incident = Incident::of(&told(entry(0, PastEvent::Now)), &told(router), desk(""), 0);
    let page = page_of(&incident);
    assert!(
        page.contains("T-1  {1}anna} takes control (it was free)."),
        "{page}"
    );
}

#[test]
fn what_is_told_again_and_again_is_one_line() {
    let lost = r#""message":"no router","why":"connection refused""#;
    let desk: String = (1..=9)
        .rev()
        .map(|ago| log(NOW - ago * 1000, lost))
        .collect();
    let desk = desk + &log(NOW - 500, r#""message":"router","router":"a:1""#);
    let incident = Incident::of(
        &told(entry(0, PastEvent::Now)),
        &told(String::new()),
        self::desk(&desk),
        0,
    );
    let page = page_of(&incident);
    let said = "no connection to the router: connection refused";
    assert!(
        page.contains(&format!(
            "T-9  At this desk: {said} (told 9 times). It was back after 8.5 s."
        )),
        "{page}"
    );
    assert!(
        page.contains(&format!("T-9  desk    {said} (9 times, until T-1)")),
        "{page}"
    );
    assert_eq!(page.matches(said).count(), 2, "{page}");
}

#[test]
fn what_a_page_noted_is_told_as_the_pages_and_what_nobody_told_is_said() {
    let page = log(
        NOW - 9000,
        r#""message":"press","link":"car","command":"forward""#,
    ) + &log(
        NOW - 8000,
        r#""message":"no answer","link":"car","hop":"the link""#,
    ) + &log(NOW - 7000, r#""message":"release","link":"car""#);
    let own = Own {
        name: "page",
        lines: page.as_bytes(),
    };
    let incident = Incident::of(&told(String::new()), &Told::default(), own, 0);
    let page = page_of(&incident);
    for said in [
        "to now\nThe car did not tell its past: it is away.\nThe router did not tell its log.\n\nIn short",
        "  The car did not tell what moved it",
        "T-8  At this page: NO ANSWER: the link is silent.",
        "Clocks: all times are this page's\n",
        "T-9  page    the key for forward is pressed\n",
        "T-7  page    this page ends the press\n",
    ] {
        assert!(page.contains(said), "{said}\n{page}");
    }
}

#[test]
fn clocks_that_are_wrong_by_any_time_are_told_without_a_panic() {
    for (own_ms, its_ms) in [(0, u64::MAX), (u64::MAX, 0), (1 << 63, 0)] {
        let router = Told {
            lines: format!(
                "{{\"now_ms\":{its_ms}}}\n{}",
                log(NOW, r#""message":"link up""#)
            )
            .into_bytes(),
            answered: Some((own_ms, Duration::ZERO)),
            missing: String::new(),
        };
        let incident = Incident::of(&router, &router, desk(""), 0);
        assert_eq!(incident.lines.len(), 1);
        assert!(incident.json().contains("link up"));
    }
}
