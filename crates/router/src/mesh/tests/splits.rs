//! Members that are split from each other, and meet again.

use super::*;

/// Lets registries do what they do about links that count less, for so long.
async fn settle(members: [&TestMember; 3], time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        for member in members {
            member.yield_ports();
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that three members agree within 3 s that this one holds port 9000 for `x`.
async fn agree_on(members: [&TestMember; 3], holder: &TestMember) {
    settle(members, Duration::from_secs(3)).await;
    let seen = members.map(|member| member.sees(9000).unwrap());
    assert_eq!(seen, [0; 3].map(|_| (holder.start(), "x".to_owned())));
    let holders = members.map(|member| member.state.read().directory.records(9000).count());
    assert_eq!(holders, [1; 3]);
}

/// Three members, of which the first is alone.
async fn first_alone(hub: &Hub) -> [TestMember; 3] {
    let members = three(hub).await;
    hub.set_side(members[0].start(), 1);
    sleep(Duration::from_secs(5)).await;
    members
}

#[tokio::test(start_paused = true)]
async fn a_car_that_moved_in_a_split_is_at_the_router_that_it_dialled_last() {
    for minutes in [0, 2] {
        let hub = Hub::new(1);
        let [a, b, c] = three(&hub).await;
        a.take(9000, "x", 1, 1).await.unwrap();
        until(|| c.holder_elsewhere(9000).is_some() && b.holder_elsewhere(9000).is_some()).await;
        hub.set_side(a.start(), 1);
        sleep(Duration::from_secs(5 + minutes * 60)).await;
        // Each side goes on by itself.
        c.take(9000, "x", 1, 2).await.unwrap();
        assert_eq!(a.sees(9000).unwrap().0, a.start());
        hub.set_side(a.start(), 0);
        agree_on([&a, &b, &c], &c).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_owner_keeps_its_port_from_a_stranger_who_got_it_in_a_split() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| c.holder_elsewhere(9000).is_some() && b.holder_elsewhere(9000).is_some()).await;
    hub.set_side(a.start(), 1);
    sleep(Duration::from_secs(5)).await;
    c.take(9000, "y", 2, 1).await.unwrap_err();
    // The others give the port away after a minute.
    sleep(Duration::from_secs(60)).await;
    // By a clock that is half an hour behind.
    let behind = Now {
        clock: c.now().clock - 1800 * 1_000_000,
        ..c.now()
    };
    let since = c.state.read().new_holder(9000, behind);
    assert!(since > a.held_since(9000).unwrap());
    let stranger = c.take(9000, "y", 2, 1).await.unwrap();
    assert!(stranger > a.state.read().directory.highest_epoch(9000));
    hub.set_side(a.start(), 0);
    agree_on([&a, &b, &c], &a).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_car_is_away_keeps_its_port_from_a_stranger_too() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    let kept = PortRecord {
        state: HeldState::Kept,
        ..record(9000, "x", None, 5)
    };
    a.held(kept);
    until(|| c.holder_elsewhere(9000).is_some() && b.holder_elsewhere(9000).is_some()).await;
    hub.set_side(a.start(), 1);
    sleep(Duration::from_secs(70)).await;
    c.take(9000, "y", 2, 1).await.unwrap();
    hub.set_side(a.start(), 0);
    agree_on([&a, &b, &c], &a).await;
    // And gets it wherever it comes.
    b.take(9000, "x", 1, 1).await.unwrap();
    agree_on([&a, &b, &c], &b).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_had_a_port_first_is_known_after_it_moved_in_a_split() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    a.take(9000, "x", 1, 1).await.unwrap();
    until(|| c.holder_elsewhere(9000).is_some()).await;
    let since = |member: &TestMember| {
        let state = member.state.read();
        let (_, entry) = state.directory.holder(9000).unwrap();
        entry.record.held_since
    };
    let first = since(&a);
    hub.set_side(a.start(), 1);
    sleep(Duration::from_secs(70)).await;
    c.take(9000, "x", 1, 2).await.unwrap();
    assert!(since(&c) > first);
    hub.set_side(a.start(), 0);
    agree_on([&a, &b, &c], &c).await;
    assert_eq!(since(&b), first);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_after_a_member_has_left_is_believed_by_those_who_knew_it() {
    let hub = Hub::new(1);
    let [a, b, c] = three(&hub).await;
    // Its clock is far ahead.
    let far = Epoch::from_number(2_000_000_000_000_000);
    let ahead = LinkStamp {
        instance: InstanceId(1),
        dial: 1,
        epoch: far,
    };
    a.held(record(9000, "x", Some(ahead), 5));
    until(|| b.holder_elsewhere(9000).is_some() && c.holder_elsewhere(9000).is_some()).await;
    a.leave().await;
    sleep(Duration::from_secs(1)).await;
    // This one has never heard of it.
    let d = TestMember::join(&hub, "d:4");
    hub.set_side(c.start(), 1);
    d.held(record(
        9000,
        "x",
        Some(LinkStamp {
            dial: 2,
            epoch: Epoch::from_number(7),
            ..ahead
        }),
        9,
    ));
    sleep(Duration::from_secs(2)).await;
    hub.set_side(c.start(), 0);
    agree_on([&b, &c, &d], &d).await;
    let state = d.state.read();
    assert_eq!(state.directory.holder(9000).unwrap().1.record.held_since, 5);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_was_lost_ends_none_that_is_up_whichever_came_later() {
    let hub = Hub::new(1);
    let [a, b, c] = first_alone(&hub).await;
    a.take(9000, "x", 1, 5).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let later = b.claim(&claim(9000, "x", 2, 1)).await.unwrap();
    let lost = record(9000, "x", Some(later.stamp), later.held_since);
    b.held(PortRecord {
        state: HeldState::Away,
        ..lost
    });
    hub.set_side(a.start(), 0);
    agree_on([&a, &b, &c], &a).await;
}

#[tokio::test(start_paused = true)]
async fn twins_on_two_sides_are_one_after_the_split() {
    let hub = Hub::new(1);
    let [a, b, c] = first_alone(&hub).await;
    a.take(9000, "x", 1, 5).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    b.take(9000, "x", 2, 1).await.unwrap();
    hub.set_side(a.start(), 0);
    agree_on([&a, &b, &c], &b).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_dial_of_a_process_counts_whatever_the_clocks_say() {
    let hub = Hub::new(1);
    let [a, b, c] = first_alone(&hub).await;
    let stamp = |dial, epoch| LinkStamp {
        instance: InstanceId(1),
        dial,
        epoch: Epoch::from_number(epoch),
    };
    a.held(record(9000, "x", Some(stamp(2, 1)), 1));
    b.held(record(9000, "x", Some(stamp(1, 9)), 1));
    hub.set_side(a.start(), 0);
    agree_on([&a, &b, &c], &a).await;
    // Its registry knows of the first epoch alone.
    let away = PortRecord {
        state: HeldState::Away,
        ..record(9000, "x", Some(stamp(2, 1)), 1)
    };
    a.held(away);
    assert_eq!(
        a.state.read().directory.highest_epoch(9000),
        Epoch::from_number(10)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_link_ends_no_live_one_of_a_process_that_does_not_count_its_dials() {
    let hub = Hub::new(1);
    let [a, b, c] = first_alone(&hub).await;
    let stamp = |epoch| LinkStamp {
        instance: InstanceId(1),
        dial: 0,
        epoch: Epoch::from_number(epoch),
    };
    a.held(record(9000, "x", Some(stamp(1)), 1));
    b.held(PortRecord {
        state: HeldState::Away,
        ..record(9000, "x", Some(stamp(9)), 1)
    });
    hub.set_side(a.start(), 0);
    agree_on([&a, &b, &c], &a).await;
}

#[tokio::test(start_paused = true)]
async fn everybody_agrees_after_any_split() {
    for seed in 0..seeds(10) {
        let hub = Hub::new(seed);
        let [a, b, c] = three(&hub).await;
        let members = [&a, &b, &c];
        let at = |number: u64| members[usize::try_from(number % 3).unwrap()];
        let mut bits = seed;
        for step in 0..20_u64 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(step | 1);
            let number = bits >> 33;
            match number % 4 {
                0 => hub.set_side(
                    at(number / 4).start(),
                    u32::try_from(number / 12 % 2).unwrap(),
                ),
                1 => at(number / 4).let_go(9000),
                _ => {
                    let of = ["x", "y"][usize::try_from(number / 12 % 2).unwrap()];
                    let _ = at(number / 4).take(9000, of, number / 24 % 3, step).await;
                }
            }
            settle(members, Duration::from_secs(number / 100 % 5 * 4)).await;
        }
        for member in members {
            hub.set_side(member.start(), 0);
        }
        a.take(9000, "x", 9, 99).await.ok();
        settle(members, Duration::from_secs(3)).await;
        let [one, two, three] = members.map(|member| member.sees(9000));
        assert_eq!(one, two, "seed {seed}");
        assert_eq!(one, three, "seed {seed}");
    }
}
