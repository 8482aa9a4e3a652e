//! The simulated car behind a real router and inner: it moves from when it is told to until it is
//! stopped.

use std::fs;
use std::process::Command;

use super::car::{Car, UnstartedCar};
use crate::common::program::path;
use crate::common::{inner_config, until_so};

/// As `demo.sh` sets it up.
async fn sim_car() -> Car {
    let unstarted = UnstartedCar::new();
    let world = &unstarted.world;
    // A copy by another process, as `World::file` has it.
    let worker = world.commands().join("car.worker");
    fs::create_dir_all(world.commands()).unwrap();
    let copied = Command::new("cp")
        .arg(path("sim-car"))
        .arg(&worker)
        .status();
    assert!(copied.unwrap().success());
    world.script("stop", "exec ./car.worker stop");
    let mut config = inner_config(world);
    config.motion.limit_ms = 0;
    unstarted.start_with(config, "forward").await
}

/// Where it is, from what it says.
async fn place(car: &Car) -> String {
    let said = car.run("where").await;
    assert_eq!(said.verdict(), (200, "yes"), "{}", said.text());
    said.text().split(" at ").nth(1).unwrap().to_owned()
}

async fn says(car: &Car, what: &str) {
    until_so(what, async || car.run("where").await.text().contains(what)).await;
}

#[tokio::test]
async fn it_moves_until_it_is_stopped() {
    let car = sim_car().await;
    let start = place(&car).await;
    assert_eq!(start, place(&car).await);
    // So slowly that it is far from any wall, however slow the machine is.
    car.moves("forward&arg=0.2").await;
    until_so("it has left its place", async || place(&car).await != start).await;
    let moving = place(&car).await;
    until_so("it goes on", async || place(&car).await != moving).await;
    assert_eq!(car.run("stop").await.verdict(), (200, "yes"));
    let said = car.run("where").await.text();
    assert!(!said.contains("goes") && !said.contains("bump"), "{said}");
    says(&car, "the car stands").await;
    assert_eq!(place(&car).await, place(&car).await);
    let status = car.run("status").await.text();
    assert!(
        status.starts_with("+--") && status.contains("the car stands at"),
        "{status}"
    );
}
