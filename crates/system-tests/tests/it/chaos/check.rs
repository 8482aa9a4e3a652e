//! The promises, checked on a history: a sentence for each that is broken. Pure.

use std::time::Duration;

use super::history::{CallRecord, CarAct, History, ReportedOutcome};

/// The lease of the fixture's car.
const LEASE: Duration = Duration::from_millis(400);
/// How old a command may be when it begins: see `p2p_shared::timing`.
const DEADLINE: Duration = Duration::from_secs(5);
/// How old a press may be.
const FRESH: Duration = Duration::from_secs(1);

/// What is promised of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PromiseReport {
    /// The fault keeps every later proof of a driver from the car: it stops by itself.
    pub(crate) severs: bool,
    /// The router dies of it without a word, and so who talks to it gets none.
    pub(crate) router_dies: bool,
    /// What is said over the link may have come as something else that has a meaning.
    pub(crate) garbles: bool,
    /// How long a command may wait, beyond its time, at a router that stands still and can't know that.
    pub(crate) waits_unread: Duration,
    /// What a stop may take beyond the lease.
    pub(crate) stop_margin: Duration,
    /// How soon there is service again.
    pub(crate) service_within: Duration,
}

impl PromiseReport {
    /// What is promised of every fault. A test of the suite must hold on any machine, however slow,
    /// and so it allows for more; by hand it is what docs/reliability.md says.
    pub(crate) fn of(by_hand: bool) -> Self {
        let (stop_ms, service_ms) = if by_hand { (50, 2000) } else { (5000, 20_000) };
        Self {
            severs: false,
            router_dies: false,
            garbles: false,
            waits_unread: Duration::ZERO,
            stop_margin: Duration::from_millis(stop_ms),
            service_within: Duration::from_millis(service_ms),
        }
    }
}

impl History {
    /// What is broken, in a sentence each.
    pub(crate) fn broken(&self, promises: PromiseReport) -> Vec<String> {
        let mut broken = self.left_over.clone();
        for (run, times) in &self.witness {
            if times.len() > 1 {
                broken.push(format!("run {run} was executed at {times:?}"));
            }
        }
        for call in &self.calls {
            if !promises.garbles || call.answer.is_none() {
                broken.extend(self.broken_by(call, promises.router_dies));
            }
            if !promises.garbles {
                let margin = promises.stop_margin + promises.waits_unread;
                broken.extend(self.broken_by_age(call, margin));
            }
        }
        for (run, story) in &self.reported {
            if !promises.garbles {
                broken.extend(self.broken_by_story(run, story));
            }
        }
        broken.extend(self.broken_by_motion(promises));
        // In the moment of a takeover the old one is still being told: at the next look it is gone.
        let mut looks = self.links.windows(2);
        if let Some(links) = looks.find(|links| links.iter().all(|links| *links > 1)) {
            broken.push(format!("{links:?} links were up for one port"));
        }
        match self.service() {
            None => broken.push("there was no service after the fault".to_owned()),
            Some(took) if took > promises.service_within => {
                broken.push(format!("service was back only after {took:?}"));
            }
            Some(_) => {}
        }
        broken
    }

    fn broken_by(&self, call: &CallRecord, router_dies: bool) -> Option<String> {
        let argument = &call.argument;
        let Some(answer) = &call.answer else {
            let what = if call.connected { "answered" } else { "let in" };
            return (!router_dies).then(|| format!("{argument} was never {what}"));
        };
        let ran = self.witness.contains_key(&answer.run);
        let said = |what: &str| {
            let (command, status, run) = (call.command, answer.status, &answer.run);
            let body = &answer.body;
            Some(format!(
                "{argument} ({command}): {status} of run {run}: {what}: {body:?}"
            ))
        };
        let was_killed = answer.status != 200 && answer.exit.parse::<i32>().is_err();
        match answer.executed.as_str() {
            "no" if ran => return said("said not to be executed, and was"),
            // What is killed may be so before it has written anything.
            "yes" if !ran && !was_killed => return said("said to be executed, and was not"),
            "yes" | "no" | "unknown" => {}
            _ => return said("nothing is said of its execution"),
        }
        if answer.status == 200 && answer.body != format!("{} {argument}\n", answer.run) {
            return said("the answer is another's");
        }
        None
    }

