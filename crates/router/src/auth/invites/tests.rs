use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use p2p_shared::key::Key;

use super::*;

fn for_key(name: &str, role: Role) -> Purpose {
    Purpose::Key {
        name: name.parse().unwrap(),
        role,
        ports: role.may_link().then_some(PortRange::CARS),
    }
}

fn for_page() -> Purpose {
    let key = Key::generate().unwrap().id();
    Purpose::Page { key, port: 9000 }
}

/// Redeems it as who it is for.
fn used(
    dir: &Path,
    purpose: &Purpose,
    code: &InviteCode,
    now: SystemTime,
) -> Result<Purpose, NotInvited> {
    let give = |purpose: &Purpose| Ok(purpose.clone());
    redeem(dir, code, purpose.redeemer(), now, give, drop)
}

#[test]
fn each_is_good_once_and_in_its_time() {
    for purpose in [
        for_key("car", Role::Link),
        for_key("me", Role::Admin),
        Purpose::Mesh,
        for_page(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (now, life) = (SystemTime::now(), purpose.life());
        let one = make(dir.path(), purpose.clone(), now).unwrap();
        let file = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        assert!(!file.contains(&one.expose()));
        assert_eq!(
            used(dir.path(), &purpose, &one, now + life).unwrap(),
            purpose
        );
        let why = |code, now| used(dir.path(), &purpose, code, now).unwrap_err();
        assert!(matches!(why(&one, now), NotInvited::Used(_)));
        let two = make(dir.path(), purpose.clone(), now).unwrap();
        let second = Duration::from_secs(1);
        assert!(matches!(
            why(&two, now + life + second),
            NotInvited::Expired(_)
        ));
        assert!(matches!(
            why(&two, now - life - 2 * second),
            NotInvited::Expired(_)
        ));
        let stranger = InviteCode::generate().unwrap();
        assert!(matches!(why(&stranger, now), NotInvited::Unknown));
        used(dir.path(), &purpose, &two, now).unwrap();
        // After a time nobody needs to know of it.
        make(dir.path(), purpose.clone(), now + purpose.remembered()).unwrap();
        assert!(matches!(why(&one, now), NotInvited::Unknown));
    }
}

#[test]
fn whom_it_is_not_for_is_told_and_does_not_use_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let code = make(dir.path(), for_key("car", Role::Link), now).unwrap();
    for redeemer in [Some(Redeemer::Console), Some(Redeemer::Router), None] {
        let give = |_: &Purpose| -> Result<(), _> { panic!("it is not for {redeemer:?}") };
        let refused = redeem(dir.path(), &code, redeemer, now, give, drop);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("for `p2p-inner setup`"), "{said}");
    }
    used(dir.path(), &for_key("car", Role::Link), &code, now).unwrap();
}

#[test]
fn another_for_the_same_key_makes_the_first_void() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let purpose = for_key("car", Role::Link);
    let [old, new] = [(); 2].map(|()| make(dir.path(), purpose.clone(), now).unwrap());
    let van = make(dir.path(), for_key("van", Role::Link), now).unwrap();
    let why = used(dir.path(), &purpose, &old, now).unwrap_err();
    assert!(matches!(why, NotInvited::Unknown));
    let open = open_for_keys(dir.path(), now).unwrap();
    assert_eq!(open.len(), 2);
    assert!(withdraw(dir.path(), &"car".parse().unwrap(), now).unwrap());
    assert!(!withdraw(dir.path(), &"car".parse().unwrap(), now).unwrap());
    assert!(used(dir.path(), &purpose, &new, now).is_err());
    used(dir.path(), &purpose, &van, now).unwrap();
    assert!(open_for_keys(dir.path(), now).unwrap().is_empty());
}

#[test]
fn who_has_a_used_one_does_not_wait_for_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (now, mesh) = (SystemTime::now(), Purpose::Mesh);
    let [one, two] = [(); 2].map(|()| make(dir.path(), Purpose::Mesh, now).unwrap());
    used(dir.path(), &mesh, &one, now).unwrap();
    let _lock = file_in(dir.path()).lock().unwrap();
    let why = |code| used(dir.path(), &mesh, code, now).unwrap_err();
    assert!(matches!(why(&one), NotInvited::Used(_)));
    assert!(why(&two).to_string().contains("another program has it"));
}

