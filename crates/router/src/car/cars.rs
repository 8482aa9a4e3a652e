//! Owns all cars by their service ports, who watches them, and the time that their control keeps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use p2p_shared::protocol::{LinkHello, SessionId};
use p2p_shared::timing;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::car::control::Epochs;
use crate::car::{Car, CarServices};
use crate::feed::Feed;
use crate::link::handle::LinkHandle;
use crate::link::priority_queue::Interest;
use crate::ops::metrics::Metrics;

/// How long nothing runs out when nobody drives.
const NOTHING: Duration = Duration::from_secs(3600);

/// All cars.
#[derive(Debug)]
pub(crate) struct Cars {
    shared: Arc<CarServices>,
    held: Mutex<Held>,
    next_session: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    cars: HashMap<u16, Arc<Car>>,
    /// How many consoles there are, which see all cars, and pages of one car each.
    consoles: usize,
    pages: HashMap<u16, usize>,
    /// Which car each console looks at, of those that may drive.
    watched: HashMap<SessionId, u16>,
    closed: bool,
}

impl Held {
    fn watch(&self, port: u16) -> Interest {
        Interest {
            seen: self.consoles > 0 || self.pages.contains_key(&port),
            ticks: self.watched.values().any(|watched| *watched == port),
        }
    }

    fn tell(&self, port: u16) {
        if let Some(car) = self.cars.get(&port) {
            car.set_interest(self.watch(port));
        }
    }

    /// A page of one car more.
    fn page_came(&mut self, port: u16) {
        *self.pages.entry(port).or_default() += 1;
        self.tell(port);
    }

    /// One less.
    fn page_left(&mut self, port: u16) {
        if let Some(pages) = self.pages.get_mut(&port) {
            *pages -= 1;
            if *pages == 0 {
                self.pages.remove(&port);
                self.tell(port);
            }
        }
    }

    /// A console more, or one less.
    fn count(&mut self, consoles: usize) {
        let was_seen = self.consoles > 0;
        self.consoles = consoles;
        if was_seen != (consoles > 0) {
            for (port, car) in &self.cars {
                car.set_interest(self.watch(*port));
            }
        }
    }
}

impl Cars {
    pub(crate) fn new(feed: Arc<Feed>, metrics: Arc<Metrics>, epochs: Epochs) -> Self {
        Self {
            shared: Arc::new(CarServices {
                feed,
                metrics,
                epochs,
                changed: Notify::new(),
            }),
            held: Mutex::default(),
            next_session: AtomicU64::new(1),
        }
    }

    /// The car at this port.
    pub(crate) fn get(&self, port: u16) -> Option<Arc<Car>> {
        self.lock().cars.get(&port).cloned()
    }

    /// The car whose link came up.
    pub(crate) fn link_up(&self, port: u16, link: &LinkHandle, hello: &LinkHello) -> Arc<Car> {
        let mut held = self.lock();
        let watch = held.watch(port);
        let new = || Arc::new(Car::new(port, self.shared.clone(), hello));
        let car = held.cars.entry(port).or_insert_with(new).clone();
        car.link_up(link, hello, watch);
        if held.closed {
            car.close(true);
        }
        car
    }

    /// The port was given up. If another has it already, nobody drives that one yet.
    pub(crate) fn gone(&self, port: u16) {
        let mut held = self.lock();
        let Some(car) = held.cars.get(&port) else {
            return;
        };
        car.close(false);
        if !car.is_linked() {
            held.cars.remove(&port);
            self.shared.feed.link_gone(port);
        }
    }

    /// A console is there, or a page of `only` one car, for as long as this is kept.
    pub(crate) fn console(self: &Arc<Self>, only: Option<u16>, may_drive: bool) -> SessionGuard {
        let mut held = self.lock();
        match only {
            Some(port) => held.page_came(port),
            None => {
                let consoles = held.consoles + 1;
                held.count(consoles);
            }
        }
        drop(held);
        SessionGuard {
            cars: self.clone(),
            session: SessionId(self.next_session.fetch_add(1, Ordering::Relaxed)),
            only,
            may_drive,
        }
    }

    /// The router goes down: driven cars are stopped, and nobody takes control any more.
    pub(crate) fn close(&self) {
        let mut held = self.lock();
        held.closed = true;
        for car in held.cars.values() {
            car.close(true);
        }
    }

    /// Ends requests that nobody answers and control that nobody uses, until `closed`.
    pub(crate) async fn run_timers(self: Arc<Self>, closed: CancellationToken) {
        while !closed.is_cancelled() {
            let cars: Vec<_> = self.lock().cars.values().cloned().collect();
            let now = timing::now();
            let next = cars.iter().filter_map(|car| car.poll(now)).min();
            let next = next.unwrap_or(now + NOTHING);
            tokio::select! {
                biased;
                () = closed.cancelled() => {}
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A console or page that is there. Dropped, it gives back whatever control it had.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    cars: Arc<Cars>,
    pub session: SessionId,
    only: Option<u16>,
    may_drive: bool,
}

impl SessionGuard {
    /// It looks at this car now, and at no other.
    pub(crate) fn watch(&self, port: Option<u16>) {
        if !self.may_drive {
            return;
        }
        let mut held = self.cars.lock();
        let before = match port {
            Some(port) => held.watched.insert(self.session, port),
            None => held.watched.remove(&self.session),
        };
        for port in before.into_iter().chain(port) {
            held.tell(port);
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.watch(None);
        let mut held = self.cars.lock();
        match self.only {
            Some(port) => held.page_left(port),
            None => {
                let consoles = held.consoles.saturating_sub(1);
                held.count(consoles);
            }
        }
        let cars: Vec<_> = held.cars.values().cloned().collect();
        drop(held);
        for car in cars {
            car.session_left(self.session);
        }
    }
}
