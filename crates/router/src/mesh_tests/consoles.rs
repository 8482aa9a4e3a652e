//! Consoles at one router, and cars at others: all are shown, and what is asked of them is passed on.

use p2p_shared::key::Role;
use p2p_shared::protocol::{
    ConsoleToRouter, ControlRequest, DriveCommand, End, FeedEvent, RouterToConsole, RunAnswer,
    SendEvent,
};
use std::time::Duration;

use super::desk::Desk;
use super::hops::two;
use super::keys::Keyed;
use super::until;
use super::world::{Passing, Place, ReservedPort};
use crate::mesh::hub::Hub;
use crate::net::client_net::QuotaOwner;

fn send(service_port: u16, request: u64, command: &str) -> ConsoleToRouter {
    ConsoleToRouter::Send {
        request,
        service_port,
        command: command.parse().unwrap(),
        arguments: Default::default(),
        for_ms: None,
    }
}

#[tokio::test]
async fn a_console_sees_the_cars_of_all_routers_at_once_and_which_router_each_is_at() {
    let (holder, other, inner, port, _reserved) = two().await;
    let second = ReservedPort::new();
    let _second = other.inner("two", second.port).await;
    holder.script("hello", "echo hello");
    assert_eq!(holder.get(port, "/cgi?command=hello").await.status(), 200);
    let mut desk = Desk::at(&other).await;
    assert_eq!((desk.snapshots, desk.links.len()), (1, 2));
    assert!(desk.is_up(port) && desk.is_up(second.port));
    let address = holder.line.address.to_string();
    assert_eq!(desk.router_of(port), Some(address));
    assert_eq!(desk.router_of(second.port), None);
    assert_eq!(desk.runs.len(), 1);
    // At the other one it is the other way round.
    let at_holder = Desk::at(&holder).await;
    assert_eq!(at_holder.router_of(port), None);
    assert!(at_holder.router_of(second.port).is_some());
    assert_ne!(at_holder.session, desk.session);
    // What happens is told.
    assert_eq!(holder.get(port, "/cgi?command=hello").await.status(), 200);
    let is_over = |desk: &Desk| desk.runs.len() == 3 && desk.runs[2].result.is_some();
    desk.until("the run is shown", is_over).await;
    desk.until("the way is measured", |desk| !desk.hops_us.is_empty())
        .await;
    let third = ReservedPort::new();
    let third_inner = holder.inner("three", third.port).await;
    desk.until("a new car", |desk| desk.is_up(third.port)).await;
    third_inner.shut_down().await;
    desk.until("it is down", |desk| !desk.is_up(third.port))
        .await;
    inner.shut_down().await;
    desk.until("this, too", |desk| !desk.is_up(port)).await;
}

