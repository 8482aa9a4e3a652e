//! Options of TCP sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Most unsent bytes that the kernel may hold: an urgent message waits behind no more than this.
/// (Cloudflare and Apple use this value for interactive streams.)
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Most waiting connections of a listener; the kernel caps it at `net.core.somaxconn`. The main
/// port accepts as many within two seconds. A caller that has waited longer is about to give up
/// (its hello may take 5 s), and accepting it would be work for nobody.
const BACKLOG: i32 = 1024;

/// Listens on this address; an IPv6 wildcard takes IPv4 as well.
///
/// # Errors
/// As `bind` and `listen` do: the address is in use, not ours, or needs privileges.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_on(SocketAddr::new(really(address.ip()), address.port()))
}

/// Returns the address on which [`listen`] really listens. Asks the kernel.
#[must_use]
pub fn really(address: IpAddr) -> IpAddr {
    with(address, || {
        let asked = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP));
        let no_ipv6 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
        asked.map_or_else(|error| error.raw_os_error() != Some(no_ipv6), |_| true)
    })
}

/// Returns the address for a kernel with or without IPv6.
fn with(address: IpAddr, has_ipv6: impl FnOnce() -> bool) -> IpAddr {
    match address {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if !has_ipv6() => Ipv4Addr::UNSPECIFIED.into(),
        address => address,
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets the options of a link: small messages leave at once, little waits unsent in the kernel.
pub fn prepare_link(stream: &TcpStream) {
    // Failure means a platform without the option: the link works, only less promptly.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT);
}

/// Sets the time without an acknowledgement after which the kernel ends the connection
/// (`TCP_USER_TIMEOUT`, RFC 5482).
pub fn set_dead_after(stream: &TcpStream, silence: Duration) {
    // The keepalive finds a dead peer too; the kernel only frees the socket sooner.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(silence));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ipv6_its_wildcard_is_that_of_ipv4_and_nothing_else_changes() {
        let of =
            |address: &str, has_ipv6: bool| with(address.parse().unwrap(), || has_ipv6).to_string();
        assert_eq!(of("::", false), "0.0.0.0");
        assert_eq!(of("::", true), "::");
        for other in ["0.0.0.0", "127.0.0.1", "::1", "2001:db8::1"] {
            for has_ipv6 in [false, true] {
                assert_eq!(of(other, has_ipv6), other);
            }
        }
    }
}
