//! The end of an inner is the end of its workers, and not of what they were asked before it.

use rustix::process::Signal;

use super::car::{Car, CarFolder, UnstartedCar};
use crate::common::{answered, asking, soon};

/// A car whose inner has shut down.
struct EndedCar {
    world: crate::common::World,
}

impl EndedCar {
    async fn of(car: Car) -> Self {
        soon("the inner's end", car.inner.shut_down()).await;
        Self { world: car.world }
    }

    fn did(&self) -> String {
        std::fs::read_to_string(self.world.note("did")).unwrap_or_default()
    }

    fn is_alive(&self) -> bool {
        CarFolder(self.world.folder.path()).lives(0)
    }
}

#[tokio::test]
async fn a_worker_ends_at_the_end_of_its_input() {
    // In its own time.
    let car = UnstartedCar::new()
        .program(
            "car",
            "say_line({ serves => ['hello'] }); 1 while <STDIN>;
             select undef, undef, undef, 0.1; note('did', 'tidied up');",
        )
        .start("hello")
        .await;
    let left = EndedCar::of(car).await;
    assert_eq!(left.did(), "tidied up\n");
    assert!(!left.is_alive());
}

#[tokio::test]
async fn a_worker_that_does_not_is_asked_to_end() {
    let car = UnstartedCar::new()
        .program(
            "car",
            "$SIG{TERM} = sub { note('did', 'asked'); exit };
             say_line({ serves => ['hello'] }); sleep 1000 while 1;",
        )
        .start("hello")
        .await;
    let left = EndedCar::of(car).await;
    assert_eq!(left.did(), "asked\n");
    assert!(!left.is_alive());
}

#[tokio::test]
async fn a_worker_that_does_not_listen_is_killed() {
    let car = UnstartedCar::new()
        .program(
            "car",
            "$SIG{TERM} = 'IGNORE'; say_line({ serves => ['hello'] }); sleep 1000 while 1;",
        )
        .start("hello")
        .await;
    assert!(!EndedCar::of(car).await.is_alive());
}

#[tokio::test]
async fn a_worker_that_is_stopped_is_ended_too() {
    let car = Car::with_worker("hello", "answer($r)").await;
    car.signal(Signal::STOP);
    assert!(!EndedCar::of(car).await.is_alive());
}

#[tokio::test]
async fn an_inner_that_is_dropped_leaves_no_worker() {
    let car = Car::with_worker("hello", "answer($r)").await;
    drop(car.inner);
    crate::common::until("it is gone", || {
        !CarFolder(car.world.folder.path()).lives(0)
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_was_asked_before_the_inner_ends_is_answered() {
    let car = Car::with_worker(
        "wait",
        "note('did', 'waits'); select undef, undef, undef, 0.01 until exists_note('gate'); answer($r, output => 'done');",
    )
    .await;
    let (short, port) = (asking(car.port, "/cgi?command=wait"), car.port);
    car.does("waits").await;
    let gate = car.note("gate");
    let ending = tokio::spawn(EndedCar::of(car));
    crate::common::until_so("it begins nothing more", async || {
        crate::common::get(port, "/cgi?command=wait").await.status == 503
    })
    .await;
    std::fs::write(gate, "").unwrap();
    let answer = answered(short).await;
    assert_eq!((answer.verdict(), &*answer.text()), ((200, "yes"), "done"));
    let left = soon("its end", ending).await.unwrap();
    assert!(!left.is_alive());
}
