//! Motion by hand: what happens at which time, and what is to be done then.

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_millis(400);
const RULES: MotionRules = MotionRules {
    lease: LEASE,
    limit: Some(Duration::from_secs(2)),
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn order(command: &str) -> MotionCommand {
    MotionCommand {
        command: command.parse().unwrap(),
        arguments: Default::default(),
    }
}

fn id(number: u64) -> PressId {
    PressId { epoch: 1, number }
}

fn press(number: u64, at: u64) -> MotionInput {
    MotionInput::Press {
        id: id(number),
        order: order("forward"),
        tick: ms(at),
    }
}

fn timed(run: u64, command: &str) -> MotionInput {
    MotionInput::Timed {
        run: RunId::from_number(run),
        order: order(command),
        lasts: None,
    }
}

/// A car that stands, as after its start.
fn standing() -> Motion {
    let mut motion = Motion::new(RULES);
    let effects = motion.on(ms(0), MotionInput::Stop(Cause::Beginning));
    let token = stop_of(&effects).unwrap();
    assert_eq!(
        motion.on(ms(0), MotionInput::StopEnded { token, ok: true }),
        [MotionEffect::Stands]
    );
    motion
}

fn stop_of(effects: &[MotionEffect]) -> Option<ProcessToken> {
    effects.iter().find_map(|effect| match effect {
        MotionEffect::RunStop { token, .. } => Some(*token),
        _ => None,
    })
}

fn cause_of(effects: &[MotionEffect]) -> Option<Cause> {
    effects.iter().find_map(|effect| match effect {
        MotionEffect::RunStop { cause, .. } => Some(*cause),
        _ => None,
    })
}

fn start_of(effects: &[MotionEffect]) -> Option<ProcessToken> {
    effects.iter().find_map(|effect| match effect {
        MotionEffect::Start { token, .. } => Some(*token),
        _ => None,
    })
}

/// A car that drives by press 1 since 1 s.
fn driving() -> (Motion, ProcessToken) {
    let mut motion = standing();
    let token = start_of(&motion.on(ms(1000), press(1, 1000))).unwrap();
    assert!(motion.on(ms(1000), MotionInput::Started(token)).is_empty());
    (motion, token)
}

#[test]
fn a_press_runs_once_and_the_lease_ends_it() {
    let (mut motion, token) = driving();
    assert!(motion.on(ms(1050), press(1, 1050)).is_empty());
    assert!(
        motion
            .on(
                ms(1300),
                MotionInput::Renew {
                    id: id(1),
                    tick: ms(1290)
                }
            )
            .is_empty()
    );
    assert_eq!(motion.next(), Some(ms(1700)));
    assert!(motion.on(ms(1699), MotionInput::Tick).is_empty());
    let effects = motion.on(ms(1700), MotionInput::Tick);
    assert_eq!(cause_of(&effects), Some(Cause::Lease));
    assert!(effects.contains(&MotionEffect::End(token)));
}

#[test]
fn a_press_that_was_ended_does_not_come_back() {
    let (mut motion, _) = driving();
    motion.on(ms(1100), MotionInput::Stop(Cause::Asked));
    for number in [0, 1] {
        let effects = motion.on(ms(1110), press(number, 1110));
        let origin = MotionOrigin::Press(id(number));
        assert_eq!(
            effects,
            [MotionEffect::Refuse {
                origin,
                why: Refused::Over
            }]
        );
        assert!(
            motion
                .on(
                    ms(1120),
                    MotionInput::Renew {
                        id: id(number),
                        tick: ms(1120)
                    }
                )
                .is_empty()
        );
    }
}

#[test]
fn a_new_press_waits_for_the_stop_and_for_the_reaping() {
    let (mut motion, token) = driving();
    let stop = stop_of(&motion.on(ms(1100), MotionInput::Stop(Cause::Asked))).unwrap();
    assert_eq!(start_of(&motion.on(ms(1110), press(2, 1110))), None);
    assert_eq!(
        start_of(&motion.on(
            ms(1120),
            MotionInput::StopEnded {
                token: stop,
                ok: true
            }
        )),
        None
    );
    assert!(start_of(&motion.on(ms(1130), MotionInput::Reaped(token))).is_some());
}

#[test]
fn a_process_that_outlives_the_stop_is_stopped_again() {
    let (mut motion, token) = driving();
    let stop = stop_of(&motion.on(ms(1100), MotionInput::Release { id: id(1) })).unwrap();
    assert!(
        motion
            .on(
                ms(1110),
                MotionInput::StopEnded {
                    token: stop,
                    ok: true
                }
            )
            .is_empty()
    );
    assert!(motion.guard().is_some());
    let again = motion.on(ms(1200), MotionInput::Reaped(token));
    let stop = stop_of(&again).unwrap();
    assert_eq!(
        motion.on(
            ms(1210),
            MotionInput::StopEnded {
                token: stop,
                ok: true
            }
        ),
        [MotionEffect::Stands]
    );
    assert_eq!(motion.guard(), None);
}

#[test]
fn while_the_car_is_being_stopped_the_guardian_knows_when_the_next_step_is_due() {
    let (mut motion, token) = driving();
    let stop = stop_of(&motion.on(ms(1100), MotionInput::Release { id: id(1) })).unwrap();
    // A process that outlives the stop may move the car again.
    let ended = |token, ok| MotionInput::StopEnded { token, ok };
    motion.on(ms(1110), ended(stop, true));
    assert_eq!(motion.guard(), Some(ms(1500)));
    // Then a stop has its second, and one that failed is tried again.
    let stop = stop_of(&motion.on(ms(1250), MotionInput::Reaped(token))).unwrap();
    assert_eq!(motion.guard(), Some(ms(2250)));
    motion.on(ms(1300), ended(stop, false));
    assert_eq!(motion.guard(), Some(ms(1400)));
    let stop = stop_of(&motion.on(ms(1400), MotionInput::Tick)).unwrap();
    motion.on(ms(1410), ended(stop, false));
    let stop = stop_of(&motion.on(ms(1510), MotionInput::Tick)).unwrap();
    // It has failed, and is tried again after a second.
    motion.on(ms(1520), ended(stop, false));
    assert_eq!(motion.guard(), Some(ms(2520) + END_LIMIT));
}

#[test]
fn a_script_that_sets_and_exits_is_active_all_the_same() {
    let (mut motion, token) = driving();
    assert!(motion.on(ms(1010), MotionInput::Reaped(token)).is_empty());
    assert_eq!(motion.guard(), Some(ms(1400)));
    let effects = motion.on(ms(1400), MotionInput::Tick);
    assert_eq!(cause_of(&effects), Some(Cause::Lease));
}

#[test]
fn a_second_direction_replaces_the_first_without_a_stop() {
    let (mut motion, token) = driving();
    let left = MotionInput::Press {
        id: id(2),
        order: order("left"),
        tick: ms(1100),
    };
    assert_eq!(motion.on(ms(1100), left), [MotionEffect::End(token)]);
    let effects = motion.on(ms(1150), MotionInput::Reaped(token));
    assert!(start_of(&effects).is_some() && stop_of(&effects).is_none());
    // The first one's heartbeat is nobody's now.
    motion.on(
        ms(1200),
        MotionInput::Renew {
            id: id(1),
            tick: ms(1200),
        },
    );
    assert_eq!(motion.next(), Some(ms(1500)));
}

#[test]
fn of_several_that_wait_only_the_newest_begins() {
    let (mut motion, token) = driving();
    motion.on(ms(1100), press(2, 1100));
    let effects = motion.on(ms(1110), press(3, 1110));
    assert_eq!(
        effects,
        [MotionEffect::Refuse {
            origin: MotionOrigin::Press(id(2)),
            why: Refused::Replaced
        }]
    );
    let effects = motion.on(ms(1120), MotionInput::Reaped(token));
    let Some(MotionEffect::Start { origin, .. }) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!(*origin, MotionOrigin::Press(id(3)));
}

#[test]
fn what_is_old_is_dropped() {
    let mut motion = standing();
    let origin = MotionOrigin::Press(id(1));
    let effects = motion.on(ms(3000), press(1, 2000));
    assert_eq!(
        effects,
        [MotionEffect::Refuse {
            origin,
            why: Refused::Old
        }]
    );
    // Half a second old: it lasts until a second after its tick, not for a whole lease.
    motion.on(ms(3000), press(2, 2100));
    assert_eq!(motion.next(), Some(ms(3100)));
    motion.on(
        ms(3010),
        MotionInput::Renew {
            id: id(2),
            tick: ms(2050),
        },
    );
    assert_eq!(motion.next(), Some(ms(3100)));
}

#[test]
fn a_timed_motion_is_stopped_at_its_limit_counted_from_its_start() {
    let mut motion = standing();
    let token = start_of(&motion.on(ms(1000), timed(7, "forward"))).unwrap();
    motion.on(ms(1100), MotionInput::Started(token));
    motion.on(ms(1110), MotionInput::Reaped(token));
    assert_eq!(motion.next(), Some(ms(3100)));
    assert_eq!(
        cause_of(&motion.on(ms(3100), MotionInput::Tick)),
        Some(Cause::Limit)
    );
}

#[test]
fn the_same_motion_again_extends_it_while_its_process_runs() {
    let mut motion = standing();
    let token = start_of(&motion.on(ms(1000), timed(7, "forward"))).unwrap();
    motion.on(ms(1000), MotionInput::Started(token));
    let effects = motion.on(ms(2000), timed(8, "forward"));
    let (run, by) = (RunId::from_number(8), RunId::from_number(7));
    assert_eq!(effects, [MotionEffect::Extended { run, by }]);
    assert_eq!(motion.next(), Some(ms(4000)));
    motion.on(ms(2500), MotionInput::Reaped(token));
    let effects = motion.on(ms(2600), timed(9, "forward"));
    assert!(start_of(&effects).is_some() && stop_of(&effects).is_none());
}

#[test]
fn a_limit_of_none_lasts_until_a_stop() {
    let mut motion = Motion::new(MotionRules {
        limit: None,
        ..RULES
    });
    let stop = stop_of(&motion.on(ms(0), MotionInput::Stop(Cause::Beginning))).unwrap();
    motion.on(
        ms(0),
        MotionInput::StopEnded {
            token: stop,
            ok: true,
        },
    );
    let token = start_of(&motion.on(ms(0), timed(7, "forward"))).unwrap();
    motion.on(ms(0), MotionInput::Started(token));
    assert_eq!(motion.next(), None);
    assert_eq!(motion.guard(), Some(Duration::MAX));
}

#[test]
fn a_stop_that_fails_three_times_is_said_and_nothing_moves_until_one_succeeds() {
    let (mut motion, token) = driving();
    motion.on(ms(1010), MotionInput::Reaped(token));
    let mut effects = motion.on(ms(1100), MotionInput::Stop(Cause::Asked));
    for at in [1100, 1200, 1300] {
        let token = stop_of(&effects).unwrap();
        effects = motion.on(ms(at), MotionInput::StopEnded { token, ok: false });
        if at < 1300 {
            // What keeps it from being started may pass meanwhile; nothing moves.
            assert!(effects.is_empty());
            assert_eq!(motion.next(), Some(ms(at + 100)));
            effects = motion.on(ms(at + 100), MotionInput::Tick);
        }
    }
    assert_eq!(effects, [MotionEffect::StopFailed { again: false }]);
    assert!(motion.failed);
    let effects = motion.on(ms(1310), press(2, 1310));
    let origin = MotionOrigin::Press(id(2));
    assert_eq!(
        effects,
        [MotionEffect::Refuse {
            origin,
            why: Refused::StopFailed
        }]
    );
    let stop = stop_of(&motion.on(ms(1320), MotionInput::Stop(Cause::Asked))).unwrap();
    assert_eq!(
        motion.on(
            ms(1330),
            MotionInput::StopEnded {
                token: stop,
                ok: true
            }
        ),
        [MotionEffect::Stands]
    );
    assert!(start_of(&motion.on(ms(1400), press(3, 1400))).is_some());
}

#[test]
fn a_stop_that_has_failed_is_tried_again_until_it_succeeds_though_nobody_asks() {
    let (mut motion, token) = driving();
    motion.on(ms(1010), MotionInput::Reaped(token));
    let mut stop = stop_of(&motion.on(ms(1100), MotionInput::Release { id: id(1) })).unwrap();
    let (mut at, mut pauses) = (ms(1100), Vec::new());
    for missed in 1..=9 {
        let effects = motion.on(
            at,
            MotionInput::StopEnded {
                token: stop,
                ok: false,
            },
        );
        // Said once, though nobody may have heard it: each link is told anew.
        let failed = |again| effects.contains(&MotionEffect::StopFailed { again });
        assert_eq!((failed(false), failed(true)), (missed == 3, missed > 3));
        assert_eq!(motion.tries_by_itself(), missed >= 3);
        assert_eq!(motion.failures().0, missed);
        let next = motion.next().unwrap();
        pauses.push((next - at).as_millis());
        at = next;
        stop = stop_of(&motion.on(at, MotionInput::Tick)).unwrap();
    }
    assert_eq!(
        pauses,
        [100, 100, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]
    );
    let succeeds = MotionInput::StopEnded {
        token: stop,
        ok: true,
    };
    assert_eq!(motion.on(at, succeeds), [MotionEffect::Stands]);
    assert_eq!(motion.next(), None);
    let at_ms = u64::try_from(at.as_millis()).unwrap();
    assert!(start_of(&motion.on(at, press(2, at_ms))).is_some());
}

#[test]
fn a_stop_that_fails_where_nothing_can_move_is_tried_again_only_when_somebody_asks() {
    let mut motion = Motion::new(RULES);
    motion.has_no_motions();
    let (mut at, mut cause) = (ms(0), Cause::Beginning);
    for asked in 1..=2 {
        let mut effects = motion.on(at, MotionInput::Stop(cause));
        for _ in 0..3 {
            assert!(!motion.tries_by_itself());
            let token = stop_of(&effects).unwrap();
            effects = motion.on(at, MotionInput::StopEnded { token, ok: false });
            if let Some(next) = motion.next() {
                at = next;
                effects = motion.on(at, MotionInput::Tick);
            }
        }
        // Whoever asks is told.
        assert_eq!(effects, [MotionEffect::StopFailed { again: false }]);
        assert!(motion.has_failed());
        // Who asks once more does not begin the count anew.
        assert_eq!(motion.failures().0, 3 * asked);
        assert_eq!(motion.next(), None);
        // The inner's end is a reason all the same.
        assert_eq!(motion.guard(), Some(Duration::MAX));
        (at, cause) = (ms(5000), Cause::Asked);
    }
    let token = stop_of(&motion.on(at, MotionInput::Stop(cause))).unwrap();
    let stands = motion.on(at, MotionInput::StopEnded { token, ok: true });
    assert_eq!(stands, [MotionEffect::Stands]);
    assert_eq!(motion.failures(), (0, None));
    // Once it has moved, it may move.
    assert!(start_of(&motion.on(ms(9000), press(1, 9000))).is_some());
    let mut effects = motion.on(ms(9100), MotionInput::Stop(cause));
    let mut at = ms(9100);
    for _ in 0..4 {
        let token = stop_of(&effects).unwrap();
        motion.on(at, MotionInput::StopEnded { token, ok: false });
        at = motion.next().unwrap();
        effects = motion.on(at, MotionInput::Tick);
    }
}

#[test]
fn while_a_stop_has_failed_the_guardian_is_told_by_when_it_is_tried_again() {
    let (mut motion, token) = driving();
    motion.on(ms(1010), MotionInput::Reaped(token));
    let mut stop = stop_of(&motion.on(ms(1100), MotionInput::Release { id: id(1) })).unwrap();
    let mut at = ms(1100);
    for _ in 0..6 {
        let missed = MotionInput::StopEnded {
            token: stop,
            ok: false,
        };
        motion.on(at, missed);
        let next = motion.next().unwrap();
        // An inner that hangs now tries nothing more.
        let guard = motion.guard().unwrap();
        assert!(guard >= next && guard <= next + END_LIMIT, "{guard:?}");
        at = next;
        stop = stop_of(&motion.on(at, MotionInput::Tick)).unwrap();
        let guard = motion.guard().unwrap();
        assert!(guard >= at + STOP_LIMIT && guard <= at + STOP_LIMIT + END_LIMIT);
    }
}

#[test]
fn a_stop_that_hangs_is_killed_after_a_second_and_tried_again() {
    let (mut motion, _) = driving();
    let first = stop_of(&motion.on(ms(1100), MotionInput::Stop(Cause::Asked))).unwrap();
    assert_eq!(motion.next(), Some(ms(2100)));
    let effects = motion.on(ms(2100), MotionInput::Tick);
    assert_eq!(effects[0], MotionEffect::KillStop(first));
    assert!(stop_of(&effects).is_some_and(|second| second != first));
}

#[test]
fn nothing_moves_and_a_stop_begins_at_once_while_a_missed_stop_waits() {
    let (mut motion, token) = driving();
    let stop = stop_of(&motion.on(ms(1100), MotionInput::Release { id: id(1) })).unwrap();
    let missed = MotionInput::StopEnded {
        token: stop,
        ok: false,
    };
    assert!(motion.on(ms(1110), missed).is_empty());
    assert_eq!(motion.next(), Some(ms(1210)));
    // Its process ends: the stop that waits begins after that.
    assert!(motion.on(ms(1120), MotionInput::Reaped(token)).is_empty());
    assert!(motion.on(ms(1130), press(2, 1130)).is_empty());
    assert!(motion.guard().is_some());
    let asked = motion.on(ms(1140), MotionInput::Stop(Cause::Asked));
    assert_eq!(cause_of(&asked), Some(Cause::Asked));
    // It takes the place of the one that waited.
    assert_eq!(motion.next(), Some(ms(2140)));
    let token = stop_of(&asked).unwrap();
    let stands = motion.on(ms(1150), MotionInput::StopEnded { token, ok: true });
    assert_eq!(stands, [MotionEffect::Stands]);
}

#[test]
fn a_new_link_ends_a_press_and_its_own_count_from_anew() {
    let (mut motion, token) = driving();
    let effects = motion.on(ms(1100), MotionInput::Linked);
    let stop = stop_of(&effects).unwrap();
    assert!(effects.contains(&MotionEffect::End(token)));
    let again = stop_of(&motion.on(ms(1110), MotionInput::Reaped(token))).unwrap();
    for token in [stop, again] {
        motion.on(ms(1120), MotionInput::StopEnded { token, ok: true });
    }
    // A router whose clock was set back.
    let earlier = PressId {
        epoch: 0,
        number: 1,
    };
    let effects = motion.on(
        ms(1300),
        MotionInput::Press {
            id: earlier,
            order: order("forward"),
            tick: ms(1300),
        },
    );
    assert!(start_of(&effects).is_some(), "{effects:?}");
}

#[test]
fn a_new_link_leaves_a_timed_motion_its_time() {
    let mut motion = standing();
    let token = start_of(&motion.on(ms(1000), timed(7, "forward"))).unwrap();
    motion.on(ms(1000), MotionInput::Started(token));
    assert!(motion.on(ms(1500), MotionInput::Linked).is_empty());
    assert_eq!(motion.next(), Some(ms(3000)));
}

#[test]
fn a_motion_that_does_not_start_stops_what_moved_before_it() {
    let (mut motion, token) = driving();
    motion.on(ms(1010), MotionInput::Reaped(token));
    let second = start_of(&motion.on(ms(1100), press(2, 1100))).unwrap();
    let effects = motion.on(ms(1101), MotionInput::NotStarted(second));
    assert_eq!(cause_of(&effects), Some(Cause::NotStarted));
}

#[test]
fn every_stop_that_is_asked_for_begins_at_once() {
    let mut motion = standing();
    let one = stop_of(&motion.on(ms(10), MotionInput::Stop(Cause::Asked)));
    let two = stop_of(&motion.on(ms(11), MotionInput::Stop(Cause::Asked)));
    assert!(one.is_some() && two.is_some() && one != two);
}

#[test]
fn of_stops_without_end_two_run_and_one_more_begins_after_all_that_asked() {
    let (mut motion, token) = driving();
    motion.on(ms(1010), MotionInput::Reaped(token));
    let one = stop_of(&motion.on(ms(1100), MotionInput::Stop(Cause::Asked))).unwrap();
    let two = stop_of(&motion.on(ms(1101), MotionInput::Stop(Cause::Asked))).unwrap();
    for at in 1102..1110 {
        assert!(
            motion
                .on(ms(at), MotionInput::Stop(Cause::Asked))
                .is_empty()
        );
    }
    // A motion waits for it, too.
    assert!(motion.on(ms(1110), press(2, 1110)).is_empty());
    let ended = |token| MotionInput::StopEnded { token, ok: true };
    let three = stop_of(&motion.on(ms(1111), ended(one))).unwrap();
    assert!(start_of(&motion.on(ms(1112), ended(two))).is_none());
    assert!(start_of(&motion.on(ms(1113), ended(three))).is_some());
}

#[test]
fn a_stop_that_waits_for_two_that_hang_begins_when_they_are_killed() {
    let mut motion = standing();
    motion.on(ms(1100), MotionInput::Stop(Cause::Asked));
    motion.on(ms(1101), MotionInput::Stop(Cause::Asked));
    assert!(
        motion
            .on(ms(1102), MotionInput::Stop(Cause::Asked))
            .is_empty()
    );
    let effects = motion.on(ms(2100), MotionInput::Tick);
    assert!(stop_of(&effects).is_some());
}

/// What a world full of mishaps may do next.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    Wait(u64),
    Press { number: u64, age: u64 },
    Renew { number: u64, age: u64 },
    Release { number: u64 },
    Timed { run: u64, lasts: Option<u64> },
    Stop,
    Linked,
    ProcessStarts(bool),
    ProcessEnds,
    StopEnds(bool),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        4 => (0_u64..300).prop_map(Mishap::Wait),
        3 => (0_u64..8, 0_u64..1500).prop_map(|(number, age)| Mishap::Press { number, age }),
        4 => (0_u64..8, 0_u64..1500).prop_map(|(number, age)| Mishap::Renew { number, age }),
        1 => (0_u64..8).prop_map(|number| Mishap::Release { number }),
        2 => (any::<u64>(), prop::option::of(1_u64..2000))
            .prop_map(|(run, lasts)| Mishap::Timed { run, lasts }),
        1 => Just(Mishap::Stop),
        1 => Just(Mishap::Linked),
        3 => any::<bool>().prop_map(Mishap::ProcessStarts),
        2 => Just(Mishap::ProcessEnds),
        3 => prop::bool::weighted(0.8).prop_map(Mishap::StopEnds),
    ]
}

