//! Shows a console the cars of the other routers of the mesh, and passes on what it asks of them. Each router
//! has the console as one of its own, over a [line](line::Line); what they say is one feed here. The router that has a
//! car decides about it.
//!
//! ```text
//!  console ══ Console ── CarsElsewhere ══ Line ══ /peer of A: a console of A
//!                                      ══ Line ══ /peer of C: a console of C
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use p2p_shared::protocol::{ConsoleToRouter, FeedEvent, LinkInfo, RouterToConsole, RunInfo};
use p2p_shared::timing;

use crate::mesh::Mesh;
use crate::mesh::id::Start;
use crate::net::port_range::PortRange;
use away::KnownMesh;
use line::{LineEnd, LineEvent};
use merge::MergedFeed;
use other_router::OtherRouter;
use requests::OpenRequest;

mod away;
mod line;
mod merge;
mod orders;
mod other_router;
mod requests;

pub(crate) use line::{Origin, TOO_MANY_LINES};

/// Pause between two looks at which routers there are.
const LOOK: Duration = Duration::from_secs(1);
/// Time for the other routers to be reached and to tell what they have: then one that says nothing counts as
/// silent. What is of a slower one is shown as away until it comes.
const REACH: Duration = Duration::from_secs(3);
/// Most answers that wait for the console.
const ANSWERS: usize = 1024;

/// The cars of other routers, as one console sees them.
pub(crate) struct CarsElsewhere {
    mesh: Arc<Mesh>,
    origin: Arc<Origin>,
    /// The service ports of the cars that the console sees.
    ports: PortRange,
    routers: BTreeMap<Start, OtherRouter>,
    feed: MergedFeed,
    /// Requests that await answers.
    requests: BTreeMap<u64, OpenRequest>,
    /// Answers, which the console is told first.
    answers: VecDeque<RouterToConsole>,
    /// When what has come is shown, before which the console is shown nothing.
    gathering: Option<Instant>,
    next_look: Instant,
    /// The router that was heard last: the others have their turn first.
    turn: Start,
}

/// News for the console's task.
pub(crate) enum News {
    /// To be told.
    Message(RouterToConsole),
    /// What the console has asked, or what is asked for it, is to be done by this router.
    Here(ConsoleToRouter),
    /// To be shown first.
    Picture(Vec<LinkInfo>, Vec<Arc<RunInfo>>),
    /// So many events were not told.
    Missed(u64),
}

impl CarsElsewhere {
    /// Begins to look at all other routers. `None` without a mesh.
    pub(crate) fn new(origin: Origin, ports: PortRange) -> Option<Self> {
        let now = timing::now();
        let mesh = origin.context.mesh.clone()?;
        let feed = MergedFeed::new(mesh.start(), origin.session);
        let mut all = Self {
            mesh,
            origin: Arc::new(origin),
            ports,
            routers: BTreeMap::new(),
            feed,
            requests: BTreeMap::new(),
            answers: VecDeque::new(),
            gathering: Some(now + REACH),
            next_look: now,
            turn: Start(0),
        };
        all.pass_time(now);
        Some(all)
    }

    /// The moment at which [`pass_time`](Self::pass_time) is to be called at the latest.
    pub(crate) fn next(&self) -> Instant {
        // One that is over waits for room, not for time.
        let until = self.gathering.filter(|until| *until > timing::now());
        until.map_or(self.next_look, |until| until.min(self.next_look))
    }

