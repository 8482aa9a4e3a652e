//! Control by hand: who takes, asks, grants and gives back, and who drives then.

use proptest::prelude::*;

use super::*;

fn driver(n: u64) -> Driver {
    Driver {
        session: SessionId(n),
        name: p2p_shared::bounded::Text::new(format!("driver-{n}")),
    }
}

fn epochs() -> Epochs {
    Epochs(AtomicU64::new(1))
}

fn request(control: &mut Control, n: u64, request: ControlRequest, now: Instant) -> Vec<Event> {
    control
        .request(&driver(n), request, true, &epochs(), now)
        .unwrap()
}

/// A car that the first of two drives and the second asks for.
fn asked() -> (Control, Instant) {
    let (mut control, now) = (Control::default(), Instant::now());
    request(&mut control, 1, ControlRequest::Take, now);
    request(&mut control, 2, ControlRequest::Take, now);
    (control, now)
}

fn taken(n: u64, how: Taken) -> Event {
    let driver = driver(n);
    Event::Taken { driver, how }
}

fn declined(n: u64, why: Declined) -> Event {
    let driver = driver(n);
    Event::Declined { driver, why }
}

fn released(n: u64, why: ControlEnd) -> Event {
    let driver = driver(n);
    Event::Released { driver, why }
}

#[test]
fn what_is_free_is_taken_and_what_is_held_is_asked_for() {
    let (mut control, now) = asked();
    assert_eq!(control.driver(), Some(&driver(1)));
    let half = control.info(now + REQUEST / 2);
    assert_eq!(half.request, Some((driver(2), 5000)));
    // Asking again changes nothing, a third is told to wait, and the holder has it already.
    assert_eq!(request(&mut control, 2, ControlRequest::Take, now), []);
    assert_eq!(request(&mut control, 1, ControlRequest::Take, now), []);
    let third = control.request(&driver(3), ControlRequest::Take, true, &epochs(), now);
    assert_eq!(third, Err(ControlError::AlreadyRequested(driver(2))));
}

#[test]
fn silence_means_no() {
    let (mut control, now) = asked();
    assert_eq!(control.next(), Some(now + REQUEST));
    let just_before = now + REQUEST - Duration::from_millis(1);
    assert_eq!(control.poll(&epochs(), just_before), []);
    let declined = declined(2, Declined::Silence);
    assert_eq!(control.poll(&epochs(), now + REQUEST), [declined]);
    assert_eq!(control.driver(), Some(&driver(1)));
}

#[test]
fn the_holder_grants_or_denies_and_nobody_else_does() {
    for answer in [
        ControlRequest::Grant,
        ControlRequest::Deny,
        ControlRequest::Release,
    ] {
        let (mut control, now) = asked();
        let other = control.request(&driver(2), answer, true, &epochs(), now);
        assert_eq!(other, Err(ControlError::HeldByOther(driver(1))));
        let events = request(&mut control, 1, answer, now);
        match answer {
            ControlRequest::Deny => assert_eq!(events, [declined(2, Declined::Denied)]),
            ControlRequest::Grant => {
                assert_eq!(events, [taken(2, Taken::Granted { by: driver(1) })]);
            }
            _ => assert_eq!(
                events,
                [released(1, ControlEnd::Given), taken(2, Taken::Free)]
            ),
        }
    }
    let mut control = Control::default();
    let nobody = control.request(
        &driver(1),
        ControlRequest::Release,
        true,
        &epochs(),
        Instant::now(),
    );
    assert_eq!(nobody, Err(ControlError::NotHolder));
}

#[test]
fn only_an_admin_seizes() {
    let (mut control, now) = asked();
    let denied = control.request(&driver(3), ControlRequest::Seize, false, &epochs(), now);
    assert_eq!(denied, Err(ControlError::NotAdmin));
    let from = driver(1);
    assert_eq!(
        request(&mut control, 3, ControlRequest::Seize, now),
        [
            declined(2, Declined::Seized),
            taken(3, Taken::Seized { from })
        ]
    );
}