/// A witness that knows what was asked and which processes were started, and when.
#[derive(Default)]
struct Witness {
    now: Duration,
    starting: Option<ProcessToken>,
    running: Option<ProcessToken>,
    stops: Vec<ProcessToken>,
    /// The motion that was accepted last, and until when it was allowed, at the very most.
    current: Option<MotionOrigin>,
    allowed: Duration,
    /// How long the timed motion that was asked for last may last.
    lasts: Option<Duration>,
    /// Something was started, and no stop since.
    moves: bool,
    failed: bool,
    /// A stop was missed, and is to be tried again.
    owes: bool,
}

impl Witness {
    fn tell(&mut self, motion: &mut Motion, event: MotionInput) {
        let (asked, lasts) = match &event {
            MotionInput::Press { id, .. } => (Some(MotionOrigin::Press(*id)), None),
            MotionInput::Timed { run, lasts, .. } => {
                (Some(MotionOrigin::Timed(*run)), lasts.or(RULES.limit))
            }
            _ => (None, None),
        };
        let effects = motion.on(self.now, event);
        let is_refused = |effect: &MotionEffect| matches!(effect, MotionEffect::Refuse { origin, .. } if Some(*origin) == asked);
        if effects
            .iter()
            .any(|effect| matches!(effect, MotionEffect::Extended { .. }))
        {
            self.lasts = self.lasts.max(lasts);
            self.allowed = self.allowed.max(self.now + lasts.unwrap());
        } else if asked.is_some() && !effects.iter().any(is_refused) {
            (self.current, self.lasts) = (asked, lasts);
            self.allowed = self.now + LEASE;
        }
        for effect in effects {
            self.see(&effect);
        }
        assert!(
            !self.moves || self.now < self.allowed,
            "a motion outlives what was allowed"
        );
        // The other process at the car is told of everything that may move.
        assert!(!self.moves || motion.guard().is_some());
    }