    /// Reaches for routers that are not reached, and forgets what is gone.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        if self.next_look > now {
            return;
        }
        self.next_look = now + LOOK;
        let members = self.mesh.members();
        self.routers.retain(|start, router| {
            router.line.is_some() || members.iter().any(|member| member.start == *start)
        });
        for member in members.into_iter().filter(|member| !member.is_away()) {
            let start = member.start;
            let router =
                (self.routers.entry(start)).or_insert_with(|| OtherRouter::new(member, now));
            if router.begin(&self.origin, now) {
                self.feed.begins(start);
            }
        }
        let mesh = KnownMesh(&self.mesh, &self.routers);
        self.feed.pass_time(now, &mesh);
    }

    /// Takes in all that is here; so many events of before are not told.
    pub(crate) fn all_here(
        &mut self,
        (links, runs): (Vec<LinkInfo>, Vec<Arc<RunInfo>>),
        missed: u64,
    ) {
        let mesh = KnownMesh(&self.mesh, &self.routers);
        let runs = runs.into_iter().map(Arc::unwrap_or_clone);
        let part = (true, true, self.origin.session);
        (self.feed).on_part(self.mesh.start(), part, missed, (links, runs), &mesh);
    }

    /// Takes in an event of this router.
    pub(crate) fn here(&mut self, event: FeedEvent) {
        let mesh = KnownMesh(&self.mesh, &self.routers);
        self.feed.on_event(self.mesh.start(), event, &mesh);
    }

    /// Takes the next event that the console is to be told.
    pub(crate) fn told(&mut self) -> Option<FeedEvent> {
        self.feed.next()
    }

    /// Sets the car that the console may drive next, wherever it is.
    pub(crate) fn watch(&mut self, port: Option<u16>) {
        let mesh = KnownMesh(&self.mesh, &self.routers);
        self.feed.watch(port, &mesh);
    }

    /// Waits for what is new. Without `room` nothing is told, and only answers while a picture is sent
    /// (`may_show` is false); but the routers are heard in any case.
    pub(crate) fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        (has_room, may_show): (bool, bool),
    ) -> Poll<News> {
        loop {
            if let Some(news) = self.pass_asks() {
                return Poll::Ready(news);
            }
            if has_room && let Some(message) = self.answers.pop_front() {
                return Poll::Ready(News::Message(message));
            }
            if has_room
                && may_show
                && let Some(news) = self.show()
            {
                return Poll::Ready(news);
            }
            if self.answers.len() >= ANSWERS {
                return Poll::Pending;
            }
            match self.poll_routers(cx) {
                Poll::Ready((start, LineEvent::Message(message))) => {
                    self.on_message(start, *message)
                }
                Poll::Ready((start, LineEvent::Ended(end))) => self.line_ended(start, end),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Passes on what the routers are to be asked. Returns what this one is asked.
    fn pass_asks(&mut self) -> Option<News> {
        while let Some((router, message)) = self.feed.next_ask() {
            if router == self.mesh.start() {
                return Some(News::Here(message));
            }
            // Of a router that is lost nothing is asked.
            self.send(router, message);
        }
        None
    }

    /// News to be shown next: first a picture, then what came after it.
    fn show(&mut self) -> Option<News> {
        if let Some(until) = self.gathering {
            if timing::now() < until && self.feed.awaits() {
                return None;
            }
            self.gathering = None;
            self.show_away();
            let (links, runs) = self.feed.take_picture();
            return Some(News::Picture(links, runs));
        }
        match self.feed.take_missed() {
            0 => (self.feed.next()).map(|event| News::Message(RouterToConsole::Feed(event))),
            missed => Some(News::Missed(missed)),
        }
    }

    fn poll_routers(&mut self, cx: &mut TaskContext<'_>) -> Poll<(Start, LineEvent)> {
        let later = (Bound::Excluded(self.turn), Bound::Unbounded);
        let sooner = (Bound::Unbounded, Bound::Included(self.turn));
        for turns in [later, sooner] {
            for (start, router) in self.routers.range_mut(turns) {
                let heard = router.line.as_mut().map(|line| line.heard.poll_recv(cx));
                if let Some(Poll::Ready(heard)) = heard {
                    self.turn = *start;
                    let lost = || LineEvent::Ended(LineEnd::lost("the router goes down"));
                    return Poll::Ready((*start, heard.unwrap_or_else(lost)));
                }
            }
        }
        Poll::Pending
    }

    fn on_message(&mut self, start: Start, message: RouterToConsole) {
        let Some(router) = self.routers.get_mut(&start) else {
            return;
        };
        match message {
            RouterToConsole::Snapshot {
                first,
                last,
                session,
                links,
                runs,
                missed,
                ..
            } => {
                router.is_up(self.origin.session);
                let part = (first, last, session);
                let mesh = KnownMesh(&self.mesh, &self.routers);
                (self.feed).on_part(start, part, missed, (links, runs), &mesh);
            }
            RouterToConsole::Feed(event) => {
                let mesh = KnownMesh(&self.mesh, &self.routers);
                self.feed.on_event(start, event, &mesh);
            }
            message => self.answered(start, message),
        }
    }

    fn line_ended(&mut self, start: Start, end: LineEnd) {
        if let Some(router) = self.routers.get_mut(&start) {
            router.ended(end, timing::now(), self.origin.session);
        }
        let mesh = KnownMesh(&self.mesh, &self.routers);
        self.feed.lost(start, &mesh);
        self.requests_lost(start);
    }
}
