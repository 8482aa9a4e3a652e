//! Who gets a port that nobody has, or somebody else.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_port_that_nobody_has_is_asked_for_and_one_of_ones_own_is_not() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    hub.record();
    a.take(9000, "x", 1, 1).await.unwrap();
    assert!(
        hub.record()
            .iter()
            .any(|(to, _)| *to == Topic::Member(b.start()))
    );
    until(|| b.holder_elsewhere(9000).is_some()).await;
    hub.set_faults(Faults {
        lost: 1000,
        ..Faults::default()
    });
    let asked = tokio::time::Instant::now();
    let moved = b.take(9000, "x", 1, 2).await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert!(moved > a.state.read().directory.highest_epoch(9000));
}

#[tokio::test(start_paused = true)]
async fn another_identity_does_not_get_it_and_learns_where_it_is() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some()).await;
    let why = b.take(9000, "y", 1, 1).await.unwrap_err();
    assert!(
        why.contains("9000 is held by 'x'") && why.contains("a:1"),
        "{why}"
    );
    let kept = PortRecord {
        state: HeldState::Kept,
        ..record(9000, "x", None, 5)
    };
    a.held(kept);
    until(|| b.holder_elsewhere(9000).unwrap().record.state == HeldState::Kept).await;
    let why = b.take(9000, "y", 1, 1).await.unwrap_err();
    assert!(
        why.contains("kept for 'x'") && why.contains("port free 9000"),
        "{why}"
    );
    a.let_go(9000);
    until(|| b.holder_elsewhere(9000).is_none()).await;
    b.take(9000, "y", 1, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_who_ask_at_the_same_time_one_gets_it() {
    for seed in 0..seeds(100) {
        let hub = Hub::new(seed);
        let [a, b, c] = three(&hub).await;
        hub.set_faults(Faults {
            delay: Duration::from_millis(seed % 30),
            ..Faults::default()
        });
        let (one, other) = tokio::join!(a.take(9000, "x", 1, 1), async {
            sleep(Duration::from_millis(seed % 50)).await;
            b.take(9000, "y", 1, 1).await
        });
        assert!(
            one.is_ok() != other.is_ok(),
            "seed {seed}: {one:?} {other:?}"
        );
        until(|| c.holder_elsewhere(9000).is_some()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_refuses_nothing_for_more_than_a_second() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    hub.set_side(b.start(), 1);
    let asked = tokio::time::Instant::now();
    a.take(9000, "x", 1, 1).await.unwrap();
    assert!(
        asked.elapsed() <= Duration::from_millis(1001),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_question_is_asked_again() {
    let hub = Hub::new(3);
    let [a, b, _c] = three(&hub).await;
    // Nobody but `b` knows of it: `a` has forgotten.
    b.take(9000, "y", 1, 1).await.unwrap();
    until(|| a.holder_elsewhere(9000).is_some()).await;
    a.state.write().directory.forget(b.start());
    hub.set_faults(Faults {
        lost: 1000,
        ..Faults::default()
    });
    let healed = async {
        sleep(Duration::from_millis(400)).await;
        hub.set_faults(Faults::default());
    };
    let (taken, ()) = tokio::join!(a.take(9000, "x", 1, 1), healed);
    assert!(taken.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_inner_that_leaves_while_it_waits_frees_the_port() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    hub.set_faults(Faults {
        delay: Duration::from_millis(200),
        ..Faults::default()
    });
    let asked = claim(9000, "x", 1, 1);
    let _ = tokio::time::timeout(Duration::from_millis(1), a.claim(&asked)).await;
    // What others have promised runs out.
    sleep(Duration::from_secs(3)).await;
    b.take(9000, "y", 1, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_member_that_has_just_started_waits_for_the_news() {
    let hub = Hub::new(1);
    let [a, _b, _c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let late = TestMember::join(&hub, "d:4");
    assert!(late.take(9000, "y", 1, 1).await.is_err());
    let later = TestMember::join(&hub, "e:5");
    let known = a.state.read().directory.highest_epoch(9000);
    assert!(later.take(9000, "x", 1, 2).await.unwrap() > known);
    // So does one that had the port before its start, and whose clock is behind.
    let ahead = LinkStamp {
        instance: InstanceId(1),
        dial: 3,
        epoch: Epoch::from_number(known.number() + 1_000_000_000),
    };
    a.held(record(9000, "x", Some(ahead), 5));
    let again = TestMember::join(&hub, "f:6");
    again.held(record(9000, "x", None, 5));
    assert!(again.take(9000, "x", 2, 1).await.unwrap() > ahead.epoch);
}

#[tokio::test(start_paused = true)]
async fn an_inner_that_asks_for_any_finds_the_port_that_it_had_elsewhere() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some()).await;
    let found = |of: &str, asked: &str, instance| {
        b.own_elsewhere(&identity(of), &asked.parse().unwrap(), InstanceId(instance))
    };
    // The same process, and no other while its car is up.
    assert_eq!(found("x", "x", 1), Some(9000));
    assert_eq!(found("x", "x", 2), None);
    assert_eq!(found("y", "x", 1), None);
    assert_eq!(found("x", "z", 1), None);
    drop(a);
    until(|| found("x", "x", 2) == Some(9000)).await;
}

#[tokio::test(start_paused = true)]
async fn ports_and_names_are_counted_over_all_members_and_the_own_port_is_not() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    c.take(9001, "x", 2, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some() && b.holder_elsewhere(9001).is_some()).await;
    let owner = record(9000, "x", None, 0).owner;
    assert_eq!(b.ports_elsewhere(owner, 0), 2);
    assert_eq!(b.ports_elsewhere(owner, 9000), 1);
    assert_eq!(a.ports_elsewhere(owner, 0), 1);
    let name = "x".parse().unwrap();
    assert!(b.is_name_taken(&name, 9002));
    assert!(!b.is_name_taken(&"y".parse().unwrap(), 9002));
    // What is only kept, closed, counts nowhere.
    c.held(PortRecord {
        state: HeldState::Kept,
        ..record(9001, "x", None, 1)
    });
    until(|| !is_up(&b, 9001)).await;
    assert_eq!(b.ports_elsewhere(owner, 0), 1);
    c.let_go(9001);
    until(|| b.holder_elsewhere(9001).is_none()).await;
    assert!(!b.is_name_taken(&name, 9000));
}