#[test]
fn idle_control_is_given_back_and_a_held_press_is_not_idle() {
    let (mut control, now) = (Control::default(), Instant::now());
    request(&mut control, 1, ControlRequest::Take, now);
    let epoch = control.info(now).epoch;
    let press = PressId { epoch, number: 1 };
    let later = now + IDLE / 2;
    control.press(SessionId(1), press, later).unwrap();
    assert!(control.renew(SessionId(1), press, now + IDLE));
    assert_eq!(control.poll(&epochs(), now + IDLE), []);
    assert!(control.release(SessionId(1), press, now + IDLE));
    assert_eq!(control.next(), Some(now + IDLE + IDLE));
    assert_eq!(control.poll(&epochs(), later + IDLE), []);
    let idle = released(1, ControlEnd::Idle);
    assert_eq!(control.poll(&epochs(), now + IDLE + IDLE), [idle]);
}

#[test]
fn who_is_silent_with_a_key_held_is_disarmed() {
    let (mut control, now) = (Control::default(), Instant::now());
    request(&mut control, 1, ControlRequest::Take, now);
    let epoch = control.info(now).epoch;
    let press = |number| PressId { epoch, number };
    control.press(SessionId(1), press(1), now).unwrap();
    let renewed = now + SILENCE / 2;
    assert!(control.renew(SessionId(1), press(1), renewed));
    assert_eq!(control.next(), Some(renewed + SILENCE));
    assert_eq!(control.poll(&epochs(), now + SILENCE), []);
    let silent = released(1, ControlEnd::Silence);
    assert_eq!(control.poll(&epochs(), renewed + SILENCE), [silent]);

    // A press that the car refused is not held, whatever its driver says or doesn't.
    let mut control = Control::default();
    request(&mut control, 1, ControlRequest::Take, now);
    let epoch = control.info(now).epoch;
    let refused = PressId { epoch, number: 1 };
    control.press(SessionId(1), refused, now).unwrap();
    control.refuse(refused);
    assert_eq!(control.poll(&epochs(), now + SILENCE), []);
    assert_eq!(control.next(), Some(now + IDLE));
}

#[test]
fn a_driver_that_is_gone_leaves_control_to_the_one_who_asks() {
    let (mut control, now) = asked();
    let gone = control.session_left(SessionId(1), &epochs(), now);
    assert_eq!(gone, [released(1, ControlEnd::Gone), taken(2, Taken::Free)]);
    let (mut control, now) = asked();
    let gone = control.session_left(SessionId(2), &epochs(), now);
    assert_eq!(gone, [declined(2, Declined::Gone)]);
}

#[test]
fn a_stop_ends_the_press_and_not_control() {
    let (mut control, now) = (Control::default(), Instant::now());
    request(&mut control, 1, ControlRequest::Take, now);
    let epoch = control.info(now).epoch;
    let press = |number| PressId { epoch, number };
    control.press(SessionId(1), press(1), now).unwrap();
    control.stop();
    assert!(!control.renew(SessionId(1), press(1), now));
    assert!(!control.release(SessionId(1), press(1), now));
    let again = control.press(SessionId(1), press(1), now);
    assert_eq!(again, Err(ControlError::OldPress));
    assert_eq!(control.driver(), Some(&driver(1)));
    control.press(SessionId(1), press(2), now).unwrap();
    assert!(control.renew(SessionId(1), press(2), now));
}

#[test]
fn epochs_grow_over_a_restart() {
    let began = SystemTime::now();
    let before = Epochs::starting_at(began);
    let last = (0..1000).map(|_| before.next()).last();
    let again = Epochs::starting_at(began + Duration::from_millis(2));
    assert!(Some(again.next()) > last);
    assert!(last < Some(1 << 53));
}

