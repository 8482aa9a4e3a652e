//! Reads the header of the PROXY protocol, version 2, by which a balancer says for whom it has connected
//! (haproxy.org/download/2.9/doc/proxy-protocol.txt, 2.2). Only balancers that are named may send one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that every header has: signature, version and command, kind of address, length of the rest.
pub const HEAD: usize = 16;
/// Most bytes of a source and a destination.
const ADDRESSES: usize = 36;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Header of a connection that is a balancer's own, such as a health check.
const OWN: &[u8; HEAD] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Addresses of balancers: a network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalancerNet(IpNet);

impl fmt::Display for BalancerNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "balancers are an address or a network, such as 10.0.0.7 or 2001:db8::/32, and not all that there are: whoever is in it can claim to be anybody"
)]
pub struct ParseBalancerNetError;

impl FromStr for BalancerNet {
    type Err = ParseBalancerNetError;

    fn from_str(text: &str) -> Result<Self, ParseBalancerNetError> {
        let address = || Some(IpNet::from(text.parse::<IpAddr>().ok()?));
        let net = text.parse().ok().or_else(address).map(canonical);
        let net = net.filter(|net| net.prefix_len() > 0);
        net.map(Self).ok_or(ParseBalancerNetError)
    }
}

/// Returns the network of IPv4 that is written as one of IPv6, as peers' addresses are.
fn canonical(net: IpNet) -> IpNet {
    /// Bits before an address of IPv4 (RFC 4291, 2.5.5.2).
    const MAPPED: u8 = 96;
    let IpAddr::V4(address) = net.addr().to_canonical() else {
        return net;
    };
    let prefix = net.prefix_len().checked_sub(match net {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => MAPPED,
    });
    let mapped = prefix.and_then(|prefix| IpNet::new(address.into(), prefix).ok());
    mapped.unwrap_or(net)
}

/// Returns what a connection from this address begins with that is for nobody else.
pub fn own_header(nets: &[BalancerNet], address: IpAddr) -> &'static [u8] {
    match is_balancer(nets, address) {
        true => OWN,
        false => &[],
    }
}

/// Returns true if this is the address of a balancer.
pub(crate) fn is_balancer(nets: &[BalancerNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|BalancerNet(net)| net.contains(&address))
}

/// First bytes of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderStart {
    command: u8,
    kind: u8,
    /// Number of bytes that follow: addresses, and what the balancer says besides.
    pub rest: u16,
}

/// What came is no header of version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHeader;

impl HeaderStart {
    /// Parses the first bytes.
    ///
    /// # Errors
    /// If they begin no header, or one of a command that nobody knows.
    pub fn parse(bytes: &[u8; HEAD]) -> Result<Self, NoHeader> {
        let (signature, rest) = bytes.split_at(SIGNATURE.len());
        match *rest {
            [command @ (LOCAL | PROXY), kind, high, low] if signature == SIGNATURE => Ok(Self {
                command,
                kind,
                rest: u16::from_be_bytes([high, low]),
            }),
            _ => Err(NoHeader),
        }
    }

    /// Returns the caller's address, which is in the bytes after these; `None`: the connection is the
    /// balancer's own.
    ///
    /// # Errors
    /// If the header is for a connection of which it has no TCP addresses.
    pub fn caller(self, rest: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
        if self.command == LOCAL {
            return Ok(None);
        }
        let caller = match self.kind {
            // Source, destination, port of the source, port of the destination.
            TCP4 => address::<4, 12>(rest),
            TCP6 => address::<16, 36>(rest),
            _ => None,
        };
        caller.map(Some).ok_or(NoHeader)
    }
}

fn address<const ADDRESS: usize, const BOTH: usize>(rest: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; ADDRESS]>,
{
    let both = rest.first_chunk::<BOTH>()?;
    let source = *both.first_chunk::<ADDRESS>()?;
    let [high, low, ..] = *both.get(2 * ADDRESS..)? else {
        return None;
    };
    let port = u16::from_be_bytes([high, low]);
    Some((IpAddr::from(source).to_canonical(), port).into())
}

/// What a balancer's connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The header of a connection for this caller.
    Caller(SocketAddr),
    /// The header of a connection of the balancer's own.
    Own,
    /// Something else; the first byte is this.
    Other(u8),
}

