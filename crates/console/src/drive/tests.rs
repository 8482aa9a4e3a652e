//! Driving as a driver would: keys as real terminals send them, by the clock, without a clock.

use p2p_shared::protocol::{MotionEvent, MotionRefusal, StopCause};

use super::*;
use Direction::{Forward, Left};
use KeyEventKind::{Press as Down, Release as Up, Repeat};

/// A driver at a terminal, a car 20 ms away.
struct Bench {
    drive: Drive,
    facts: DriveFacts,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const EPOCH: u64 = 7;

fn press_id(number: u64) -> PressId {
    PressId {
        epoch: EPOCH,
        number,
    }
}

impl Bench {
    fn new(releases: KeyReleases) -> Self {
        let now = Instant::now();
        Self {
            drive: Drive::new(releases),
            facts: DriveFacts {
                now: now + ms(1000),
                may_drive: true,
                is_up: true,
                is_silent: false,
                healthy_since: Some(now),
                round_trip: Some(ms(20)),
                input_is_alive: true,
                holder: ControlHolder::Nobody,
                stop_failed: false,
                directions: 4,
                tick_ms: Some(1),
            },
        }
    }

    fn armed(releases: KeyReleases) -> Self {
        let mut bench = Self::new(releases);
        bench.facts.holder = ControlHolder::Us { epoch: EPOCH };
        assert_eq!(bench.drive.tick(&bench.facts), []);
        assert_eq!(bench.state(), DriveState::Armed);
        bench
    }

    fn state(&self) -> DriveState {
        self.drive.state(&self.facts)
    }

    fn key(&mut self, direction: Direction, stroke: KeyEventKind) -> Vec<DriveOrder> {
        self.drive.key(direction, stroke, &self.facts)
    }

    fn a(&mut self) -> Vec<DriveOrder> {
        self.drive.arm(&self.facts)
    }

    fn tick(&mut self) -> Vec<DriveOrder> {
        self.drive.tick(&self.facts)
    }

    /// Time goes by, with a tick wherever the machine wants one.
    fn pass(&mut self, time: u64) -> Vec<DriveOrder> {
        let until = self.facts.now + ms(time);
        let mut orders = Vec::new();
        while let Some(at) = self.drive.next().filter(|at| *at <= until) {
            self.facts.now = self.facts.now.max(at);
            let more = self.tick();
            orders.extend(more);
            if self.drive.next() == Some(at) {
                break;
            }
        }
        self.facts.now = until;
        orders.extend(self.tick());
        orders
    }

    /// Repeats of a held key, every 33 ms; the orders without the renewals.
    fn hold(
        &mut self,
        direction: Direction,
        stroke: KeyEventKind,
        repeats: u32,
    ) -> Vec<DriveOrder> {
        let mut orders = Vec::new();
        for _ in 0..repeats {
            orders.extend(self.pass(33));
            orders.extend(self.key(direction, stroke));
        }
        without_renewals(orders)
    }
}

fn without_renewals(mut orders: Vec<DriveOrder>) -> Vec<DriveOrder> {
    orders.retain(|order| !matches!(order, DriveOrder::Renew(_)));
    orders
}

fn count_renewals(orders: &[DriveOrder]) -> usize {
    let is_renewal = |order: &&DriveOrder| matches!(order, DriveOrder::Renew(_));
    orders.iter().filter(is_renewal).count()
}

#[test]
fn the_first_arrow_takes_control_and_drives_at_once() {
    let mut bench = Bench::new(KeyReleases::Reported);
    assert_eq!(bench.key(Forward, Down), [DriveOrder::Take]);
    bench.pass(20);
    bench.facts.holder = ControlHolder::Us { epoch: EPOCH };
    assert_eq!(bench.tick(), [DriveOrder::Press(press_id(1), Forward)]);
    assert_eq!(bench.state(), DriveState::Driving(Forward));
}

#[test]
fn control_that_comes_too_late_moves_nothing() {
    let mut bench = Bench::new(KeyReleases::Reported);
    bench.key(Forward, Down);
    assert_eq!(bench.pass(500), [DriveOrder::Report(Blocked::NoAnswer)]);
    bench.facts.holder = ControlHolder::Us { epoch: EPOCH };
    assert_eq!(bench.pass(100), []);
    assert_eq!(bench.hold(Forward, Repeat, 10), []);
    assert_eq!(bench.state(), DriveState::Armed);
}

#[test]
fn a_reported_hold_is_one_press_heartbeats_and_one_release() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    let mut orders = bench.key(Forward, Down);
    orders.extend(bench.pass(400));
    assert_eq!(count_renewals(&orders), 8);
    orders = without_renewals(orders);
    orders.extend(bench.hold(Forward, Repeat, 60));
    orders.extend(bench.key(Forward, Up));
    let id = press_id(1);
    assert_eq!(
        orders,
        [DriveOrder::Press(id, Forward), DriveOrder::Release(id)]
    );
    assert_eq!(bench.state(), DriveState::Armed);
    assert_eq!(bench.pass(5000), []);
}

