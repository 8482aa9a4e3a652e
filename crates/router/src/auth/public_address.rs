//! How others reach the main port, and which service ports there are, for invitations and keys: as the owner says,
//! or as the running router has noted it.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use p2p_shared::net::dialer::{RouterAddress, parse_host};

use crate::net::port_range::PortRange;
use crate::ops::state_file::StateFile;

/// File of the note in the state directory.
const NOTE: &str = "address";
/// Most bytes that are read of that file.
const MAX_NOTE: u64 = 1024;
/// Addresses to which a packet would go the usual way (RFC 5737, RFC 3849). None is sent.
const ANYWHERE: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// Host by which others reach this one, as far as it can know: the address that the router listens on, or the one
/// from which packets go out.
pub(crate) fn own_host(bind: IpAddr) -> String {
    let out = |(from, to): (&str, &str)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
    };
    let known = Some(bind).filter(|bind| !bind.is_unspecified());
    let known = known.or_else(|| ANYWHERE.into_iter().find_map(out));
    let host = known.map(|ip| ip.to_canonical().to_string());
    let host = host.and_then(|host| parse_host(&host).ok());
    host.unwrap_or_else(|| {
        let name = rustix::system::uname();
        let name = name.nodename().to_string_lossy();
        parse_host(&name).unwrap_or_else(|_| "localhost".to_owned())
    })
}

/// Leaves the address of a router that runs, and its service ports, for `p2p-router key add`; but a trial for this
/// machine alone changes no note of another. Blocks on the disk.
///
/// # Errors
/// If the state directory can't be written.
pub(crate) fn leave_note(
    state_dir: &Path,
    address: &RouterAddress,
    ports: PortRange,
) -> anyhow::Result<()> {
    if let Some((noted, noted_ports)) = read_note(state_dir)
        && (noted == *address && noted_ports == Some(ports)
            || is_loopback(address) && !is_loopback(&noted))
    {
        return Ok(());
    }
    let file = StateFile::new(state_dir, NOTE);
    let _lock = file.lock_soon()?;
    Ok(file.replace(&format!("{address}\n{ports}"))?)
}

fn is_loopback(address: &RouterAddress) -> bool {
    let ip = address.host.parse::<IpAddr>();
    ip.map_or(address.host == "localhost", |ip| {
        ip.to_canonical().is_loopback()
    })
}

/// Returns the address that the router had at its last start, and its service ports if it was one that notes them.
/// Blocks on the disk.
pub(crate) fn read_note(state_dir: &Path) -> Option<(RouterAddress, Option<PortRange>)> {
    let text = StateFile::new(state_dir, NOTE).read(MAX_NOTE).ok()??;
    let mut lines = text.lines();
    let address = lines.next()?.parse().ok()?;
    Some((address, lines.next().and_then(|ports| ports.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_listened_on_is_the_hosts_and_otherwise_it_has_one() {
        assert_eq!(own_host("127.0.0.1".parse().unwrap()), "127.0.0.1");
        assert_eq!(own_host("::ffff:192.0.2.7".parse().unwrap()), "192.0.2.7");
        let any = own_host("::".parse().unwrap());
        assert!(parse_host(&any).is_ok() && any != "::", "{any}");
    }

    #[test]
    fn the_note_says_what_the_last_start_did() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_note(dir.path()), None);
        let ports: PortRange = "29000-29010".parse().unwrap();
        for text in [
            "127.0.0.1:9",
            "localhost:8",
            "router.test:8888",
            "[2001:db8::1]:9",
        ] {
            let address: RouterAddress = text.parse().unwrap();
            for ports in [PortRange::ALL, ports] {
                leave_note(dir.path(), &address, ports).unwrap();
                let noted = Some((address.clone(), Some(ports)));
                assert_eq!(read_note(dir.path()), noted);
            }
        }
        for trial in ["127.0.0.1:9", "[::1]:9", "localhost:9"] {
            leave_note(dir.path(), &trial.parse().unwrap(), PortRange::ALL).unwrap();
            let (address, noted) = read_note(dir.path()).unwrap();
            assert_eq!((&*address.host, noted), ("2001:db8::1", Some(ports)));
        }
        // As routers left it that did not note their ports.
        std::fs::write(dir.path().join(NOTE), "router.test:8888").unwrap();
        let address = "router.test:8888".parse().unwrap();
        assert_eq!(read_note(dir.path()), Some((address, None)));
    }
}
