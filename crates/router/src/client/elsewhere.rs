//! Shows a console the cars of the other routers of the mesh, and passes on what it asks of them. Each router
//! has the console as one of its own, over a [`Line`]; what they say is one picture here. The router that has a
//! car decides about it.
//!
//! ```text
//!  console ══ Console ── CarsElsewhere ══ Line ══ /peer of A: a console of A
//!                                      ══ Line ══ /peer of C: a console of C
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use p2p_shared::bounded::Text;
use p2p_shared::names::CommandName;
use p2p_shared::protocol::{
    ConsoleToRouter, FeedEvent, LinkInfo, RouterToConsole, RunInfo, SessionId,
};
use p2p_shared::timing;

use crate::context::Context;
use crate::mesh::id::Start;
use crate::mesh::{Member, Mesh};
use crate::net::port_range::PortRange;
use line::{Heard, Line, LineEnd, Origin};
use requests::OpenRequest;

mod line;
mod merge;
mod orders;
mod requests;

/// Pause between two looks at which routers there are.
const LOOK: Duration = Duration::from_secs(1);
/// Time for the other routers to be reached and to send what they have: then one that says nothing counts as
/// silent. What is of a slower one is shown as away until it comes.
const REACH: Duration = Duration::from_secs(3);
/// Time for routers that are reached to send all again.
const GATHER: Duration = Duration::from_secs(1);
/// Most events that wait while a picture is sent, and most answers.
const LATE: usize = 1024;
/// Pause after a router has refused the console.
const REFUSED: Duration = Duration::from_secs(30);

/// Id that no session has.
const NO_SESSION: SessionId = SessionId(0);

/// The cars of other routers, as one console sees them.
pub(crate) struct CarsElsewhere {
    mesh: Arc<Mesh>,
    origin: Arc<Origin>,
    /// The service ports of the cars that the console sees, and its session here.
    ports: PortRange,
    session: SessionId,
    routers: BTreeMap<Start, OtherRouter>,
    /// The cars that the console knows to be elsewhere.
    cars: BTreeMap<u16, CarElsewhere>,
    /// Requests that await answers.
    requests: BTreeMap<u64, OpenRequest>,
    watched: Option<u16>,
    /// Answers, which the console is told first.
    answers: VecDeque<RouterToConsole>,
    /// Events that the console is told next.
    told: VecDeque<FeedEvent>,
    /// Events of routers that came before the console could be shown them.
    late: VecDeque<(Start, FeedEvent)>,
    /// There were too many of these: all is to be asked again.
    is_behind: bool,
    /// Cars that another router has by its own word, while this one has them, too.
    doubted: BTreeSet<u16>,
    /// When what has come of the whole picture is shown.
    gathering: Option<Instant>,
    next_look: Instant,
    /// The router that was heard last: the others have their turn first.
    turn: Start,
}

#[derive(Debug)]
struct OtherRouter {
    member: Member,
    /// `None`: the router is not reached, for this reason.
    line: Option<Line>,
    why: String,
    retry: Instant,
    /// The console's session there, and the car that it watches there.
    session: SessionId,
    watched: Option<u16>,
    picture: Picture,
}

/// The cars that a router has told of, and how far.
#[derive(Debug)]
enum Picture {
    /// It is to tell all it has; this has come.
    Awaited(Entries),
    /// All has come. What happened since then waits until the console is shown this.
    Ready(Entries),
    /// The console was shown all of it.
    Shown,
}

type Entries = (Vec<LinkInfo>, Vec<Arc<RunInfo>>);

/// A car elsewhere.
#[derive(Debug)]
struct CarElsewhere {
    router: Start,
    stop: CommandName,
    /// Since when the console is told that the car is away because of routers, not of the car.
    lost: Option<Instant>,
}

/// News for the console.
pub(crate) enum News {
    Message(RouterToConsole),
    /// All is to be shown again: [`whole`](CarsElsewhere::whole).
    Picture,
}

impl CarsElsewhere {
    /// Begins to look at all other routers. `None` without a mesh.
    pub(crate) fn new(
        context: &Arc<Context>,
        (caller, authorization): (SocketAddr, Option<HeaderValue>),
        (software, readonly): (Text, bool),
        (session, ports): (SessionId, PortRange),
    ) -> Option<Self> {
        let now = timing::now();
        let origin = Origin {
            context: context.clone(),
            caller,
            authorization,
            software,
            readonly,
        };
        let mut all = Self {
            mesh: context.mesh.clone()?,
            origin: Arc::new(origin),
            ports,
            session,
            routers: BTreeMap::new(),
            cars: BTreeMap::new(),
            requests: BTreeMap::new(),
            watched: None,
            answers: VecDeque::new(),
            told: VecDeque::new(),
            late: VecDeque::new(),
            is_behind: false,
            doubted: BTreeSet::new(),
            gathering: Some(now + REACH),
            next_look: now,
            turn: Start(0),
        };
        all.look(now);
        Some(all)
    }

    /// The moment at which [`pass_time`](Self::pass_time) is to be called at the latest.
    pub(crate) fn next(&self) -> Instant {
        // One that is over waits for room, not for time.
        let until = self.gathering.filter(|until| *until > timing::now());
        until.map_or(self.next_look, |until| until.min(self.next_look))
    }

    pub(crate) fn pass_time(&mut self, now: Instant) {
        if self.next_look <= now {
            self.look(now);
        }
    }

