//! Sets of keys that meet in any order, and revoked keys that never come back.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;
use crate::auth::key_store::format;

/// Key `n`, of which three each are made in a second; `kind` is what was changed in it by hand.
fn record(n: u8, kind: u8) -> KeyRecord {
    let id = format!(
        "aaaaaa{}{}",
        char::from(b'a' + n / 20),
        char::from(b'a' + n % 20)
    );
    KeyRecord {
        id: id.parse().unwrap(),
        name: format!("key {}", n % 3).parse().unwrap(),
        role: Role::ALL[usize::from(kind) % 4],
        ports: (kind >= 4).then(|| "9000-9009".parse().unwrap()),
        hash: format!("sha256:{n:064}").parse().unwrap(),
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(1 + u64::from(n) / 3),
    }
}

/// A set as the file has it: sorted, with at most `MOST` revoked ids.
fn normal(mut set: KeySet) -> KeySet {
    set.forget(MAX_REVOKED);
    let text = format::to_text(&set).unwrap();
    let set = format::from_text(&text).unwrap();
    set.merge(&set)
}

fn any_set() -> impl Strategy<Value = KeySet> {
    let records = prop::collection::btree_map(0..12_u8, 0..8_u8, 0..8);
    let revoked = prop::collection::btree_set(0..12_u8, 0..5);
    (records, revoked, prop::option::weighted(0.3, 1..4_u64)).prop_map(
        |(records, revoked, forgotten)| {
            let revoked: BTreeMap<KeyId, KeyTime> = revoked
                .into_iter()
                .map(|n| record(n, 0))
                .map(|record| (record.id, KeyTime(record.created)))
                .collect();
            let records = records.into_iter().map(|(n, kind)| record(n, kind));
            normal(KeySet {
                records: records.filter(|it| !revoked.contains_key(&it.id)).collect(),
                revoked,
                forgotten: forgotten
                    .map(|at| KeyTime(SystemTime::UNIX_EPOCH + Duration::from_secs(at))),
                is_shared: true,
            })
        },
    )
}

proptest! {
    #[test]
    fn the_order_and_the_number_of_merges_change_nothing(
        a in any_set(), b in any_set(), c in any_set(),
    ) {
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        prop_assert_eq!(a.merge(&a), a.clone());
        let both = a.merge(&b);
        prop_assert_eq!(both.merge(&a), both.clone());
        prop_assert_eq!(both.merge(&b), both);
    }

    #[test]
    fn a_revoked_key_is_nobodys_whatever_its_record_says(a in any_set(), b in any_set()) {
        let both = a.merge(&b);
        let live: BTreeSet<KeyId> = both.records.iter().map(|record| record.id).collect();
        for id in a.revoked.keys().chain(b.revoked.keys()) {
            prop_assert!(!live.contains(id));
        }
        // Nothing else is lost, but for what one of them may have revoked and forgotten.
        for record in a.records.iter().filter(|it| !b.has_forgotten(it)) {
            prop_assert_eq!(live.contains(&record.id), !b.revoked.contains_key(&record.id));
        }
    }

    #[test]
    fn what_is_merged_survives_its_text_and_differs_by_its_digest(a in any_set(), b in any_set()) {
        let both = a.merge(&b);
        let read = format::from_text(&format::to_text(&both).unwrap()).unwrap();
        prop_assert_eq!(read.digest() == a.digest(), both == a);
        prop_assert_eq!(read, both);
    }

    /// Routers revoke keys of a few that all had, and meet in some order: then no router has any of these.
    #[test]
    fn revoked_anywhere_is_revoked_everywhere_though_little_is_remembered(
        revoked in prop::collection::vec((0..3_usize, 0..12_usize), 0..30),
        meetings in prop::collection::vec((0..3_usize, 0..3_usize), 0..12),
        kept in subsequence((0..12_u8).collect::<Vec<_>>(), 0..12),
    ) {
        let records = kept.iter().map(|n| record(*n, 0)).collect();
        let all = normal(KeySet { records, is_shared: true, ..KeySet::default() });
        let mut routers = [all.clone(), all.clone(), all];
        let mut gone = BTreeSet::new();
        for (n, (at, key)) in revoked.into_iter().enumerate() {
            let router = &mut routers[at];
            if key < router.records.len() {
                gone.insert(router.revoke(key).id);
                router.forget(2);
            }
            if let Some((one, other)) = meetings.get(n) {
                routers[*one] = routers[*one].merge(&routers[*other]);
                routers[*one].forget(2);
            }
        }
        let [a, b, c] = &routers;
        let met = a.merge(b).merge(c);
        let live: BTreeSet<KeyId> = met.records.iter().map(|record| record.id).collect();
        prop_assert!(live.is_disjoint(&gone));
        prop_assert_eq!(live.len() + gone.len(), kept.len());
    }
}

#[test]
fn of_two_records_of_a_key_the_one_with_fewer_rights_counts() {
    let set = |record| KeySet {
        records: vec![record],
        ..KeySet::default()
    };
    let admin = record(1, 3);
    for less in [record(1, 1), record(1, 7)] {
        let met = set(admin.clone()).merge(&set(less.clone()));
        assert_eq!(met.records, [less]);
    }
}

#[test]
fn a_key_that_is_made_later_is_taken_though_revoked_ones_were_forgotten_and_the_clock_is_slow() {
    let revoked = [0, 3, 6].map(|n| record(n, 0));
    let mut set = KeySet {
        is_shared: true,
        ..KeySet::default()
    };
    for record in &revoked {
        set.records.push(record.clone());
        set.revoke(0);
    }
    set.forget(1);
    assert_eq!((set.revoked.len(), set.forgotten.is_some()), (1, true));
    let mut here = set.clone();
    here.records.push(KeyRecord {
        created: set.time_for_new(SystemTime::UNIX_EPOCH),
        ..record(9, 0)
    });
    assert_eq!(set.merge(&here).records.len(), 1);
    // One who was away brings nothing back.
    let away = KeySet {
        records: revoked.to_vec(),
        ..KeySet::default()
    };
    assert_eq!(here.merge(&away).records, here.records);
}