#[derive(Debug, Clone)]
enum Act {
    Request(u64, ControlRequest, bool),
    Left(u64),
    Press(u64, i64, u64),
    Renew(u64, i64, u64),
    Release(u64, i64, u64),
    Stop,
    Wait(u64),
    Close,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let wishes = prop::sample::select(vec![
        ControlRequest::Take,
        ControlRequest::Grant,
        ControlRequest::Deny,
        ControlRequest::Release,
        ControlRequest::Seize,
    ]);
    let press = || (1..4_u64, -1..2_i64, 1..6_u64);
    let act = prop_oneof![
        4 => (1..4_u64, wishes, any::<bool>()).prop_map(|(n, w, admin)| Act::Request(n, w, admin)),
        1 => (1..4_u64).prop_map(Act::Left),
        5 => press().prop_map(|(n, e, p)| Act::Press(n, e, p)),
        3 => press().prop_map(|(n, e, p)| Act::Renew(n, e, p)),
        2 => press().prop_map(|(n, e, p)| Act::Release(n, e, p)),
        1 => Just(Act::Stop),
        2 => (0..70_000_u64).prop_map(Act::Wait),
        1 => Just(Act::Close),
    ];
    prop::collection::vec(act, 1..80)
}

proptest! {
    /// Whatever people do: control passes only by an event that stops the car; epochs grow; a
    /// press counts only from the holder, in the present epoch, and later than all before; a
    /// renewal counts only for the press that was neither released nor stopped nor replaced.
    #[test]
    fn there_is_one_driver_and_only_its_presses_count(acts in acts()) {
        let (mut control, epochs) = (Control::default(), epochs());
        let mut now = Instant::now();
        // What an observer makes of the events alone.
        let mut holder: Option<u64> = None;
        let mut latest: Option<PressId> = None;
        let mut held: Option<PressId> = None;
        let mut last_epoch = 0;
        for act in acts {
            let epoch = control.info(now).epoch;
            let id = |offset: i64, number| PressId {
                epoch: epoch.saturating_add_signed(offset),
                number,
            };
            let events = match act {
                Act::Request(n, request, admin) => {
                    let seizes = request == ControlRequest::Seize;
                    let events = control.request(&driver(n), request, admin, &epochs, now);
                    prop_assert!(!seizes || admin || events.is_err());
                    events.unwrap_or_default()
                }
                Act::Left(n) => {
                    let events = control.session_left(SessionId(n), &epochs, now);
                    prop_assert!(control.driver() != Some(&driver(n)));
                    events
                }
                Act::Press(n, offset, number) => {
                    let press = id(offset, number);
                    let counts = control.press(SessionId(n), press, now).is_ok();
                    let should = holder == Some(n) && press.epoch == epoch && Some(press) > latest;
                    prop_assert_eq!(counts, should);
                    if counts {
                        latest = Some(press);
                        held = Some(press);
                    }
                    Vec::new()
                }
                Act::Renew(n, offset, number) => {
                    let press = id(offset, number);
                    let counts = control.renew(SessionId(n), press, now);
                    prop_assert_eq!(counts, holder == Some(n) && held == Some(press));
                    Vec::new()
                }
                Act::Release(n, offset, number) => {
                    let press = id(offset, number);
                    let counts = control.release(SessionId(n), press, now);
                    prop_assert_eq!(counts, holder == Some(n) && held == Some(press));
                    held = held.filter(|_| !counts);
                    Vec::new()
                }
                Act::Stop => {
                    control.stop();
                    held = None;
                    Vec::new()
                }
                Act::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    let events = control.poll(&epochs, now);
                    prop_assert!(control.next().is_none_or(|next| next > now));
                    events
                }
                Act::Close => control.close(),
            };
            for event in &events {
                match event {
                    Event::Taken { driver, .. } => {
                        holder = Some(driver.session.0);
                        held = None;
                    }
                    Event::Released { driver, .. } => {
                        prop_assert_eq!(holder, Some(driver.session.0));
                        holder = None;
                        held = None;
                    }
                    Event::Requested { .. } | Event::Declined { .. } => {}
                }
            }
            let info = control.info(now);
            prop_assert_eq!(info.driver.as_ref().map(|driver| driver.session.0), holder);
            prop_assert!(info.request.is_none() || holder.is_some());
            if events.iter().any(|event| matches!(event, Event::Taken { .. })) {
                prop_assert!(info.epoch > last_epoch);
                last_epoch = info.epoch;
            }
            prop_assert_eq!(control.latest(), latest);
        }
    }
}
