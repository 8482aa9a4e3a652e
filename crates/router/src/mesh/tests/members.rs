//! Who is there, who is away, and how they learn what the others hold.

use super::*;

#[tokio::test(start_paused = true)]
async fn members_meet_at_once_and_know_what_each_holds() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    let epoch = a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some() && c.holder_elsewhere(9000).is_some()).await;
    let seen = b.holder_elsewhere(9000).unwrap();
    assert_eq!(seen.record.epoch(), epoch);
    assert_eq!(seen.member.id, a.member());
    assert_eq!(seen.member.address.to_string(), "a:1");
    assert!(is_up(&b, 9000));
    assert_eq!(a.holder_elsewhere(9000), None);

    a.let_go(9000);
    until(|| b.holder_elsewhere(9000).is_none() && c.holder_elsewhere(9000).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_is_known_everywhere_within_milliseconds() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    let granted = a.claim(&claim(9000, "x", 1, 1)).await.unwrap();
    let began = tokio::time::Instant::now();
    a.held(record(9000, "x", Some(granted.stamp), granted.held_since));
    b.changes().await;
    while b.holder_elsewhere(9000).is_none() {
        b.changes().await;
    }
    assert!(began.elapsed() < Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn who_joins_later_learns_a_large_table_in_pages() {
    let hub = Hub::new(1);
    let a = TestMember::join(&hub, "a:1");
    for port in 1000..4000 {
        a.held(record(port, "x", None, 1));
    }
    sleep(Duration::from_secs(2)).await;
    let b = TestMember::join(&hub, "b:2");
    until(|| (1000..4000).all(|port| b.holder_elsewhere(port).is_some())).await;
    let state = b.state.read();
    let (a_table, b_table) = (a.state.read(), state.directory.table(a.start()).unwrap());
    assert_eq!(a_table.directory.own().digest, b_table.digest);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_away_and_its_ports_are_kept_for_a_minute() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some() && c.holder_elsewhere(9000).is_some()).await;
    let killed = tokio::time::Instant::now();
    drop(a);
    until(|| !is_up(&b, 9000)).await;
    assert!(
        (2..=4).contains(&killed.elapsed().as_secs()),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(b.present(), 1);
    // Its identity gets the port at once, another does not.
    assert!(b.claim(&claim(9000, "y", 2, 1)).await.is_err());
    until(|| b.holder_elsewhere(9000).is_none()).await;
    assert!(
        (59..=65).contains(&killed.elapsed().as_secs()),
        "{:?}",
        killed.elapsed()
    );
    until(|| c.holder_elsewhere(9000).is_none()).await;
    // One of the two tells of it.
    let told = [&b, &c].map(|member| member.take_orphans().len());
    assert_eq!(
        told,
        [
            usize::from(b.member() <= c.member()),
            usize::from(b.member() > c.member())
        ]
    );
}

/// A port that a key has.
fn of_key(port: u16, of: &str, link: Option<LinkStamp>, held_since: u64) -> PortRecord {
    PortRecord {
        owner: QuotaOwner::Key(p2p_shared::key::Key::generate().unwrap().id()),
        ..record(port, of, link, held_since)
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_what_is_taken_over_of_a_member_before_its_registry_knows() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.held(of_key(9000, "x", None, 5));
    until(|| b.holder_elsewhere(9000).is_some() && c.holder_elsewhere(9000).is_some()).await;
    hub.set_side(a.start(), 1);
    sleep(Duration::from_secs(70)).await;
    assert!(b.holder_elsewhere(9000).is_none() || c.holder_elsewhere(9000).is_none());
    for member in [&b, &c] {
        let why = member.take(9000, "y", 1, 1).await.unwrap_err();
        assert!(why.contains("kept for 'x'"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_ports_of_a_member_that_is_gone_stay_with_their_keys() {
    for has_lost_first in [false, true] {
        let hub = Hub::new(1);
        let [a, b, c] = three(&hub).await;
        a.held(of_key(9000, "x", None, 5));
        a.held(PortRecord {
            state: HeldState::Kept,
            ..of_key(9001, "x", None, 6)
        });
        until(|| b.sees(9001).is_some() && c.sees(9001).is_some()).await;
        let [mut first, mut other] = [b, c];
        if first.member() > other.member() {
            std::mem::swap(&mut first, &mut other);
        }
        drop(a);
        sleep(Duration::from_secs(59)).await;
        let first = (!has_lost_first).then_some(first);
        sleep(Duration::from_secs(10)).await;
        let keeper = first.as_ref().unwrap_or(&other);
        for (port, since) in [(9000, 5), (9001, 6)] {
            let holder = (keeper.start(), "x".to_owned());
            assert_eq!(keeper.sees(port), Some(holder.clone()));
            assert_eq!(other.sees(port), Some(holder));
            let state = other.state.read();
            let (_, entry) = state.directory.holder(port).unwrap();
            assert_eq!(
                (entry.record.state, entry.record.held_since),
                (HeldState::Kept, since)
            );
        }
        let told = keeper.take_orphans();
        let told: Vec<_> = told
            .iter()
            .map(|it| (it.record.port, it.record.state))
            .collect();
        assert_eq!(told, [(9000, HeldState::Up), (9001, HeldState::Kept)]);
        if first.is_some() {
            assert!(other.take_orphans().is_empty());
            other.take(9000, "y", 1, 1).await.unwrap_err();
        }
        other.take(9000, "x", 1, 1).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_in_a_split_takes_no_link_away_where_it_is_up() {
    for _ in 0..4 {
        let hub = Hub::new(1);
        let [a, b, c] = three(&hub).await;
        a.held(of_key(9000, "x", None, 5));
        until(|| b.sees(9000).is_some() && c.sees(9000).is_some()).await;
        hub.set_side(a.start(), 1);
        sleep(Duration::from_secs(90)).await;
        assert!(
            [&b, &c]
                .iter()
                .any(|it| it.sees(9000).is_some_and(|(at, _)| at == it.start()))
        );
        hub.set_side(a.start(), 0);
        sleep(Duration::from_secs(3)).await;
        for member in [&a, &b, &c] {
            assert_eq!(member.sees(9000).map(|(at, _)| at), Some(a.start()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_that_starts_anew_gives_its_cars_a_minute_to_come_back() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.sees(9000).is_some() && c.sees(9000).is_some()).await;
    drop(a);
    let again = TestMember::join(&hub, "a:1");
    sleep(Duration::from_secs(50)).await;
    for member in [&again, &b, &c] {
        assert!(member.take_orphans().is_empty());
    }
    assert!(b.sees(9000).is_some());
    b.take(9000, "y", 1, 1).await.unwrap_err();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(b.sees(9000), None);
}

#[tokio::test(start_paused = true)]
async fn two_members_with_one_address_lose_nothing_when_the_bus_is_slow() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    let twin = TestMember::join(&hub, "a:1");
    twin.held(record(9001, "y", None, 1));
    a.held(record(9000, "x", None, 1));
    until(|| b.sees(9000).is_some() && b.sees(9001).is_some()).await;
    hub.set_side(a.start(), 1);
    sleep(Duration::from_secs(2)).await;
    hub.set_side(a.start(), 0);
    sleep(Duration::from_secs(3)).await;
    for member in [&b, &c, &twin] {
        assert_eq!(member.present(), 3);
        assert_eq!(member.sees(9000).map(|(at, _)| at), Some(a.start()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_ends_says_so_and_keeps_no_port_from_its_own_cars() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some() && c.holder_elsewhere(9000).is_some()).await;
    a.drain();
    until(|| b.holder_elsewhere(9000).unwrap().member.state == MemberState::Draining).await;
    let moved = b.take(9000, "x", 1, 2).await.unwrap();
    a.let_go(9000);
    until(|| c.holder_elsewhere(9000).unwrap().record.epoch() == moved).await;
    a.leave().await;
    let left = tokio::time::Instant::now();
    until(|| b.present() == 1).await;
    assert!(left.elapsed() < Duration::from_secs(1));
    assert_eq!(c.sees(9000), Some((b.start(), "x".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_router_that_starts_anew_takes_the_place_of_its_former_start() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some()).await;
    let before = a.start();
    drop(a);
    let a = TestMember::join(&hub, "a:1");
    // Its file says that the port was open.
    let away = PortRecord {
        state: HeldState::Away,
        ..record(9000, "x", None, 5)
    };
    a.held(away);
    let began = tokio::time::Instant::now();
    until(|| b.sees(9000).is_some_and(|(start, _)| start == a.start())).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    until(|| b.members().iter().all(|member| member.start != before)).await;
    until(|| c.sees(9000).is_some_and(|(start, _)| start == a.start())).await;
    assert_eq!(b.members().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_down_takes_no_knowledge_and_no_port() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| b.holder_elsewhere(9000).is_some()).await;
    for member in [&a, &b, &c] {
        hub.set_connected(member.start(), false);
    }
    sleep(Duration::from_secs(300)).await;
    assert!(is_up(&b, 9000));
    assert_eq!(b.present(), 2);
    // A new port waits for nobody.
    let asked = tokio::time::Instant::now();
    b.take(9001, "y", 1, 1).await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(100));
    for member in [&a, &b, &c] {
        hub.set_connected(member.start(), true);
    }
    until(|| a.holder_elsewhere(9001).is_some() && c.holder_elsewhere(9001).is_some()).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(b.present(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_lives_keeps_a_member_present_though_the_bus_brings_nothing() {
    let hub = Hub::new(1);
    let [a, b, _c] = three(&hub).await;
    hub.set_side(a.start(), 1);
    for _ in 0..30 {
        sleep(Duration::from_secs(1)).await;
        b.reached(a.start());
    }
    assert_eq!(b.present(), 2);
    until(|| b.present() == 1).await;
    // One that is away, and reached, is not forgotten, whoever asks nothing of it.
    for _ in 0..100 {
        sleep(Duration::from_secs(1)).await;
        b.reached(a.start());
    }
    assert!(b.members().iter().any(|member| member.start == a.start()));
    until(|| b.members().iter().all(|member| member.start != a.start())).await;
}

#[tokio::test(start_paused = true)]
async fn two_members_of_one_id_draw_again() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    let id = b.member();
    a.state.write().id = id;
    c.state.write().id = id;
    until(|| {
        let mut ids = [&a, &b, &c].map(|member| member.member());
        ids.sort_unstable();
        ids.windows(2).all(|pair| pair[0] != pair[1])
    })
    .await;
    let other = (a.member(), a.start());
    until(|| {
        b.members()
            .iter()
            .any(|member| (member.id, member.start) == other)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_lost_repeated_and_overtaken_change_nothing_in_the_end() {
    for seed in 0..seeds(10) {
        let hub = Hub::new(seed);
        let [a, b, c] = three(&hub).await;
        hub.set_faults(Faults {
            lost: 200,
            repeated: 200,
            delay: Duration::from_millis(300),
        });
        for round in 0..40_u64 {
            let member = [&a, &b, &c][usize::try_from(round % 3).unwrap()];
            let port = 9000 + u16::try_from(round % 7).unwrap();
            if round % 5 == 4 {
                member.let_go(port);
            } else {
                let _ = member.take(port, "x", 1, round).await;
            }
            for member in [&a, &b, &c] {
                member.yield_ports();
            }
            sleep(Duration::from_millis(100)).await;
        }
        hub.set_faults(Faults::default());
        sleep(Duration::from_secs(3)).await;
        for member in [&a, &b, &c] {
            member.yield_ports();
        }
        sleep(Duration::from_secs(3)).await;
        for port in 9000..9007 {
            assert_eq!(a.sees(port), b.sees(port), "seed {seed}, port {port}");
            assert_eq!(a.sees(port), c.sees(port), "seed {seed}, port {port}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_member_says_little() {
    let hub = Hub::new(1);
    let [a, _b, _c] = three(&hub).await;
    for port in 1000..2000 {
        a.held(record(port, "x", None, 1));
    }
    sleep(Duration::from_secs(5)).await;
    hub.record();
    sleep(Duration::from_secs(60)).await;
    let said = hub.record();
    assert!((150..=200).contains(&said.len()), "{}", said.len());
    assert!(said.iter().all(|(_, bytes)| bytes.len() < 512));
}

#[tokio::test(start_paused = true)]
async fn a_member_works_once_so_that_no_two_messages_are_sealed_alike() {
    let hub = Hub::new(1);
    let member = TestMember::join(&hub, "a:1");
    sleep(Duration::from_secs(1)).await;
    let again = (member.mesh.clone()).run(hub.connect(member.start()), member.closed.clone());
    let ended = tokio::time::timeout(Duration::from_secs(60), again).await;
    assert!(ended.is_ok());
}

const KEYS: KeyDigests = KeyDigests {
    keys: 7,
    signed_out: 0,
};
const STALE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn keys_are_stale_unless_another_member_that_was_asked_says_that_it_knows_the_same() {
    let hub = Hub::new(1);
    let a = TestMember::join(&hub, "a:1");
    a.set_keys(KEYS);
    assert!(a.are_keys_stale(STALE), "it is alone");
    let b = TestMember::join(&hub, "b:2");
    b.set_keys(KEYS);
    until(|| a.present() == 1).await;
    sleep(STALE).await;
    assert!(a.are_keys_stale(STALE), "the bus may bring it late");
    let other = KeyDigests { keys: 8, ..KEYS };
    a.told_keys(b.start(), other, timing::now());
    assert!(a.are_keys_stale(STALE), "the other knows others");
    let asked_at = timing::now();
    sleep(STALE).await;
    a.told_keys(b.start(), KEYS, asked_at);
    assert!(!a.are_keys_stale(STALE));
    sleep(Duration::from_secs(1)).await;
    assert!(a.are_keys_stale(STALE));
    a.merged_keys(b.start(), Some(other));
    a.told_keys(b.start(), other, timing::now());
    assert!(!a.are_keys_stale(STALE), "all of that is known here");
}
