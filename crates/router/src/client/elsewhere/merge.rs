//! Makes one picture of what the routers tell of their cars. A car is where it came up last; what another router
//! still says of it counts no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_shared::bounded::{List, Text};
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlInfo, FeedEvent, LinkInfo, MAX_ENTRIES, RunInfo, SessionId,
};
use p2p_shared::timing;

use super::{CarElsewhere, CarsElsewhere, Entries, Picture};
use crate::feed::{RUNS, shortened};
use crate::mesh::id::Start;
use crate::mesh::record::HeldState;
use crate::mesh::{Elsewhere, MemberState};

/// Time in which a router that has a car by the news tells of it. After that all are asked again.
const TELLS: Duration = Duration::from_secs(3);

impl CarsElsewhere {
    /// Takes in a part of all that a router has.
    pub(super) fn on_part(
        &mut self,
        start: Start,
        (first, last, session): (bool, bool, SessionId),
        links: List<LinkInfo, MAX_ENTRIES>,
        runs: List<RunInfo, MAX_ENTRIES>,
    ) {
        let Some(router) = self.routers.get_mut(&start) else {
            return;
        };
        router.session = session;
        if first {
            self.late.retain(|(of, _)| *of != start);
        }
        let mut entries = match std::mem::replace(&mut router.picture, Picture::Shown) {
            Picture::Awaited(entries) if !first => entries,
            _ => Entries::default(),
        };
        entries.0.extend(links);
        entries.1.extend(runs.into_iter().map(Arc::new));
        router.picture = match last {
            true => Picture::Ready(entries),
            false => Picture::Awaited(entries),
        };
        // It came late, or missed something: all is shown again.
        if last && self.gathering.is_none() {
            self.gather(timing::now());
        }
    }

    /// Adds all that the other routers have to what this one has.
    pub(crate) fn whole(&mut self, (here, mut runs): Entries) -> Entries {
        let now = timing::now();
        // What is still to be told is in the picture.
        self.told.clear();
        self.doubted.clear();
        let mut links: BTreeMap<u16, LinkInfo> = here
            .into_iter()
            .map(|link| (link.service_port, link))
            .collect();
        self.cars.clear();
        let mut watched = None;
        for (start, router) in &mut self.routers {
            let shown = std::mem::replace(&mut router.picture, Picture::Shown);
            let (its_links, its_runs) = match shown {
                Picture::Ready(entries) => entries,
                other => {
                    router.picture = other;
                    continue;
                }
            };
            runs.extend(its_runs);
            for mut link in its_links {
                let port = link.service_port;
                own_session(&mut link.control, router.session, self.session);
                let counts = || {
                    let there = self.mesh.holder_elsewhere(port);
                    there.is_some_and(|there| there.member.start == *start)
                };
                // While a car goes from one to another both may say that they have it.
                let is_better = links.get(&port).is_none_or(|other| {
                    (link.is_up && !other.is_up) || (link.is_up == other.is_up && counts())
                });
                if is_better {
                    let car = CarElsewhere::new(*start, &link);
                    self.cars.insert(port, car);
                    links.insert(port, link);
                    if self.watched == Some(port) {
                        watched = Some(*start);
                    }
                }
            }
        }
        for there in self.mesh.all_elsewhere() {
            self.add_away(&there, &mut links, now);
        }
        self.watch_at(watched);
        // By the clock of each router.
        runs.sort_by_key(|run| run.at_ms);
        runs.drain(..runs.len().saturating_sub(RUNS));
        (links.into_values().collect(), runs)
    }

    /// Adds a car whose router is not reached.
    fn add_away(&mut self, there: &Elsewhere, links: &mut BTreeMap<u16, LinkInfo>, now: Instant) {
        let (port, start) = (there.record.port, there.member.start);
        let router = self.routers.get(&start);
        let is_shown = router.is_some_and(|it| matches!(it.picture, Picture::Shown));
        if is_shown || links.contains_key(&port) || !self.ports.contains(port) {
            return;
        }
        let Some(link) = away(there, now) else { return };
        let car = CarElsewhere {
            lost: Some(now),
            ..CarElsewhere::new(start, &link)
        };
        self.cars.insert(port, car);
        links.insert(port, link);
        let why = self.why_lost(there);
        self.told.push_back(link_down(port, &why));
    }

