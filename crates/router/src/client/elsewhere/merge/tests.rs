use std::time::Duration;

use p2p_shared::protocol::Driver;
use proptest::prelude::*;

use super::settle::link_down;
use super::*;

const HERE: Start = Start(1);
const ROUTERS: [Start; 3] = [HERE, Start(2), Start(3)];
const PORTS: std::ops::Range<u16> = 9000..9003;
const SESSION: SessionId = SessionId(77);

type News = BTreeMap<u16, (Start, Option<u64>)>;

impl Directory for News {
    fn holder(&self, port: u16) -> Option<(Start, Option<u64>)> {
        self.get(&port).copied()
    }

    fn why_away(&self, _: u16, _: Start) -> String {
        "its router".to_owned()
    }
}

fn link(at: Start, port: u16, epoch: u64) -> LinkInfo {
    LinkInfo {
        lease_ms: 400,
        motion_limit_ms: 2000,
        router: Some(at.0.to_string().as_str().into()),
        epoch: Some(epoch),
        ..LinkInfo::new(port, "car".parse().unwrap(), "halt".parse().unwrap())
    }
}

/// The session of the console at a router.
fn session(at: Start) -> SessionId {
    match at {
        HERE => SESSION,
        at => SessionId(at.0),
    }
}

/// What comes over a line.
#[derive(Debug, Clone)]
enum Sent {
    All(Vec<LinkInfo>),
    Event(FeedEvent),
}

/// A router, and what it has sent that has not come yet. `None`: there is no line.
#[derive(Debug, Default)]
struct Place {
    links: BTreeMap<u16, LinkInfo>,
    line: Option<VecDeque<Sent>>,
    watched: Option<u16>,
}

impl Place {
    fn tell(&mut self, event: &FeedEvent) {
        self.line
            .iter_mut()
            .for_each(|line| line.push_back(Sent::Event(event.clone())));
    }

    fn tell_all(&mut self) {
        let all: Vec<_> = self.links.values().cloned().collect();
        self.line
            .iter_mut()
            .for_each(|line| line.push_back(Sent::All(all.clone())));
    }
}

