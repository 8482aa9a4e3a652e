//! Driving as a driver would: keys as real terminals send them, by the clock, without a clock.

use p2p_shared::protocol::console::MotionEvent;

use super::*;
use Direction::{Forward, Left};
use Stroke::{Press as Down, Release as Up, Repeat};

/// A driver at a terminal, a car 20 ms away.
struct Bench {
    drive: Drive,
    facts: Facts,
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
    fn new(releases: Releases) -> Self {
        let now = Instant::now();
        Self {
            drive: Drive::new(releases),
            facts: Facts {
                now: now + ms(1000),
                may_drive: true,
                is_up: true,
                healthy_since: Some(now),
                round_trip: Some(ms(20)),
                input_is_alive: true,
                holder: Holder::Nobody,
                stop_failed: false,
                directions: 4,
                tick_ms: Some(1),
            },
        }
    }

    fn armed(releases: Releases) -> Self {
        let mut bench = Self::new(releases);
        bench.facts.holder = Holder::Us { epoch: EPOCH };
        assert_eq!(bench.drive.tick(&bench.facts), []);
        assert_eq!(bench.state(), State::Armed);
        bench
    }

    fn state(&self) -> State {
        self.drive.state(&self.facts)
    }

    fn key(&mut self, direction: Direction, stroke: Stroke) -> Vec<Order> {
        self.drive.key(direction, stroke, &self.facts)
    }

    fn a(&mut self) -> Vec<Order> {
        self.drive.arm(&self.facts)
    }

    fn tick(&mut self) -> Vec<Order> {
        self.drive.tick(&self.facts)
    }

    /// Time goes by, with a tick wherever the machine wants one.
    fn pass(&mut self, time: u64) -> Vec<Order> {
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
    fn hold(&mut self, direction: Direction, stroke: Stroke, repeats: u32) -> Vec<Order> {
        let mut orders = Vec::new();
        for _ in 0..repeats {
            orders.extend(self.pass(33));
            orders.extend(self.key(direction, stroke));
        }
        without_renewals(orders)
    }
}

fn without_renewals(mut orders: Vec<Order>) -> Vec<Order> {
    orders.retain(|order| !matches!(order, Order::Renew(_)));
    orders
}

fn count_renewals(orders: &[Order]) -> usize {
    let is_renewal = |order: &&Order| matches!(order, Order::Renew(_));
    orders.iter().filter(is_renewal).count()
}

#[test]
fn the_first_arrow_takes_control_and_drives_at_once() {
    let mut bench = Bench::new(Releases::Reported);
    assert_eq!(bench.key(Forward, Down), [Order::Take]);
    bench.pass(20);
    bench.facts.holder = Holder::Us { epoch: EPOCH };
    assert_eq!(bench.tick(), [Order::Press(press_id(1), Forward)]);
    assert_eq!(bench.state(), State::Driving(Forward));
}

#[test]
fn control_that_comes_too_late_moves_nothing() {
    let mut bench = Bench::new(Releases::Reported);
    bench.key(Forward, Down);
    assert_eq!(bench.pass(500), [Order::Say(Why::NoAnswer)]);
    bench.facts.holder = Holder::Us { epoch: EPOCH };
    assert_eq!(bench.pass(100), []);
    assert_eq!(bench.hold(Forward, Repeat, 10), []);
    assert_eq!(bench.state(), State::Armed);
}

#[test]
fn a_reported_hold_is_one_press_heartbeats_and_one_release() {
    let mut bench = Bench::armed(Releases::Reported);
    let mut orders = bench.key(Forward, Down);
    orders.extend(bench.pass(400));
    assert_eq!(count_renewals(&orders), 8);
    orders = without_renewals(orders);
    orders.extend(bench.hold(Forward, Repeat, 60));
    orders.extend(bench.key(Forward, Up));
    let id = press_id(1);
    assert_eq!(orders, [Order::Press(id, Forward), Order::Release(id)]);
    assert_eq!(bench.state(), State::Armed);
    assert_eq!(bench.pass(5000), []);
}

#[test]
fn a_lost_release_stops_after_three_repeats_of_silence() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    bench.hold(Forward, Repeat, 20);
    assert_eq!(without_renewals(bench.pass(98)), []);
    assert_eq!(
        without_renewals(bench.pass(2)),
        [Order::Release(press_id(1))]
    );
    // What still comes is the old key, not a fresh press.
    assert_eq!(bench.hold(Forward, Repeat, 5), []);
}

