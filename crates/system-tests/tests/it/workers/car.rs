//! A car with workers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_inner::Inner;
use p2p_shared::protocol::{ConsoleToRouter, DriveCommand, MotionEvent, PressId, StopCause};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::console::FakeConsole;
use crate::common::procfs::is_running;
use crate::common::{HttpAnswer, World, get, inner_config, post, until, until_so};

/// What each worker of these tests begins with. It is Perl, since that and its JSON are on every
/// machine that runs the tests, and starts in a moment.
const BEGINNING: &str = r#"#!/usr/bin/perl
use strict;
use JSON::PP;
$| = 1;
my $json = JSON::PP->new->utf8;
# A line at once, whatever else is written.
sub raw { my $left = $_[0]; while (length $left) { my $n = syswrite STDOUT, $left or die; substr($left, 0, $n) = '' } }
sub say_line { raw($json->encode($_[0]) . "\n") }
sub answer { my ($to, %with) = @_; say_line({ id => $to->{id}, %with }) }
# Adds a line to a note of the test.
sub note { open my $file, '>>', "@/$_[0]" or die; syswrite $file, "$_[1]\n" }
sub exists_note { -e "@/$_[0]" }
note('pids', "$$ $ENV{P2P_WORKER}");
"#;

/// The rest of one that does this with each request `$r`.
fn serving(commands: &str, each: &str) -> String {
    format!(
        "say_line({{ serves => [qw({commands})] }});\n\
         while (my $line = <STDIN>) {{ my $r = $json->decode($line); my $c = $r->{{command}};\n{each}\n}}\n"
    )
}

/// Where a worker notes each command and answers it.
pub(crate) const NOTING: &str = "note('did', \"worker $c\"); answer($r, output => \"$c\\n\");";

/// The folder of a car.
pub(crate) struct CarFolder<'a>(pub(crate) &'a Path);

impl CarFolder<'_> {
    /// What of a worker's, in which `@/` stands for the folder of the notes.
    pub(crate) fn program(&self, body: &str) -> String {
        format!("{BEGINNING}{body}").replace("@/", &format!("{}/", self.0.display()))
    }

    /// The same of one that does this with each request.
    pub(crate) fn server(&self, commands: &str, each: &str) -> String {
        self.program(&serving(commands, each))
    }

    /// The stop command's file.
    pub(crate) fn stop(&self) -> String {
        format!("#!/bin/sh\necho file stop >> {}/did\n", self.0.display())
    }

    /// The lines of a note.
    pub(crate) fn lines(&self, note: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(note)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The processes that the workers were, in order.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let lines = self.lines("pids");
        let number = |line: &String| line.split(' ').next()?.parse().ok();
        lines.iter().filter_map(number).collect()
    }

    /// The process that the newest of this name is.
    pub(crate) fn pid_of(&self, worker: &str) -> i32 {
        let lines = self.lines("pids");
        let line = lines.iter().rfind(|line| line.ends_with(worker)).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    }

    /// Whether the worker that was the n-th is alive.
    pub(crate) fn lives(&self, nth: usize) -> bool {
        is_running(self.pids()[nth])
    }
}

/// A car whose inner is not started yet.
pub(crate) struct UnstartedCar {
    pub(crate) world: World,
}

impl UnstartedCar {
    pub(crate) fn new() -> Self {
        Self {
            world: World::open(),
        }
    }

    /// One with a file for the stop command, which notes itself.
    pub(crate) fn with_stop() -> Self {
        let unstarted = Self::new();
        unstarted
            .world
            .file("stop", unstarted.folder().stop(), 0o755);
        unstarted
    }

    pub(crate) fn folder(&self) -> CarFolder<'_> {
        CarFolder(self.world.folder.path())
    }

    /// A worker that is this program.
    pub(crate) fn program(self, name: &str, body: &str) -> Self {
        let file = self.folder().program(body);
        self.world.file(&format!("{name}.worker"), file, 0o755);
        self
    }

    /// A worker that does this with each request.
    pub(crate) fn worker(self, name: &str, commands: &str, each: &str) -> Self {
        self.program(name, &serving(commands, each))
    }

    /// The car, whose commands are there.
    pub(crate) async fn start(self, served: &str) -> Car {
        let config = inner_config(&self.world);
        self.start_with(config, served).await
    }

    pub(crate) async fn start_with(self, config: p2p_inner::Config, served: &str) -> Car {
        let (inner, port) = self.world.inner_with(config).await;
        let car = Car {
            world: self.world,
            inner,
            port,
        };
        car.serves(served).await;
        car
    }
}

pub(crate) struct Car {
    pub(crate) world: World,
    pub(crate) inner: Inner,
    pub(crate) port: u16,
}

impl Car {
    /// One with a worker and a file for the stop command, which goes on until it is stopped.
    pub(crate) async fn with_worker(commands: &str, each: &str) -> Self {
        let unstarted = UnstartedCar::with_stop().worker("car", commands, each);
        let first = commands.split(' ').next().unwrap();
        let mut config = inner_config(&unstarted.world);
        config.motion.limit_ms = 0;
        // As long as there can be: a slow machine is no reason to stop.
        config.motion.lease_ms = 1000;
        unstarted.start_with(config, first).await
    }

