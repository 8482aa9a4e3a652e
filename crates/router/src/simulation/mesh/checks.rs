//! Ends a history of three routers: heals all faults, and checks the promises that must hold then.

use std::collections::BTreeSet;
use std::time::Duration;

use p2p_shared::timing::PORT_KEPT;
use tokio::time::{Instant, sleep};

use super::super::network::CAPACITY;
use super::scenario::MeshScenario;
use super::world::MeshWorld;
use super::{NAMES, PORT, ROUTERS, reports};
use crate::mesh::hub::Faults;
use crate::mesh::id::Start;
use crate::net::port_range::PortRange;

/// Time after which all routers agree on who has the car, once all is well.
pub(super) const AGREED: Duration = Duration::from_secs(3);
/// Longest time after that of a port that is kept, until it is closed everywhere: a member that is not the first one
/// waits a second more, and nobody has missed the car's router before it was silent for three.
pub(super) const CLOSED: Duration = Duration::from_secs(5);
/// Time for the news of a link that comes up just then.
const NEWS: Duration = Duration::from_millis(300);
/// Service is back everywhere this long after all agree: the longest pause between two attempts of the car, and
/// what routers wait after one was not reached.
const BACK: Duration = Duration::from_secs(3);
/// The same where a connection was lost silently: only the keepalive of an idle link finds out.
const BACK_AFTER_SILENCE: Duration = Duration::from_secs(62);
/// Time within which everything ends once nobody asks for more: the time limit of a run, and a grace.
const CALM: Duration = Duration::from_secs(23);
/// Time within which all requests are answered, once there are no new ones.
const UNANSWERED: Duration = Duration::from_secs(120);
/// Time within which all keys are known everywhere, and consoles are told: the longest pauses between two attempts
/// of a router at another, and of a console.
pub(super) const TOLD: Duration = Duration::from_secs(12);
/// Time between two questions whether service is back.
const ASK_EACH: Duration = Duration::from_millis(100);

impl MeshScenario {
    /// Ends all faults.
    pub(super) async fn heal(&mut self) {
        let healed = Instant::now();
        self.log("all is well from now on");
        self.twin = None;
        let world = self.world.clone();
        let lines = world.lines.iter().chain(&world.to_cars).flatten();
        for line in lines {
            line.set_cut(false);
            line.path
                .set_delay(Duration::from_millis(20), Duration::from_millis(10));
            line.path.set_room(CAPACITY);
        }
        for path in &world.callers {
            path.set_delay(Duration::from_millis(20), Duration::from_millis(10));
        }
        world.hub.set_faults(Faults::default());
        for router in 0..ROUTERS {
            if world.with(router, |_| ()).is_none() {
                self.start_again(router, Vec::new());
            }
        }
        if self.car_inner.is_none() {
            self.car_inner = Some(world.start_inner(0, &self.rng));
        }
        self.await_agreement().await;
        self.await_service().await;
        self.check_told(healed).await;
    }

    /// Checks that all agree on who has the car.
    async fn await_agreement(&self) {
        sleep(AGREED).await;
        let began = Instant::now();
        while !self.world.agrees() && began.elapsed() < NEWS {
            sleep(Duration::from_millis(10)).await;
        }
        if !self.world.agrees() {
            let how = format!("the car is at {:?}", self.world.holders());
            self.world.history.violation(9, how);
        }
    }

    /// Checks that callers of every router are served in time.
    async fn await_service(&self) {
        if self.world.has_twin() {
            return;
        }
        let began = Instant::now();
        let bound = match self.was_lost {
            true => BACK_AFTER_SILENCE,
            false => BACK,
        };
        for (router, name) in NAMES.iter().enumerate() {
            loop {
                let asking = self.answers.ask_at(&self.world, router, "command=hello");
                if asking.await.is_some_and(|answer| answer.status == 200) {
                    break;
                }
                if began.elapsed() > bound {
                    let how = format!("callers of {name} are not served");
                    self.world.history.violation(5, how);
                    break;
                }
                sleep(ASK_EACH).await;
            }
        }
        let time = began.elapsed();
        self.log(format!("service is back after {time:?}"));
        if !self.was_lost {
            self.world.history.count(|counts| counts.back = Some(time));
        }
    }

