//! Owns the options of TCP sockets: what the kernel is told about a connection of ours.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// How much of what we write the kernel may hold unsent, in bytes: a message that is urgent
/// waits behind no more than this. (Cloudflare's and Apple's figure for interactive streams.)
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Waiting connections a listener holds; the kernel caps it at `net.core.somaxconn`. No more than
/// the main port lets in within two seconds: who has waited longer is about to give up (the hello's
/// 5 s), and to let those in would be work for nobody, for ever.
const BACKLOG: i32 = 1024;

/// A listener on this address; an IPv6 wildcard takes IPv4 as well.
///
/// # Errors
/// As `bind` and `listen` do: the address is in use, not ours, or needs privileges.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_on(SocketAddr::new(really(address.ip()), address.port()))
}

/// Where [`listen`] really listens for this address. Asks the kernel.
#[must_use]
pub fn really(address: IpAddr) -> IpAddr {
    with(address, || {
        let asked = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP));
        let no_ipv6 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
        asked.map_or_else(|error| error.raw_os_error() != Some(no_ipv6), |_| true)
    })
}

/// The same with a kernel that has IPv6 or hasn't: then IPv4 is all there is to take.
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

/// Prepares a link: small messages leave at once, little waits unsent in the kernel.
pub fn prepare_link(stream: &TcpStream) {
    // Failure means a platform without the option: the link works, only less promptly.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT);
}

/// Tells the kernel after how long without an acknowledgement the connection is dead
/// (`TCP_USER_TIMEOUT`, RFC 5482).
pub fn set_dead_after(stream: &TcpStream, silence: Duration) {
    // Our own keepalive check finds a dead peer too; the kernel's only frees the socket sooner.
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
