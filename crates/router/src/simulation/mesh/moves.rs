//! Faults of a history of three routers in which the car goes to another router, and the one that it leaves is not
//! told: its link there stays open, and silent.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::checks::{AGREED, TOLD};
use super::scenario::MeshScenario;
use super::{NAMES, ROUTERS};
use crate::mesh::hub::Faults;

/// Time within which the car has dialled another router.
const DIALLED: Duration = Duration::from_secs(5);
/// Time within which consoles show where the car is, by what the routers tell them that they reach.
const SHOWN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

impl MeshScenario {
    /// Moves the car while the bus is down: its new router is known by its epoch alone.
    pub(super) async fn move_unheard(&mut self) {
        let Some((from, is_well)) = self.settled().await else {
            return;
        };
        let (world, name) = (self.world.clone(), NAMES[from]);
        self.log(format!("the bus is down, and the car leaves {name}"));
        let member = |router| world.with(router, |it| it.member());
        let members: Vec<_> = (0..ROUTERS).filter_map(member).collect();
        let set_bus = |is_up| {
            for member in &members {
                world.hub.set_connected(*member, is_up);
            }
        };
        set_bus(false);
        world.to_cars[0][from].abandon();
        let to = self.car_has_left(from).await;
        if let Some(to) = to.filter(|_| is_well) {
            let began = Instant::now();
            while self.not_shown_at(to).is_some() && began.elapsed() < SHOWN {
                sleep(LOOK).await;
            }
            if let Some(how) = self.not_shown_at(to).filter(|_| world.car_at() == Some(to)) {
                world.history.violation(11, how);
            }
        }
        sleep(self.rng.ms(0..3000)).await;
        set_bus(true);
        world.to_cars[0][from].set_cut(false);
        self.log("the bus is up");
    }

    /// Takes the power of the car's machine. Its next inner is another process, and has no dials to compare: the
    /// epoch alone says that its link is the last.
    pub(super) async fn lose_power(&mut self) {
        let Some((from, is_well)) = self.settled().await else {
            return;
        };
        let world = self.world.clone();
        let name = NAMES[from];
        self.log(format!(
            "the car loses its power, and {name} does not hear of it"
        ));
        world.to_cars[0][from].abandon();
        self.car_inner = None;
        sleep(self.rng.ms(1..800)).await;
        self.log("the inner starts");
        self.car_inner = Some(world.start_inner(0, &self.rng));
        if let Some(to) = self.car_has_left(from).await {
            sleep(AGREED).await;
            if is_well && !(world.agrees() && world.car_at() == Some(to)) {
                let (is_at, to) = (world.car_at(), NAMES[to]);
                let how = format!("the car has dialled {to}, and is at {is_at:?} soon after");
                world.history.violation(9, how);
            }
        }
        world.to_cars[0][from].set_cut(false);
    }

    /// Waits until all is told that there is to be told, and consoles reach all routers. Returns where the car is, and
    /// whether all agree on that and all consoles show it.
    async fn settled(&self) -> Option<(usize, bool)> {
        self.world.hub.set_faults(Faults::default());
        // A router that takes a second to reach may not be reached at all.
        for line in self.world.lines.iter().flatten() {
            (line.path).set_delay(Duration::from_millis(20), Duration::from_millis(10));
        }
        sleep(TOLD).await;
        let is_told = self.world.agrees() && self.wrong_views().is_none();
        let at = self.world.car_at()?;
        Some((at, is_told && !self.world.has_twin()))
    }

    /// Waits until the car is at another router. Returns that.
    async fn car_has_left(&self, from: usize) -> Option<usize> {
        let began = Instant::now();
        loop {
            let at = self.world.car_at().filter(|at| *at != from);
            if at.is_some() || began.elapsed() > DIALLED {
                return at;
            }
            sleep(LOOK).await;
        }
    }
}