#[test]
fn a_lost_release_stops_after_three_repeats_of_silence() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.hold(Forward, Repeat, 20);
    assert_eq!(without_renewals(bench.pass(98)), []);
    assert_eq!(
        without_renewals(bench.pass(2)),
        [DriveOrder::Release(press_id(1))]
    );
    // What still comes is the old key, not a fresh press.
    assert_eq!(bench.hold(Forward, Repeat, 5), []);
}

#[test]
fn a_tap_whose_release_is_lost_moves_for_a_second() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    let first = press_id(1);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Press(first, Forward)]
    );
    assert_eq!(without_renewals(bench.pass(999)), []);
    assert_eq!(
        without_renewals(bench.pass(1)),
        [DriveOrder::Release(first)]
    );
    // The key has been let go: the next press counts.
    let second = press_id(2);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Press(second, Forward)]
    );
}

#[test]
fn repeats_that_come_as_presses_are_one_press_whatever_the_keyboards_delay() {
    for delay in [150, 250, 500, 660, 900] {
        let mut bench = Bench::armed(KeyReleases::Reported);
        let mut orders = bench.key(Forward, Down);
        orders.extend(bench.pass(delay));
        orders.extend(bench.key(Forward, Down));
        orders.extend(bench.hold(Forward, Down, 60));
        orders.extend(bench.key(Forward, Up));
        let id = press_id(1);
        assert_eq!(
            without_renewals(orders),
            [DriveOrder::Press(id, Forward), DriveOrder::Release(id)],
            "{delay} ms"
        );
    }
}

/// Else the first repeat would start the car again that somebody else has just stopped.
#[test]
fn a_first_repeat_that_comes_as_a_press_moves_nothing_after_a_stop() {
    for delay in [300, 500, 700] {
        let mut bench = Bench::armed(KeyReleases::Reported);
        bench.key(Forward, Down);
        bench.pass(100);
        stopped_by_another(&mut bench);
        bench.pass(delay - 100);
        assert_eq!(bench.hold(Forward, Down, 20), [], "{delay} ms");
    }
}

#[test]
fn a_tap_is_a_pulse_of_250_ms() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    let id = press_id(1);
    assert_eq!(bench.key(Forward, Down), [DriveOrder::Press(id, Forward)]);
    assert_eq!(without_renewals(bench.pass(249)), []);
    assert_eq!(without_renewals(bench.pass(1)), [DriveOrder::Release(id)]);
}

#[test]
fn a_guessed_hold_is_a_pulse_and_then_one_long_press() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    let mut orders = bench.key(Forward, Down);
    orders.extend(without_renewals(bench.pass(660)));
    orders.extend(bench.hold(Forward, Down, 60));
    orders.extend(without_renewals(bench.pass(99)));
    assert_eq!(
        orders,
        [
            DriveOrder::Press(press_id(1), Forward),
            DriveOrder::Release(press_id(1)),
            DriveOrder::Press(press_id(2), Forward),
            DriveOrder::Release(press_id(2)),
        ]
    );
}

