//! A moving car, of which suddenly nothing is heard: no screen goes on saying that it moves, or that all is
//! well.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::fixture::{ContinuedProgram, Fixture, UP_REPEATED, holding};
use crate::common::program::{RunningProgram, console};
use crate::common::pty::TestTerminal;
use crate::common::until;

/// Time from the last sign of life to the moment from which no screen is wrong.
const NOTICED: Duration = Duration::from_millis(700);
/// Pause between two looks at the screens.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 20;

/// What is only said of a car that is heard.
const WELL: [&str; 6] = ["DRIVING", "ARMED", "VIEW", "» ", "running", "1 up"];

/// A console on each screen, the first of which drives, and one without a screen.
struct Desks {
    terminals: Vec<TestTerminal>,
    watch: RunningProgram,
}

impl Desks {
    async fn new(fixture: &Fixture) -> Self {
        let mut terminals = vec![fixture.terminal().await];
        for (key, said) in [("1", "● up"), ("3", "Runs, newest"), ("4", "Enter runs")] {
            let terminal = fixture.terminal().await;
            terminal.send(key.as_bytes());
            terminal.sees(said).await;
            terminals.push(terminal);
        }
        let mut watch = console(fixture.folder.path(), fixture.router_port);
        watch.arg("watch");
        let watch = RunningProgram::start(&mut watch.into());
        until("it watches", || watch.out().contains("link up")).await;
        Self { terminals, watch }
    }

    /// Looks at all screens for a while after the cut, on which `hop` is silent.
    async fn tell_of(&self, hop: &str) {
        let mut due = Instant::now();
        // What this machine is late is no fault of the consoles.
        let mut from = due + NOTICED;
        let is_router_silent = hop == "console → router";
        for _ in 0..LOOKS {
            due += LOOK;
            tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
            from += due.elapsed();
            if due < from {
                continue;
            }
            for terminal in &self.terminals {
                let picture = terminal.picture();
                let (corner, rest) = picture.split_once('\n').unwrap();
                assert!(WELL.iter().all(|word| !rest.contains(word)), "{picture}");
                assert_eq!(corner.contains("● up"), !is_router_silent, "{picture}");
                assert!(!rest.contains("● up"), "{picture}");
                assert!(rest.contains("NO ANSWER"), "{picture}");
                assert!(rest.contains(&format!("{hop} is silent")), "{picture}");
                assert!(
                    rest.contains("stops itself 400 ms after it last heard"),
                    "{picture}"
                );
            }
        }
    }

    async fn tell_that_it_is_over(&self) {
        for terminal in &self.terminals {
            until("it is over", || !terminal.picture().contains("NO ANSWER")).await;
        }
    }

    async fn watch_has_told(&self, line: &str) {
        until(line, || self.watch.out().contains(line)).await;
    }
}

async fn stopped(fixture: &Fixture, program: &RunningProgram, hop: &str) {
    let desks = Desks::new(fixture).await;
    fixture.move_forward(&desks.terminals[0]).await;
    let continued = ContinuedProgram(program);
    program.signal(Signal::STOP);
    holding(&desks.terminals[0], UP_REPEATED, desks.tell_of(hop)).await;
    desks.watch_has_told(&format!("{hop} is silent")).await;
    drop(continued);
    desks.tell_that_it_is_over().await;
    desks
        .watch_has_told(&format!("answers again: {hop} was silent for"))
        .await;
    desks.terminals[0].sees("FAILSAFE").await;
}

#[tokio::test]
async fn of_a_stopped_router_no_screen_says_that_the_car_moves() {
    let fixture = Fixture::new().await;
    stopped(&fixture, &fixture.router, "console → router").await;
}

#[tokio::test]
async fn of_a_stopped_inner_no_screen_says_that_the_car_moves() {
    let fixture = Fixture::new().await;
    stopped(&fixture, &fixture.inner, "router → car").await;
    // So do the logs tell it, with one id of the link.
    let fields = |program: &str, message: &str| {
        let lines = log_lines(fixture.folder.path(), program).into_iter();
        let mut of = lines.filter(|line| {
            line["message"]
                .as_str()
                .is_some_and(|it| it.starts_with(message))
        });
        let line = of.next().unwrap_or_else(|| panic!("no {message:?}"));
        ["link", "link_id"].map(|name| line[name].as_str().unwrap_or_default().to_owned())
    };
    let link = fields("p2p-inner", "link up");
    assert!(link[0] == "car" && link[1].ends_with(".1"), "{link:?}");
    for message in ["link up", "no answer", "answers again"] {
        assert_eq!(fields("p2p-router", message), link, "{message}");
    }
}

/// The lines of the logs of a program.
fn log_lines(folder: &Path, program: &str) -> Vec<serde_json::Value> {
    let files = std::fs::read_dir(folder.join("logs")).unwrap().flatten();
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(program));
    let texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}

#[tokio::test]
async fn of_a_link_that_was_cut_no_screen_says_that_the_car_moves() {
    let fixture = Fixture::new().await;
    let desks = Desks::new(&fixture).await;
    fixture.move_forward(&desks.terminals[0]).await;
    fixture.proxy.refuse(true);
    fixture.proxy.silence();
    let told = desks.tell_of("router → car");
    holding(&desks.terminals[0], UP_REPEATED, told).await;
    for terminal in &desks.terminals {
        terminal.sees("LINK LOST router → car").await;
    }
    fixture.proxy.refuse(false);
    desks.watch_has_told("link down: silent for 6 s").await;
}
