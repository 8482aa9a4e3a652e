//! Queue of messages about a car's motion, which go ahead of its link's other work. A stop
//! overtakes everything and drops the waiting presses; of several presses and renewals only the
//! newest is kept, and a press that waits too long is taken out. So the queue has a bound, and
//! nothing old is ever played back.

use std::collections::VecDeque;
use std::time::Instant;

use p2p_shared::bounded::Text;
use p2p_shared::names::RunId;
use p2p_shared::protocol::{MediaTicket, PressId, RouterToInner, StopCause};
use p2p_shared::timing;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::link::runs::OpenRun;
use crate::run::RunOrder;

/// Most runs of the stop command, each with other arguments, that wait for the link. The last place is
/// kept for a stop without arguments; beyond that the newest of them answers the next.
const STOP_RUNS: usize = 16;

/// The updates that the router wants of a car.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    /// The fast pace of pings: somebody watches, and a dead link is to be noticed soon.
    pub seen: bool,
    /// Ticks of the car's clock: somebody drives the car or is about to.
    pub ticks: bool,
}

/// Messages about motion that wait for the link.
#[derive(Debug, Default)]
pub(crate) struct PriorityQueue {
    waiting: Mutex<Waiting>,
    come: Notify,
    /// Notified when a press was queued.
    pressed: Notify,
}

/// Messages are boxed: mostly there are none.
#[derive(Debug, Default)]
struct Waiting {
    stop: Option<Box<RouterToInner>>,
    /// Runs of the stop command: each has one or more callers who wait for its answer.
    stop_runs: VecDeque<StopRun>,
    driver_message: Option<Box<DriverMessage>>,
    watch: Interest,
    /// The ticket that the camera is to show, while somebody watches.
    video: Option<MediaTicket>,
    /// The interest that the inner was sent last.
    interest_sent: Interest,
    ticket_sent: Option<MediaTicket>,
    closed: bool,
}

/// A run of the stop command.
type StopRun = (Box<RunOrder>, OpenRun);

/// The newest message of the driver.
#[derive(Debug)]
enum DriverMessage {
    /// Press, time when it was queued, message, and latest renewal. The renewal is sent after the
    /// press and does not extend its age.
    Press(PressId, Instant, RouterToInner, Option<RouterToInner>),
    /// Renewal or release.
    Other(RouterToInner),
}

/// Messages to be sent now, in this order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub stop: Option<Box<RouterToInner>>,
    pub stop_runs: VecDeque<StopRun>,
    /// The driver's press, its renewal or its release, and changes of what the router wants.
    pub rest: Vec<RouterToInner>,
}

impl PriorityQueue {
    /// Queues a stop, ahead of everything. Returns the waiting press, which is dropped.
    pub(crate) fn stop(
        &self,
        by: Text,
        over: Option<PressId>,
        cause: StopCause,
    ) -> Option<PressId> {
        let mut waiting = self.waiting.lock();
        waiting.stop = Some(Box::new(RouterToInner::Stop { by, over, cause }));
        self.stopped(&mut waiting)
    }

    /// Queues a run of the stop command, ahead of everything but a stop. One that waits already, and
    /// would do the same, answers this one too: a flood of stops waits for the link no longer than
    /// one stop. Returns the run whose events the caller gets: its own, or the one that answers it.
    pub(crate) fn stop_by_run(&self, order: Box<RunOrder>, open: OpenRun) -> RunId {
        let mut answers = open.run();
        let mut waiting = self.waiting.lock();
        // A dropped run tells its caller that nothing was sent.
        if waiting.closed {
            return answers;
        }
        let arguments = &order.new.arguments;
        let stops = &mut waiting.stop_runs;
        let same = (stops.iter()).position(|(other, _)| other.new.arguments == *arguments);
        let is_full = !arguments.is_empty() && stops.len() >= STOP_RUNS - 1;
        let by = same.or_else(|| stops.len().checked_sub(1).filter(|_| is_full));
        match by.and_then(|by| stops.get_mut(by)) {
            Some((_, other)) => {
                other.share(open);
                answers = other.run();
            }
            None => stops.push_back((order, open)),
        }
        self.come.notify_one();
        answers
    }

    /// Discards the queued press or renewal. Returns the press.
    pub(crate) fn drop_driver_messages(&self) -> Option<PressId> {
        self.stopped(&mut self.waiting.lock())
    }

    fn stopped(&self, waiting: &mut Waiting) -> Option<PressId> {
        self.come.notify_one();
        waiting.driver_message.take().and_then(|old| old.press())
    }

