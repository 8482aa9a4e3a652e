//! Follows what becomes of the cars that were all asked to stop, and says which of them stand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_shared::protocol::MotionEvent;

use super::App;
use crate::text::fit;

/// Time that a car has to say that it stands: three tries of a stop that hangs for a second each, and a slow link.
const ANSWER: Duration = Duration::from_secs(5);
/// Most columns of the names of cars in the sentence.
const NAMES: usize = 60;

/// What a car has said since it was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    None,
    Stands,
    Failed,
    /// Somebody has moved it since.
    Moves,
}

#[derive(Debug)]
pub(super) struct StopAll {
    asked: Instant,
    /// The cars by their service ports.
    cars: BTreeMap<u16, Answer>,
}

impl StopAll {
    pub(super) fn of(ports: &[u16], now: Instant) -> Self {
        let cars = ports.iter().map(|port| (*port, Answer::None));
        Self {
            asked: now,
            cars: cars.collect(),
        }
    }

    fn count(&self, wanted: Answer) -> usize {
        self.cars
            .values()
            .filter(|answer| **answer == wanted)
            .count()
    }
}

impl App {
    /// Notes what a car says of its motion.
    pub(super) fn follow_stop_all(&mut self, service_port: u16, event: &MotionEvent) {
        let answer = match event {
            MotionEvent::Stands => Answer::Stands,
            MotionEvent::StopFailed => Answer::Failed,
            MotionEvent::Started(_) => Answer::Moves,
            _ => return,
        };
        let cars = self.stop_all.as_mut().map(|all| &mut all.cars);
        if let Some(said) = cars.and_then(|cars| cars.get_mut(&service_port)) {
            *said = answer;
            self.tell_of_stop_all();
        }
    }

    /// Says in the end which cars have not answered.
    pub(super) fn end_stop_all(&mut self) {
        let over = |all: &StopAll| self.now.saturating_duration_since(all.asked) >= ANSWER;
        if !self.stop_all.as_ref().is_some_and(over) {
            return;
        }
        if self
            .stop_all
            .as_ref()
            .is_some_and(|all| all.count(Answer::None) > 0)
        {
            self.tell_of_stop_all();
        }
        self.stop_all = None;
    }

    /// Shows how many of the cars stand by now. Names those that have not stopped or have moved again, and in the end
    /// those that have not answered.
    pub(super) fn tell_of_stop_all(&mut self) {
        let Some(all) = &self.stop_all else { return };
        let [waits, stand, failed, moves] =
            [Answer::None, Answer::Stands, Answer::Failed, Answer::Moves]
                .map(|answer| all.count(answer));
        let is_over = self.now.saturating_duration_since(all.asked) >= ANSWER;
        let names = |wanted: Answer| {
            let cars = all.cars.iter().filter(|(_, answer)| **answer == wanted);
            let name = |(port, _): (&u16, _)| match self.fleet.links.get(port) {
                Some(link) => link.info.name.to_string(),
                None => port.to_string(),
            };
            fit(&cars.map(name).collect::<Vec<_>>().join(", "), NAMES)
        };
        let mut text = match (all.cars.len(), stand) {
            (1, 1) => "STOP ALL: the car stands".to_owned(),
            (cars, stand) if cars == stand => format!("STOP ALL: all {cars} cars stand"),
            (cars, stand) => format!("STOP ALL: {stand} of {cars} cars stand"),
        };
        if failed > 0 {
            text += &format!("; STOP FAILED: {}", names(Answer::Failed));
        }
        if moves > 0 {
            text += &format!("; moved again: {}", names(Answer::Moves));
        }
        if waits > 0 && is_over {
            text += &format!("; no answer: {}", names(Answer::None));
        } else if waits > 0 {
            text += &format!("; {waits} were asked");
        }
        let is_bad = failed > 0 || moves > 0 || waits > 0 && is_over;
        self.notify(text, is_bad);
    }
}
