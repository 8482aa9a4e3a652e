//! Tests the links of a car, the end of its port, and the snapshots of consoles meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use p2p_shared::key::KeyId;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{
    CameraState, ControlRequest, Driver, LinkHello, MotionEvent, MotionRefusal, Rejection,
    RouterToConsole, RunSource, StopCause,
};
use tokio::sync::broadcast::error::TryRecvError;

use super::registry::claim::{Claim, Granted};
use super::registry::{PortRules, Registry};
use super::saved_ports::{PortState, SavedPort};
use super::session::SessionGuard;
use super::*;
use crate::auth::key_store::{KeyFile, KeyStore};
use crate::camera::Status;
use crate::feed::Subscription;
use crate::link::LinkObserver;
use crate::net::port_range::PortRange;

fn registry() -> Registry {
    registry_with(None)
}

fn registry_with(keys: Option<KeyStore>) -> Registry {
    let rules = PortRules {
        bind: Ipv4Addr::LOCALHOST.into(),
        allowed: "1024-65535".parse().unwrap(),
        are_open: true,
        most: 2,
        most_elsewhere: 2,
        keys,
        mesh: None,
    };
    let services = CarServices {
        records: false,
        feed: Arc::new(Feed::new()),
        metrics: Arc::new(Metrics::new()),
        epochs: Epochs::starting_at(SystemTime::now()),
        changed: Notify::new(),
        closing: AtomicBool::new(false),
    };
    Registry::new(rules, services)
}

fn hello(service_port: u16, instance: u64, name: &str) -> LinkHello {
    LinkHello {
        service_port,
        name: name.parse().unwrap(),
        identity: "abcd2345".to_owned().try_into().unwrap(),
        instance: InstanceId(instance),
        software: "".into(),
        clock_ms: 0,
        motion: MotionInfo {
            commands: vec!["forward".parse().unwrap()].try_into().unwrap(),
            stop: "stop".parse().unwrap(),
            lease_ms: 400,
            limit_ms: 2000,
        },
        camera: true,
        dial: 0,
        past: false,
    }
}

fn claim(registry: &Registry, hello: &LinkHello) -> Result<Granted, (Rejection, String)> {
    registry.claim(&mut Claim {
        owner: QuotaOwner::At(IpAddr::from(Ipv4Addr::LOCALHOST).into()),
        identity: hello.identity.clone(),
        ports: None,
        key: "",
        hello,
        grant: None,
    })
}