#[test]
fn a_second_direction_replaces_the_first_whose_release_says_nothing() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.pass(100);
    let second = press_id(2);
    assert_eq!(bench.key(Left, Down), [DriveOrder::Press(second, Left)]);
    assert_eq!(bench.key(Forward, Up), []);
    assert_eq!(bench.pass(60), [DriveOrder::Renew(second)]);
    assert_eq!(bench.key(Left, Up), [DriveOrder::Release(second)]);
}

#[test]
fn space_stops_and_latches_until_a() {
    for releases in [KeyReleases::Reported, KeyReleases::Guessed] {
        let mut bench = Bench::armed(releases);
        bench.key(Forward, Down);
        bench.pass(60);
        assert_eq!(bench.drive.stop(), [DriveOrder::Stop]);
        assert_eq!(bench.state(), DriveState::Stopped);
        assert_eq!(bench.hold(Forward, Repeat, 3), []);
        bench.key(Forward, Up);
        bench.pass(1000);
        let refused = [DriveOrder::Report(Blocked::NeedsArming)];
        assert_eq!(bench.key(Forward, Down), refused);
        bench.key(Forward, Up);
        bench.pass(5000);
        assert_eq!(bench.a(), []);
        assert_eq!(bench.state(), DriveState::Armed);
        let number = press_id(2);
        assert_eq!(
            bench.key(Forward, Down),
            [DriveOrder::Press(number, Forward)]
        );
    }
}

#[test]
fn a_held_key_refuses_a() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.drive.stop();
    bench.key(Forward, Down);
    assert_eq!(bench.a(), [DriveOrder::Report(Blocked::KeyHeld)]);
    bench.key(Forward, Up);
    assert_eq!(bench.a(), []);
}

#[test]
fn repeats_without_a_press_move_nothing() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    assert_eq!(bench.hold(Forward, Repeat, 20), []);
}

#[test]
fn escape_gives_control_back_and_then_takes_an_explicit_a() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    let orders = bench.drive.disarm(&bench.facts);
    assert_eq!(
        orders,
        [DriveOrder::Release(press_id(1)), DriveOrder::GiveBack]
    );
    assert_eq!(bench.tick(), [], "the router has not said so yet");
    assert_eq!(
        (bench.state(), bench.drive.is_armed()),
        (DriveState::View, false)
    );
    bench.facts.holder = ControlHolder::Nobody;
    assert_eq!(bench.tick(), []);
    assert_eq!(bench.state(), DriveState::View);
    assert_eq!(bench.a(), [DriveOrder::Report(Blocked::KeyHeld)]);
    bench.key(Forward, Up);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::NeedsArming)]
    );
    bench.key(Forward, Up);
    assert_eq!(bench.a(), [DriveOrder::Take]);
}

#[test]
fn a_lost_link_stops_everything_and_nothing_resumes_by_itself() {
    for releases in [KeyReleases::Reported, KeyReleases::Guessed] {
        let mut bench = Bench::armed(releases);
        bench.key(Forward, Down);
        bench.pass(60);
        bench.facts.is_up = false;
        bench.facts.healthy_since = None;
        assert_eq!(bench.tick(), []);
        assert_eq!(bench.state(), DriveState::Offline);
        bench.facts.is_up = true;
        bench.facts.holder = ControlHolder::Nobody;
        bench.facts.healthy_since = Some(bench.facts.now);
        assert_eq!(bench.hold(Forward, Repeat, 40), []);
        assert_eq!(bench.state(), DriveState::Failsafe);
        bench.key(Forward, Up);
        bench.pass(5000);
        assert_eq!(
            bench.key(Forward, Down),
            [DriveOrder::Report(Blocked::NeedsArming)]
        );
    }
}

