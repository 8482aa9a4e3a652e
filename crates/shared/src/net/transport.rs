//! Connection of a link or a request: TCP, plain or with TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::socket;

/// Most bytes that TLS buffers when the socket takes no more: one record. A stop can't overtake
/// what waits there.
const TLS_BUFFER: usize = 16 * 1024;

/// Either end of a connection.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS; the peer is known by its key or its certificate.
    Tls(Box<TlsStream<TcpStream>>),
    /// Connection over the network of the simulation, without a socket.
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn SimulatedStream>),
}

/// Connection over a simulated network.
#[cfg(feature = "simulation")]
pub trait SimulatedStream: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin {}

impl Transport {
    /// Makes a connection with TLS, after the handshake.
    pub fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        let mut stream = stream.into();
        match &mut stream {
            TlsStream::Client(end) => end.get_mut().1.set_buffer_limit(Some(TLS_BUFFER)),
            TlsStream::Server(end) => end.get_mut().1.set_buffer_limit(Some(TLS_BUFFER)),
        }
        Self::Tls(Box::new(stream))
    }

    /// Returns the socket underneath, for its options and addresses; a simulated network has none.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => None,
        }
    }

    /// See [`socket::set_dead_after`].
    pub fn set_dead_after(&self, silence: Duration) {
        if let Some(socket) = self.socket() {
            socket::set_dead_after(socket, silence);
        }
    }

    /// Returns true if nobody on the way can read the connection.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Calls a method of the connection, whichever kind it is.
macro_rules! delegate {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Self::Plain($stream) => $call,
            Self::Tls($stream) => $call,
            #[cfg(feature = "simulation")]
            Self::Simulated($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