    /// Checks the promises that must hold when all input has ended.
    pub(super) async fn end(&mut self) {
        sleep(self.rng.ms(0..400)).await;
        self.world.be_quiet();
        self.answers.all_answered(&self.world, UNANSWERED).await;
        // The last press of a held key, a motion's limit, processes that still run: seconds at most.
        sleep(Duration::from_millis(700)).await;
        self.world.calm(CALM).await;
        self.move_again().await;
        self.world.calm(CALM).await;
        let history = &self.world.history;
        self.world.check_machines();
        for machine in &self.world.machines {
            self.world.presses.check_drivers(machine, history);
        }
        self.answers.check(&self.world);
        self.check_told(Instant::now()).await;
        if !self.world.has_twin() {
            reports::check(&self.answers, &self.world, &self.rng).await;
            self.check_members();
            if !self.world.agrees() {
                let how = format!("at the end the car is at {:?}", self.world.holders());
                history.violation(9, how);
            }
        }
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        if tasks > 250 {
            history.violation(6, format!("{tasks} tasks are left"));
        }
        if !self.world.has_twin() && self.rng.one_in(8) {
            self.check_port_is_kept().await;
        }
    }

    /// Checks that all routers know the same keys, and that each console shows the car as its router does, in time
    /// since this moment.
    async fn check_told(&self, since: Instant) {
        let broken = loop {
            let found = self.world.wrong_keys().or_else(|| self.wrong_views());
            match found {
                Some(_) if since.elapsed() < TOLD => sleep(ASK_EACH).await,
                found => break found,
            }
        };
        if let Some(how) = broken {
            self.world.history.violation(11, how);
        }
    }

    /// Why the consoles do not show the car as it is.
    pub(super) fn wrong_views(&self) -> Option<String> {
        let (world, views) = (&self.world, self.world.views());
        if views.len() as u64 != self.consoles {
            return Some(format!(
                "{} of {} consoles are there",
                views.len(),
                self.consoles
            ));
        }
        let holders = world.holders();
        let holder = (0..ROUTERS).find(|at| holders[0] == world.with(*at, |it| it.member()))?;
        let mut cars = world.with(holder, |it| it.context.registry.subscribe(PortRange::ALL))?;
        let (links, _) = cars.snapshot.take();
        let [car] = links.as_slice() else {
            return Some(format!("{} shows no car", NAMES[holder]));
        };
        views.iter().find_map(|view| {
            let key = view.key.as_ref()?;
            let at = (view.router != holder).then(|| format!("{}:8888", NAMES[holder]));
            let is_true = match (key.may_see(), view.port) {
                (false, port) => port.is_none(),
                (true, _) => (view.is_up, &view.at, view.control.epoch) == (car.is_up, &at, car.control.epoch),
            };
            let name = NAMES[view.router];
            let shown = (view.port, view.is_up, &view.at, view.control.epoch);
            (key.is_void() || !is_true).then(|| {
                format!("a console at {name} with {} shows {shown:?}; the car is at {at:?}, up: {}, {:?}", key.name, car.is_up, car.control)
            })
        })
    }

    /// Why a console does not show the car up at this router.
    pub(super) fn not_shown_at(&self, holder: usize) -> Option<String> {
        self.world.views().iter().find_map(|view| {
            let key = view.key.as_ref()?;
            let at = (view.router != holder).then(|| format!("{}:8888", NAMES[holder]));
            let is_true = view.is_up && view.at == at;
            let name = NAMES[view.router];
            let is_told = key.may_see() && self.world.keys.is_first(key);
            (!is_true && is_told).then(|| {
                format!(
                    "a console at {name} shows the car up: {}, at {:?}; it is at {at:?}",
                    view.is_up, view.at
                )
            })
        })
    }

