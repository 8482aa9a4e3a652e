//! Keys are judged by the router that has the car, over TLS by the certificate that all members share.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use p2p_shared::key::{Key, Role};
use p2p_shared::net::tls;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::LinkHello;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::claims::{claim_of, hello};
use super::until;
use super::world::{Place, ReservedPort, Said, config, read};
use crate::auth::certificate::{self, Certificate, CertificateFiles};
use crate::auth::key_store::{KeyFile, KeyStore};
use crate::car::registry::Registry;
use crate::car::registry::claim::{Claim, Granted, Refused};
use crate::car::saved_ports::PortState;
use crate::config::Config;
use crate::mesh::hub::Hub;
use crate::mesh::{MeshConfig, MeshSecret};
use crate::net::client_net::QuotaOwner;
use crate::ops::state_file::{MESH_FILE, StateFile};

pub(super) struct Keyed {
    pub place: Place,
    pub keys: KeyStore,
    pub state: tempfile::TempDir,
    pub certificate: Certificate,
}

impl Keyed {
    pub(super) async fn start(number: u8, shared: &Path, hub: &Hub) -> Self {
        Self::with(number, shared, hub, None).await
    }

    /// One that takes no keys once no other router knows the same for this time.
    pub(super) async fn with(
        number: u8,
        shared: &Path,
        hub: &Hub,
        keys_stale: Option<Duration>,
    ) -> Self {
        let state = tempfile::tempdir().unwrap();
        // Others may have what is here.
        let secret = format!("version = 1\nsecret = \"{}\"\n", "07".repeat(32));
        let mesh = StateFile::new(state.path(), MESH_FILE);
        mesh.replace(&secret).unwrap();
        let keys = KeyStore::open(state.path()).unwrap();
        let certificate = Certificate::own(shared).unwrap();
        std::fs::copy(shared.join("tls.pem"), state.path().join("tls.pem")).unwrap();
        let config = Config {
            keys: Some(keys.clone()),
            certificate: Some(certificate.clone()),
            mesh: Some(MeshConfig {
                servers: Vec::new(),
                credentials: None,
                address: None,
                secret: MeshSecret::new([7; 32]),
                keys_stale,
            }),
            ..config(number)
        };
        let place = Place::with(config, [7; 32], hub).await;
        Self {
            place,
            keys,
            state,
            certificate,
        }
    }

    pub(super) async fn key(&self, name: &str, role: Role) -> Key {
        let file = KeyFile::in_dir(self.state.path());
        let key = file.add(&name.parse().unwrap(), role, None).unwrap();
        let header = format!("Bearer {}", key.expose());
        let is_known = || self.keys.authenticate(Some(header.as_bytes())).is_ok();
        until("the key is known", is_known).await;
        key.for_router(self.certificate.fingerprint())
    }

    pub(super) async fn get(&self, port: u16, path: &str, key: &str) -> Said {
        read(self.call(port, path, key).await).await
    }

