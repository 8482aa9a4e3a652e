//! What holds of the directory whatever members do, and however their messages arrive.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::mesh::directory::{Directory, Entry, Table};
use crate::mesh::exchange::{Inflow, Outflow};
use crate::mesh::record::winner;

const PORTS: std::ops::Range<u16> = 9000..9004;

fn any_record() -> impl Strategy<Value = PortRecord> {
    let link = (0..3_u64, 0..4_u64, 0..6_u64).prop_map(|(instance, dial, epoch)| LinkStamp {
        instance: InstanceId(instance),
        dial,
        epoch: Epoch::from_number(epoch),
    });
    let state = prop_oneof![
        Just(HeldState::Up),
        Just(HeldState::Away),
        Just(HeldState::Kept)
    ];
    (PORTS, "[xyz]", prop::option::of(link), 0..4_u64, state).prop_map(
        |(port, of, link, held_since, state)| PortRecord {
            state,
            ..record(port, &of, link, held_since)
        },
    )
}

/// What a member does to its table.
fn any_change() -> impl Strategy<Value = (u16, Option<PortRecord>)> {
    prop_oneof![
        3 => any_record().prop_map(|record| (record.port, Some(record))),
        1 => PORTS.prop_map(|port| (port, None)),
    ]
}

/// A member's table after each of its changes.
fn history(of: Start, changes: &[(u16, Option<PortRecord>)], now: Instant) -> Vec<Table> {
    let mut directory = Directory::new(of);
    let after = |(port, record): &(u16, Option<PortRecord>)| {
        directory.set_own(*port, record.clone(), now);
        directory.own().clone()
    };
    changes.iter().map(after).collect()
}

/// Takes over all that another directory knows and this one does not.
fn merge(into: &mut Directory, from: &Directory, starts: u64) {
    for start in (1..=starts).map(Start) {
        let Some(theirs) = from.table(start) else {
            continue;
        };
        if into.table(start).is_none_or(|ours| ours.rev < theirs.rev) {
            let entries = theirs.entries.clone().into_iter().collect();
            into.replace(start, theirs.rev, entries);
        }
    }
}

fn holders(directory: &Directory) -> Vec<Option<(Start, Entry)>> {
    let holder = |port| {
        let (start, entry) = directory.holder(port)?;
        Some((start, entry.clone()))
    };
    PORTS.map(holder).collect()
}