    /// Why the console hears nothing of a car that is elsewhere.
    pub(super) fn why_lost(&self, there: &Elsewhere) -> String {
        let (address, router) = (&there.member.address, self.routers.get(&there.member.start));
        match (there.member.state, router) {
            (MemberState::Away { since }, _) => format!(
                "its router {address} has not been heard of for {} s",
                since.elapsed().as_secs()
            ),
            (_, Some(router)) if !matches!(router.picture, Picture::Shown) => format!(
                "its router {address} is not reached from this one: {}",
                router.why
            ),
            _ => format!("it goes to the router {address}"),
        }
    }

    /// Takes in an event of another router.
    pub(super) fn on_event(&mut self, start: Start, event: FeedEvent) {
        let is_told = match &event {
            FeedEvent::Link(link) => self.came_up(start, link),
            FeedEvent::LinkGone { service_port } => {
                return self.gone(start, *service_port);
            }
            FeedEvent::Run(_) => true,
            FeedEvent::LinkDown { service_port, .. }
            | FeedEvent::Rtt { service_port, .. }
            | FeedEvent::Control { service_port, .. }
            | FeedEvent::Motion { service_port, .. } => {
                let car = self.cars.get(service_port);
                car.is_some_and(|car| car.router == start)
            }
        };
        if is_told {
            self.told.push_back(event);
        }
    }

    fn came_up(&mut self, start: Start, link: &LinkInfo) -> bool {
        let port = link.service_port;
        let is_its = match self.cars.get(&port) {
            Some(car) => car.router == start,
            None => self.origin.context.registry.car(port).is_none(),
        };
        if !link.is_up && !is_its {
            return false;
        }
        // Which of two routers has it is not decided by whose word came last.
        if self.is_up_here(port) && self.mesh.holder_elsewhere(port).is_none() {
            self.doubted.insert(port);
            return false;
        }
        self.cars.insert(port, CarElsewhere::new(start, link));
        if self.watched == Some(port) {
            self.watch_at(Some(start));
        }
        true
    }

    pub(super) fn is_up_here(&self, port: u16) -> bool {
        let car = self.origin.context.registry.car(port);
        car.is_some_and(|car| car.link().is_some())
    }

    fn gone(&mut self, start: Start, port: u16) {
        self.doubted.remove(&port);
        if self.cars.get(&port).is_none_or(|car| car.router != start) {
            return;
        }
        match self.mesh.holder_elsewhere(port) {
            Some(there) if there.record.state != HeldState::Kept => {
                if let Some(car) = self.cars.get_mut(&port) {
                    car.lost.get_or_insert_with(timing::now);
                }
                let why = match there.member.start == start {
                    true => "it goes to another router".to_owned(),
                    false => self.why_lost(&there),
                };
                self.told.push_back(link_down(port, &why));
            }
            _ if self.origin.context.registry.car(port).is_some() => {
                self.cars.remove(&port);
                self.gather(timing::now());
            }
            _ => {
                self.cars.remove(&port);
                let gone = FeedEvent::LinkGone { service_port: port };
                self.told.push_back(gone);
            }
        }
    }

    /// Takes in an event of this router. Returns what the console is told of it.
    pub(crate) fn here(&mut self, event: FeedEvent) -> Option<FeedEvent> {
        match &event {
            FeedEvent::Run(_) => Some(event),
            FeedEvent::Link(link) => {
                let port = link.service_port;
                // It has gone to another since.
                if link.is_up && self.cars.contains_key(&port) && !self.is_up_here(port) {
                    return None;
                }
                if link.is_up && self.cars.remove(&port).is_some() && self.watched == Some(port) {
                    self.watch_at(None);
                }
                (!self.cars.contains_key(&port)).then_some(event)
            }
            FeedEvent::LinkGone { service_port } => {
                let port = *service_port;
                if self.cars.contains_key(&port) {
                    return None;
                }
                if self.doubted.remove(&port) {
                    self.gather(timing::now());
                }
                let Some(there) = self.mesh.holder_elsewhere(port) else {
                    return Some(event);
                };
                let car = CarElsewhere {
                    router: there.member.start,
                    stop: no_command()?,
                    lost: Some(timing::now()),
                };
                self.cars.insert(port, car);
                let why = shortened(&self.why_lost(&there));
                Some(FeedEvent::LinkDown {
                    service_port: port,
                    why,
                })
            }
            FeedEvent::LinkDown { service_port, .. }
            | FeedEvent::Rtt { service_port, .. }
            | FeedEvent::Control { service_port, .. }
            | FeedEvent::Motion { service_port, .. } => {
                (!self.cars.contains_key(service_port)).then_some(event)
            }
        }
    }

