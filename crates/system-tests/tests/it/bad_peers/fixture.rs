//! What the tests of bad peers have in common.

use p2p_inner::Inner;
use p2p_shared::net::transport::Transport;
use p2p_shared::protocol::InnerToRouter;
use tokio::io::AsyncWriteExt;

use crate::common::{World, get, soon};

/// A router with a good inner, which must go on working whatever others do.
pub(crate) async fn world_with_a_car() -> (World, Inner, u16) {
    let world = World::open();
    world.script("hello", "echo hello");
    let (car, port) = world.inner().await;
    (world, car, port)
}

pub(crate) async fn works(port: u16) {
    let answer = get(port, "/cgi?command=hello").await;
    assert_eq!(answer.verdict(), (200, "yes"));
}

/// What is none of our messages.
pub(crate) fn not_messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut deep = vec![0x91; 60_000];
    deep.push(0xc0);
    let started = p2p_shared::codec::encode(&InnerToRouter::Draining).unwrap();
    vec![
        ("nothing", Vec::new()),
        ("garbage", b"\x00\xff\xfe garbage".to_vec()),
        ("deep nesting", deep),
        // A list that claims four thousand million entries, a string and bytes as long, a map.
        (
            "a false length of a list",
            b"\xdd\xff\xff\xff\xff\xc0".to_vec(),
        ),
        (
            "a false length of a string",
            b"\xdb\xff\xff\xff\xffx".to_vec(),
        ),
        ("a false length of bytes", b"\xc6\xff\xff\xff\xffx".to_vec()),
        (
            "a false length of a map",
            b"\xdf\xff\xff\xff\xff\xa1x".to_vec(),
        ),
        ("more behind it", [&started[..], b"\xc0"].concat()),
        ("an unknown message", b"\xa7unknown".to_vec()),
    ]
}

/// Writes a frame of this size, as far as it is taken.
pub(crate) async fn pour(stream: &mut Transport, size: u64) {
    // FIN and binary; masked, its length in eight bytes; a mask of zeros.
    let header = [&[0x82, 0xff][..], &size.to_be_bytes(), &[0; 4]].concat();
    let piece = vec![0; 64 * 1024];
    let pouring = async {
        stream.write_all(&header).await?;
        for _ in 0..size / piece.len() as u64 {
            stream.write_all(&piece).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    // The router has had enough before all of it is written.
    let _ = soon("the bytes are taken or refused", pouring).await;
}