/// Checks that what is found by name, identity and digest is what is there.
fn check_sums(directory: &Directory, starts: u64) {
    let mut names: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for port in PORTS {
        for (_, entry) in directory.records(port) {
            let ports = names.entry(entry.record.name.to_string()).or_default();
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
    }
    for name in ["x", "y", "z"] {
        let ports = names.get(name).cloned().unwrap_or_default();
        assert_eq!(directory.ports_named(&name.parse().unwrap()), ports);
        assert_eq!(directory.ports_of_identity(&identity(name)), ports);
    }
    for start in (1..=starts).map(Start) {
        if let Some(table) = directory.table(start) {
            let mut again = Directory::new(Start(0));
            again.replace(
                start,
                table.rev,
                table.entries.clone().into_iter().collect(),
            );
            assert_eq!(again.table(start), Some(table));
        }
    }
}

#[test]
fn a_table_that_differs_is_asked_for_though_its_revision_is_the_same() {
    let (now, sender) = (timing::now(), Start(1));
    let table = history(sender, &[(9000, Some(record(9000, "x", None, 1)))], now).remove(0);
    let mut directory = Directory::new(Start(2));
    directory.replace(sender, table.rev, table.entries.into_iter().collect());
    let mut inflow = Inflow::default();
    assert!(!inflow.compare(&directory, sender, (table.rev, table.digest), now));
    assert!(inflow.compare(&directory, sender, (table.rev, table.digest ^ 1), now));
}

proptest! {
    #[test]
    fn which_record_counts_depends_on_the_set_alone(
        records in prop::collection::vec(any_record(), 1..7),
        order in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let records: Vec<_> = (0_u64..).zip(&records).collect();
        let all = winner(records.iter().copied());
        let mut shuffled: Vec<_> = order.iter().map(|at| *at.get(&records)).collect();
        shuffled.extend(records.iter().rev().copied());
        prop_assert_eq!(winner(shuffled), all);
        // Who has seen only some of them decides as who has seen all, in the end: nobody gives way in a circle.
        let some = records.iter().copied().reduce(|one, other| winner([one, other]).unwrap());
        prop_assert_eq!(some, all);
        let (_, wins) = all.unwrap();
        // Whoever had the port first keeps it.
        let first = records.iter().map(|(_, record)| record.held_since).min().unwrap();
        let of_first = records.iter().filter(|(_, record)| record.held_since == first);
        prop_assert!(of_first.clone().any(|(_, record)| record.identity == wins.identity));
        // Of the identity that has it, no later link is passed over.
        let mut same = of_first.filter(|(_, record)| record.identity == wins.identity);
        prop_assert!(same.all(|(_, record)| record.epoch() <= wins.epoch()));
    }

    #[test]
    fn merging_commutes_and_associates_and_twice_is_once(
        changes in prop::collection::vec(prop::collection::vec(any_change(), 1..8), 3),
        seen in prop::collection::vec(prop::collection::vec(any::<Index>(), 3), 3),
    ) {
        let now = timing::now();
        let starts = (1..).map(Start);
        let histories: Vec<_> = starts.zip(&changes).map(|(start, changes)| (start, history(start, changes, now))).collect();
        // Each of three has seen another part of what each member did.
        let [a, b, c] = [0, 1, 2].map(|who| {
            let mut directory = Directory::new(Start(0));
            for ((start, history), seen) in histories.iter().zip(&seen[who]) {
                let table: &Table = seen.get(history);
                directory.replace(*start, table.rev, table.entries.clone().into_iter().collect());
            }
            directory
        });
        let merged = |parts: &[&Directory]| {
            let mut all = Directory::new(Start(0));
            for part in parts {
                merge(&mut all, part, 3);
                check_sums(&all, 3);
            }
            holders(&all)
        };
        let all = merged(&[&a, &b, &c]);
        prop_assert_eq!(&merged(&[&c, &a, &b]), &all);
        prop_assert_eq!(&merged(&[&b, &a, &b, &c, &a]), &all);
        let mut bc = b.clone();
        merge(&mut bc, &c, 3);
        prop_assert_eq!(&merged(&[&a, &bc]), &all);
    }

    #[test]
    fn however_changes_arrive_the_table_is_the_senders_in_the_end(
        changes in prop::collection::vec(any_change(), 1..40),
        // How many changes each message has, and which messages arrive, in which order.
        sizes in prop::collection::vec(1..4_usize, 40),
        arrivals in prop::collection::vec(any::<Index>(), 0..60),
        with_pages in any::<bool>(),
    ) {
        let now = timing::now();
        let sender = Start(1);
        let mut from = Directory::new(sender);
        let mut outflow = Outflow::default();
        let mut deltas = Vec::new();
        let mut rest = &changes[..];
        // What the sender's table was after each message.
        let mut told = vec![(0, 0)];
        for size in sizes {
            let (some, others) = rest.split_at(size.min(rest.len()));
            rest = others;
            for (port, record) in some {
                if from.set_own(*port, record.clone(), now) {
                    outflow.changed(*port, from.own().rev);
                }
            }
            deltas.extend(outflow.deltas(from.own(), now));
            told.push((from.own().rev, from.own().digest));
        }
        let (mut to, mut inflow) = (Directory::new(Start(2)), Inflow::default());
        for arrival in arrivals {
            if !deltas.is_empty() {
                let (_, asks) = inflow.delta(&mut to, sender, arrival.get(&deltas).clone(), now);
                if asks && with_pages {
                    for page in Outflow::default().whole(from.own(), Start(2), now) {
                        inflow.page(&mut to, sender, page, now);
                    }
                }
            }
            // Whatever is missing, what is known is what the sender had at some time.
            prop_assert!(to.table(sender).is_none_or(|table| told.contains(&(table.rev, table.digest))));
        }
        // What the member says of its table tells whether anything is missing.
        let told = (from.own().rev, from.own().digest);
        let later = now + Duration::from_secs(2);
        if inflow.compare(&to, sender, told, later) {
            for page in outflow.whole(from.own(), Start(2), later) {
                inflow.page(&mut to, sender, page, later);
            }
        }
        prop_assert!(!inflow.compare(&to, sender, told, later));
        check_sums(&to, 1);
        let seen = to.table(sender).cloned().unwrap_or_default();
        let records = |table: &Table| -> Vec<_> {
            table.entries.values().map(|entry| (entry.record.clone(), entry.rev)).collect()
        };
        prop_assert_eq!(records(&seen), records(from.own()));
        prop_assert_eq!((seen.rev, seen.digest), told);
    }

    #[test]
    fn a_new_link_has_a_higher_epoch_than_any_that_is_known(
        records in prop::collection::vec(any_record(), 0..6),
        known in 0..10_u64,
        clock in 0..10_u64,
    ) {
        let now = Now { instant: timing::now(), clock };
        let address = "a:1".parse().unwrap();
        let mut state = State::new(MeshSecret::new(SECRET), address, now).unwrap();
        for (start, record) in (1..).map(Start).zip(&records) {
            let entry = Entry {
                record: Arc::new(record.clone()),
                rev: 1,
                since: now.instant,
            };
            state.directory.replace(start, 1, vec![(record.port, entry)]);
        }
        for port in PORTS {
            let next = state.next_epoch(port, Epoch::from_number(known), now);
            prop_assert!(next > Epoch::from_number(known) && next.number() >= clock);
            for record in records.iter().filter(|record| record.port == port) {
                prop_assert!(next > record.epoch());
            }
        }
    }
}