    pub(super) async fn call(&self, port: u16, path: &str, key: &str) -> Transport {
        let host = self.place.address;
        let stream = TcpStream::connect((host, port)).await.unwrap();
        let fingerprints: Vec<_> = self.certificate.fingerprint().into_iter().collect();
        let stream = tls::connect(stream, &host.to_string(), &fingerprints).await;
        let mut stream = stream.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

#[tokio::test]
async fn a_key_is_judged_where_the_car_is() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let holder = Keyed::start(2, shared.path(), &hub).await;
    let other = Keyed::start(3, shared.path(), &hub).await;
    let port = ReservedPort::new();
    let link = holder.key("car", Role::Link).await;
    let [runs, views] = [
        holder.key("runs", Role::Drive).await,
        holder.key("views", Role::View).await,
    ];
    let theirs = Key::generate().unwrap();
    let mut inner = holder.place.inner_config("one", port.port);
    (inner.key, inner.open) = (Some(link), false);
    let _inner = holder.place.inner_with(inner).await;
    holder.place.script("hello", "echo hello $P2P_REMOTE_ADDR");
    other.place.serves(port.port).await;
    let cgi = "/cgi?command=hello";
    for at in [&holder, &other] {
        let said = at.get(port.port, cgi, &runs.expose()).await;
        assert_eq!(said.fate(), (200, "yes"), "{said:?}");
        assert_eq!(said.body(), "hello 127.0.0.1\n");
        let said = at.get(port.port, cgi, &views.expose()).await;
        assert_eq!(said.fate(), (403, "no"), "{said:?}");
        let said = at.get(port.port, cgi, &theirs.expose()).await;
        assert_eq!(said.header("www-authenticate"), Some("Bearer"));
        assert_eq!(said.header("p2p-executed"), Some("no"));
    }
    // Wrong keys are counted where they are judged, and for whoever brings them.
    let wrong = [&holder, &other].map(|at| at.place.context().metrics.wrong_keys.get());
    assert_eq!(wrong, [2, 0]);
    let said = holder.get(port.port, cgi, &theirs.expose()).await;
    assert_eq!(said.fate(), (429, "no"), "{said:?}");
    let said = other.get(port.port, cgi, &runs.expose()).await;
    assert_eq!(said.fate(), (200, "yes"), "{said:?}");
    // Nothing goes in the clear between them.
    let unsafe_call = other.place.get(port.port, cgi).await;
    assert_eq!(unsafe_call.status(), 401, "{unsafe_call:?}");
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let hops = holder.place.context().hops.as_ref().unwrap();
    assert!(hops.is_from_member(loopback));
}

pub(super) async fn claim(
    place: &Place,
    owner: QuotaOwner,
    hello: &LinkHello,
) -> Result<Granted, Refused> {
    let claim = Claim {
        owner,
        ..claim_of(hello)
    };
    place.context().registry.claim_everywhere(claim).await
}

#[tokio::test]
async fn the_port_of_a_router_that_is_gone_is_kept_for_its_key_at_another() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let mut holder = Keyed::start(2, shared.path(), &hub).await;
    let other = Keyed::start(3, shared.path(), &hub).await;
    let port = ReservedPort::new();
    let link = holder.key("car", Role::Link).await;
    until("the key is known", || other.keys.is_live(&link.id())).await;
    holder.place.knows(1).await;
    let owner = QuotaOwner::Key(link.id());
    let of_key = hello(port.port, "one", 1);
    let held = claim(&holder.place, owner, &of_key).await.unwrap();
    other.place.serves(port.port).await;
    holder.place.vanish();
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(70)).await;
    tokio::time::resume();
    let registry = &other.place.context().registry;
    until("it is kept", || {
        let mut saved = registry.saved().into_iter();
        saved.any(|it| it.service_port == port.port && it.state == PortState::Kept)
    })
    .await;
    let stranger = other.key("stranger", Role::Link).await;
    let stranger = QuotaOwner::Key(stranger.id());
    let refused = claim(&other.place, stranger, &hello(port.port, "two", 2)).await;
    assert!(refused.unwrap_err().1.contains("is kept for 'car'"));
    claim(&other.place, owner, &of_key).await.unwrap();
    drop(held);
    // As after a restart: who has had it is known by the file.
    let since = |registry: &Registry| {
        let saved = registry.saved();
        saved
            .iter()
            .find(|it| it.service_port == port.port)
            .unwrap()
            .held_since
    };
    assert_ne!(since(registry), 0);
    assert_eq!(since(registry), since(&holder.place.context().registry));
    let third = Keyed::start(4, shared.path(), &Hub::new(2)).await;
    third.keys.merge(&holder.keys.to_text().unwrap()).unwrap();
    until("the key is known", || third.keys.is_live(&link.id())).await;
    let restarted = &third.place.context().registry;
    for saved in registry.saved() {
        restarted.restore(&saved, None).unwrap();
    }
    assert_eq!(since(restarted), since(registry));
}