/// Reads the header that this connection begins with, and nothing beyond it.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Beginning> {
    let mut start = [0; HEAD];
    stream.read_exact(&mut start).await?;
    let other = Beginning::Other(start[0]);
    let Ok(start) = HeaderStart::parse(&start) else {
        return Ok(other);
    };
    let mut addresses = [0; ADDRESSES];
    let length = ADDRESSES.min(start.rest.into());
    let addresses = &mut addresses[..length];
    stream.read_exact(addresses).await?;
    let further = u64::from(start.rest) - length as u64;
    // Copying has a buffer, which most headers don't need.
    let is_whole = further == 0
        || tokio::io::copy(&mut stream.take(further), &mut tokio::io::sink()).await? == further;
    if !is_whole {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(match start.caller(addresses) {
        Ok(Some(caller)) => Beginning::Caller(caller),
        Ok(None) => Beginning::Own,
        Err(NoHeader) => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, kind], &length, rest].concat()
    }

    async fn begins(mut bytes: &[u8]) -> (std::io::Result<Beginning>, usize) {
        let beginning = read(&mut bytes).await;
        (beginning, bytes.len())
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x22, 0xb8];

    #[tokio::test]
    async fn the_source_is_the_caller_and_what_follows_the_header_stays_unread() {
        let v6: Vec<u8> = [
            &[0x20, 1, 0xd, 0xb8],
            &[0; 11][..],
            &[9],
            &[0; 16],
            &V4[8..],
        ]
        .concat();
        let mapped = [&[0; 10][..], &[0xff, 0xff], &V4[..4], &[0; 16], &V4[8..]].concat();
        let more = [&V4[..], &[4; 3000]].concat();
        for (kind, rest, expected) in [
            (TCP4, &V4[..], "192.0.2.7:4660"),
            (TCP4, &more, "192.0.2.7:4660"),
            (TCP6, &v6, "[2001:db8::9]:4660"),
            (TCP6, &mapped, "192.0.2.7:4660"),
        ] {
            let bytes = [&header(PROXY, kind, rest)[..], b"GET /"].concat();
            let (beginning, left) = begins(&bytes).await;
            let expected = Beginning::Caller(expected.parse().unwrap());
            assert_eq!((beginning.unwrap(), left), (expected, 5));
        }
    }

    #[test]
    fn balancers_are_networks_but_not_all_that_there_are() {
        let peer = "10.0.0.7".parse().unwrap();
        for net in [
            "10.0.0.7",
            "10.0.0.0/8",
            "::ffff:10.0.0.7",
            "::ffff:10.0.0.0/104",
        ] {
            let net: BalancerNet = net.parse().unwrap();
            assert!(is_balancer(&[net], peer), "{net:?}");
        }
        for net in [
            "0.0.0.0/0",
            "::/0",
            "::ffff:0.0.0.0/96",
            "10.0.0.0/33",
            "any",
            "",
        ] {
            assert_eq!(
                net.parse::<BalancerNet>(),
                Err(ParseBalancerNetError),
                "{net}"
            );
        }
    }

    #[tokio::test]
    async fn a_balancers_own_connection_has_any_addresses_or_none() {
        for bytes in [
            OWN.to_vec(),
            header(LOCAL, TCP4, &V4),
            header(LOCAL, 0x33, &[1; 99]),
        ] {
            let (beginning, left) = begins(&bytes).await;
            assert_eq!((beginning.unwrap(), left), (Beginning::Own, 0));
        }
    }

    #[tokio::test]
    async fn what_is_no_header_of_a_tcp_connection_is_refused() {
        for bytes in [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            header(0x22, TCP4, &V4),
            header(0x11, TCP4, &V4),
            header(PROXY, 0, &[]),
            header(PROXY, 0x12, &V4),
            header(PROXY, 0x31, &[1; 216]),
            header(PROXY, TCP4, &V4[..11]),
            header(PROXY, TCP6, &[1; 35]),
        ] {
            let (beginning, _) = begins(&bytes).await;
            assert_eq!(beginning.unwrap(), Beginning::Other(bytes[0]), "{bytes:?}");
        }
        let whole = header(PROXY, TCP4, &[1; 100]);
        for length in 0..whole.len() {
            begins(&whole[..length]).await.0.unwrap_err();
        }
    }

    #[test]
    fn balancers_are_networks_and_addresses() {
        let nets = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "10.1.2.3/30"];
        let nets = nets.map(|text| text.parse::<BalancerNet>().unwrap());
        let is = |address: &str| is_balancer(&nets, address.parse().unwrap());
        assert!(is("10.9.9.9") && is("192.0.2.1") && is("2001:db8:1::1") && is("::ffff:10.0.0.1"));
        assert!(!is("11.0.0.1") && !is("192.0.2.2") && !is("2001:db9::1"));
        for wrong in ["", "10.0.0.0/33", "example.org", "10.0.0.0/", "10.0.0"] {
            assert!(wrong.parse::<BalancerNet>().is_err(), "{wrong}");
        }
    }
}