#[test]
fn a_link_that_went_silent_before_it_was_lost_is_a_failsafe() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    // Its silence makes a pulse of the press, whose release the car never hears.
    bench.facts.now += ms(310);
    bench.facts.round_trip = Some(ms(310));
    assert!(bench.tick().contains(&DriveOrder::Release(press_id(1))));
    bench.facts.is_up = false;
    bench.tick();
    bench.facts.is_up = true;
    bench.tick();
    assert_eq!(bench.state(), DriveState::Failsafe);
}

#[test]
fn an_armed_driver_whose_link_was_lost_is_not_shown_as_armed() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.facts.is_up = false;
    bench.tick();
    bench.facts.is_up = true;
    bench.tick();
    // The router may have kept our control; a press wants an a all the same.
    assert_eq!(bench.state(), DriveState::View);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::NeedsArming)]
    );
    bench.key(Forward, Up);
    bench.a();
    assert_eq!(bench.state(), DriveState::Armed);
}

#[test]
fn a_link_must_be_healthy_for_half_a_second() {
    let mut bench = Bench::new(KeyReleases::Reported);
    bench.facts.healthy_since = Some(bench.facts.now);
    bench.pass(499);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::Unsettled)]
    );
    assert_eq!(
        bench.hold(Forward, Repeat, 40),
        [],
        "the same key is no fresh press"
    );
    bench.key(Forward, Up);
    assert_eq!(bench.key(Forward, Down), [DriveOrder::Take]);
}

#[test]
fn above_300_ms_a_press_is_one_bounded_pulse_and_says_so() {
    for (releases, stroke) in [
        (KeyReleases::Reported, Repeat),
        (KeyReleases::Guessed, Down),
    ] {
        let mut bench = Bench::armed(releases);
        bench.facts.round_trip = Some(ms(400));
        let id = press_id(1);
        assert_eq!(
            bench.key(Forward, Down),
            [
                DriveOrder::Press(id, Forward),
                DriveOrder::Report(Blocked::PulseOnly(ms(400)))
            ]
        );
        let mut orders = without_renewals(bench.pass(400));
        orders.extend(bench.hold(Forward, stroke, 60));
        assert_eq!(orders, [DriveOrder::Release(id)]);
    }
}

#[test]
fn a_link_that_becomes_slow_ends_a_long_press() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.hold(Forward, Repeat, 30);
    bench.facts.round_trip = Some(ms(1200));
    let said = DriveOrder::Report(Blocked::TooSlow(ms(1200)));
    assert_eq!(
        without_renewals(bench.tick()),
        [said, DriveOrder::Release(press_id(1))]
    );
}

#[test]
fn above_a_second_driving_is_refused() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.facts.round_trip = Some(ms(1001));
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::TooSlow(ms(1001)))]
    );
}

#[test]
fn the_heartbeat_ends_with_the_input_side() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.facts.input_is_alive = false;
    let orders = bench.pass(60);
    assert!(
        orders.contains(&DriveOrder::Stop) && orders.contains(&DriveOrder::GiveBack),
        "{orders:?}"
    );
    assert_eq!(count_renewals(&orders), 0);
    assert_eq!(count_renewals(&bench.pass(1000)), 0);
    assert_eq!(bench.state(), DriveState::Failsafe);
}

#[test]
fn lateness_disarms_a_driver_and_leaves_a_viewer_alone() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    let why = Blocked::Late(ms(3000));
    let orders = bench.drive.fail(why.clone(), &bench.facts);
    assert_eq!(
        orders,
        [
            DriveOrder::Stop,
            DriveOrder::GiveBack,
            DriveOrder::Report(why.clone())
        ]
    );
    assert_eq!(bench.state(), DriveState::Failsafe);
    assert_eq!(bench.hold(Forward, Repeat, 5), []);

    let mut viewer = Bench::new(KeyReleases::Guessed);
    assert_eq!(viewer.drive.fail(why, &viewer.facts), []);
    assert_eq!(viewer.key(Forward, Down), [DriveOrder::Take]);
}