#[tokio::test]
async fn a_stream_is_not_cut_off_to_make_room_for_strangers() {
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let holder = Keyed::start(2, shared.path(), &hub).await;
    let other = Keyed::start(3, shared.path(), &hub).await;
    let port = ReservedPort::new();
    let link = holder.key("car", Role::Link).await;
    let runs = holder.key("runs", Role::Drive).await;
    let mut inner = holder.place.inner_config("one", port.port);
    (inner.key, inner.open) = (Some(link), false);
    let _inner = holder.place.inner_with(inner).await;
    let more = "head -c 100000 /dev/zero | tr '\\0' x";
    holder.place.long_script("long", more);
    other.place.serves(port.port).await;
    let path = "/cgi?command=long&stream=1";
    let mut asking = other.call(port.port, path, &runs.expose()).await;
    asking.read_exact(&mut [0; 1000]).await.unwrap();
    let context = other.place.context();
    let caller = SocketAddr::from(([127, 0, 0, 1], 9));
    let _flood: Vec<_> = (0..2000).map(|_| context.admit(caller)).collect();
    // Longer than a connection has that is sent away.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    holder.place.has_begun().await;
    std::fs::remove_file(holder.place.note("begun")).unwrap();
    let rest = read(asking).await;
    assert!(rest.0.ends_with("0\r\n\r\n"), "{}", rest.0.len());
}

#[tokio::test]
async fn with_a_certificate_of_an_authority_the_others_are_known_by_its_key_whatever_their_name_is()
{
    let (hub, shared) = (Hub::new(1), tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed(vec!["cars.test".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = shared.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = CertificateFiles {
        certificate: file("cert.pem", made.cert.pem()),
        key: file("key.pem", made.signing_key.serialize_pem()),
    };
    let mut places = Vec::new();
    for number in [2, 3] {
        let config = Config {
            certificate: Some(Certificate::of_authority(files.clone()).unwrap()),
            allow_plain_http: true,
            ..config(number)
        };
        places.push(Place::with(config, [7; 32], &hub).await);
    }
    places[0].knows(1).await;
    places[1].knows(1).await;
    let hops = places[1].context().hops.as_ref().unwrap();
    let members = places[1].context().mesh.as_ref().unwrap().members();
    hops.reach(&members[0]).await.unwrap();
}

#[tokio::test]
async fn while_the_certificate_is_changed_routers_with_the_old_one_and_the_new_one_reach_each_other()
 {
    let hub = Hub::new(1);
    let [old, new, strange] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    Certificate::own(old.path()).unwrap();
    certificate::make_next(old.path(), &[]).unwrap();
    for (from, to) in [("tls.pem", "tls-next.pem"), ("tls-next.pem", "tls.pem")] {
        std::fs::copy(old.path().join(from), new.path().join(to)).unwrap();
    }
    let mut places = Vec::new();
    for (number, folder) in [(2, &old), (3, &new), (4, &strange)] {
        places.push(Keyed::start(number, folder.path(), &hub).await);
    }
    for keyed in &places {
        keyed.place.knows(2).await;
    }
    let reach = async |from: usize, to: usize| {
        let start = places[to].place.context().mesh.as_ref().unwrap().start();
        let context = places[from].place.context();
        let members = context.mesh.as_ref().unwrap().members();
        let member = members.iter().find(|member| member.start == start);
        let reached = context.hops.as_ref().unwrap().reach(member.unwrap()).await;
        reached.map_err(|why| why.to_string())
    };
    reach(0, 1).await.unwrap();
    reach(1, 0).await.unwrap();
    let refused = reach(0, 2).await.unwrap_err();
    assert!(
        refused.contains("tls.pem and tls-next.pem here"),
        "{refused}"
    );
}
