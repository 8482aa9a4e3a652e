//! Routers that join a mesh by the invitation that one of it has made.

use std::path::Path;
use std::time::SystemTime;

use p2p_shared::invitation::Invitation;
use p2p_shared::invitation::post::Redeemer;
use p2p_shared::key::{Fingerprint, InviteCode, Role};

use super::keys::Keyed;
use crate::auth::certificate::Certificate;
use crate::auth::invites::{self, Purpose};
use crate::auth::key_store::KeyFile;
use crate::mesh::config;
use crate::mesh::hub::Hub;
use crate::mesh::join::join;

fn invitation(of: &Keyed) -> Invitation {
    Invitation::new(
        invites::make(of.state.path(), Purpose::Mesh, SystemTime::now()).unwrap(),
        of.place.line.address.to_string().parse().unwrap(),
        of.certificate.fingerprint(),
    )
}

/// Joins, and returns what is said.
async fn join_by(line: &Invitation, dir: &Path) -> Result<String, String> {
    let (line, dir) = (line.clone(), dir.to_owned());
    let joined = tokio::task::spawn_blocking(move || join(&line, &dir)).await;
    joined.unwrap().map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn who_is_invited_gets_what_a_member_needs_once() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let member = Keyed::start(2, shared.path(), &hub).await;
    let key = member.key("car", Role::Link).await;
    let line = invitation(&member);
    let [new, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let dir = new.path().join("state");
    let said = join_by(&line, &dir).await.unwrap();
    assert!(said.contains("--mesh nats://"), "{said}");
    assert!(config::read_secret(&dir).is_ok());
    assert_eq!(KeyFile::in_dir(&dir).list().unwrap()[0].id, key.id());
    let certificate = Certificate::own(&dir).unwrap();
    assert_eq!(certificate.fingerprint(), member.certificate.fingerprint());
    let used = join_by(&line, other.path()).await.unwrap_err();
    assert!(used.contains("was used before"), "{used}");
    let again = join_by(&invitation(&member), &dir).await.unwrap_err();
    assert!(again.contains("is a member of a mesh already"), "{again}");
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn who_has_no_invitation_gets_nothing_and_another_routers_is_no_guess() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let member = Keyed::start(2, shared.path(), &hub).await;
    let new = tempfile::tempdir().unwrap();
    let made_up = Invitation {
        code: InviteCode::generate().unwrap(),
        ..invitation(&member)
    };
    let refused = join_by(&made_up, new.path()).await.unwrap_err();
    assert!(
        refused.contains("has not made this invitation"),
        "{refused}"
    );
    assert!(
        refused.contains("another router of this mesh has made it"),
        "{refused}"
    );
    assert_eq!(member.place.context().metrics.wrong_keys.get(), 0);

    // Nothing is sent to a router that is not the one that made the invitation: it stays good.
    let line = invitation(&member);
    let another = Some(Fingerprint::of_public_key(b"another"));
    let stranger = Invitation::new(line.code.clone(), line.router.clone(), another);
    let refused = join_by(&stranger, new.path()).await.unwrap_err();
    assert!(
        refused.contains("is not the router that made this invitation"),
        "{refused}"
    );
    let text = member
        .place
        .get(
            member.place.router.address().port(),
            Redeemer::Router.path(),
        )
        .await;
    assert_eq!(text.status(), 405, "{text:?}");
    join_by(&line, new.path()).await.unwrap();
}
