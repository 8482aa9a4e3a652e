//! Makes one feed of what all routers tell, this one too: decides where each car is, and what a console is told
//! of it. Given what comes, the time, and what the mesh knows; has no clock, no socket and no mesh.
//!
//! A car is where its newest link is, whoever said so last: links have epochs. What other routers still say of it is
//! not told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use p2p_shared::names::{CommandName, RunId};
use p2p_shared::protocol::{ConsoleToRouter, ControlInfo, FeedEvent, LinkInfo, RunInfo, SessionId};

use crate::feed::RUNS;
use crate::mesh::id::Start;
pub(super) use settle::stop;

/// Most events that wait for the console: as many as it may be behind at its own router. Of a router that
/// tells more all is asked again.
const LATE: usize = 4096;

/// What the mesh knows now.
pub(super) trait Directory {
    /// The router that has this port open, this one too, and the epoch of its link.
    fn holder(&self, port: u16) -> Option<(Start, Option<u64>)>;
    /// Why nothing is heard any more of the car with this port, which was at this router.
    fn why_away(&self, port: u16, was_at: Start) -> String;
}

/// The feed of all routers, for one console.
#[derive(Debug)]
pub(super) struct MergedFeed {
    here: Start,
    /// The console's session here.
    session: SessionId,
    routers: BTreeMap<Start, Teller>,
    cars: BTreeMap<u16, MergedCar>,
    /// Cars of which nothing is heard: the mesh is asked about them.
    lost: BTreeSet<u16>,
    watched: Option<u16>,
    /// Cars that the console has stopped just now: at which router, and when.
    stops: BTreeMap<u16, (Start, Instant)>,
    told: VecDeque<FeedEvent>,
    /// How many of these are of pictures.
    pictured: usize,
    missed: u64,
    asks: VecDeque<(Start, ConsoleToRouter)>,
}

/// A router that tells of its cars.
#[derive(Debug, Default)]
struct Teller {
    /// The console's session there.
    session: Option<SessionId>,
    /// It has told all it has, once.
    is_whole: bool,
    /// It was asked to tell all again.
    is_asked: bool,
    /// It told more than could wait.
    is_behind: bool,
    /// The cars that it had, and has not named yet while it tells all.
    rest: BTreeSet<u16>,
    /// The car that the console watches there.
    watched: Option<u16>,
}

#[derive(Debug, Default)]
struct MergedCar {
    words: Vec<Word>,
    shown: Shown,
}

/// A router's last word of a car.
#[derive(Debug)]
struct Word {
    router: Start,
    epoch: Option<u64>,
    is_up: bool,
    stop: CommandName,
}

/// What the console was told of a car.
#[derive(Debug, Default, PartialEq, Eq)]
enum Shown {
    #[default]
    Nothing,
    /// It is away because of routers, not of itself.
    Away,
    At(Start),
}

impl MergedFeed {
    pub(super) fn new(here: Start, session: SessionId) -> Self {
        Self {
            here,
            session,
            routers: BTreeMap::from([(here, Teller::default())]),
            cars: BTreeMap::new(),
            lost: BTreeSet::new(),
            watched: None,
            stops: BTreeMap::new(),
            told: VecDeque::new(),
            pictured: 0,
            missed: 0,
            asks: VecDeque::new(),
        }
    }

    /// Where this car is: where its newest link is, by the words of routers and by the news of the mesh.
    pub(super) fn place(&self, port: u16, mesh: &impl Directory) -> Option<Start> {
        let words = self.cars.get(&port).map_or(&[][..], |car| &car.words);
        let by_word = words.iter().map(|it| (it.epoch, it.is_up, it.router));
        let by_news = mesh.holder(port).map(|(at, epoch)| (epoch, false, at));
        let newest = by_word.chain(by_news).max();
        newest.map(|(_, _, router)| router)
    }

    /// Waits for all that a router has: a connection to it is being made.
    pub(super) fn begins(&mut self, router: Start) {
        self.routers.insert(router, Teller::default());
    }

    /// Returns true while a router has not told yet what it has.
    pub(super) fn awaits(&self) -> bool {
        self.routers.values().any(|teller| !teller.is_whole)
    }

    /// Returns true if a router has told all it has.
    pub(super) fn is_whole(&self, router: Start) -> bool {
        (self.routers.get(&router)).is_some_and(|teller| teller.is_whole)
    }

    /// Takes in a part of all that a router has, of which `missed` events are not told.
    pub(super) fn on_part(
        &mut self,
        from: Start,
        (first, last, session): (bool, bool, SessionId),
        missed: u64,
        (links, runs): (
            impl IntoIterator<Item = LinkInfo>,
            impl IntoIterator<Item = RunInfo>,
        ),
        mesh: &impl Directory,
    ) {
        let Some(teller) = self.routers.get_mut(&from) else {
            return;
        };
        teller.session = Some(session);
        if first {
            teller.is_behind = false;
            let has = |car: &MergedCar| car.words.iter().any(|word| word.router == from);
            let all = self.cars.iter().filter(|(_, car)| has(car));
            teller.rest = all.map(|(port, _)| *port).collect();
            self.missed += missed;
        }
        let before = self.told.len();
        for link in links {
            if let Some(teller) = self.routers.get_mut(&from) {
                teller.rest.remove(&link.service_port);
            }
            self.link(from, link, mesh);
        }
        let runs = runs.into_iter();
        (self.told).extend(runs.map(|run| FeedEvent::Run(Box::new(run))));
        self.pictured += self.told.len() - before;
        if last && let Some(teller) = self.routers.get_mut(&from) {
            (teller.is_whole, teller.is_asked) = (true, false);
            for port in std::mem::take(&mut teller.rest) {
                self.gone(from, port, mesh);
            }
        }
    }