    /// Queues a press. Returns the one that it replaces, if that still waited.
    pub(crate) fn press(
        &self,
        press: PressId,
        now: Instant,
        message: RouterToInner,
    ) -> Option<PressId> {
        let driver_message = DriverMessage::Press(press, now, message, None);
        let old = self.waiting.lock().replace(driver_message);
        self.come.notify_one();
        self.pressed.notify_one();
        old
    }

    /// Queues a renewal of the newest press.
    pub(crate) fn renew(&self, press: PressId, tick_ms: u64) {
        let renewal = RouterToInner::Renew { press, tick_ms };
        let mut waiting = self.waiting.lock();
        match waiting.driver_message.as_deref_mut() {
            Some(DriverMessage::Press(.., newest)) => *newest = Some(renewal),
            _ => {
                waiting.replace(DriverMessage::Other(renewal));
            }
        }
        self.come.notify_one();
    }

    /// Queues the release of the newest press. Returns true if that press still waited: then it is
    /// dropped, and the motion that it was to replace has to be stopped.
    pub(crate) fn release(&self, press: PressId) -> bool {
        let release = DriverMessage::Other(RouterToInner::Release { press });
        let old = self.waiting.lock().replace(release);
        self.come.notify_one();
        old.is_some()
    }

    pub(crate) fn set_interest(&self, watch: Interest) {
        self.waiting.lock().watch = watch;
        self.come.notify_one();
    }

    /// Sets the ticket for the camera while somebody watches. Only for an inner with a camera.
    pub(crate) fn set_video(&self, ticket: Option<MediaTicket>) {
        self.waiting.lock().video = ticket;
        self.come.notify_one();
    }

    /// Returns true if somebody drives or watches.
    pub(crate) fn is_watched(&self) -> bool {
        let Interest { seen, ticks } = self.waiting.lock().interest();
        seen || ticks
    }

    /// Returns true if somebody drives, or is about to.
    pub(crate) fn wants_ticks(&self) -> bool {
        self.waiting.lock().watch.ticks
    }

    /// Returns true if a stop waits.
    pub(crate) fn has_stop(&self) -> bool {
        self.waiting.lock().has_stop()
    }

    /// Waits for messages; without `room` only for a stop.
    pub(crate) async fn next(&self, room: bool) -> Outgoing {
        loop {
            {
                let mut waiting = self.waiting.lock();
                let changed = waiting.interest() != waiting.interest_sent
                    || waiting.video != waiting.ticket_sent;
                if waiting.has_stop() || (room && (waiting.driver_message.is_some() || changed)) {
                    return waiting.take(room);
                }
            }
            self.come.notified().await;
        }
    }

    /// Waits until a press has waited too long, and takes it out. A release takes its place, and
    /// ends the motion that the press was to replace.
    pub(crate) async fn expired(&self) -> PressId {
        loop {
            let next = {
                let mut waiting = self.waiting.lock();
                let next = waiting.expires();
                if let Some((press, _)) = next.filter(|(_, at)| *at <= timing::now()) {
                    waiting.replace(DriverMessage::Other(RouterToInner::Release { press }));
                    self.come.notify_one();
                    return press;
                }
                next
            };
            match next {
                Some((_, at)) => tokio::time::sleep_until(at.into()).await,
                None => self.pressed.notified().await,
            }
        }
    }

    /// Takes the stop that waits, for a link that ends.
    pub(crate) fn take_stop(&self) -> Option<Box<RouterToInner>> {
        self.waiting.lock().stop.take()
    }

    /// Drops the waiting runs after the end of the link. Each tells its caller.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let dropped = std::mem::take(&mut waiting.stop_runs);
        drop(waiting);
        drop(dropped);
    }
}

impl DriverMessage {
    fn press(&self) -> Option<PressId> {
        match self {
            Self::Press(press, ..) => Some(*press),
            Self::Other(_) => None,
        }
    }
}

impl Waiting {
    fn has_stop(&self) -> bool {
        self.stop.is_some() || !self.stop_runs.is_empty()
    }

    /// Sets the driver's message. Returns the press that waited, which is dropped.
    fn replace(&mut self, message: DriverMessage) -> Option<PressId> {
        let old = self.driver_message.replace(Box::new(message));
        old.and_then(|old| old.press())
    }

    /// The interest in the car, including that of its camera's viewers.
    fn interest(&self) -> Interest {
        Interest {
            seen: self.watch.seen || self.video.is_some(),
            ..self.watch
        }
    }

    /// The press that waits, and the moment at which it is too old.
    fn expires(&self) -> Option<(PressId, Instant)> {
        match self.driver_message.as_deref() {
            Some(DriverMessage::Press(press, since, ..)) => {
                Some((*press, *since + timing::MOTION_AGE))
            }
            _ => None,
        }
    }