#[test]
fn a_tap_is_a_pulse_of_250_ms() {
    let mut bench = Bench::armed(Releases::Guessed);
    let id = press_id(1);
    assert_eq!(bench.key(Forward, Down), [Order::Press(id, Forward)]);
    assert_eq!(without_renewals(bench.pass(249)), []);
    assert_eq!(without_renewals(bench.pass(1)), [Order::Release(id)]);
}

#[test]
fn a_guessed_hold_is_a_pulse_and_then_one_long_press() {
    let mut bench = Bench::armed(Releases::Guessed);
    let mut orders = bench.key(Forward, Down);
    orders.extend(without_renewals(bench.pass(660)));
    orders.extend(bench.hold(Forward, Down, 60));
    orders.extend(without_renewals(bench.pass(99)));
    assert_eq!(
        orders,
        [
            Order::Press(press_id(1), Forward),
            Order::Release(press_id(1)),
            Order::Press(press_id(2), Forward),
            Order::Release(press_id(2)),
        ]
    );
}

#[test]
fn a_second_direction_replaces_the_first_whose_release_says_nothing() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    bench.pass(100);
    let second = press_id(2);
    assert_eq!(bench.key(Left, Down), [Order::Press(second, Left)]);
    assert_eq!(bench.key(Forward, Up), []);
    assert_eq!(bench.pass(60), [Order::Renew(second)]);
    assert_eq!(bench.key(Left, Up), [Order::Release(second)]);
}

#[test]
fn space_stops_and_latches_until_a() {
    for releases in [Releases::Reported, Releases::Guessed] {
        let mut bench = Bench::armed(releases);
        bench.key(Forward, Down);
        bench.pass(60);
        assert_eq!(bench.drive.stop(), [Order::Stop]);
        assert_eq!(bench.state(), State::Stopped);
        assert_eq!(bench.hold(Forward, Repeat, 3), []);
        bench.key(Forward, Up);
        bench.pass(1000);
        let refused = [Order::Say(Why::NeedsArming)];
        assert_eq!(bench.key(Forward, Down), refused);
        bench.key(Forward, Up);
        bench.pass(5000);
        assert_eq!(bench.a(), []);
        assert_eq!(bench.state(), State::Armed);
        let number = press_id(2);
        assert_eq!(bench.key(Forward, Down), [Order::Press(number, Forward)]);
    }
}

#[test]
fn a_held_key_refuses_a() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.drive.stop();
    bench.key(Forward, Down);
    assert_eq!(bench.a(), [Order::Say(Why::KeyHeld)]);
    bench.key(Forward, Up);
    assert_eq!(bench.a(), []);
}

#[test]
fn repeats_without_a_press_move_nothing() {
    let mut bench = Bench::armed(Releases::Reported);
    assert_eq!(bench.hold(Forward, Repeat, 20), []);
}

#[test]
fn escape_gives_control_back_and_then_takes_an_explicit_a() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    let orders = bench.drive.disarm(&bench.facts);
    assert_eq!(orders, [Order::Release(press_id(1)), Order::GiveBack]);
    assert_eq!(bench.tick(), [], "the router has not said so yet");
    assert_eq!(
        (bench.state(), bench.drive.is_armed()),
        (State::View, false)
    );
    bench.facts.holder = Holder::Nobody;
    assert_eq!(bench.tick(), []);
    assert_eq!(bench.state(), State::View);
    assert_eq!(bench.a(), [Order::Say(Why::KeyHeld)]);
    bench.key(Forward, Up);
    assert_eq!(bench.key(Forward, Down), [Order::Say(Why::NeedsArming)]);
    bench.key(Forward, Up);
    assert_eq!(bench.a(), [Order::Take]);
}

#[test]
fn a_lost_link_stops_everything_and_nothing_resumes_by_itself() {
    for releases in [Releases::Reported, Releases::Guessed] {
        let mut bench = Bench::armed(releases);
        bench.key(Forward, Down);
        bench.pass(60);
        bench.facts.is_up = false;
        bench.facts.healthy_since = None;
        assert_eq!(bench.tick(), []);
        assert_eq!(bench.state(), State::Offline);
        bench.facts.is_up = true;
        bench.facts.holder = Holder::Nobody;
        bench.facts.healthy_since = Some(bench.facts.now);
        assert_eq!(bench.hold(Forward, Repeat, 40), []);
        assert_eq!(bench.state(), State::Failsafe);
        bench.key(Forward, Up);
        bench.pass(5000);
        assert_eq!(bench.key(Forward, Down), [Order::Say(Why::NeedsArming)]);
    }
}