    /// Takes in an event of a router.
    pub(super) fn on_event(&mut self, from: Start, mut event: FeedEvent, mesh: &impl Directory) {
        let Some(teller) = self.routers.get_mut(&from) else {
            return;
        };
        // What is here is read only as there is room.
        let is_full = from != self.here && self.told.len() >= LATE + self.pictured;
        if is_full || teller.is_behind {
            teller.is_behind = true;
            self.missed += 1;
            return;
        }
        let port = match &mut event {
            FeedEvent::Run(_) => return self.told.push_back(event),
            FeedEvent::Link(_) => 0,
            FeedEvent::LinkGone { service_port } => return self.gone(from, *service_port, mesh),
            FeedEvent::Control {
                service_port,
                control,
            } => {
                own_session(control, teller.session, self.session);
                *service_port
            }
            FeedEvent::LinkDown { service_port, .. }
            | FeedEvent::Rtt { service_port, .. }
            | FeedEvent::Motion { service_port, .. } => *service_port,
        };
        if let FeedEvent::Link(link) = event {
            return self.link(from, *link, mesh);
        }
        let Some(car) = self.cars.get_mut(&port) else {
            return;
        };
        let is_down = matches!(event, FeedEvent::LinkDown { .. });
        if is_down && let Some(word) = car.words.iter_mut().find(|word| word.router == from) {
            word.is_up = false;
        }
        if car.shown == Shown::At(from) {
            self.told.push_back(event);
        }
        if is_down {
            self.settle(port, None, mesh);
        }
    }

    fn link(&mut self, from: Start, mut link: LinkInfo, mesh: &impl Directory) {
        let there = self.routers.get(&from).and_then(|teller| teller.session);
        own_session(&mut link.control, there, self.session);
        let port = link.service_port;
        let car = self.cars.entry(port).or_default();
        car.words.retain(|word| word.router != from);
        car.words.push(Word {
            router: from,
            epoch: link.epoch,
            is_up: link.is_up,
            stop: link.stop.clone(),
        });
        self.settle(port, Some((from, link)), mesh);
    }

    fn gone(&mut self, from: Start, port: u16, mesh: &impl Directory) {
        if let Some(car) = self.cars.get_mut(&port) {
            car.words.retain(|word| word.router != from);
            self.settle(port, None, mesh);
        }
    }

    /// Forgets what a router said: the connection to it is lost.
    pub(super) fn lost(&mut self, router: Start, mesh: &impl Directory) {
        self.routers.remove(&router);
        self.asks.retain(|(at, _)| *at != router);
        let has = |car: &MergedCar| car.words.iter().any(|word| word.router == router);
        let all = self.cars.iter().filter(|(_, car)| has(car));
        for port in all.map(|(port, _)| *port).collect::<Vec<_>>() {
            self.gone(router, port, mesh);
        }
    }

    /// Takes the next event for the console.
    pub(super) fn next(&mut self) -> Option<FeedEvent> {
        let event = self.told.pop_front();
        self.pictured = self.pictured.min(self.told.len());
        event
    }

    /// Takes the number of events of which the console was not told.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Takes what is to be told first, as one picture. What came later than that follows.
    pub(super) fn take_picture(&mut self) -> (Vec<LinkInfo>, Vec<Arc<RunInfo>>) {
        let (mut links, mut runs) = (BTreeMap::new(), BTreeMap::<RunId, _>::new());
        let mut later = VecDeque::new();
        // A link has in it whatever was told of its car before.
        for event in std::mem::take(&mut self.told).into_iter().rev() {
            match event {
                FeedEvent::Link(link) => {
                    links.entry(link.service_port).or_insert(*link);
                }
                FeedEvent::Run(run) => {
                    runs.entry(run.run).or_insert_with(|| Arc::from(run));
                }
                event if links.contains_key(&event.service_port()) => {}
                event => later.push_front(event),
            }
        }
        (self.told, self.pictured) = (later, 0);
        let mut runs: Vec<Arc<RunInfo>> = runs.into_values().collect();
        // By the clock of each router.
        runs.sort_by_key(|run| run.at_ms);
        runs.drain(..runs.len().saturating_sub(RUNS));
        (links.into_values().collect(), runs)
    }
}

/// Makes the console's session at another router its session here.
fn own_session(control: &mut ControlInfo, there: Option<SessionId>, here: SessionId) {
    let asking = control.request.as_mut().map(|(asking, _)| asking);
    for driver in control.driver.as_mut().into_iter().chain(asking) {
        if Some(driver.session) == there {
            driver.session = here;
        }
    }
}

mod settle;
#[cfg(test)]
mod tests;