#[test]
fn the_reason_for_standing_outlives_a_link_that_is_lost_after_it() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.drive.fail(Blocked::Late(ms(3000)), &bench.facts);
    // What waited meanwhile: control that was taken, the end of the press.
    bench.facts.holder = ControlHolder::Us { epoch: EPOCH + 1 };
    bench.tick();
    let press = Some(press_id(1));
    let cause = p2p_shared::protocol::StopCause::Asked;
    bench.drive.motion(&MotionEvent::Over {
        press,
        cause,
        clock_ms: None,
        by: None,
    });
    bench.facts.is_up = false;
    bench.tick();
    bench.facts.is_up = true;
    bench.facts.holder = ControlHolder::Nobody;
    bench.tick();
    assert_eq!(bench.state(), DriveState::Failsafe);
}

#[test]
fn a_lease_that_ran_out_is_a_failsafe_even_after_the_release() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.key(Forward, Up);
    let over = MotionEvent::Over {
        press: Some(press_id(1)),
        cause: StopCause::Lease,
        clock_ms: None,
        by: None,
    };
    assert_eq!(
        bench.drive.motion(&over),
        [DriveOrder::Report(Blocked::Lease)]
    );
    assert_eq!(bench.state(), DriveState::Failsafe);
}

#[test]
fn anothers_stop_ends_the_press_and_a_fresh_one_moves_again() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    let over = MotionEvent::Over {
        press: Some(press_id(1)),
        cause: StopCause::Asked,
        clock_ms: None,
        by: None,
    };
    assert_eq!(
        bench.drive.motion(&over),
        [DriveOrder::Report(Blocked::StoppedByAnother)]
    );
    assert_eq!(bench.hold(Forward, Repeat, 10), []);
    assert_eq!(bench.key(Forward, Up), []);
    let second = press_id(2);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Press(second, Forward)]
    );
}

#[test]
fn the_end_of_an_older_press_leaves_the_newer_alone() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.key(Left, Down);
    for cause in [StopCause::Released, StopCause::Asked] {
        let over = MotionEvent::Over {
            press: Some(press_id(1)),
            cause,
            clock_ms: None,
            by: None,
        };
        assert_eq!(bench.drive.motion(&over), []);
    }
    assert_eq!(bench.state(), DriveState::Driving(Left));
}

#[test]
fn control_that_goes_elsewhere_needs_a() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    bench.facts.holder = ControlHolder::Other("bob".to_owned());
    assert_eq!(bench.tick(), [DriveOrder::Report(Blocked::ControlGone)]);
    assert_eq!(bench.hold(Forward, Repeat, 5), []);
    bench.key(Forward, Up);
    let held = DriveOrder::Report(Blocked::Held("bob".to_owned()));
    assert_eq!(bench.key(Forward, Down), [held]);
    bench.key(Forward, Up);
    let asked = DriveOrder::Report(Blocked::Asked("bob".to_owned()));
    assert_eq!(bench.a(), [DriveOrder::Take, asked]);
}

#[test]
fn a_viewer_moves_nothing_and_stops_everything() {
    let mut bench = Bench::new(KeyReleases::Reported);
    bench.facts.may_drive = false;
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::MayNot)]
    );
    assert_eq!(bench.drive.stop(), [DriveOrder::Stop]);
}

#[test]
fn a_stop_that_fails_is_a_failsafe_and_refuses_presses() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.key(Forward, Down);
    let orders = bench.drive.motion(&MotionEvent::StopFailed);
    assert_eq!(orders, [DriveOrder::Report(Blocked::StopFailed)]);
    bench.facts.stop_failed = true;
    bench.key(Forward, Up);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::StopFailed)]
    );
    bench.key(Forward, Up);
    assert_eq!(bench.a(), [DriveOrder::Report(Blocked::StopFailed)]);
}