    /// Checks that every router knows the others, nobody else, and the car by its name.
    fn check_members(&self) {
        let name = "car".parse().unwrap();
        for (router, of) in NAMES.iter().enumerate() {
            let known = self.world.with(router, |it| {
                let context = &it.context;
                let members = context.mesh.as_ref().unwrap().members();
                let present = members.iter().filter(|member| !member.is_away());
                (
                    present.count(),
                    context.registry.named(&name).into_keys().collect(),
                )
            });
            let expected = (ROUTERS - 1, BTreeSet::from([PORT]));
            if known.as_ref() != Some(&expected) {
                let how = format!("{of} knows these members and ports of the car: {known:?}");
                self.world.history.violation(9, how);
            }
        }
    }

    /// Checks that the port of a car that is away is kept at every router, and given up in the end.
    async fn check_port_is_kept(&mut self) {
        self.log("the inner is killed for good");
        self.car_inner = None;
        for (after, is_kept) in [(PORT_KEPT - CLOSED, true), (CLOSED * 2, false)] {
            sleep(after).await;
            for (router, name) in NAMES.iter().enumerate() {
                if self.world.has_port(router) != is_kept {
                    let how = format!("{name} keeps the port of a car that is away: {}", !is_kept);
                    self.world.history.violation(4, how);
                }
            }
        }
    }

    /// Checks that whoever may move the car can do so through every router, once nobody drives.
    async fn move_again(&self) {
        if self.world.has_twin() {
            return;
        }
        for (router, name) in NAMES.iter().enumerate() {
            let began = Instant::now();
            let status = loop {
                let query = "command=forward&for=50";
                let moved = self.answers.ask_at(&self.world, router, query).await;
                sleep(ASK_EACH).await;
                let may_wait = moved.as_ref().is_some_and(|answer| answer.may_wait());
                if !may_wait || began.elapsed() > Duration::from_secs(20) {
                    break moved.map(|answer| answer.status);
                }
            };
            if status != Some(200) {
                let how = format!("a motion at {name} is answered {status:?}");
                self.world.history.violation(5, how);
            }
        }
    }
}

impl MeshWorld {
    /// Why the routers do not know the keys that there are.
    fn wrong_keys(&self) -> Option<String> {
        let all = self.keys.all();
        let mut known = (0..ROUTERS).flat_map(|at| all.iter().map(move |key| (at, key)));
        let (at, key) = known.find(|(at, key)| {
            let is_live = self.with(*at, |it| it.keys().is_live(&key.id));
            is_live == Some(key.is_revoked())
        })?;
        let is_known = !key.is_revoked();
        let (at, name) = (NAMES[at], &key.name);
        Some(format!(
            "{at} does not know that {name} is good: {is_known}"
        ))
    }

    /// Of each router, the member that it takes for the holder of the car's port.
    fn holders(&self) -> [Option<Start>; ROUTERS] {
        std::array::from_fn(|router| {
            let holder = self.with(router, |it| {
                let mesh = it.context.mesh.as_ref().unwrap();
                let elsewhere = mesh.holder_elsewhere(PORT);
                match elsewhere {
                    Some(elsewhere) => Some(elsewhere.member.start),
                    None => mesh.held_since(PORT).map(|_| it.member()),
                }
            });
            holder.flatten()
        })
    }

    /// Returns true if all routers know the same holder; and, if the car has a link, that it is the router with
    /// that.
    pub(super) fn agrees(&self) -> bool {
        let holders = self.holders();
        let at = self.car_at().and_then(|at| self.with(at, |it| it.member()));
        let is_known = holders[0].is_some() && holders.iter().all(|holder| *holder == holders[0]);
        is_known && (at.is_none() || self.has_twin() || holders[0] == at)
    }
}