    fn take(&mut self, room: bool) -> Outgoing {
        let mut rest = Vec::new();
        if room {
            match self.driver_message.take().map(|message| *message) {
                Some(DriverMessage::Press(.., message, renewal)) => {
                    rest.push(message);
                    rest.extend(renewal);
                }
                Some(DriverMessage::Other(message)) => rest.push(message),
                None => {}
            }
            let interest = self.interest();
            if std::mem::replace(&mut self.interest_sent, interest) != interest {
                let Interest { seen, ticks } = interest;
                rest.push(RouterToInner::Ticks {
                    wanted: ticks,
                    watched: seen || ticks,
                });
            }
            let ticket = self.video;
            if std::mem::replace(&mut self.ticket_sent, ticket) != ticket {
                rest.push(RouterToInner::Video { ticket });
            }
        }
        Outgoing {
            stop: self.stop.take(),
            stop_runs: std::mem::take(&mut self.stop_runs),
            rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use p2p_shared::names::Argument;
    use p2p_shared::protocol::{End, RunSource, StderrTail};

    use super::*;
    use crate::run::error::RunError;
    use crate::run::events::{RunEvents, run_events};
    use crate::run::{Finish, NewRun, RunEvent, RunKind};

    fn press(number: u64) -> PressId {
        PressId { epoch: 1, number }
    }

    fn message(number: u64) -> RouterToInner {
        RouterToInner::Press {
            press: press(number),
            run: p2p_shared::names::RunId::from_number(number),
            command: "forward".parse().unwrap(),
            tick_ms: 0,
            driver: "".into(),
            remote_addr: Text::default(),
        }
    }

    #[tokio::test]
    async fn of_several_presses_and_renewals_only_the_newest_is_sent() {
        let queue = PriorityQueue::default();
        assert_eq!(queue.press(press(1), Instant::now(), message(1)), None);
        assert_eq!(
            queue.press(press(2), Instant::now(), message(2)),
            Some(press(1))
        );
        let renew = |tick_ms| {
            let press = press(2);
            RouterToInner::Renew { press, tick_ms }
        };
        // A renewal makes the press no younger: an old press must not begin.
        queue.renew(press(2), 76);
        queue.renew(press(2), 77);
        assert_eq!(queue.next(true).await.rest, [message(2), renew(77)]);
        for tick_ms in 0..9 {
            queue.renew(press(2), tick_ms);
        }
        assert_eq!(queue.next(true).await.rest, [renew(8)]);
    }

    #[tokio::test]
    async fn a_stop_needs_no_room_and_drops_what_waits() {
        let queue = PriorityQueue::default();
        queue.press(press(1), Instant::now(), message(1));
        let cause = StopCause::Asked;
        assert_eq!(
            queue.stop("me".into(), Some(press(1)), cause),
            Some(press(1))
        );
        let orders = queue.next(false).await;
        assert!(orders.stop.is_some() && orders.rest.is_empty());
        // A press after the stop is sent after it.
        queue.stop("me".into(), Some(press(1)), cause);
        queue.press(press(2), Instant::now(), message(2));
        let orders = queue.next(true).await;
        assert!(orders.stop.is_some() && orders.rest == [message(2)]);
    }

    fn stop_run(queue: &PriorityQueue, run: u64, argument: &str) -> RunEvents {
        let run = p2p_shared::names::RunId::from_number(run);
        let argument = argument.to_owned().into_bytes();
        let new = NewRun {
            run,
            command: "stop".parse().unwrap(),
            arguments: (!argument.is_empty())
                .then(|| Argument::try_from(bytes::Bytes::from(argument)).unwrap())
                .into_iter()
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
            stdin: bytes::Bytes::new(),
            for_ms: None,
            source: RunSource::Http,
            by: "".into(),
            key: "".into(),
            from: ([127, 0, 0, 1], 4).into(),
            begun: Instant::now(),
        };
        let order = RunOrder {
            new,
            kind: RunKind::Stop,
            asked: Instant::now(),
        };
        let (sender, events) = run_events();
        queue.stop_by_run(Box::new(order), OpenRun::new(run, sender, None));
        events
    }

    #[tokio::test]
    async fn stops_that_wait_together_are_sent_as_one_and_all_are_told_how_it_ended() {
        let queue = PriorityQueue::default();
        let mut callers: Vec<_> = (0..1000).map(|n| stop_run(&queue, n, "")).collect();
        let hard = stop_run(&queue, 1000, "hard");
        // Who has left is forgotten, also the one whose run is sent for the others.
        callers.drain(..900);
        let late = stop_run(&queue, 1001, "");
        let sent = queue.next(false).await.stop_runs;
        assert_eq!(sent.len(), 2);
        for (_, run) in sent {
            run.end(RunEvent::Finished(Finish {
                end: End::Exit(3),
                exec: std::time::Duration::from_secs(1),
                stderr: StderrTail::default(),
            }));
        }
        for caller in callers.iter().chain([&hard, &late]) {
            let told = caller.next_now().unwrap();
            assert!(
                matches!(&told, RunEvent::Finished(finish) if finish.end == End::Exit(3)),
                "{told:?}"
            );
        }
    }

    #[tokio::test]
    async fn no_flood_of_stops_with_arguments_of_their_own_is_refused_or_sent_whole() {
        let queue = PriorityQueue::default();
        let callers: Vec<_> = (0..1000)
            .map(|n| stop_run(&queue, n, &n.to_string()))
            .collect();
        let sent = queue.next(false).await.stop_runs;
        assert_eq!(sent.len(), STOP_RUNS - 1);
        for (_, run) in sent {
            run.end(RunEvent::Failed(RunError::NotSent));
        }
        for caller in &callers {
            assert!(matches!(caller.next_now(), Some(RunEvent::Failed(_))));
        }
    }

    #[tokio::test]
    async fn in_a_flood_a_stop_is_answered_by_one_with_its_arguments_and_the_plain_stop_is_sent() {
        let queue = PriorityQueue::default();
        let _callers: Vec<_> = (0..1000)
            .map(|n| stop_run(&queue, n, &n.to_string()))
            .collect();
        let plain = stop_run(&queue, 1000, "");
        let third = stop_run(&queue, 1001, "3");
        let sent = queue.next(false).await.stop_runs;
        assert_eq!(sent.len(), STOP_RUNS);
        for (order, run) in sent {
            let number = run.run();
            let code = if order.new.arguments.is_empty() {
                100
            } else if number == RunId::from_number(3) {
                3
            } else {
                0
            };
            run.end(RunEvent::Finished(Finish {
                end: End::Exit(code),
                exec: std::time::Duration::ZERO,
                stderr: StderrTail::default(),
            }));
        }
        for (caller, code) in [(&plain, 100), (&third, 3)] {
            let told = caller.next_now().unwrap();
            assert!(
                matches!(&told, RunEvent::Finished(finish) if finish.end == End::Exit(code)),
                "{told:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_release_of_a_press_that_waits_takes_its_place() {
        let queue = PriorityQueue::default();
        queue.press(press(1), Instant::now(), message(1));
        assert!(queue.release(press(1)));
        let release = RouterToInner::Release { press: press(1) };
        assert_eq!(queue.next(true).await.rest, [release]);
        assert!(!queue.release(press(1)));
    }

    #[tokio::test]
    async fn a_press_that_waits_too_long_is_taken_out_and_let_go() {
        let queue = PriorityQueue::default();
        let now = Instant::now();
        let then = now.checked_sub(timing::MOTION_AGE).unwrap();
        queue.press(press(1), then, message(1));
        assert_eq!(queue.expired().await, press(1));
        let release = RouterToInner::Release { press: press(1) };
        assert_eq!(queue.next(true).await.rest, [release]);
        // One that is still young waits, and renewals make it no younger.
        let mut waiting = Waiting::default();
        waiting.replace(DriverMessage::Press(press(2), now, message(2), None));
        assert_eq!(
            waiting.expires(),
            Some((press(2), now + timing::MOTION_AGE))
        );
        waiting.replace(DriverMessage::Other(message(2)));
        assert_eq!(waiting.expires(), None);
    }

    #[tokio::test]
    async fn a_viewer_of_the_camera_watches_the_car() {
        let queue = PriorityQueue::default();
        for ticket in [Some(MediaTicket(1)), Some(MediaTicket(2)), None] {
            queue.set_video(ticket);
            assert_eq!(queue.is_watched(), ticket.is_some());
            // The interest is sent when it changes.
            let watched = ticket.is_some();
            let ticks = (ticket != Some(MediaTicket(2))).then_some(RouterToInner::Ticks {
                wanted: false,
                watched,
            });
            let sent: Vec<_> = ticks
                .into_iter()
                .chain([RouterToInner::Video { ticket }])
                .collect();
            assert_eq!(queue.next(true).await.rest, sent);
        }
    }

    #[tokio::test]
    async fn ticks_are_asked_for_when_that_changes() {
        let queue = PriorityQueue::default();
        let cases = [
            (true, true, true),
            (true, false, true),
            (false, true, true),
            (false, false, false),
        ];
        for (seen, ticks, watched) in cases {
            queue.set_interest(Interest { seen, ticks });
            assert_eq!(queue.is_watched(), watched);
            let wanted = ticks;
            let sent = RouterToInner::Ticks { wanted, watched };
            assert_eq!(queue.next(true).await.rest, [sent]);
        }
    }
}