#[test]
fn the_pad_ends_after_five_seconds_and_where_the_mouse_is_let_go() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    let facts = bench.facts.clone();
    assert_eq!(
        bench.drive.pad_down(Left, &facts),
        [DriveOrder::Press(press_id(1), Left)]
    );
    assert_eq!(without_renewals(bench.pass(4999)), []);
    assert_eq!(
        without_renewals(bench.pass(1)),
        [DriveOrder::Release(press_id(1))]
    );
    assert_eq!(bench.drive.pad_up(), []);
    let facts = bench.facts.clone();
    bench.drive.pad_down(Left, &facts);
    assert_eq!(bench.drive.pad_up(), [DriveOrder::Release(press_id(2))]);
}

#[test]
fn a_press_waits_for_the_cars_clock() {
    let mut bench = Bench::armed(KeyReleases::Reported);
    bench.facts.tick_ms = None;
    assert_eq!(bench.key(Forward, Down), []);
    bench.pass(90);
    bench.facts.tick_ms = Some(5);
    assert_eq!(bench.tick(), [DriveOrder::Press(press_id(1), Forward)]);
}

/// What ends a press, or refuses it, without latching anything.
type End = fn(&mut Bench) -> Vec<DriveOrder>;

fn stopped_by_another(bench: &mut Bench) -> Vec<DriveOrder> {
    let over = MotionEvent::Over {
        press: bench.drive.last_id(),
        cause: StopCause::Asked,
        clock_ms: None,
        by: None,
    };
    bench.drive.motion(&over)
}

const ENDS: [(&str, End); 6] = [
    ("another's stop", stopped_by_another),
    ("the router refuses", |bench| {
        bench.drive.refused(bench.drive.last_id());
        Vec::new()
    }),
    ("the car refuses", |bench| {
        let press = bench.drive.last_id().unwrap();
        let why = MotionRefusal::Old;
        bench.drive.motion(&MotionEvent::Refused { press, why })
    }),
    ("the car's limit", |bench| {
        let over = MotionEvent::Over {
            press: bench.drive.last_id(),
            cause: StopCause::Limit,
            clock_ms: None,
            by: None,
        };
        bench.drive.motion(&over)
    }),
    ("the focus is lost", |bench| bench.drive.focus_lost()),
    ("a paste", |bench| bench.drive.release_all()),
];

#[test]
fn a_key_held_all_along_moves_nothing_after_its_press_was_ended_from_elsewhere() {
    // Before the pulse is over, and between it and the first repeat; then the keyboard's delay.
    for (when, delay) in [(100, 400), (300, 200), (100, 1850), (300, 1650)] {
        for (name, end) in ENDS {
            let mut bench = Bench::armed(KeyReleases::Guessed);
            bench.key(Forward, Down);
            bench.pass(when);
            end(&mut bench);
            let mut orders = bench.pass(delay);
            orders.extend(bench.hold(Forward, Down, 90));
            let moves =
                |order: &DriveOrder| matches!(order, DriveOrder::Press(..) | DriveOrder::Take);
            assert!(!orders.iter().any(moves), "{name} at {when}: {orders:?}");
            // Let go, it counts as new again.
            bench.pass(2000);
            let second = press_id(2);
            assert_eq!(
                bench.key(Forward, Down),
                [DriveOrder::Press(second, Forward)],
                "{name}"
            );
        }
    }
}

#[test]
fn a_stop_between_a_pulse_and_the_first_repeat_counts_although_nothing_moved() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    bench.key(Forward, Down);
    bench.pass(300);
    let stopped = MotionEvent::Stopped {
        cause: StopCause::Asked,
        end: p2p_shared::protocol::End::Exit(0),
        exec_us: 1,
        failure: None,
    };
    assert_eq!(bench.drive.motion(&stopped), []);
    bench.pass(200);
    let said = [DriveOrder::Report(Blocked::StillHeld)];
    assert_eq!(bench.hold(Forward, Down, 90), said, "and only once");
}