    fn broken_by_age(&self, call: &CallRecord, margin: Duration) -> Option<String> {
        let began = self.witness.get(&call.answer.as_ref()?.run)?.first()?;
        let age = began.saturating_sub(call.asked);
        let argument = &call.argument;
        (age > DEADLINE + margin).then(|| format!("{argument} began {age:?} after it was asked"))
    }

    fn broken_by_story(&self, run: &str, story: &ReportedOutcome) -> Option<String> {
        let ran = self.witness.contains_key(run);
        match story {
            ReportedOutcome::Executed(executed) if executed == "no" && ran => {
                Some(format!("run {run} was executed, and its story denies it"))
            }
            ReportedOutcome::Executed(executed) if executed == "yes" && !ran => Some(format!(
                "run {run} was not executed, and its story says that it was"
            )),
            ReportedOutcome::NotBegun if ran && !self.inner_is_new => Some(format!(
                "run {run} was executed, and the car doesn't know it"
            )),
            _ => None,
        }
    }

    fn broken_by_motion(&self, promises: PromiseReport) -> Vec<String> {
        let mut broken = Vec::new();
        let most = LEASE + promises.stop_margin;
        let mut since: Option<(Duration, &str)> = None;
        for (at, act) in &self.acts {
            match act {
                CarAct::Moves(motion) => {
                    if let Some((_, other)) = since.filter(|(_, other)| other != motion) {
                        broken.push(format!(
                            "who holds {motion} drove beside who holds {other}, without a stop"
                        ));
                    }
                    let age = at.saturating_sub(self.last_press(motion, *at));
                    if age > FRESH + promises.stop_margin {
                        broken.push(format!("{motion} began {age:?} after it was pressed"));
                    }
                    since = since.or(Some((*at, motion)));
                }
                CarAct::Stops => {
                    let Some((start, _)) = since.take() else {
                        continue;
                    };
                    let alone = at.saturating_sub(self.last_proof(*at).max(start));
                    if alone > most {
                        broken.push(format!("the car moved for {alone:?} without a driver"));
                    }
                }
            }
        }
        if since.is_some() {
            broken.push("the car was never stopped".to_owned());
        }
        if promises.severs {
            match self.stopped() {
                None if self.moved_then() => {
                    broken.push("the car didn't stop for the fault".to_owned())
                }
                Some(took) if took > most => {
                    broken.push(format!("the car stopped only {took:?} after the fault"));
                }
                _ => {}
            }
        }
        broken
    }

    /// The last proof of a driver before this time.
    fn last_proof(&self, before: Duration) -> Duration {
        let earlier = self.proofs.iter().filter(|proof| **proof <= before);
        earlier.max().copied().unwrap_or_default()
    }

    /// The last time that this was pressed before this time.
    fn last_press(&self, motion: &str, before: Duration) -> Duration {
        let of_it = self
            .presses
            .iter()
            .filter(|(_, pressed)| *pressed == motion);
        let earlier = of_it.map(|(at, _)| *at).filter(|at| *at <= before);
        earlier.max().unwrap_or_default()
    }

    /// Whether the car moved when the fault struck: on a slow machine a lease may have run out
    /// just before.
    fn moved_then(&self) -> bool {
        let before = self.acts.iter().rfind(|(at, _)| *at < self.struck);
        before.is_some_and(|(_, act)| *act != CarAct::Stops)
    }

    /// How long after the fault a stop command ran, if the car moved.
    pub(crate) fn stopped(&self) -> Option<Duration> {
        if !self.moved_then() {
            return None;
        }
        let stops = self.acts.iter().filter(|(_, act)| *act == CarAct::Stops);
        let after = stops.filter_map(|(at, _)| at.checked_sub(self.struck));
        after.min()
    }

    /// How long after the fault was over what had been asked after that was served.
    pub(crate) fn service(&self) -> Option<Duration> {
        let healed = self.healed?;
        // The calls are in the order of their answers.
        let later = self
            .calls
            .iter()
            .rev()
            .take_while(|call| call.answered >= healed);
        let asked = later.filter(|call| call.asked >= healed);
        let served = asked.filter(|call| call.answer.as_ref().is_some_and(|it| it.status == 200));
        served.map(|call| call.answered - healed).min()
    }
}