/// Routers, a console at the first of them, and what it was told.
struct World {
    places: BTreeMap<Start, Place>,
    /// What the mesh has heard so far, and how much of that is known here.
    news: Vec<News>,
    known: usize,
    number: u64,
    feed: MergedFeed,
    shown: BTreeMap<u16, LinkInfo>,
    stopped: Vec<(Start, u16)>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            places: ROUTERS.map(|at| (at, Place::default())).into(),
            news: vec![News::new()],
            known: 0,
            number: 0,
            feed: MergedFeed::new(HERE, SESSION),
            shown: BTreeMap::new(),
            stopped: Vec::new(),
            now: Instant::now(),
        };
        world.place(HERE).line = Some(VecDeque::new());
        world.place(HERE).tell_all();
        world.feed.watch(Some(PORTS.start), &News::new());
        world
    }

    fn place(&mut self, at: Start) -> &mut Place {
        self.places.get_mut(&at).unwrap()
    }

    fn truth(&self) -> &News {
        self.news.last().unwrap()
    }

    fn known(&self) -> News {
        self.news[self.known].clone()
    }

    fn holds(&mut self, port: u16, holder: Option<(Start, Option<u64>)>) {
        let mut news = self.truth().clone();
        news.remove(&port);
        news.extend(holder.map(|holder| (port, holder)));
        self.news.push(news);
    }

    fn comes_up(&mut self, at: Start, port: u16) {
        self.number += 1;
        let link = link(at, port, self.number);
        self.holds(port, Some((at, link.epoch)));
        let place = self.place(at);
        place.links.insert(port, link.clone());
        place.tell(&FeedEvent::Link(Box::new(link)));
    }

    /// The router hears that its car has gone to another.
    fn hears(&mut self, at: Start, port: u16) {
        let is_stale = self
            .truth()
            .get(&port)
            .is_none_or(|(holder, _)| *holder != at);
        let place = self.place(at);
        if is_stale && place.links.remove(&port).is_some() {
            place.tell(&FeedEvent::LinkGone { service_port: port });
        }
    }

    fn goes_down(&mut self, at: Start, port: u16) {
        let place = self.place(at);
        if let Some(link) = place.links.get_mut(&port).filter(|link| link.is_up) {
            link.is_up = false;
            place.tell(&link_down(port, "the car"));
        } else if place.links.contains_key(&port)
            && self.truth().get(&port).map(|it| it.0) == Some(at)
        {
            self.holds(port, None);
            self.hears(at, port);
        }
    }

    fn is_driven(&mut self, at: Start, port: u16) {
        self.number += 1;
        let number = self.number;
        let place = self.place(at);
        if let Some(link) = place.links.get_mut(&port) {
            let (session, name) = (session(at), "".into());
            link.control.driver = Some(Driver { session, name });
            link.control.epoch = number;
            let control = link.control.clone();
            place.tell(&FeedEvent::Control {
                service_port: port,
                control,
            });
        }
    }

    fn cut(&mut self, at: Start) {
        if at != HERE && self.place(at).line.take().is_some() {
            self.place(at).watched = None;
            let known = self.known();
            self.feed.lost(at, &known);
        }
    }

    fn meets(&mut self, at: Start) {
        if self.place(at).line.is_none() {
            self.place(at).line = Some(VecDeque::new());
            self.place(at).tell_all();
            self.feed.begins(at);
        }
    }

    /// Takes in what comes next over a line.
    fn delivers(&mut self, from: Start) -> bool {
        let known = self.known();
        let sent = self.place(from).line.as_mut().and_then(VecDeque::pop_front);
        match sent {
            Some(Sent::All(links)) => {
                let half = links.len() / 2;
                for (first, links) in [(true, &links[..half]), (false, &links[half..])] {
                    let part = (first, !first, session(from));
                    self.feed
                        .on_part(from, part, 0, (links.to_vec(), []), &known);
                }
            }
            Some(Sent::Event(event)) => self.feed.on_event(from, event, &known),
            None => return false,
        }
        true
    }

    /// Does what the console's task does: asks, and tells.
    fn turn(&mut self) -> bool {
        let mut did = false;
        while let Some((at, ask)) = self.feed.next_ask() {
            did = true;
            match ask {
                ConsoleToRouter::Again => self.place(at).tell_all(),
                ConsoleToRouter::Watch { service_port } => self.place(at).watched = service_port,
                ConsoleToRouter::Drive { service_port, .. } => {
                    self.stopped.push((at, service_port))
                }
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = self.feed.next() {
            did = true;
            self.is_told(event);
        }
        did
    }

    fn is_told(&mut self, event: FeedEvent) {
        let port = event.service_port();
        match event {
            FeedEvent::Link(link) => {
                self.shown.insert(port, *link);
            }
            FeedEvent::LinkGone { .. } => assert!(self.shown.remove(&port).is_some()),
            FeedEvent::LinkDown { .. } => self.shown.get_mut(&port).unwrap().is_up = false,
            FeedEvent::Control { control, .. } => {
                self.shown.get_mut(&port).unwrap().control = control;
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything that is under way arrives, all routers are reached, and the news are known.
    fn comes_to_rest(&mut self) {
        self.known = self.news.len() - 1;
        for at in ROUTERS {
            PORTS.for_each(|port| self.hears(at, port));
            self.meets(at);
        }
        self.known = self.news.len() - 1;
        for _ in 0..100 {
            let known = self.known();
            self.feed.pass_time(self.now, &known);
            let came = ROUTERS.map(|at| self.delivers(at));
            if !self.turn() && came == [false; 3] {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn check(&self) {
        let mut expected: BTreeMap<u16, LinkInfo> = BTreeMap::new();
        for place in self.places.values() {
            expected.extend(place.links.clone());
        }
        for link in expected.values_mut() {
            if let Some(driver) = &mut link.control.driver {
                driver.session = SESSION;
            }
        }
        assert_eq!(self.shown, expected);
        for port in PORTS {
            let place = self.feed.place(port, self.truth());
            assert_eq!(place, self.truth().get(&port).map(|(at, _)| *at));
        }
        let holder = self.truth().get(&PORTS.start).map(|(at, _)| *at);
        for (at, place) in self.places.iter().filter(|(at, _)| **at != HERE) {
            if holder.is_some() {
                assert_eq!(place.watched.is_some(), holder == Some(*at), "{at}");
            }
        }
    }

    /// Once the router with the newest link has told of it, the car is there, whatever others say later.
    fn check_newest(&self) {
        for (port, newest) in self.truth() {
            let words = self.feed.cars.get(port).map_or(&[][..], |car| &car.words);
            if words.iter().any(|it| (it.router, it.epoch) == *newest) {
                let place = self.feed.place(*port, &self.known());
                assert_eq!(place, Some(newest.0), "{port}");
            }
        }
    }

    fn step(&mut self, (what, at, port): (u8, usize, u16)) {
        let at = ROUTERS[at];
        match what {
            0..=1 => self.comes_up(at, port),
            2 => self.goes_down(at, port),
            3 => self.is_driven(at, port),
            4..=5 => self.hears(at, port),
            6 => self.cut(at),
            7..=8 => self.meets(at),
            9 => self.known = (self.known + 1).min(self.news.len() - 1),
            10 => {
                let known = self.known();
                self.feed.pass_time(self.now, &known);
            }
            11 => {
                self.turn();
            }
            _ => {
                self.delivers(at);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_comes_when_a_car_is_at_its_newest_link_and_the_console_is_shown_the_truth_in_the_end(
        steps in prop::collection::vec((0..20_u8, 0..ROUTERS.len(), PORTS), 0..80)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check_newest();
        }
        world.comes_to_rest();
        world.check();
    }
}

#[test]
fn a_stop_goes_on_with_its_car_and_a_refusal_of_it_is_no_answer() {
    let mut world = World::new();
    let (port, [_, old, new]) = (PORTS.start, ROUTERS);
    world.comes_up(old, port);
    world.comes_to_rest();
    world.feed.stopped(port, old, world.now);
    assert_eq!(
        {
            let truth = world.truth().clone();
            world.feed.stop_refused(old, &truth)
        },
        None
    );
    world.comes_up(new, port);
    world.turn();
    // By the router's own word, or by the mesh's.
    assert!(world.stopped.is_empty());
    world.comes_to_rest();
    assert_eq!(world.stopped, [(new, port)]);
    world.feed.stopped(port, new, world.now);
    world.comes_up(HERE, port);
    let truth = world.truth().clone();
    assert_eq!(world.feed.stop_refused(new, &truth), Some((port, HERE)));
    assert_eq!(world.feed.stop_refused(new, &truth), None);
    // After a while a car that comes up is not stopped any more.
    world.comes_to_rest();
    world.feed.stopped(port, HERE, world.now);
    world.now += Duration::from_secs(3);
    world.comes_to_rest();
    world.comes_up(new, port);
    world.comes_to_rest();
    assert_eq!(world.stopped.len(), 1);
}

#[test]
fn of_a_router_that_tells_too_much_all_is_asked_again_and_what_was_missed_is_counted() {
    let mut world = World::new();
    let (port, at) = (PORTS.start, ROUTERS[1]);
    world.comes_up(at, port);
    world.comes_to_rest();
    let rtt = |rtt_us| FeedEvent::Rtt {
        service_port: port,
        rtt_us,
        hop_us: None,
        silent_ms: None,
    };
    let known = world.known();
    for n in 0..5000 {
        world.feed.on_event(at, rtt(n), &known);
    }
    assert_eq!(world.feed.next_ask(), None);
    let told = std::iter::from_fn(|| world.feed.next()).count();
    assert_eq!((told, world.feed.take_missed()), (LATE, 5000 - LATE as u64));
    assert_eq!(world.feed.next_ask(), Some((at, ConsoleToRouter::Again)));
    // Until it comes nothing counts.
    world.feed.on_event(at, rtt(1), &known);
    assert_eq!((world.feed.next(), world.feed.next_ask()), (None, None));
    world.place(at).tell_all();
    world.comes_to_rest();
    world.check();
}

#[test]
fn what_is_told_first_is_one_picture() {
    let mut world = World::new();
    let [one, two, three] = [9000, 9001, 9002];
    for port in [one, two, three] {
        world.comes_up(ROUTERS[1], port);
    }
    world.meets(ROUTERS[1]);
    world.delivers(HERE);
    assert!(world.feed.awaits());
    world.delivers(ROUTERS[1]);
    assert!(!world.feed.awaits());
    world.goes_down(ROUTERS[1], one);
    world.goes_down(ROUTERS[1], two);
    world.comes_up(ROUTERS[1], two);
    while world.delivers(ROUTERS[1]) {}
    let known = world.known();
    let away = LinkInfo {
        is_up: false,
        ..link(ROUTERS[2], 9100, 0)
    };
    world.feed.show_away(away, "not reached");
    let (links, runs) = world.feed.take_picture();
    let up: Vec<_> = links
        .iter()
        .map(|link| (link.service_port, link.is_up))
        .collect();
    assert_eq!(up, [(one, true), (two, true), (three, true), (9100, false)]);
    assert_eq!(runs.len(), 0);
    assert_eq!(world.feed.next(), Some(link_down(one, "the car")));
    assert_eq!(world.feed.next(), Some(link_down(9100, "not reached")));
    assert_eq!(world.feed.next(), None);
    assert!(known.is_empty());
}