#[test]
fn a_key_held_since_it_was_refused_moves_nothing_when_the_link_has_settled() {
    let mut bench = Bench::new(KeyReleases::Guessed);
    bench.facts.healthy_since = Some(bench.facts.now);
    bench.pass(200);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::Unsettled)]
    );
    bench.pass(500);
    assert_eq!(
        bench.hold(Forward, Down, 90),
        [DriveOrder::Report(Blocked::StillHeld)],
        "the same key is no fresh press"
    );
}

#[test]
fn a_key_held_while_the_loop_was_late_is_no_fresh_press_to_a_viewer_either() {
    let mut bench = Bench::new(KeyReleases::Guessed);
    bench.facts.healthy_since = Some(bench.facts.now);
    assert_eq!(
        bench.key(Forward, Down),
        [DriveOrder::Report(Blocked::Unsettled)]
    );
    bench.facts.now += ms(4000);
    assert_eq!(bench.drive.fail(Blocked::Late(ms(4000)), &bench.facts), []);
    bench.tick();
    assert_eq!(bench.hold(Forward, Down, 30), []);
}

#[test]
fn taking_control_waits_for_a_key_that_may_be_held() {
    let ways: [fn(&mut Bench); 3] = [
        |bench| drop(bench.drive.stop()),
        |bench| drop(bench.drive.disarm(&bench.facts)),
        |bench| drop(bench.drive.fail(Blocked::InputDead, &bench.facts)),
    ];
    for way in ways {
        let mut bench = Bench::armed(KeyReleases::Guessed);
        bench.key(Forward, Down);
        bench.pass(300);
        way(&mut bench);
        bench.facts.holder = ControlHolder::Nobody;
        bench.pass(150);
        assert_eq!(bench.a(), [DriveOrder::Report(Blocked::StillHeld)]);
        bench.hold(Forward, Down, 5);
        bench.pass(1900);
        assert_eq!(bench.a(), [DriveOrder::Report(Blocked::StillHeld)]);
        bench.pass(100);
        assert_eq!(bench.a(), [DriveOrder::Take]);
    }
}

#[test]
fn another_key_is_a_new_press_at_once() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    bench.key(Forward, Down);
    bench.pass(100);
    stopped_by_another(&mut bench);
    let second = press_id(2);
    assert_eq!(bench.key(Left, Down), [DriveOrder::Press(second, Left)]);
}

#[test]
fn once_the_keyboards_delay_is_known_a_hold_is_one_press_without_a_gap() {
    for (delay, interval) in [
        (260, 33),
        (400, 33),
        (500, 30),
        (500, 100),
        (600, 25),
        (640, 90),
    ] {
        let mut bench = Bench::armed(KeyReleases::Guessed);
        let hold = |bench: &mut Bench, jitter: u64| {
            let mut orders = bench.key(Forward, Down);
            orders.extend(bench.pass(delay + jitter));
            for _ in 0..20 {
                orders.extend(bench.key(Forward, Down));
                orders.extend(bench.pass(interval));
            }
            orders.extend(bench.pass(2_500));
            without_renewals(orders)
        };
        assert_eq!(hold(&mut bench, 0).len(), 4, "it is not known yet");
        for jitter in [0, 30, 15] {
            let orders = hold(&mut bench, jitter);
            assert!(
                matches!(orders[..], [DriveOrder::Press(..), DriveOrder::Release(_)]),
                "{delay} ms, {interval} ms: {orders:?}"
            );
        }
        bench.drive.change_car();
        bench.tick();
        assert!(bench.drive.tap() >= ms(delay) && bench.drive.tap() <= ms(800));
    }
}