#[test]
fn a_link_that_went_silent_before_it_was_lost_is_a_failsafe() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    // Its silence makes a pulse of the press, whose release the car never hears.
    bench.facts.now += ms(310);
    bench.facts.round_trip = Some(ms(310));
    assert!(bench.tick().contains(&Order::Release(press_id(1))));
    bench.facts.is_up = false;
    bench.tick();
    bench.facts.is_up = true;
    bench.tick();
    assert_eq!(bench.state(), State::Failsafe);
}

#[test]
fn an_armed_driver_whose_link_was_lost_is_not_shown_as_armed() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.facts.is_up = false;
    bench.tick();
    bench.facts.is_up = true;
    bench.tick();
    // The router may have kept our control; a press wants an a all the same.
    assert_eq!(bench.state(), State::View);
    assert_eq!(bench.key(Forward, Down), [Order::Say(Why::NeedsArming)]);
    bench.key(Forward, Up);
    bench.a();
    assert_eq!(bench.state(), State::Armed);
}

#[test]
fn a_link_must_be_healthy_for_half_a_second() {
    let mut bench = Bench::new(Releases::Reported);
    bench.facts.healthy_since = Some(bench.facts.now);
    bench.pass(499);
    assert_eq!(bench.key(Forward, Down), [Order::Say(Why::Unsettled)]);
    assert_eq!(
        bench.hold(Forward, Repeat, 40),
        [],
        "the same key is no fresh press"
    );
    bench.key(Forward, Up);
    assert_eq!(bench.key(Forward, Down), [Order::Take]);
}

#[test]
fn above_300_ms_a_press_is_one_bounded_pulse_and_says_so() {
    for (releases, stroke) in [(Releases::Reported, Repeat), (Releases::Guessed, Down)] {
        let mut bench = Bench::armed(releases);
        bench.facts.round_trip = Some(ms(400));
        let id = press_id(1);
        assert_eq!(
            bench.key(Forward, Down),
            [
                Order::Press(id, Forward),
                Order::Say(Why::PulseOnly(ms(400)))
            ]
        );
        let mut orders = without_renewals(bench.pass(400));
        orders.extend(bench.hold(Forward, stroke, 60));
        assert_eq!(orders, [Order::Release(id)]);
    }
}

#[test]
fn a_link_that_becomes_slow_ends_a_long_press() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    bench.hold(Forward, Repeat, 30);
    bench.facts.round_trip = Some(ms(1200));
    let said = Order::Say(Why::TooSlow(ms(1200)));
    assert_eq!(
        without_renewals(bench.tick()),
        [said, Order::Release(press_id(1))]
    );
}

#[test]
fn above_a_second_driving_is_refused() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.facts.round_trip = Some(ms(1001));
    assert_eq!(
        bench.key(Forward, Down),
        [Order::Say(Why::TooSlow(ms(1001)))]
    );
}

#[test]
fn the_heartbeat_ends_with_the_input_side() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    bench.facts.input_is_alive = false;
    let orders = bench.pass(60);
    assert!(
        orders.contains(&Order::Stop) && orders.contains(&Order::GiveBack),
        "{orders:?}"
    );
    assert_eq!(count_renewals(&orders), 0);
    assert_eq!(count_renewals(&bench.pass(1000)), 0);
    assert_eq!(bench.state(), State::Failsafe);
}

#[test]
fn lateness_disarms_a_driver_and_leaves_a_viewer_alone() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    let why = Why::Late(ms(3000));
    let orders = bench.drive.fail(why.clone(), &bench.facts);
    assert_eq!(
        orders,
        [Order::Stop, Order::GiveBack, Order::Say(why.clone())]
    );
    assert_eq!(bench.state(), State::Failsafe);
    assert_eq!(bench.hold(Forward, Repeat, 5), []);

    let mut viewer = Bench::new(Releases::Guessed);
    assert_eq!(viewer.drive.fail(why, &viewer.facts), []);
    assert_eq!(viewer.key(Forward, Down), [Order::Take]);
}

#[test]
fn a_lease_that_ran_out_is_a_failsafe_even_after_the_release() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    bench.key(Forward, Up);
    let over = MotionEvent::Over {
        press: Some(press_id(1)),
        cause: StopCause::Lease,
    };
    assert_eq!(bench.drive.motion(&over), [Order::Say(Why::Lease)]);
    assert_eq!(bench.state(), State::Failsafe);
}

