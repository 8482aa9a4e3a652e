//! Proves on a new connection that both ends know the mesh's secret, each to the other. The codes are bound to
//! the TLS session (RFC 5705), so that nobody in between can pass them on, and to a number of each end, so
//! that nobody can use them again.
//!
//! ```text
//!  GET /peer                       ──▶
//!  ◀──  101, number of the holder
//!  own number, start and code      ──▶
//!  ◀──  start and code of the holder  from here on: HTTP
//! ```

use std::io;

use hyper::header::HeaderName;
use p2p_shared::net::transport::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsStream;

use crate::mesh::Mesh;
use crate::mesh::id::Start;

/// Path on the main port.
pub(crate) const PATH: &str = "/peer";
/// What the connection is upgraded to.
pub(crate) const PROTOCOL: &str = "p2p-peer-1";
/// Header with the holder's number, in the answer to the upgrade.
pub(crate) const NUMBER: HeaderName = HeaderName::from_static("p2p-number");

const BYTES: usize = 32;
const EXPORTER: &[u8] = b"EXPORTER-p2prouter-peer";

/// Random number, used once.
pub(crate) type Number = [u8; BYTES];

/// Makes a number.
pub(crate) fn number() -> io::Result<Number> {
    let mut number = [0; BYTES];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    Ok(number)
}

/// The text that both ends sign, but for who says it.
struct Transcript(Vec<u8>);

impl Transcript {
    fn new(
        stream: &Transport,
        holder: &Number,
        caller: &Number,
        of_caller: [u8; 8],
    ) -> io::Result<Self> {
        let mut session = [0; BYTES];
        if let Transport::Tls(stream) = stream {
            let exported = match &**stream {
                TlsStream::Client(end) => {
                    (end.get_ref().1).export_keying_material(&mut session, EXPORTER, None)
                }
                TlsStream::Server(end) => {
                    (end.get_ref().1).export_keying_material(&mut session, EXPORTER, None)
                }
            };
            exported.map_err(io::Error::other)?;
        }
        let is_tls = [u8::from(stream.is_tls())];
        Ok(Self(
            [&is_tls, &session[..], holder, caller, &of_caller].concat(),
        ))
    }

    fn said_by(&self, whom: &[u8; 6]) -> Vec<u8> {
        [whom, &self.0[..]].concat()
    }

    fn by_caller(&self) -> Vec<u8> {
        self.said_by(b"caller")
    }

    fn by_holder(&self, start: [u8; 8]) -> Vec<u8> {
        let mut said = self.said_by(b"holder");
        said.extend(start);
        said
    }
}

/// Proves to the holder of a link who we are, and checks that it is this start of one of us.
pub(super) async fn call(
    mesh: &Mesh,
    of: Start,
    stream: &mut Transport,
    holder: &Number,
) -> io::Result<()> {
    let (own, start) = (number()?, mesh.start().0.to_be_bytes());
    let transcript = Transcript::new(stream, holder, &own, start)?;
    let code = mesh.peer_code(&transcript.by_caller());
    let said = [&own[..], &start, code.as_ref()].concat();
    stream.write_all(&said).await?;
    stream.flush().await?;
    let (mut start, mut code) = ([0; 8], [0; BYTES]);
    stream.read_exact(&mut start).await?;
    stream.read_exact(&mut code).await?;
    if !mesh.is_peer_code(&transcript.by_holder(start), &code) {
        return Err(no_member());
    }
    if Start(u64::from_be_bytes(start)) != of {
        return Err(io::Error::other("it was started anew"));
    }
    Ok(())
}

/// Checks who calls, and proves to it that it reached one of us. Returns the caller's start:
/// its id may change, and another member may have had it.
pub(crate) async fn answer(mesh: &Mesh, stream: &mut Transport, own: &Number) -> io::Result<Start> {
    let (mut caller, mut of_caller, mut code) = ([0; BYTES], [0; 8], [0; BYTES]);
    stream.read_exact(&mut caller).await?;
    stream.read_exact(&mut of_caller).await?;
    stream.read_exact(&mut code).await?;
    let transcript = Transcript::new(stream, own, &caller, of_caller)?;
    if !mesh.is_peer_code(&transcript.by_caller(), &code) {
        return Err(no_member());
    }
    let start = mesh.start().0.to_be_bytes();
    let code = mesh.peer_code(&transcript.by_holder(start));
    stream
        .write_all(&[&start[..], code.as_ref()].concat())
        .await?;
    stream.flush().await?;
    Ok(Start(u64::from_be_bytes(of_caller)))
}

fn no_member() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it does not know the mesh's secret: all routers of a mesh have the same mesh.toml",
    )
}