fn links(subscription: &mut Subscription) -> Vec<LinkInfo> {
    let snapshot = &mut subscription.snapshot;
    match snapshot.part(SessionId(1), &"".into(), Role::View, 0) {
        RouterToConsole::Snapshot { links, .. } => links.into_iter().collect(),
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn what_a_replaced_link_reports_and_its_end_count_for_nothing() {
    let registry = registry();
    let old = claim(&registry, &hello(0, 1, "car")).unwrap();
    let car = old.car.clone();
    let new = claim(&registry, &hello(car.port, 2, "car")).unwrap();
    assert!(!new.is_new && Arc::ptr_eq(&new.car, &car));
    let _viewer = car.camera.watch();
    car.on_motion(old.link.id(), MotionEvent::StopFailed, None, true);
    let why = "why".into();
    car.on_camera(old.link.id(), CameraState::Failed { why });
    assert!(!car.link_down(old.link.id(), "lost"));
    assert_eq!(*car.camera.status().borrow(), Status::Starting);
    let seen = links(&mut registry.subscribe(PortRange::ALL));
    assert!(seen[0].is_up && !seen[0].stop_failed);
    car.on_motion(new.link.id(), MotionEvent::StopFailed, None, true);
    assert!(links(&mut registry.subscribe(PortRange::ALL))[0].stop_failed);
    assert!(car.link_down(new.link.id(), "lost"));
    assert_eq!(*car.camera.status().borrow(), Status::Away);
}

#[tokio::test]
async fn no_hello_is_late_by_the_links_of_another_identity() {
    let registry = registry();
    let first = LinkHello {
        dial: 7,
        ..hello(0, 1, "car")
    };
    let _first = claim(&registry, &first).unwrap();
    let late = claim(&registry, &hello(0, 1, "car")).unwrap_err();
    assert_eq!(late.0, Rejection::PortUnavailable);
    let other = LinkHello {
        identity: "abcd2346".to_owned().try_into().unwrap(),
        ..hello(0, 1, "car")
    };
    claim(&registry, &other).unwrap();
}

#[tokio::test]
async fn of_too_many_motion_events_what_becomes_of_the_newest_press_is_shown_once() {
    let registry = registry();
    let granted = claim(&registry, &hello(0, 1, "car")).unwrap();
    let car = &granted.car;
    let mut events = registry.subscribe(PortRange::one(car.port)).events;
    let driver = Driver {
        session: SessionId(1),
        name: "bob".into(),
    };
    let now = Instant::now();
    let mut press = PressId {
        epoch: 0,
        number: 0,
    };
    {
        let control = &mut car.state.lock().control;
        let epochs = &car.services.epochs;
        let take = ControlRequest::Take;
        control.request(&driver, take, false, epochs, now).unwrap();
        press.epoch = control.info(now).epoch;
    }
    let cause = StopCause::Lease;
    let over = |press| MotionEvent::Over {
        press: Some(press),
        cause,
        clock_ms: None,
        by: None,
    };
    let refused = |press| MotionEvent::Refused {
        press,
        why: MotionRefusal::Old,
    };
    let outcomes: [(u64, &dyn Fn(PressId) -> MotionEvent); 2] = [(1, &over), (2, &refused)];
    for (number, outcome) in outcomes {
        press.number = number;
        let counts = (car.state.lock().control).press(driver.session, press, now);
        counts.unwrap();
        // Another press is nobody's.
        let other = PressId { number: 7, ..press };
        for event in [outcome(other), outcome(press), outcome(press)] {
            car.on_motion(granted.link.id(), event, None, false);
        }
        let FeedEvent::Motion { event, .. } = &*events.try_recv().unwrap() else {
            panic!("no motion event");
        };
        assert_eq!(*event, outcome(press));
        assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_is_given_up_a_minute_after_its_link_and_not_while_another_is_up() {
    let registry = registry();
    let first = claim(&registry, &hello(0, 1, "car")).unwrap();
    let car = first.car;
    assert!(car.link_down(first.link.id(), "lost"));
    assert_eq!(registry.give_up(&car, false), None);
    let second = claim(&registry, &hello(car.port, 1, "car")).unwrap();
    tokio::time::sleep(2 * timing::PORT_KEPT).await;
    assert_eq!(registry.give_up(&car, true), None, "it is up");
    assert!(car.link_down(second.link.id(), "lost"));
    tokio::time::sleep(timing::PORT_KEPT).await;
    let mut subscription = registry.subscribe(PortRange::one(car.port));
    assert_eq!(links(&mut subscription).len(), 1);
    assert_eq!(registry.give_up(&car, false), Some(timing::PORT_KEPT));
    let service_port = car.port;
    let gone = FeedEvent::LinkGone { service_port };
    assert_eq!(*subscription.events.try_recv().unwrap(), gone);
    assert_eq!(subscription.events.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(registry.give_up(&car, false), None, "once");
    assert!(car.closed.is_cancelled() && registry.car(service_port).is_none());
}

#[tokio::test]
async fn a_restored_car_is_not_shown_before_its_inner_is_back_and_keeps_its_name() {
    let before = registry();
    let granted = claim(&before, &hello(0, 1, "car")).unwrap();
    let saved = before.saved().remove(0);
    drop((before, granted));
    let registry = registry();
    let car = registry.restore(&saved, None).unwrap();
    assert!(registry.shown(car.port).is_none() && registry.car(car.port).is_some());
    assert_eq!(links(&mut registry.subscribe(PortRange::ALL)), []);
    // Another of that name gets a number meanwhile.
    let mut other = hello(0, 2, "car");
    other.identity = "efgh2345".to_owned().try_into().unwrap();
    assert_eq!(claim(&registry, &other).unwrap().name.to_string(), "car-2");
    let back = claim(&registry, &hello(car.port, 1, "car")).unwrap();
    assert_eq!(back.name.to_string(), "car");
    assert!(registry.shown(car.port).is_some());
}

#[tokio::test]
async fn a_name_and_a_place_are_free_again_when_the_car_has_another_name_or_is_gone() {
    let registry = registry();
    let claim_of = |identity: &str, port, name| {
        let mut hello = hello(port, 1, name);
        hello.identity = identity.to_owned().try_into().unwrap();
        claim(&registry, &hello)
    };
    let one = claim_of("one", 0, "car").unwrap();
    let two = claim_of("two", 0, "car").unwrap();
    assert_eq!(two.name.to_string(), "car-2");
    // Both places of this address are taken, and a car that has one already needs none.
    assert!(claim_of("three", 0, "car").is_err());
    let one = claim_of("one", one.car.port, "other").unwrap();
    assert_eq!(one.name.to_string(), "other");
    let two = claim_of("two", two.car.port, "new").unwrap();
    let two = claim_of("two", two.car.port, "car").unwrap();
    assert_eq!(two.name.to_string(), "car");
    assert!(two.car.link_down(two.link.id(), "lost"));
    registry.give_up(&two.car, true).unwrap();
    let three = claim_of("three", 0, "car").unwrap();
    assert_eq!(three.name.to_string(), "car");
    assert!(claim_of("four", 0, "car").is_err());
}

#[tokio::test]
async fn a_session_sees_and_watches_the_cars_of_its_ports_only() {
    let registry = Arc::new(registry());
    let [own, other] = [1, 2].map(|_| claim(&registry, &hello(0, 1, "car")).unwrap().car.port);
    let guard = SessionGuard::new(registry.clone(), PortRange::one(own), true);
    assert!(guard.car(own).is_some() && guard.car(other).is_none());
    let seen: Vec<_> = links(&mut guard.subscribe());
    assert_eq!(
        seen.iter().map(|it| it.service_port).collect::<Vec<_>>(),
        [own]
    );
    assert_eq!(guard.watch(Some(own)), Some(own));
    assert_eq!(guard.watch(Some(other)), None);
    for (service_port, is_seen) in [(own, true), (other, false)] {
        let mut event = FeedEvent::LinkGone { service_port };
        assert_eq!(guard.sees(&event), is_seen);
        event = FeedEvent::Rtt {
            service_port,
            rtt_us: 1,
            hop_us: None,
            silent_ms: None,
        };
        assert_eq!(guard.sees(&event), is_seen);
    }
    // A car that nobody sees is not asked for what people would see.
    let wants = |port| registry.car(port).unwrap().state.lock().interest;
    assert!(wants(own).seen && !wants(other).seen);
    let desk = SessionGuard::new(registry.clone(), PortRange::ALL, true);
    assert!(wants(other).seen);
    drop(guard);
    assert!(wants(own).seen && !wants(own).ticks);
    drop(desk);
    assert!(!wants(own).seen && !wants(other).seen);
}

#[tokio::test]
async fn a_port_and_a_name_stay_with_the_key_that_had_them_last() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_dir(folder.path());
    let [car, thief] = ["car", "thief"].map(|name| {
        let key = file.add(&name.parse().unwrap(), Role::Link, None);
        key.unwrap().id()
    });
    let keys = KeyStore::open(folder.path()).unwrap();
    let claim = |registry: &Registry, key: KeyId, port| {
        registry.claim(&mut Claim {
            owner: QuotaOwner::Key(key),
            identity: key.to_string().try_into().unwrap(),
            ports: None,
            key: "",
            hello: &hello(port, 1, "car"),
            grant: None,
        })
    };
    let leave = |registry: &Registry, granted: &Granted| {
        assert!(granted.car.link_down(granted.link.id(), "lost"));
        registry.give_up(&granted.car, true).unwrap();
    };
    let is_kept = |registry: &Registry, port| {
        let (_, why) = claim(registry, thief, port).unwrap_err();
        assert!(
            why.contains(&format!("p2p-router port free {port}")),
            "{why}"
        );
        let other = claim(registry, thief, 0).unwrap();
        assert_eq!(other.name.to_string(), "car-2");
        assert_ne!(other.car.port, port);
        leave(registry, &other);
    };
    let before = registry_with(Some(keys.clone()));
    let had = claim(&before, car, 0).unwrap();
    let port = had.car.port;
    drop(had.car.record(&NewRun {
        run: RunId::from_number(1),
        command: "hello".parse().unwrap(),
        arguments: Default::default(),
        stdin: bytes::Bytes::new(),
        for_ms: None,
        source: RunSource::Http,
        by: "me".into(),
        key: "me".into(),
        from: ([127, 0, 0, 1], 1).into(),
        begun: Instant::now(),
    }));
    let runs = |registry: &Registry| {
        let mut snapshot = registry.subscribe(PortRange::ALL).snapshot;
        match snapshot.part(SessionId(1), &"".into(), Role::View, 0) {
            RouterToConsole::Snapshot { runs, .. } => runs.len(),
            _ => unreachable!(),
        }
    };
    assert!(had.car.link_down(had.link.id(), "lost"));
    let (_, why) = claim(&before, thief, port).unwrap_err();
    assert!(why.contains("p2p-router port free"), "{why}");
    before.give_up(&had.car, true).unwrap();
    drop(had);
    is_kept(&before, port);

    let restarted = registry_with(Some(keys.clone()));
    for saved in before.saved() {
        assert_eq!(saved.state, PortState::Kept);
        restarted.keep(saved);
    }
    is_kept(&restarted, port);
    // Whatever port it asks for.
    let back = claim(&restarted, car, 0).unwrap();
    assert_eq!(
        (back.car.port, back.name.to_string()),
        (port, "car".to_owned())
    );
    leave(&restarted, &back);
    drop(back);
    is_kept(&restarted, port);
    let mut marked = restarted.saved();
    for saved in &mut marked {
        if saved.service_port == port {
            saved.state = PortState::Freed;
        }
    }
    let left = restarted.exchange(&marked);
    assert!(left.iter().all(|saved| saved.service_port != port));
    let taken = claim(&restarted, thief, port).unwrap();
    assert_eq!(taken.name.to_string(), "car");
    leave(&restarted, &taken);
    drop(taken);

    file.revoke(&"car".parse().unwrap()).unwrap();
    keys.reload().unwrap();
    assert!(
        before
            .saved()
            .iter()
            .all(|saved| saved.service_port != port)
    );
    assert_eq!(runs(&before), 1);
    let taken = claim(&before, thief, port).unwrap();
    assert_eq!(taken.name.to_string(), "car");
    assert_eq!(
        runs(&before),
        0,
        "the new holder is shown the runs of the one before"
    );
}

#[tokio::test]
async fn a_key_keeps_as_many_ports_as_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_dir(folder.path());
    let key = file.add(&"car".parse().unwrap(), Role::Link, None).unwrap();
    let registry = registry_with(Some(KeyStore::open(folder.path()).unwrap()));
    for service_port in 1..=5 {
        registry.keep(SavedPort {
            service_port,
            name: "car".parse().unwrap(),
            called: None,
            identity: key.id().to_string().try_into().unwrap(),
            owner: QuotaOwner::Key(key.id()),
            state: PortState::Open,
            held_since: 0,
        });
    }
    let ports = || -> Vec<_> {
        let saved = registry.saved();
        saved.iter().map(|saved| saved.service_port).collect()
    };
    assert_eq!(ports(), [4, 5]);
    // Those that are open count, too.
    let claim = |name| {
        registry.claim(&mut Claim {
            owner: QuotaOwner::Key(key.id()),
            identity: key.id().to_string().try_into().unwrap(),
            ports: None,
            key: "",
            hello: &hello(0, 1, name),
            grant: None,
        })
    };
    let one = claim("one").unwrap();
    assert_eq!(ports(), [5, one.car.port]);
    let two = claim("two").unwrap();
    let mut open = [one.car.port, two.car.port];
    open.sort_unstable();
    assert_eq!(ports(), open);
}

#[tokio::test]
async fn an_inner_that_asks_for_any_port_and_is_back_within_the_minute_has_its_port_and_name() {
    let registry = registry();
    let first = claim(&registry, &hello(0, 1, "car")).unwrap();
    assert!(first.car.link_down(first.link.id(), "lost"));
    let mut other = hello(0, 2, "car");
    other.identity = "efgh2345".to_owned().try_into().unwrap();
    assert!(claim(&registry, &other).unwrap().is_new);
    // Another process, as after a restart.
    let back = claim(&registry, &hello(0, 3, "car")).unwrap();
    assert!(!back.is_new && Arc::ptr_eq(&back.car, &first.car));
    assert_eq!(back.name.to_string(), "car");
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_an_inner_that_asks_for_any_port_has_its_own_and_takes_none_of_one_that_lives()
 {
    let registry = registry();
    let first = claim(&registry, &hello(0, 1, "car")).unwrap();
    // It answers the pings of an idle link.
    tokio::time::advance(timing::PACE_IDLE.ping).await;
    first.link.heard(timing::now());
    tokio::time::advance(timing::PACE_IDLE.ping + Duration::from_secs(5)).await;
    let other = claim(&registry, &hello(0, 2, "car")).unwrap();
    assert!(other.is_new && other.car.port != first.car.port);
    tokio::time::advance(Duration::from_secs(2)).await;
    other.link.heard(timing::now());
    let back = claim(&registry, &hello(0, 3, "car")).unwrap();
    assert!(!back.is_new && Arc::ptr_eq(&back.car, &first.car));
    assert_eq!(back.name.to_string(), "car");
    assert!(
        first
            .link
            .ended()
            .await
            .to_string()
            .contains("another inner")
    );
}

#[tokio::test]
async fn a_car_that_is_back_before_its_port_is_freed_keeps_it_for_good() {
    let registry = registry();
    let first = claim(&registry, &hello(0, 1, "car")).unwrap();
    let car = first.car;
    assert!(car.link_down(first.link.id(), "lost"));
    let mut marked = registry.saved();
    marked[0].state = PortState::Freed;
    registry.exchange(&marked);
    registry.until_free(&car).await;
    let back = claim(&registry, &hello(car.port, 1, "car")).unwrap();
    assert!(!back.is_new && car.link_down(back.link.id(), "lost"));
    assert_eq!(registry.give_up(&car, false), None);
}

/// Notes the field `key` of each event.
#[derive(Debug, Default)]
struct Keys(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Keys {
    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == "key" {
            self.0.lock().push(value.to_owned());
        }
    }
}

impl tracing::Subscriber for Keys {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Self(self.0.clone()));
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn what_a_car_reports_is_logged_with_its_key() {
    let registry = registry();
    let granted = registry.claim(&mut Claim {
        owner: QuotaOwner::At(IpAddr::from(Ipv4Addr::LOCALHOST).into()),
        identity: "abcd2345".to_owned().try_into().unwrap(),
        ports: None,
        key: "bob",
        hello: &hello(0, 1, "any name"),
        grant: None,
    });
    let Granted { car, link, .. } = granted.unwrap();
    let keys = Keys::default();
    let noted = keys.0.clone();
    tracing::subscriber::with_default(keys, || {
        for event in [MotionEvent::Stands, MotionEvent::StopFailed] {
            car.on_motion(link.id(), event, None, true);
        }
    });
    assert_eq!(*noted.lock(), ["bob", "bob"]);
}

#[tokio::test]
async fn a_key_for_ports_that_the_router_has_not_is_told_so() {
    let refused = registry().claim(&mut Claim {
        owner: QuotaOwner::At(IpAddr::from(Ipv4Addr::LOCALHOST).into()),
        identity: "abcd2345".to_owned().try_into().unwrap(),
        ports: Some("80".parse().unwrap()),
        key: "",
        hello: &hello(0, 1, "car"),
        grant: None,
    });
    let (_, why) = refused.unwrap_err();
    assert!(
        why.starts_with("this key is for the service ports 80, and the router has"),
        "{why}"
    );
}