#[test]
fn of_many_the_used_ones_give_way_and_no_open_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let (now, mesh) = (SystemTime::now(), Purpose::Mesh);
    let first = make(dir.path(), Purpose::Mesh, now).unwrap();
    let others: Vec<_> = (1..MOST)
        .map(|_| make(dir.path(), Purpose::Mesh, now).unwrap())
        .collect();
    for _ in 0..=MOST {
        let page = for_page();
        let code = make(dir.path(), page.clone(), now).unwrap();
        used(dir.path(), &page, &code, now).unwrap();
    }
    let full = make(dir.path(), Purpose::Mesh, now)
        .unwrap_err()
        .to_string();
    assert!(full.contains("64 invitations are open"), "{full}");
    used(dir.path(), &mesh, &others[0], now).unwrap();
    make(dir.path(), Purpose::Mesh, now).unwrap();
    for code in others[1..].iter().chain([&first]) {
        used(dir.path(), &mesh, code, now).unwrap();
    }
    let why = used(dir.path(), &mesh, &others[0], now).unwrap_err();
    assert!(matches!(why, NotInvited::Unknown));
    let size = dir.path().join(FILE_NAME).metadata().unwrap().len();
    assert!(size < MAX_FILE / 2, "{size}");
}

#[test]
fn what_cannot_be_read_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let file = dir.path().join(FILE_NAME);
    StateFile::new(dir.path(), FILE_NAME)
        .replace("newer")
        .unwrap();
    let why = make(dir.path(), Purpose::Mesh, now)
        .unwrap_err()
        .to_string();
    assert!(why.contains("invites.toml can't be used"), "{why}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "newer");
}

#[test]
fn who_gets_nothing_has_not_used_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let car = for_key("car", Role::Link);
    let code = make(dir.path(), car.clone(), now).unwrap();
    let redeem = |give: fn(&Purpose) -> Result<(), NotInvited>| {
        let mut is_back = false;
        let redeemed = redeem(dir.path(), &code, car.redeemer(), now, give, |()| {
            is_back = true
        });
        (redeemed.err().map(|why| why.to_string()), is_back)
    };
    let (why, is_back) = redeem(|_| Err(not_given(anyhow!("the disk is full"))));
    let why = why.unwrap();
    assert!(
        why.contains("as good as before, but the disk is full"),
        "{why}"
    );
    assert!(!is_back, "there was nothing");
    // It can't be noted that it is used.
    let next = dir.path().join(format!("{FILE_NAME}.new"));
    std::fs::create_dir(&next).unwrap();
    let (why, is_back) = redeem(|_| Ok(()));
    assert!(why.unwrap().contains("as good as before"));
    assert!(is_back);
    std::fs::remove_dir(&next).unwrap();
    assert_eq!(redeem(|_| Ok(())), (None, false));
}

#[test]
fn of_two_who_have_one_code_at_the_same_time_one_gets_something() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let code = make(dir.path(), Purpose::Mesh, now).unwrap();
    let given = AtomicU32::new(0);
    let start = Barrier::new(2);
    let give = |_: &Purpose| {
        given.fetch_add(1, Ordering::Relaxed);
        // The other one has read the file by now, unless the lock is in its way.
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    };
    let redeem = || {
        start.wait();
        redeem(dir.path(), &code, Some(Redeemer::Router), now, give, drop)
    };
    let mut redeemed = std::thread::scope(|scope| {
        let two = [(); 2].map(|()| scope.spawn(redeem));
        two.map(|it| it.join().unwrap())
    });
    redeemed.sort_by_key(Result::is_err);
    let [got, refused] = redeemed;
    got.unwrap();
    assert!(matches!(refused.unwrap_err(), NotInvited::Used(_)));
    assert_eq!(given.into_inner(), 1);
}