#[test]
fn anothers_stop_ends_the_press_and_a_fresh_one_moves_again() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    let over = MotionEvent::Over {
        press: Some(press_id(1)),
        cause: StopCause::Asked,
    };
    assert_eq!(
        bench.drive.motion(&over),
        [Order::Say(Why::StoppedByAnother)]
    );
    assert_eq!(bench.hold(Forward, Repeat, 10), []);
    assert_eq!(bench.key(Forward, Up), []);
    let second = press_id(2);
    assert_eq!(bench.key(Forward, Down), [Order::Press(second, Forward)]);
}

#[test]
fn the_end_of_an_older_press_leaves_the_newer_alone() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    bench.key(Left, Down);
    for cause in [StopCause::Released, StopCause::Asked] {
        let over = MotionEvent::Over {
            press: Some(press_id(1)),
            cause,
        };
        assert_eq!(bench.drive.motion(&over), []);
    }
    assert_eq!(bench.state(), State::Driving(Left));
}

#[test]
fn control_that_goes_elsewhere_needs_a() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    bench.facts.holder = Holder::Other("bob".to_owned());
    assert_eq!(bench.tick(), [Order::Say(Why::ControlGone)]);
    assert_eq!(bench.hold(Forward, Repeat, 5), []);
    bench.key(Forward, Up);
    let held = Order::Say(Why::Held("bob".to_owned()));
    assert_eq!(bench.key(Forward, Down), [held]);
    bench.key(Forward, Up);
    let asked = Order::Say(Why::Asked("bob".to_owned()));
    assert_eq!(bench.a(), [Order::Take, asked]);
}

#[test]
fn a_viewer_moves_nothing_and_stops_everything() {
    let mut bench = Bench::new(Releases::Reported);
    bench.facts.may_drive = false;
    assert_eq!(bench.key(Forward, Down), [Order::Say(Why::MayNot)]);
    assert_eq!(bench.drive.stop(), [Order::Stop]);
}

#[test]
fn a_stop_that_fails_is_a_failsafe_and_refuses_presses() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.key(Forward, Down);
    let orders = bench.drive.motion(&MotionEvent::StopFailed);
    assert_eq!(orders, [Order::Say(Why::StopFailed)]);
    bench.facts.stop_failed = true;
    bench.key(Forward, Up);
    assert_eq!(bench.key(Forward, Down), [Order::Say(Why::StopFailed)]);
    bench.key(Forward, Up);
    assert_eq!(bench.a(), [Order::Say(Why::StopFailed)]);
}

#[test]
fn the_pad_ends_after_five_seconds_and_where_the_mouse_is_let_go() {
    let mut bench = Bench::armed(Releases::Guessed);
    let facts = bench.facts.clone();
    assert_eq!(
        bench.drive.pad_down(Left, &facts),
        [Order::Press(press_id(1), Left)]
    );
    assert_eq!(without_renewals(bench.pass(4999)), []);
    assert_eq!(
        without_renewals(bench.pass(1)),
        [Order::Release(press_id(1))]
    );
    assert_eq!(bench.drive.pad_up(), []);
    let facts = bench.facts.clone();
    bench.drive.pad_down(Left, &facts);
    assert_eq!(bench.drive.pad_up(), [Order::Release(press_id(2))]);
}

#[test]
fn a_press_waits_for_the_cars_clock() {
    let mut bench = Bench::armed(Releases::Reported);
    bench.facts.tick_ms = None;
    assert_eq!(bench.key(Forward, Down), []);
    bench.pass(90);
    bench.facts.tick_ms = Some(5);
    assert_eq!(bench.tick(), [Order::Press(press_id(1), Forward)]);
}

/// What ends a press, or refuses it, without latching anything.
type End = fn(&mut Bench) -> Vec<Order>;

fn stopped_by_another(bench: &mut Bench) -> Vec<Order> {
    let over = MotionEvent::Over {
        press: bench.drive.last,
        cause: StopCause::Asked,
    };
    bench.drive.motion(&over)
}