#[tokio::test]
async fn commands_are_sent_listed_ended_and_asked_about_wherever_the_car_is() {
    let (holder, other, _inner, port, _reserved) = two().await;
    holder.script("hello", "echo hello $P2P_REMOTE_ADDR; exit 3");
    holder.long_script("long", "");
    let mut desk = Desk::at(&other).await;
    desk.says(&send(port, 1, "hello"));
    let has_ended = |request: u64| {
        move |desk: &Desk| {
            desk.answers.iter().any(|answer| match answer {
                RouterToConsole::SendEvent { request: of, event } => {
                    *of == request
                        && matches!(
                            event,
                            SendEvent::Finished { .. }
                                | SendEvent::Lost
                                | SendEvent::Refused { .. }
                        )
                }
                _ => false,
            })
        }
    };
    desk.until("it has ended", has_ended(1)).await;
    let mut output = Vec::new();
    let mut run = None;
    for answer in desk.answers.drain(..) {
        match answer {
            RouterToConsole::SendEvent { event, .. } => match event {
                SendEvent::Queued { run: queued } => run = Some(queued),
                SendEvent::Output(piece) => output.extend_from_slice(&piece),
                SendEvent::Finished { end, .. } => assert_eq!(end, End::Exit(3)),
                _ => {}
            },
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(String::from_utf8_lossy(&output), "hello 127.0.0.1\n");
    desk.says(&ConsoleToRouter::AskRun {
        request: 2,
        service_port: port,
        run: run.unwrap(),
    });
    desk.says(&ConsoleToRouter::ListCommands {
        request: 3,
        service_port: port,
    });
    let has = |desk: &Desk| desk.answers.len() == 2;
    desk.until("both are answered", has).await;
    for answer in desk.answers.drain(..) {
        match answer {
            RouterToConsole::Run { answer, .. } => {
                assert!(matches!(answer, RunAnswer::Report(_)), "{answer:?}");
            }
            RouterToConsole::Commands { commands, .. } => assert_eq!(commands.len(), 2),
            other => panic!("{other:?}"),
        }
    }
    // One that is cancelled is ended.
    desk.says(&send(port, 4, "long"));
    desk.says(&send(port, 4, "hello"));
    let is_refused = |desk: &Desk| {
        desk.answers.iter().any(|answer| {
            matches!(
                answer,
                RouterToConsole::SendEvent {
                    event: SendEvent::Refused { .. },
                    ..
                }
            )
        })
    };
    desk.until("its number is taken", is_refused).await;
    holder.has_begun().await;
    desk.says(&ConsoleToRouter::Cancel { request: 4 });
    let flushing = desk.until("never", |_| false);
    tokio::select! {
        () = flushing => {}
        () = holder.was_ended() => {}
    }
    let open = &other.context().shutdown.open_runs;
    until("nothing waits for it any more", || open.is_empty()).await;
    // Of one whose router is lost nobody knows.
    std::fs::remove_file(holder.note("ended")).unwrap();
    let _ = std::fs::remove_file(holder.note("begun"));
    desk.says(&send(port, 5, "long"));
    let begun = |desk: &Desk| {
        desk.answers.iter().any(|answer| {
            matches!(
                answer,
                RouterToConsole::SendEvent {
                    request: 5,
                    event: SendEvent::Started
                }
            )
        })
    };
    desk.until("it begins", begun).await;
    holder.line.set(Passing::Refused);
    desk.until("it is lost", has_ended(5)).await;
    let last = desk.answers.last().unwrap();
    let lost = RouterToConsole::SendEvent {
        request: 5,
        event: SendEvent::Lost,
    };
    assert_eq!(*last, lost);
    holder.was_ended().await;
    // And nothing more is handed over.
    desk.says(&send(port, 6, "hello"));
    desk.until("it is refused", has_ended(6)).await;
    let Some(RouterToConsole::SendEvent {
        event: SendEvent::Refused { message, .. },
        ..
    }) = desk.answers.last()
    else {
        panic!("{:?}", desk.answers);
    };
    let address = holder.line.address.to_string();
    assert!(message.raw().contains(&address), "{message}");
}

#[tokio::test]
async fn a_router_that_is_gone_is_named_and_its_cars_come_back_with_it() {
    let (holder, other, _inner, port, _reserved) = two().await;
    let mut desk = Desk::at(&other).await;
    holder.line.set(Passing::Refused);
    desk.until("it is down", |desk| !desk.is_up(port)).await;
    let address = holder.line.address.to_string();
    assert!(desk.why[&port].contains(&address), "{:?}", desk.why);
    desk.orders(port, DriveCommand::Stop);
    desk.until("no stop is promised", |desk| !desk.refused.is_empty())
        .await;
    assert!(desk.refused[0].contains(&address), "{:?}", desk.refused);
    // A console that comes now sees the car all the same.
    let mut late = Desk::at(&other).await;
    assert!(!late.is_up(port));
    assert_eq!(late.router_of(port).as_deref(), Some(address.as_str()));
    late.until("it is told why", |desk| desk.why.contains_key(&port))
        .await;
    holder.line.set(Passing::Open);
    late.until("it is back", |desk| desk.is_up(port)).await;
    desk.until("it is back", |desk| desk.is_up(port)).await;
}

#[tokio::test]
async fn the_cars_of_a_router_that_never_comes_back_go() {
    let (mut holder, other, _inner, port, _reserved) = two().await;
    let mut desk = Desk::at(&other).await;
    holder.vanish();
    desk.until("it is down", |desk| !desk.is_up(port)).await;
    let context = other.context();
    until("its router is away", || {
        context
            .mesh
            .as_ref()
            .unwrap()
            .members()
            .iter()
            .all(|it| it.is_away())
    })
    .await;
    let late = Desk::at(&other).await;
    assert!(!late.is_up(port) && late.router_of(port).is_some());
    let gone = |mut desk: Desk| async move {
        desk.until("it is gone", |desk| !desk.links.contains_key(&port))
            .await;
    };
    tokio::time::pause();
    tokio::join!(gone(desk), gone(late));
}

#[tokio::test]
async fn whoever_misses_events_is_told_so_and_a_router_that_hangs_holds_up_nothing() {
    let hub = Hub::new(1);
    let [holder, other, silent] = Place::three(&hub).await;
    let (port, second) = (ReservedPort::new(), ReservedPort::new());
    let _first = holder.inner("one", port.port).await;
    let _second = other.inner("two", second.port).await;
    let (port, second) = (port.port, second.port);
    other.serves(port).await;
    for name in ["forward", "stop"] {
        holder.script(name, "");
    }
    let mut desk = Desk::at(&other).await;
    desk.arms(port).await;
    silent.line.set(Passing::Frozen);
    for (at, flooded) in [(&other, second), (&holder, port)] {
        let before = desk.missed;
        // Nobody has a turn in between.
        for rtt_us in 0..5000 {
            at.context().feed.publish(|| FeedEvent::Rtt {
                service_port: flooded,
                rtt_us,
                hop_us: None,
                silent_ms: None,
            });
        }
        desk.until("it is told", |desk| desk.missed > before).await;
        assert!(desk.is_up(port) && desk.is_up(second));
        assert!(desk.drives(port));
        desk.moves(port).await;
    }
    assert_eq!((desk.snapshots, desk.links.len()), (1, 2));
}

#[tokio::test]
async fn each_router_judges_the_key_of_a_console_which_counts_where_it_is() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let holder = Keyed::start(2, shared.path(), &hub).await;
    let other = Keyed::start(3, shared.path(), &hub).await;
    other.place.knows(1).await;
    let port = ReservedPort::new();
    let link = holder.key("car", Role::Link).await;
    let views = holder.key("views", Role::View).await;
    let is_known = || other.keys.is_live(&views.id());
    until("the key is known", is_known).await;
    let mut inner = holder.place.inner_config("one", port.port);
    (inner.key, inner.open) = (Some(link), false);
    let _inner = holder.place.inner_with(inner).await;
    other.place.serves(port.port).await;
    let mut desk = Desk::with(&other.place, Some(views.clone())).await;
    assert!(desk.is_up(port.port));
    desk.asks(port.port, ControlRequest::Take);
    desk.until("it may not", |desk| !desk.refused.is_empty())
        .await;
    assert!(
        desk.refused[0].contains("watch and stop"),
        "{:?}",
        desk.refused
    );
    let owner = QuotaOwner::Key(views.id());
    let takes = |at: &Keyed, consoles| {
        let context = at.place.context();
        let taken = context.quotas.consoles.take_sized(owner, consoles);
        taken.is_some()
    };
    let most = holder.place.context().limits.consoles;
    assert!(takes(&holder, most) && !takes(&other, most) && takes(&other, most - 1));
}

#[tokio::test]
async fn a_router_far_away_is_waited_for_and_a_slower_one_comes_later() {
    let hub = Hub::new(1);
    let holder = Place::start(2, &hub).await;
    let other = Place::start(3, &hub).await;
    holder.knows(1).await;
    other.knows(1).await;
    let port = ReservedPort::new();
    let _inner = holder.inner("one", port.port).await;
    other.serves(port.port).await;
    holder.line.set(Passing::Far(Duration::from_millis(100)));
    assert!(Desk::at(&other).await.is_up(port.port));
    holder.line.set(Passing::Far(Duration::from_millis(400)));
    let mut desk = Desk::at(&other).await;
    desk.until("it comes", |desk| desk.is_up(port.port)).await;
}
