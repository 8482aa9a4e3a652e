//! Whoever has the bus, or a secret that is another's, or more to say than anybody should.

use bytes::Bytes;

use super::*;
use crate::mesh::exchange::Outflow;
use crate::mesh::seal::Sealer;

/// All that a member's directory and list of members have.
fn known(member: &TestMember) -> (usize, usize) {
    let state = member.state.read();
    (state.directory.len(), state.members.all().count())
}

#[tokio::test(start_paused = true)]
async fn a_member_with_another_secret_is_nobody() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    let stranger = TestMember::with_secret(&hub, "d:4", [8; 32]);
    stranger.held(record(9000, "x", None, 1));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(known(&a), (0, 2));
    assert_eq!(known(&stranger), (1, 0));
    assert_eq!(b.present(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_recorded_says_nothing_when_it_is_repeated() {
    let hub = Hub::new(1);
    hub.record();
    let [a, b, c] = three(&hub).await;
    let gone = TestMember::join(&hub, "d:4");
    gone.held(record(9000, "x", None, 1));
    until(|| a.holder_elsewhere(9000).is_some()).await;
    gone.let_go(9000);
    until(|| a.holder_elsewhere(9000).is_none()).await;
    let while_known = hub.record();
    for member in [&a, &b, &c] {
        while_known
            .iter()
            .for_each(|(_, message)| hub.inject(member.start(), message.clone()));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(a.holder_elsewhere(9000), None);
    assert!(a.metrics.refused.get() > while_known.len() as u64 / 2);
    drop(gone);
    until(|| [&a, &b, &c].iter().all(|member| known(member).1 == 2)).await;
    // To those who have forgotten it, and to one who never knew it.
    let new = TestMember::join(&hub, "e:5");
    until(|| new.present() == 3).await;
    let recorded = [while_known, hub.record()].concat();
    for member in [&a, &b, &c, &new] {
        recorded
            .iter()
            .for_each(|(_, message)| hub.inject(member.start(), message.clone()));
    }
    sleep(Duration::from_secs(1)).await;
    for member in [&a, &b, &c, &new] {
        assert_eq!(member.holder_elsewhere(9000), None);
        assert_eq!(known(member), (0, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_is_dropped_and_counted() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    let before = a.metrics.refused.get();
    for length in 0..300 {
        hub.inject(a.start(), Bytes::from(vec![1; length]));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(a.metrics.refused.get() - before, 300);
    assert_eq!(a.present(), 2);
    assert_eq!(b.present(), 2);
}

#[test]
fn members_that_hold_everything_take_bounded_memory() {
    let now = timing::now();
    let mut directory = directory::Directory::new(Start(0));
    let everything = |rev: u64| {
        let entry = move |port| directory::Entry {
            record: Arc::new(record(port, "x", None, 1)),
            rev,
            since: now,
        };
        (1..=u16::MAX).map(move |port| (port, entry(port)))
    };
    for start in 1..=5 {
        directory.replace(Start(start), 1, everything(1).collect());
    }
    let changes = everything(2)
        .take(1000)
        .map(|(port, entry)| (port, Some(entry)));
    let applied = directory.apply(Start(6), 0, 2, changes.collect());
    assert_eq!(applied, directory::Applied::Gap);
    let records = (1..=u16::MAX).map(|port| directory.records(port).count());
    assert_eq!(records.sum::<usize>(), 4 * 65_536);
    for start in 1..=6 {
        directory.forget(Start(start));
    }
    assert_eq!(directory.records(9000).count(), 0);
    assert!(directory.ports_named(&"x".parse().unwrap()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_member_with_thousands_of_records_keeps_nobody_from_the_others() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    let greedy = TestMember::join(&hub, "d:4");
    for port in 1..=5_000 {
        greedy.held(record(port, "x", None, 1));
    }
    until(|| (1..=5_000).all(|port| a.holder_elsewhere(port).is_some())).await;
    until(|| (a.present(), b.present()) == (3, 3)).await;
    drop(greedy);
    until(|| a.holder_elsewhere(5_000).is_none()).await;
    assert_eq!(known(&a).0, 0);
}

#[tokio::test(start_paused = true)]
async fn impossible_records_hide_no_others_and_keep_nobody_waiting() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    let evil = TestMember::join(&hub, "d:4");
    let stamp = LinkStamp {
        instance: InstanceId(1),
        dial: 1,
        epoch: Epoch::from_number(u64::MAX),
    };
    evil.held(record(9000, "x", Some(stamp), 1));
    evil.held(record(9001, "x", None, u64::MAX));
    evil.held(record(9002, "x", None, 1));
    until(|| a.sees(9002).is_some()).await;
    assert!(a.sees(9000).is_some() && a.sees(9001).is_some());
    // Its car goes on, and what is told of it then is taken by all.
    let moved = a.take(9000, "x", 1, 2).await.unwrap();
    assert!(moved < Epoch::HIGHEST);
    until(|| b.state.read().directory.records(9000).count() == 2).await;
    // There is no such port: what this member has is not known.
    evil.held(record(0, "x", None, 1));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(a.sees(0), None);
    assert_eq!(a.present(), 3);
    let asked = tokio::time::Instant::now();
    a.take(9003, "y", 1, 1).await.unwrap();
    assert!(
        asked.elapsed() < Duration::from_millis(100),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn a_state_that_is_not_known_is_none_that_is_open() {
    let read = |state: &str| rmp_serde::from_slice::<HeldState>(&rmp_serde::to_vec(state).unwrap());
    assert_eq!(read("up").unwrap(), HeldState::Up);
    assert_eq!(read("kept").unwrap(), HeldState::Kept);
    assert_eq!(read("asleep").unwrap(), HeldState::Kept);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_years_ahead_moves_no_epoch_by_more_than_an_hour() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    let decades = 30 * 365 * 24 * 3600 * 1_000_000;
    let now = a.mesh.now();
    let ahead = Now {
        clock: now.clock + decades,
        ..now
    };
    let hour = 3600 * 1_000_000;
    let epoch = a.state.read().next_epoch(9000, Epoch::default(), ahead);
    assert!(epoch.number() <= now.clock + hour + 1_000_000);
    // A clock far behind gives way to what is known, and makes nobody the one who had a port first.
    let none = Now { clock: 1, ..now };
    let since = a.state.read().new_holder(9001, none);
    assert!(since >= now.clock - hour, "{since}");
    let known = b.take(9000, "x", 1, 1).await.unwrap();
    until(|| a.holder_elsewhere(9000).is_some()).await;
    let behind = Now { clock: 1, ..now };
    assert!(a.state.read().next_epoch(9000, Epoch::default(), behind) > known);
}

#[test]
fn a_message_is_no_larger_than_a_bus_takes() {
    let now = timing::now();
    let mut outflow = Outflow::default();
    let mut directory = directory::Directory::new(Start(1));
    let wide = "\u{1F697}".repeat(64);
    for port in 60_000..=u16::MAX {
        let mut record = record(port, "x", None, u64::MAX);
        record.name = wide.parse().unwrap();
        record.asked = wide.parse().unwrap();
        record.identity = "x".repeat(64).parse().unwrap();
        directory.set_own(port, Some(record), now);
        outflow.changed(port, directory.own().rev);
    }
    let mut sealer = Sealer::new(&MeshSecret::new(SECRET), Start(1)).unwrap();
    let pages = outflow.whole(directory.own(), Start(2), now);
    let deltas = outflow.deltas(directory.own(), now);
    assert_eq!((pages.len(), deltas.len()), (22, 22));
    let messages =
        (pages.into_iter().map(Message::Page)).chain(deltas.into_iter().map(Message::Delta));
    for message in messages {
        let sealed = sealer.seal(Topic::All, &message.encode().unwrap()).unwrap();
        assert!(sealed.len() <= 256 * 1024, "{}", sealed.len());
        assert_eq!(Message::decode(&message.encode().unwrap()), Some(message));
    }
}