const ENDS: [(&str, End); 6] = [
    ("another's stop", stopped_by_another),
    ("the router refuses", |bench| {
        bench.drive.refused(bench.drive.last);
        Vec::new()
    }),
    ("the car refuses", |bench| {
        let press = bench.drive.last.unwrap();
        let why = MotionRefused::Old;
        bench.drive.motion(&MotionEvent::Refused { press, why })
    }),
    ("the car's limit", |bench| {
        let over = MotionEvent::Over {
            press: bench.drive.last,
            cause: StopCause::Limit,
        };
        bench.drive.motion(&over)
    }),
    ("the focus is lost", |bench| bench.drive.lose_focus()),
    ("a paste", |bench| bench.drive.let_go()),
];

#[test]
fn a_key_held_all_along_moves_nothing_after_its_press_was_ended_from_elsewhere() {
    // Before the pulse is over, and between it and the first repeat; then the keyboard's delay.
    for (when, delay) in [(100, 400), (300, 200), (100, 1850), (300, 1650)] {
        for (name, end) in ENDS {
            let mut bench = Bench::armed(Releases::Guessed);
            bench.key(Forward, Down);
            bench.pass(when);
            end(&mut bench);
            let mut orders = bench.pass(delay);
            orders.extend(bench.hold(Forward, Down, 90));
            let moves = |order: &Order| matches!(order, Order::Press(..) | Order::Take);
            assert!(!orders.iter().any(moves), "{name} at {when}: {orders:?}");
            // Let go, it counts as new again.
            bench.pass(2000);
            let second = press_id(2);
            assert_eq!(
                bench.key(Forward, Down),
                [Order::Press(second, Forward)],
                "{name}"
            );
        }
    }
}

#[test]
fn a_stop_between_a_pulse_and_the_first_repeat_counts_although_nothing_moved() {
    let mut bench = Bench::armed(Releases::Guessed);
    bench.key(Forward, Down);
    bench.pass(300);
    let stopped = MotionEvent::Stopped {
        cause: StopCause::Asked,
        end: p2p_shared::protocol::End::Exit(0),
        exec_us: 1,
    };
    assert_eq!(bench.drive.motion(&stopped), []);
    bench.pass(200);
    let said = [Order::Say(Why::StillHeld)];
    assert_eq!(bench.hold(Forward, Down, 90), said, "and only once");
}

#[test]
fn a_key_held_since_it_was_refused_moves_nothing_when_the_link_has_settled() {
    let mut bench = Bench::new(Releases::Guessed);
    bench.facts.healthy_since = Some(bench.facts.now);
    bench.pass(200);
    assert_eq!(bench.key(Forward, Down), [Order::Say(Why::Unsettled)]);
    bench.pass(500);
    assert_eq!(
        bench.hold(Forward, Down, 90),
        [Order::Say(Why::StillHeld)],
        "the same key is no fresh press"
    );
}

#[test]
fn a_key_held_while_the_loop_was_late_is_no_fresh_press_to_a_viewer_either() {
    let mut bench = Bench::new(Releases::Guessed);
    bench.facts.healthy_since = Some(bench.facts.now);
    assert_eq!(bench.key(Forward, Down), [Order::Say(Why::Unsettled)]);
    bench.facts.now += ms(4000);
    assert_eq!(bench.drive.fail(Why::Late(ms(4000)), &bench.facts), []);
    bench.tick();
    assert_eq!(bench.hold(Forward, Down, 30), []);
}

#[test]
fn taking_control_waits_for_a_key_that_may_be_held() {
    let ways: [fn(&mut Bench); 3] = [
        |bench| drop(bench.drive.stop()),
        |bench| drop(bench.drive.disarm(&bench.facts)),
        |bench| drop(bench.drive.fail(Why::InputDead, &bench.facts)),
    ];
    for way in ways {
        let mut bench = Bench::armed(Releases::Guessed);
        bench.key(Forward, Down);
        bench.pass(300);
        way(&mut bench);
        bench.facts.holder = Holder::Nobody;
        bench.pass(150);
        assert_eq!(bench.a(), [Order::Say(Why::StillHeld)]);
        bench.hold(Forward, Down, 5);
        bench.pass(1900);
        assert_eq!(bench.a(), [Order::Say(Why::StillHeld)]);
        bench.pass(100);
        assert_eq!(bench.a(), [Order::Take]);
    }
}

#[test]
fn another_key_is_a_new_press_at_once() {
    let mut bench = Bench::armed(Releases::Guessed);
    bench.key(Forward, Down);
    bench.pass(100);
    stopped_by_another(&mut bench);
    let second = press_id(2);
    assert_eq!(bench.key(Left, Down), [Order::Press(second, Left)]);
}