    fn see(&mut self, effect: &MotionEffect) {
        match effect {
            MotionEffect::Start { token, .. } => {
                assert!(
                    self.running.is_none() && self.starting.is_none(),
                    "two motions at once"
                );
                assert!(self.stops.is_empty(), "a motion begins during a stop");
                assert!(!self.failed, "a motion begins although the stop fails");
                assert!(
                    !self.owes,
                    "a motion begins before a missed stop is tried again"
                );
                self.starting = Some(*token);
                self.moves = true;
            }
            MotionEffect::RunStop { token, .. } => {
                self.stops.push(*token);
                assert!(self.stops.len() <= 2, "stops without end");
                self.moves = false;
                self.owes = false;
            }
            MotionEffect::KillStop(token) => self.stops.retain(|stop| stop != token),
            MotionEffect::StopFailed { .. } => (self.failed, self.owes) = (true, false),
            MotionEffect::End(_)
            | MotionEffect::Stands
            | MotionEffect::Refuse { .. }
            | MotionEffect::Over { .. }
            | MotionEffect::Extended { .. } => {}
        }
    }

    fn suffer(&mut self, motion: &mut Motion, mishap: Mishap) {
        match mishap {
            Mishap::Wait(time) => {
                let end = self.now + ms(time);
                // That timers are kept is the shell's one duty.
                while let Some(at) = motion.next().filter(|at| *at <= end) {
                    self.now = self.now.max(at);
                    self.tell(motion, MotionInput::Tick);
                }
                self.now = end;
                self.tell(motion, MotionInput::Tick);
            }
            Mishap::Press { number, age } => {
                let tick = self.now.saturating_sub(ms(age));
                self.tell(
                    motion,
                    MotionInput::Press {
                        id: id(number),
                        order: order("forward"),
                        tick,
                    },
                );
            }
            Mishap::Renew { number, age } => {
                if age < 1000 && self.current == Some(MotionOrigin::Press(id(number))) {
                    self.allowed = self.now + LEASE;
                }
                let tick = self.now.saturating_sub(ms(age));
                self.tell(
                    motion,
                    MotionInput::Renew {
                        id: id(number),
                        tick,
                    },
                );
            }
            Mishap::Release { number } => {
                self.tell(motion, MotionInput::Release { id: id(number) })
            }
            Mishap::Timed { run, lasts } => {
                let run = RunId::from_number(run);
                let lasts = lasts.map(ms);
                self.tell(
                    motion,
                    MotionInput::Timed {
                        run,
                        order: order("back"),
                        lasts,
                    },
                );
            }
            Mishap::Stop => self.tell(motion, MotionInput::Stop(Cause::Asked)),
            Mishap::Linked => self.tell(motion, MotionInput::Linked),
            Mishap::ProcessStarts(ok) => {
                let Some(token) = self.starting.take() else {
                    return;
                };
                if !ok {
                    return self.tell(motion, MotionInput::NotStarted(token));
                }
                self.running = Some(token);
                if let Some(lasts) = self.lasts {
                    self.allowed = self.allowed.max(self.now + lasts);
                }
                self.tell(motion, MotionInput::Started(token));
            }
            Mishap::ProcessEnds => {
                let Some(token) = self.running.take() else {
                    return;
                };
                self.tell(motion, MotionInput::Reaped(token));
            }
            Mishap::StopEnds(ok) => {
                let Some(token) = self.stops.pop() else {
                    return;
                };
                self.failed &= !ok;
                self.owes = !ok && self.stops.is_empty() && !self.failed;
                self.tell(motion, MotionInput::StopEnded { token, ok });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_mishap_leaves_a_motion_without_a_stop_for_longer_than_allowed(
        mishaps in prop::collection::vec(mishap(), 1..80)
    ) {
        let mut motion = standing();
        let mut witness = Witness { now: ms(5000), ..Witness::default() };
        for mishap in mishaps {
            witness.suffer(&mut motion, mishap);
        }
        // And when everyone has gone, it ends: whatever runs ends, and stops succeed.
        for _ in 0..20 {
            witness.suffer(&mut motion, Mishap::Wait(1000));
            witness.suffer(&mut motion, Mishap::ProcessStarts(true));
            witness.suffer(&mut motion, Mishap::ProcessEnds);
            witness.suffer(&mut motion, Mishap::StopEnds(true));
        }
        prop_assert!(motion.guard().is_none());
    }
}