    /// Reaches for routers that are not reached, and forgets what is gone.
    fn look(&mut self, now: Instant) {
        self.next_look = now + LOOK;
        let members = self.mesh.members();
        self.routers.retain(|start, router| {
            router.line.is_some() || members.iter().any(|member| member.start == *start)
        });
        for member in members {
            let before = self.routers.get(&member.start);
            let is_due = before.is_none_or(|it| it.line.is_none() && it.retry <= now);
            if member.is_away() || !is_due {
                continue;
            }
            let router = OtherRouter {
                line: Some(Line::begin(self.origin.clone(), member.clone())),
                why: "it did not answer yet".to_owned(),
                retry: now,
                session: NO_SESSION,
                watched: None,
                picture: Picture::Awaited(Entries::default()),
                member,
            };
            self.routers.insert(router.member.start, router);
        }
        self.look_for_lost(now);
    }

    /// Asks all routers for all they have.
    pub(crate) fn gather(&mut self, now: Instant) {
        self.gathering.get_or_insert(now + GATHER);
        for router in self.routers.values_mut() {
            if let Some(line) = &router.line
                && matches!(router.picture, Picture::Shown)
            {
                router.picture = Picture::Awaited(Entries::default());
                line.orders().push(ConsoleToRouter::Again);
            }
        }
    }

    /// Returns true while a router that is reached has not told all it has.
    fn awaits(&self) -> bool {
        let mut routers = self.routers.values();
        routers.any(|it| it.line.is_some() && matches!(it.picture, Picture::Awaited(_)))
    }

    /// Waits for what is new. Without `room` nothing is told, and only answers while a picture is sent
    /// (`may_show` is false); but the routers are heard in any case.
    pub(crate) fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        (has_room, may_show): (bool, bool),
    ) -> Poll<News> {
        loop {
            if has_room && let Some(message) = self.answers.pop_front() {
                return Poll::Ready(News::Message(message));
            }
            if has_room
                && may_show
                && let Some(news) = self.show()
            {
                return Poll::Ready(news);
            }
            if self.answers.len() >= LATE {
                return Poll::Pending;
            }
            match self.poll_routers(cx) {
                Poll::Ready((start, Heard::Message(message))) => {
                    self.on_message(start, *message, has_room && may_show);
                }
                Poll::Ready((start, Heard::Ended(end))) => self.line_ended(start, end),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// News to be shown next: first the whole picture, then what came after it.
    fn show(&mut self) -> Option<News> {
        loop {
            if let Some(until) = self.gathering
                && (until <= timing::now() || !self.awaits())
            {
                self.gathering = None;
                return Some(News::Picture);
            }
            if let Some(event) = self.told.pop_front() {
                return Some(News::Message(RouterToConsole::Feed(event)));
            }
            let is_shown = |start: &Start| {
                let router = self.routers.get(start);
                router.is_none_or(|it| !matches!(it.picture, Picture::Ready(_)))
            };
            let next = self.late.iter().position(|(start, _)| is_shown(start));
            match next.and_then(|at| self.late.remove(at)) {
                Some((start, event)) => self.on_event(start, event),
                None if self.is_behind && self.gathering.is_none() => {
                    self.is_behind = false;
                    self.gather(timing::now());
                }
                None => return None,
            }
        }
    }

    fn poll_routers(&mut self, cx: &mut TaskContext<'_>) -> Poll<(Start, Heard)> {
        let later = (Bound::Excluded(self.turn), Bound::Unbounded);
        let sooner = (Bound::Unbounded, Bound::Included(self.turn));
        for turns in [later, sooner] {
            for (start, router) in self.routers.range_mut(turns) {
                let heard = router.line.as_mut().map(|line| line.heard.poll_recv(cx));
                if let Some(Poll::Ready(heard)) = heard {
                    self.turn = *start;
                    let lost = || Heard::Ended(LineEnd::lost("the router goes down"));
                    return Poll::Ready((*start, heard.unwrap_or_else(lost)));
                }
            }
        }
        Poll::Pending
    }

    /// Takes in an event, or keeps it for later.
    fn on_feed(&mut self, start: Start, event: FeedEvent, may_show: bool) {
        let is_ready = |it: &OtherRouter| matches!(it.picture, Picture::Ready(_));
        if may_show && !self.routers.get(&start).is_some_and(is_ready) {
            return self.on_event(start, event);
        }
        if self.late.len() >= LATE {
            self.late.clear();
            self.is_behind = true;
        }
        self.late.push_back((start, event));
    }

    fn on_message(&mut self, start: Start, message: RouterToConsole, may_show: bool) {
        let Some(router) = self.routers.get_mut(&start) else {
            return;
        };
        let own = |control: &mut _| merge::own_session(control, router.session, self.session);
        match message {
            RouterToConsole::Snapshot {
                first,
                last,
                session,
                links,
                runs,
                ..
            } => self.on_part(start, (first, last, session), links, runs),
            RouterToConsole::Feed(mut event) => {
                match &mut event {
                    FeedEvent::Link(link) => own(&mut link.control),
                    FeedEvent::Control { control, .. } => own(control),
                    _ => {}
                }
                self.on_feed(start, event, may_show);
            }
            // It does not want the console.
            RouterToConsole::Refused { message, .. } if router.session == NO_SESSION => {
                router.why = message.raw().to_owned();
            }
            message => {
                self.answered(&message);
                self.answer(message);
            }
        }
    }

    fn line_ended(&mut self, start: Start, end: LineEnd) {
        let now = timing::now();
        let Some(router) = self.routers.get_mut(&start) else {
            return;
        };
        let pause = if end.is_refused { REFUSED } else { LOOK };
        router.line = None;
        router.retry = now + pause;
        router.why = end.why;
        router.picture = Picture::Awaited(Entries::default());
        let address = router.member.address.clone();
        tracing::info!(
            session = self.session.0, router = %address, why = router.why,
            "the console's line to another router ended"
        );
        self.late.retain(|(of, _)| *of != start);
        self.router_lost(start, now);
        self.requests_lost(start);
    }
}