    /// Tells that the cars of a router are away: nobody hears of them.
    pub(super) fn router_lost(&mut self, start: Start, now: Instant) {
        let Some(router) = self.routers.get(&start) else {
            return;
        };
        let why = format!(
            "its router {} is not reached: {}",
            router.member.address, router.why
        );
        for (port, car) in &mut self.cars {
            if car.router == start && car.lost.is_none() {
                car.lost = Some(now);
                self.told.push_back(link_down(*port, &why));
            }
        }
    }

    /// Looks what has become of cars that were told to be away because of their routers.
    pub(super) fn look_for_lost(&mut self, now: Instant) {
        let (registry, mut is_untold) = (&self.origin.context.registry, false);
        self.cars.retain(|port, car| {
            let Some(since) = car.lost else { return true };
            let there = self.mesh.holder_elsewhere(*port);
            let there = there.filter(|there| there.record.state != HeldState::Kept);
            if there.is_none() && registry.car(*port).is_none() {
                let gone = FeedEvent::LinkGone {
                    service_port: *port,
                };
                self.told.push_back(gone);
                return false;
            }
            let router = there.and_then(|there| self.routers.get(&there.member.start));
            let is_shown = router.is_none_or(|it| matches!(it.picture, Picture::Shown));
            if is_shown && now.saturating_duration_since(since) >= TELLS {
                is_untold = true;
                car.lost = Some(now);
            }
            true
        });
        if is_untold {
            self.gather(now);
        }
    }

    /// Sets the car that the console may drive next, wherever it is.
    pub(crate) fn watch(&mut self, port: Option<u16>) {
        self.watched = port;
        let car = port.and_then(|port| self.cars.get(&port));
        self.watch_at(car.map(|car| car.router));
    }

    fn watch_at(&mut self, start: Option<Start>) {
        for (router, other) in &mut self.routers {
            let service_port = self.watched.filter(|_| start == Some(*router));
            if other.watched != service_port
                && let Some(line) = &other.line
            {
                line.orders().push(ConsoleToRouter::Watch { service_port });
                other.watched = service_port;
            }
        }
    }
}

impl CarElsewhere {
    fn new(router: Start, link: &LinkInfo) -> Self {
        Self {
            router,
            stop: link.stop.clone(),
            lost: None,
        }
    }
}

/// What is known of a car whose router is not heard.
fn away(there: &Elsewhere, now: Instant) -> Option<LinkInfo> {
    let record = &there.record;
    let since = match there.member.state {
        MemberState::Away { since } => since,
        _ => now,
    };
    Some(LinkInfo {
        service_port: record.port,
        name: record.name.clone(),
        key: Text::default(),
        is_up: false,
        since_ms: timing::millis(now.saturating_duration_since(since)),
        rtts_us: List::default(),
        runs: 0,
        failures: 0,
        motion: List::default(),
        stop: no_command()?,
        lease_ms: 0,
        motion_limit_ms: 0,
        control: ControlInfo::default(),
        moving: None,
        stop_failed: false,
        router: Some(Text::new(there.member.address.to_string())),
    })
}

/// The stop command of a car of which no more is known.
fn no_command() -> Option<CommandName> {
    "stop".parse().ok()
}

/// Makes the console's session at another router its session here.
pub(super) fn own_session(control: &mut ControlInfo, there: SessionId, here: SessionId) {
    let asking = control.request.as_mut().map(|(asking, _)| asking);
    for driver in control.driver.as_mut().into_iter().chain(asking) {
        if driver.session == there {
            driver.session = here;
        }
    }
}

fn link_down(service_port: u16, why: &str) -> FeedEvent {
    let why = shortened(why);
    FeedEvent::LinkDown { service_port, why }
}
