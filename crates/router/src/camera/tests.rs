//! Tests a camera with links, viewers and pictures in any order.

use p2p_shared::protocol::{PartialPicture, RouterToInner};

use super::*;

fn link() -> LinkHandle {
    LinkHandle::new().0
}

fn picture(time: u64) -> Picture {
    PartialPicture::new(time, 0).whole()
}

fn number(number: u64) -> Option<Result<u64, &'static str>> {
    Some(Ok(number))
}

async fn sent_ticket(link: &LinkHandle) -> Option<MediaTicket> {
    loop {
        if let Some(RouterToInner::Video { ticket }) = link.drive().next(true).await.rest.pop() {
            return ticket;
        }
    }
}

#[tokio::test]
async fn a_car_is_sent_the_ticket_for_the_first_viewer_and_none_after_the_last() {
    let (camera, link) = (Arc::<Camera>::default(), link());
    let first = camera.watch();
    camera.link_up(&link, number(1));
    let ticket = sent_ticket(&link).await.unwrap();
    let second = camera.watch();
    drop(first);
    let attached = camera.attach(ticket).unwrap();
    attached.show(picture(1));
    assert_eq!(camera.newest().borrow().as_ref(), Some(&picture(1)));
    assert_eq!(*camera.status().borrow(), Status::Shows);
    drop(second);
    assert_eq!(sent_ticket(&link).await, None);
    // What it saw then is no picture of now.
    assert_eq!(*camera.newest().borrow(), None);
    attached.show(picture(2));
    assert_eq!(*camera.newest().borrow(), None);
    let _third = camera.watch();
    assert_eq!(sent_ticket(&link).await, Some(ticket));
}

#[tokio::test]
async fn pictures_come_by_the_newest_connection_of_the_present_link_and_no_other() {
    let (camera, old, new) = (Arc::<Camera>::default(), link(), link());
    let _viewer = camera.watch();
    assert_eq!(*camera.status().borrow(), Status::Away);
    camera.link_up(&old, number(1));
    let ticket = sent_ticket(&old).await.unwrap();
    assert!(
        camera
            .attach(MediaTicket(ticket.0.wrapping_add(1)))
            .is_none()
    );
    let first = camera.attach(ticket).unwrap();
    let second = camera.attach(ticket).unwrap();
    assert!(first.end.is_cancelled() && !second.end.is_cancelled());
    second.show(picture(1));
    first.show(picture(2));
    drop(first);
    assert_eq!(camera.newest().borrow().as_ref(), Some(&picture(1)));
    camera.link_up(&new, number(2));
    assert!(second.end.is_cancelled() && camera.attach(ticket).is_none());
    assert_eq!(*camera.status().borrow(), Status::Starting);
    let third = camera.attach(sent_ticket(&new).await.unwrap()).unwrap();
    second.show(picture(3));
    assert_eq!(*camera.newest().borrow(), None);
    camera.link_down();
    assert!(third.end.is_cancelled());
    assert_eq!(*camera.status().borrow(), Status::Away);
}

#[tokio::test]
async fn a_camera_that_fails_says_why_until_there_is_a_picture() {
    let (camera, link) = (Arc::<Camera>::default(), link());
    let _viewer = camera.watch();
    camera.link_up(&link, number(1));
    let why = "no\u{1b} camera".into();
    camera.set_state(CameraState::Failed { why });
    let shown = Status::Failed("no\\u{1b} camera".into());
    assert_eq!(*camera.status().borrow(), shown);
    let attached = camera.attach(sent_ticket(&link).await.unwrap()).unwrap();
    attached.show(picture(1));
    assert_eq!(*camera.status().borrow(), Status::Shows);
    // A connection that is lost leaves no picture.
    drop(attached);
    assert_eq!(*camera.newest().borrow(), None);
    assert_eq!(*camera.status().borrow(), Status::Starting);
}

#[tokio::test]
async fn a_car_without_a_camera_is_told_nothing() {
    let (camera, link) = (Arc::<Camera>::default(), link());
    camera.link_up(&link, None::<Result<u64, &str>>);
    let _viewer = camera.watch();
    assert_eq!(*camera.status().borrow(), Status::None);
    assert!(!link.drive().is_watched());
    assert!(camera.attach(MediaTicket(0)).is_none());
}

#[tokio::test]
async fn a_camera_without_a_random_ticket_has_failed_and_is_not_taken_for_none() {
    let (camera, link) = (Arc::<Camera>::default(), link());
    camera.link_up(&link, Some(Err("none")));
    let why = "the router's kernel gives no random numbers (none)";
    for _ in 0..2 {
        let _viewer = camera.watch();
        camera.set_state(CameraState::Starting);
        assert_eq!(*camera.status().borrow(), Status::Failed(why.into()));
    }
    assert!(!link.drive().is_watched());
    camera.link_up(&link, number(1));
    assert_eq!(*camera.status().borrow(), Status::Starting);
}
