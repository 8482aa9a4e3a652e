//! Owns the one car of a worker, and the clock that its world moves on by.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::world::{Motion, Pose, World};

/// A world that is always at the present when it is looked at.
#[derive(Debug)]
pub(crate) struct Garage {
    world: Mutex<World>,
    since: Instant,
}

impl Garage {
    pub(crate) fn new() -> Self {
        Self {
            world: Mutex::new(World::new()),
            since: Instant::now(),
        }
    }

    /// The car as it is now.
    pub(crate) fn pose(&self) -> Pose {
        self.now(|world| world.pose())
    }

    /// Tells the car what to do from now on, at this share of its speed.
    pub(crate) fn tell(&self, motion: Motion, share: f64) -> Pose {
        self.now(|world| {
            world.set(motion, share);
            world.pose()
        })
    }

    fn now<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        // Nothing that holds it can leave it half done.
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.since.elapsed());
        look(&mut world)
    }
}
