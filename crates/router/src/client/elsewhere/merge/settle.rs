//! Tells a console what becomes of a car as the words about it change, and lets stops, and the car that is watched,
//! go where it goes.

use std::time::{Duration, Instant};

use p2p_shared::names::CommandName;
use p2p_shared::protocol::{ConsoleToRouter, DriveCommand, FeedEvent, LinkInfo};

use super::{Directory, MergedFeed, Shown};
use crate::feed::shortened;
use crate::mesh::id::Start;

/// Time in which a stop goes on to the router to which its car goes.
const GOES_ON: Duration = Duration::from_secs(2);

impl MergedFeed {
    /// Tells what has become of a car, by the words that there are now and this link's.
    pub(super) fn settle(
        &mut self,
        port: u16,
        link: Option<(Start, LinkInfo)>,
        mesh: &impl Directory,
    ) {
        let place = self.place(port, mesh);
        self.lost.remove(&port);
        let Some(car) = self.cars.get_mut(&port) else {
            return;
        };
        let Some(place) = place else {
            if car.shown != Shown::Nothing {
                let gone = FeedEvent::LinkGone { service_port: port };
                self.told.push_back(gone);
            }
            self.cars.remove(&port);
            return;
        };
        let is_heard = car.words.iter().any(|word| word.router == place);
        match link {
            Some((from, link)) if from == place => {
                car.shown = Shown::At(place);
                self.told.push_back(FeedEvent::Link(Box::new(link)));
            }
            _ if is_heard && car.shown == Shown::At(place) => {}
            _ => {
                if let Shown::At(was_at) = car.shown {
                    car.shown = Shown::Away;
                    let why = mesh.why_away(port, was_at);
                    self.told.push_back(link_down(port, &why));
                }
                self.lost.insert(port);
                if is_heard {
                    self.ask(place);
                }
            }
        }
        self.follow(port, place);
    }

    fn ask(&mut self, router: Start) {
        if let Some(teller) = self.routers.get_mut(&router)
            && !std::mem::replace(&mut teller.is_asked, true)
        {
            self.asks.push_back((router, ConsoleToRouter::Again));
        }
    }

    /// Lets a stop, and the driver's eyes, follow a car.
    fn follow(&mut self, port: u16, place: Start) {
        if let Some((at, _)) = self.stops.get_mut(&port)
            && *at != place
        {
            *at = place;
            self.asks.push_back((place, stop(port)));
        }
        if self.watched == Some(port) {
            self.watch_at(Some(place));
        }
    }

    /// Shows a car of which no router tells.
    pub(in super::super) fn show_away(&mut self, link: LinkInfo, why: &str) {
        let port = link.service_port;
        let car = self.cars.entry(port).or_default();
        if car.shown == Shown::Nothing {
            car.shown = Shown::Away;
            self.lost.insert(port);
            self.told.push_back(FeedEvent::Link(Box::new(link)));
            self.told.push_back(link_down(port, why));
        }
    }

    /// Looks what has become of cars of which nothing is heard.
    pub(in super::super) fn pass_time(&mut self, now: Instant, mesh: &impl Directory) {
        (self.stops).retain(|_, (_, at)| now.saturating_duration_since(*at) < GOES_ON);
        for port in self.lost.clone() {
            self.settle(port, None, mesh);
        }
    }

    /// Sets the car that the console may drive next.
    pub(in super::super) fn watch(&mut self, port: Option<u16>, mesh: &impl Directory) {
        self.watched = port;
        self.watch_at(port.and_then(|port| self.place(port, mesh)));
    }

    fn watch_at(&mut self, place: Option<Start>) {
        for (router, teller) in &mut self.routers {
            let service_port = self.watched.filter(|_| place == Some(*router));
            if *router != self.here && teller.watched != service_port {
                teller.watched = service_port;
                (self.asks).push_back((*router, ConsoleToRouter::Watch { service_port }));
            }
        }
    }

    /// Notes that the console has stopped this car at a router: wherever it goes, the stop goes, too.
    pub(in super::super) fn stopped(&mut self, port: u16, at: Start, now: Instant) {
        self.stops.insert(port, (at, now));
    }

    /// Where a stop goes on that this router has refused, and of which car.
    pub(in super::super) fn stop_refused(
        &mut self,
        by: Start,
        mesh: &impl Directory,
    ) -> Option<(u16, Start)> {
        let there = self.stops.iter().filter(|(_, (at, _))| *at == by);
        let mut places = there.filter_map(|(port, _)| Some((*port, self.place(*port, mesh)?)));
        let (port, place) = places.find(|(_, place)| *place != by)?;
        self.stops.remove(&port);
        Some((port, place))
    }

    /// Returns true if this is the stop command of a car, as far as a router has told.
    pub(in super::super) fn is_stop(&self, port: u16, command: &CommandName) -> bool {
        let car = self.cars.get(&port);
        car.is_some_and(|car| car.words.iter().any(|word| word.stop == *command))
    }

    /// Asks this router, in the console's place.
    pub(in super::super) fn ask_here(&mut self, message: ConsoleToRouter) {
        self.asks.push_back((self.here, message));
    }

    /// Takes the next message for a router.
    pub(in super::super) fn next_ask(&mut self) -> Option<(Start, ConsoleToRouter)> {
        if self.told.is_empty() {
            let behind = self.routers.iter().filter(|(_, teller)| teller.is_behind);
            for router in behind.map(|(router, _)| *router).collect::<Vec<_>>() {
                self.ask(router);
            }
        }
        self.asks.pop_front()
    }
}

pub(in super::super) fn stop(service_port: u16) -> ConsoleToRouter {
    let command = DriveCommand::Stop;
    ConsoleToRouter::Drive {
        service_port,
        command,
    }
}

pub(super) fn link_down(service_port: u16, why: &str) -> FeedEvent {
    let why = shortened(why);
    FeedEvent::LinkDown { service_port, why }
}