    pub(crate) fn folder(&self) -> CarFolder<'_> {
        CarFolder(self.world.folder.path())
    }

    /// What the car did, in order, since its start.
    pub(crate) fn did(&self) -> Vec<String> {
        self.folder().lines("did")
    }

    pub(crate) fn has_done(&self, what: &str) -> bool {
        self.did().iter().any(|did| did == what)
    }

    /// Whether it did this behind the first so many.
    pub(crate) fn has_done_since(&self, before: usize, what: &str) -> bool {
        self.did()[before..].iter().any(|did| did == what)
    }

    pub(crate) async fn does(&self, what: &str) {
        until(what, || self.has_done(what)).await;
    }

    /// Waits until a worker serves this.
    pub(crate) async fn serves(&self, command: &str) {
        let name = format!("\"name\":\"{command}\"");
        until_so(command, async || {
            let list = get(self.port, "/commands").await.text();
            list.replace(": ", ":").contains(&name)
        })
        .await;
    }

    pub(crate) async fn run(&self, command: &str) -> HttpAnswer {
        get(self.port, &format!("/cgi?command={command}")).await
    }

    /// Moves it. One that is asked for while a stop still runs may be refused.
    pub(crate) async fn moves(&self, command: &str) {
        until_so("it moves", async || {
            let moved = self.run(command).await;
            assert!(
                [(200, "yes"), (503, "no")].contains(&moved.verdict()),
                "{moved:?}"
            );
            moved.status == 200
        })
        .await;
    }

    pub(crate) async fn run_with(&self, command: &str, body: &[u8]) -> HttpAnswer {
        let target = format!("/cgi?command={command}");
        post(self.port, &target, body.to_vec()).await
    }

    /// That its worker answers `hello`, sooner or later: it may have been started again.
    pub(crate) async fn answers_hello(&self) {
        until_so("hello", async || self.run("hello").await.status == 200).await;
    }

    /// That a stop is its worker's and nobody else's, on a machine that is not too slow for it.
    pub(crate) async fn is_stopped_by_its_worker(&self) {
        until_so("its worker stops it", async || {
            let before = self.did().len();
            let stopped = self.run("stop").await;
            self.did()[before..] == ["worker stop"] && stopped.text() == "stop\n"
        })
        .await;
    }

    /// Sends a signal to the newest worker.
    pub(crate) fn signal(&self, signal: Signal) {
        let newest = *self.folder().pids().last().unwrap();
        kill_process(Pid::from_raw(newest).unwrap(), signal).unwrap();
    }

    pub(crate) fn note(&self, name: &str) -> PathBuf {
        self.world.note(name)
    }

    /// Waits until there is another worker than the first so many.
    pub(crate) async fn has_started_workers(&self, many: usize) {
        until("another worker", || self.folder().pids().len() >= many).await;
    }

    /// Lets workers go on that wait for this note.
    pub(crate) fn let_go(&self, note: &str) {
        fs::write(self.note(note), "").unwrap();
    }

    /// Whether the worker that was the n-th is alive.
    pub(crate) fn lives(&self, nth: usize) -> bool {
        self.folder().lives(nth)
    }

    /// A console, which has seen that the car stands.
    pub(crate) async fn watcher(&self) -> FakeConsole {
        let mut watcher = FakeConsole::open(self.world.main_port()).await;
        // Whoever comes is told how it is by a stop.
        watcher.stops(self.port).await;
        watcher
            .sees_motion(|event| *event == MotionEvent::Stands)
            .await;
        watcher
    }

    /// A driver who has control of the car, which stands.
    pub(crate) async fn driver(&self) -> Driver {
        let mut console = FakeConsole::open(self.world.main_port()).await;
        let epoch = console.takes(self.port).await;
        console
            .sees_motion(|event| *event == MotionEvent::Stands)
            .await;
        let press = PressId { epoch, number: 0 };
        Driver {
            port: self.port,
            console,
            press,
        }
    }
}

/// Someone at the arrow keys.
pub(crate) struct Driver {
    port: u16,
    pub(crate) console: FakeConsole,
    press: PressId,
}

impl Driver {
    /// A key goes down.
    pub(crate) async fn presses(&mut self, command: &str) {
        self.press.number += 1;
        let tick = p2p_inner::clock::now_ms();
        let port = self.port;
        self.console.presses(port, self.press, command, tick).await;
    }

    /// The same, and the motion begins.
    pub(crate) async fn drives(&mut self, command: &str) {
        self.presses(command).await;
        let press = Some(self.press);
        self.console
            .sees_motion(
                |event| matches!(event, MotionEvent::Started(moving) if moving.press == press),
            )
            .await;
    }

    /// The key is still down.
    pub(crate) async fn holds(&mut self) {
        self.console
            .send(ConsoleToRouter::Drive {
                service_port: self.port,
                command: DriveCommand::Renew {
                    press: self.press,
                    tick_ms: p2p_inner::clock::now_ms(),
                },
            })
            .await;
    }

    /// The key stays down until something has happened.
    pub(crate) async fn holds_until<T>(&mut self, happened: impl Future<Output = T>) -> T {
        let mut happened = std::pin::pin!(happened);
        loop {
            tokio::select! {
                biased;
                happened = &mut happened => return happened,
                () = tokio::time::sleep(Duration::from_millis(50)) => self.holds().await,
            }
        }
    }

    /// It goes up.
    pub(crate) async fn releases(&mut self) {
        let (service_port, press) = (self.port, self.press);
        self.console
            .send(ConsoleToRouter::Drive {
                service_port,
                command: DriveCommand::Release(press),
            })
            .await;
    }

    pub(crate) async fn sees_over(&mut self, by: StopCause) {
        sees_over(&mut self.console, by).await;
    }

    pub(crate) async fn sees_it_stand(&mut self) {
        sees_it_stand(&mut self.console).await;
    }
}

pub(crate) async fn sees_over(console: &mut FakeConsole, by: StopCause) {
    console
        .sees_motion(|event| matches!(event, MotionEvent::Over { cause, .. } if *cause == by))
        .await;
}

pub(crate) async fn sees_it_stand(console: &mut FakeConsole) {
    console
        .sees_motion(|event| *event == MotionEvent::Stands)
        .await;
}