#[test]
fn a_tap_ends_by_itself_a_little_after_the_keyboards_delay() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    bench.key(Forward, Down);
    bench.pass(467);
    bench.hold(Forward, Down, 20);
    bench.pass(2_500);
    bench.key(Left, Down);
    assert_eq!(without_renewals(bench.pass(624)), []);
    let ends = without_renewals(bench.pass(1));
    assert!(matches!(ends[..], [DriveOrder::Release(_)]), "{ends:?}");
    // Over a slow link it stays short.
    bench.facts.round_trip = Some(ms(400));
    bench.pass(2_500);
    bench.key(Left, Down);
    let ends = without_renewals(bench.pass(250));
    assert!(matches!(ends[..], [DriveOrder::Release(_)]), "{ends:?}");
}

#[test]
fn taps_teach_nothing() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    for gap in [300, 450, 700, 300, 1_500, 260, 500]
        .into_iter()
        .chain([690, 140, 120, 130, 140, 150, 120, 690, 110, 110, 110])
    {
        bench.key(Forward, Down);
        bench.pass(gap);
    }
    assert_eq!(bench.drive.first_repeat, None);
}

#[test]
fn a_latched_press_goes_on_for_five_seconds_at_most() {
    let mut bench = Bench::armed(KeyReleases::Guessed);
    bench.drive.latches = true;
    bench.key(Forward, Down);
    assert_eq!(without_renewals(bench.pass(4_999)), []);
    let ends = without_renewals(bench.pass(1));
    let over = DriveOrder::LatchEnded("its 5 s are over");
    assert_eq!(ends, [DriveOrder::Release(press_id(1)), over]);
}

#[test]
fn any_key_stops_a_latched_press_and_moves_nothing_while_it_is_held() {
    for key in [Forward, Left] {
        let mut bench = Bench::armed(KeyReleases::Guessed);
        bench.drive.latches = true;
        bench.key(Forward, Down);
        bench.pass(1_000);
        assert!(bench.drive.is_latched());
        let ended = DriveOrder::LatchEnded("a key or a click");
        let released = DriveOrder::Release(press_id(1));
        assert_eq!(bench.key(key, Down), [released, ended]);
        bench.pass(500);
        let orders = bench.hold(key, Down, 90);
        let moves = |order: &DriveOrder| matches!(order, DriveOrder::Press(..));
        assert!(!orders.iter().any(moves), "{orders:?}");
        bench.pass(2_000);
        bench.key(key, Down);
        assert!(bench.drive.is_latched());
    }
    // A key of no direction; then an arrow drives at once.
    let mut bench = Bench::armed(KeyReleases::Guessed);
    bench.drive.latches = true;
    bench.key(Forward, Down);
    bench.pass(1_000);
    let now = bench.facts.now;
    let ended = DriveOrder::LatchEnded("a key or a click");
    assert_eq!(
        bench.drive.end_latched(None, now),
        [DriveOrder::Release(press_id(1)), ended]
    );
    assert_eq!(
        bench.key(Left, Down),
        [DriveOrder::Press(press_id(2), Left)]
    );
}

#[test]
fn whatever_ends_a_held_press_ends_a_latched_one_and_so_does_silence() {
    let silence: End = |bench| {
        bench.facts.is_silent = true;
        bench.tick()
    };
    let slow: End = |bench| {
        bench.facts.round_trip = Some(ms(400));
        bench.tick()
    };
    let input: End = |bench| {
        bench.facts.input_is_alive = false;
        bench.tick()
    };
    let more = [
        ("silence", silence),
        ("a slow link", slow),
        ("a dead input", input),
    ];
    for (name, end) in ENDS.into_iter().chain(more) {
        let mut bench = Bench::armed(KeyReleases::Guessed);
        bench.drive.latches = true;
        bench.key(Forward, Down);
        bench.pass(1_000);
        assert!(bench.drive.is_latched(), "{name}");
        end(&mut bench);
        bench.tick();
        assert_eq!(bench.drive.asked(), None, "{name}");
    }
}
