//! Heads of requests that are too large, too slow, cut off, or none at all.

use std::time::Duration;

use super::fixture::{Fixture, assert_refusal, soon_out_of};
use crate::common::raw::{ConnectionEnd, RawCaller};
use crate::common::soon;

const GOOD: &str = "GET /cgi?command=hello HTTP/1.1\r\nHost: car\r\n\r\n";

/// A TLS 1.2 client hello as OpenSSL begins it.
const CLIENT_HELLO: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x0a\x0d\x0a\x0d\x0a\x20\xff\xfe\xfd";

#[tokio::test]
async fn long_addresses_are_a_414_or_a_431_that_can_be_read() {
    let fixture = Fixture::new().await;
    for length in [8 * 1024, 10_000, 30_000] {
        let answer = fixture
            .get(&format!("/cgi?command={}", "x".repeat(length)))
            .await;
        assert_refusal(&answer, 414, "a long name");
        let answer = fixture
            .get(&format!("/cgi?command=mark&arg={}", "x".repeat(length)))
            .await;
        assert_refusal(&answer, 414, "a long argument");
    }
    let answer = fixture
        .get(&format!("/cgi?command={}", "x".repeat(200 * 1024)))
        .await;
    assert_refusal(&answer, 431, "a name far too long");
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn large_headers_are_a_431_that_can_be_read() {
    let fixture = Fixture::new().await;
    let padding = |length: usize| format!("X-Padding: {}\r\n", "x".repeat(length));
    for headers in [
        padding(16 * 1024),
        padding(20_000),
        padding(200 * 1024),
        padding(5 * 1024 * 1024),
        padding(1000).repeat(20),
        "X: y\r\n".repeat(200),
        "X: y\r\n".repeat(20_000),
    ] {
        let request = format!("GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\n{headers}\r\n");
        let mut caller = RawCaller::saying(fixture.port, request).await;
        let what = format!("{} bytes", headers.len());
        assert_refusal(&caller.answer().await, 431, &what);
        caller.finish().await;
        assert_eq!(
            caller.end().await,
            (Vec::new(), ConnectionEnd::Closed),
            "{what}"
        );
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn what_is_no_request_gets_an_answer_of_ours_and_a_clean_end() {
    let fixture = Fixture::new().await;
    let zeros = [0; 512];
    let noise: Vec<u8> = (0x80..=0xff).cycle().take(4096).collect();
    for garbage in [
        &b"hello\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"EHLO car\r\n",
        b"\x05\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0",
        CLIENT_HELLO,
        &zeros,
        &noise,
        b"GET /cgi?command=mark\r\n\r\n",
        b"GET /cgi?command=mark HTTP/0.9\r\n\r\n",
        b"GET /cgi?command=mark HTTP/2.0\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.12\r\n\r\n",
        b"GET /cgi?command=mark http/1.1\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.1 \r\n\r\n",
        b"GET /cgi?command=ma rk HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET /cgi?command=mark\t HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET /cgi?command=ma\nrk HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET /cgi?command=ma\rrk HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET /cgi?command=mark\0 HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET /cgi?command=mark\xff HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET /\xc3\x28/cgi?command=mark HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET cgi?command=mark HTTP/1.1\r\nHost: car\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\nNo colon\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.1\r\nHost : car\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\n: empty\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\nX: a\0b\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\nX: a\rb\r\n\r\n",
        b"GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\nX: folded\r\n line\r\n\r\n",
    ] {
        let shown = garbage.escape_ascii().to_string();
        let shown = &shown[..shown.len().min(80)];
        let mut caller = RawCaller::saying(fixture.port, garbage).await;
        assert_refusal(&caller.answer().await, 400, shown);
        assert_eq!(
            caller.end().await,
            (Vec::new(), ConnectionEnd::Closed),
            "{shown}"
        );
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_request_has_one_host_at_every_port_and_none_only_by_http_1_0() {
    let fixture = Fixture::new().await;
    let ports = [
        (fixture.port, "/cgi?command=mark"),
        (fixture.port, "/page/style.css"),
        (fixture.world.main_port(), "/healthz"),
        (fixture.world.main_port(), p2p_shared::protocol::LINK_PATH),
    ];
    for (port, target) in ports {
        for (version, hosts, count) in [
            ("1.1", "", 0),
            ("1.1", "Host: car\r\nHost: car\r\n", 2),
            ("1.1", "Host: car\r\nX: y\r\nhost: evil.test\r\n", 2),
            ("1.0", "Host: car\r\nHost: car\r\n", 2),
        ] {
            let what = format!("{port}{target} {version} {hosts:?}");
            let request = format!("GET {target} HTTP/{version}\r\n{hosts}\r\n");
            let answer = RawCaller::saying(port, request).await.answer().await;
            let sentence = format!(
                "a request has one Host header, and this one has {count}: nothing was run\n"
            );
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (400, sentence),
                "{what}"
            );
        }
        // A Host of its own in the first line is no second one.
        if target != "/cgi?command=mark" {
            for request in [
                format!("GET {target} HTTP/1.0\r\n\r\n"),
                format!("GET http://car{target} HTTP/1.1\r\nHost: car\r\n\r\n"),
            ] {
                let answer = RawCaller::saying(port, &request).await.answer().await;
                let is_socket = target == p2p_shared::protocol::LINK_PATH;
                let said = answer.text();
                assert!(
                    answer.status == 200 || is_socket && !said.contains("Host"),
                    "{request}: {said}"
                );
            }
        }
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn half_a_head_and_then_silence_is_a_408() {
    let fixture = Fixture::impatient(soon_out_of(|it, soon| it.headers = soon)).await;
    for half in [
        "G",
        "GET /cgi?command=mark",
        "GET /cgi?command=mark HTTP/1.1\r\n",
        "GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\n",
        "GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\n\r",
    ] {
        let mut caller = RawCaller::saying(fixture.port, half).await;
        assert_refusal(&caller.answer().await, 408, half);
        assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_head_that_trickles_is_a_408() {
    let fixture = Fixture::impatient(soon_out_of(|it, soon| it.headers = soon)).await;
    let mut caller = RawCaller::saying(fixture.port, "GET /cgi?command=mark HTTP/1.1\r\n").await;
    let (reader, mut writer) = caller.stream.split();
    let trickle = async {
        loop {
            use tokio::io::AsyncWriteExt;
            if writer.write_all(b"X: y\r\n").await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = trickle => {}
        ready = soon("an answer", reader.readable()) => ready.unwrap(),
    }
    assert_refusal(&caller.answer().await, 408, "a trickle");
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn half_a_head_and_then_the_end_is_a_400() {
    let fixture = Fixture::new().await;
    for half in ["G", "GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\n"] {
        let mut caller = RawCaller::saying(fixture.port, half).await;
        caller.finish().await;
        assert_refusal(&caller.answer().await, 400, half);
        assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
        RawCaller::saying(fixture.port, half).await.reset();
        drop(RawCaller::saying(fixture.port, half).await);
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_in_silence() {
    let fixture = Fixture::impatient(soon_out_of(|it, soon| it.headers = soon)).await;
    for words in ["", "\r\n", "\r\n\r\n"] {
        let mut caller = RawCaller::saying(fixture.port, words).await;
        let (said, _) = caller.end().await;
        assert!(said.is_empty(), "{:?}", String::from_utf8_lossy(&said));
    }
    let mut caller = RawCaller::saying(fixture.port, GOOD).await;
    assert_eq!(caller.answer().await.verdict(), (200, "yes"));
    assert_eq!(caller.end().await.0, b"");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let fixture = Fixture::new().await;
    fixture.world.script("echo", "echo \"$1\"");
    let requests: String = (0..20)
        .map(|n| match n % 4 {
            3 => format!("GET /nowhere/{n} HTTP/1.1\r\nHost: car\r\n\r\n"),
            2 => format!(
                "POST /cgi?command=echo&arg={n} HTTP/1.1\r\nHost: car\r\nContent-Length: 3\r\n\r\nabc"
            ),
            _ => format!("GET /cgi?command=echo&arg={n} HTTP/1.1\r\nHost: car\r\n\r\n"),
        })
        .collect();
    let mut caller = RawCaller::saying(fixture.port, requests).await;
    for n in 0..20 {
        let answer = caller.answer().await;
        if n % 4 == 3 {
            assert_refusal(&answer, 404, "a pipelined request");
        } else {
            assert_eq!(answer.verdict(), (200, "yes"));
            assert_eq!(answer.text(), format!("{n}\n"));
        }
    }
}

#[tokio::test]
async fn what_follows_a_good_request_is_answered_for_itself() {
    let fixture = Fixture::impatient(soon_out_of(|it, soon| it.headers = soon)).await;
    for (behind, status) in [
        ("garbage\r\n\r\n", 400),
        ("GET /cgi?command=mark HTTP/1.1\r\nHost:", 408),
    ] {
        for pause in [false, true] {
            let mut caller = RawCaller::connect(fixture.port).await;
            if pause {
                caller.send(GOOD).await;
                assert_eq!(caller.answer().await.verdict(), (200, "yes"));
                caller.send(behind).await;
            } else {
                caller.send(format!("{GOOD}{behind}")).await;
                assert_eq!(caller.answer().await.verdict(), (200, "yes"));
            }
            assert_refusal(&caller.answer().await, status, behind);
            assert_eq!(
                caller.end().await,
                (Vec::new(), ConnectionEnd::Closed),
                "{behind}"
            );
        }
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn half_a_head_when_the_router_goes_down_is_a_503() {
    let fixture = Fixture::new().await;
    let half = "GET /cgi?command=mark HTTP/1.1\r\n";
    let mut caller = RawCaller::saying(fixture.port, format!("{GOOD}{half}")).await;
    assert_eq!(caller.answer().await.verdict(), (200, "yes"));
    let mut idle = RawCaller::saying(fixture.port, GOOD).await;
    assert_eq!(idle.answer().await.verdict(), (200, "yes"));
    tokio::spawn(fixture.world.router.shut_down());
    let answer = caller.answer().await;
    assert_refusal(&answer, 503, half);
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
    assert_eq!(idle.end().await, (Vec::new(), ConnectionEnd::Closed));
}

#[tokio::test]
async fn nothing_behind_a_last_request_is_looked_at() {
    let fixture = Fixture::new().await;
    let last = GOOD.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let mark = "GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\n\r\n";
    for behind in ["\r\n", "garbage", mark, &"x".repeat(1 << 20)] {
        let mut caller = RawCaller::saying(fixture.port, format!("{last}{behind}")).await;
        assert_eq!(caller.answer().await.verdict(), (200, "yes"));
        assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
    }
    fixture.is_unharmed().await;
}
