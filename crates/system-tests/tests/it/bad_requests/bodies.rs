//! Bodies of requests that are too large, too slow, cut off, or framed so that another request
//! could hide in them.

use super::fixture::{Fixture, assert_refusal, soon_out_of};
use crate::common::raw::{ConnectionEnd, RawCaller};

const MIB: usize = 1 << 20;

fn head(more: &str) -> String {
    format!("POST /cgi?command=mark HTTP/1.1\r\nHost: car\r\n{more}\r\n\r\n")
}

fn chunk(length: usize) -> Vec<u8> {
    let mut chunk = format!("{length:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + length, b'x');
    chunk.extend(b"\r\n");
    chunk
}

/// The head with an expectation, if there is to be one.
fn expecting(head: &str, expects: bool) -> String {
    if expects {
        head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
    } else {
        head.to_owned()
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_a_413_at_once() {
    let fixture = Fixture::new().await;
    for length in [MIB + 1, 100 * MIB, usize::MAX >> 8] {
        for expects in [false, true] {
            let head = expecting(&head(&format!("Content-Length: {length}")), expects);
            let mut caller = RawCaller::saying(fixture.port, &head).await;
            assert_refusal(&caller.answer().await, 413, &head);
            assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
        }
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn who_sends_too_large_a_body_to_its_end_gets_to_read_the_413() {
    let fixture = Fixture::new().await;
    let known = head(&format!("Content-Length: {}", 4 * MIB));
    let chunked = head("Transfer-Encoding: chunked");
    let chunks = [chunk(64 * 1024).repeat(64), b"0\r\n\r\n".to_vec()].concat();
    for (head, body) in [(known, vec![b'x'; 4 * MIB]), (chunked, chunks)] {
        let mut caller = RawCaller::saying(fixture.port, &head).await;
        caller.send(body).await;
        assert_refusal(&caller.answer().await, 413, &head);
        assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_body_without_end_is_a_413_and_then_the_end() {
    let fixture = Fixture::new().await;
    for expects in [false, true] {
        let head = expecting(&head("Transfer-Encoding: chunked"), expects);
        let mut caller = RawCaller::saying(fixture.port, head).await;
        if expects {
            assert_eq!(caller.answer().await.status, 100);
        }
        let (mut reader, mut writer) = caller.stream.into_split();
        let flood = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let chunk = chunk(64 * 1024);
            let mut chunks = 0;
            while writer.write_all(&chunk).await.is_ok() {
                chunks += 1;
            }
            chunks
        });
        let mut answer = vec![0; 12];
        let reading = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut answer);
        crate::common::soon("an answer", reading).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 413");
        let chunks = crate::common::soon("nothing more is taken", flood)
            .await
            .unwrap();
        assert!(chunks * 64 * 1024 < 100 * MIB, "{chunks} were taken");
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn the_largest_body_that_may_be_is_taken() {
    let fixture = Fixture::new().await;
    fixture.world.script("count", "wc -c");
    let head = |more| format!("POST /cgi?command=count HTTP/1.1\r\nHost: car\r\n{more}\r\n\r\n");
    let chunks = [chunk(64 * 1024).repeat(16), b"0\r\n\r\n".to_vec()].concat();
    let known = format!("Content-Length: {MIB}");
    for (framing, body) in [
        (known.as_str(), vec![b'x'; MIB]),
        ("Transfer-Encoding: chunked", chunks),
    ] {
        for expects in [false, true] {
            let mut caller =
                RawCaller::saying(fixture.port, expecting(&head(framing), expects)).await;
            if expects {
                assert_eq!(caller.answer().await.status, 100);
            }
            caller.send(&body).await;
            assert_eq!(caller.answer().await.text().trim(), MIB.to_string());
            // And the connection goes on.
            assert_eq!(caller.get("/cgi?command=hello").await.text(), "hello\n");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_slow_is_a_408() {
    let fixture = Fixture::impatient(soon_out_of(|it, soon| it.body = soon)).await;
    let known = head("Content-Length: 10");
    let chunked = head("Transfer-Encoding: chunked");
    for (head, part) in [
        (&known, ""),
        (&known, "123456789"),
        (&chunked, ""),
        (&chunked, "5\r\nab"),
        (&chunked, "5\r\nabcde\r\n"),
        (&chunked, "5\r\nabcde\r\n0\r\n"),
    ] {
        for expects in [false, true] {
            let mut caller = RawCaller::saying(fixture.port, expecting(head, expects)).await;
            if expects {
                assert_eq!(caller.answer().await.status, 100);
            }
            caller.send(part).await;
            assert_refusal(&caller.answer().await, 408, part);
            assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
        }
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_runs_nothing() {
    let fixture = Fixture::new().await;
    let known = head("Content-Length: 10");
    let chunked = head("Transfer-Encoding: chunked");
    for (head, part) in [
        (&known, ""),
        (&known, "123456789"),
        (&chunked, ""),
        (&chunked, "5\r\nab"),
        (&chunked, "5\r\nabcde\r\n0\r\n"),
    ] {
        let words = format!("{head}{part}");
        let mut caller = RawCaller::saying(fixture.port, &words).await;
        caller.finish().await;
        assert_refusal(&caller.answer().await, 400, &words);
        assert_eq!(caller.end().await, (Vec::new(), ConnectionEnd::Closed));
        RawCaller::saying(fixture.port, &words).await.reset();
        drop(RawCaller::saying(fixture.port, &words).await);
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn bodies_whose_length_is_in_doubt_are_refused() {
    let fixture = Fixture::new().await;
    let body = "0123456789";
    for framing in [
        "Content-Length: 10\r\nContent-Length: 5",
        "Content-Length: 5, 10",
        "Content-Length: -1",
        "Content-Length: +10",
        "Content-Length: 0x0a",
        "Content-Length: 10 10",
        "Content-Length: ten",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding : chunked",
    ] {
        let mut caller = RawCaller::saying(fixture.port, head(framing) + body).await;
        assert_refusal(&caller.answer().await, 400, framing);
        assert_eq!(
            caller.end().await,
            (Vec::new(), ConnectionEnd::Closed),
            "{framing}"
        );
    }
    let chunked = head("Transfer-Encoding: chunked");
    for body in [
        "xyz\r\n",
        "-1\r\nx\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc",
        "5\r\nabcdefgh\r\n0\r\n\r\n",
        "5 5\r\nabcde\r\n0\r\n\r\n",
    ] {
        let mut caller = RawCaller::saying(fixture.port, format!("{chunked}{body}")).await;
        assert_refusal(&caller.answer().await, 400, body);
        assert_eq!(
            caller.end().await,
            (Vec::new(), ConnectionEnd::Closed),
            "{body}"
        );
    }
    let old = chunked.replace("HTTP/1.1", "HTTP/1.0");
    let mut caller = RawCaller::saying(fixture.port, old + "0\r\n\r\n").await;
    assert_refusal(&caller.answer().await, 400, "chunked in HTTP/1.0");
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn no_request_can_hide_in_the_body_of_another() {
    let fixture = Fixture::new().await;
    let hidden = "GET /cgi?command=mark HTTP/1.1\r\nHost: car\r\n\r\n";
    let length = hidden.len();
    let chunks = format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n");
    for (first, body) in [
        // Chunks count where a length is given too, and nothing behind them is looked at.
        (
            "POST /cgi?command=hello",
            format!(
                "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "POST /cgi?command=hello",
            format!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "POST /cgi?command=hello",
            format!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunks}{hidden}"),
        ),
        // Bodies of requests that are answered without looking at them.
        (
            "GET /cgi?command=hello",
            format!("Content-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "GET /cgi?command=hello",
            format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"),
        ),
        (
            "POST /nowhere",
            format!("Content-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "POST /nowhere",
            format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"),
        ),
        (
            "POST /cgi?command=..",
            format!("Content-Length: {}\r\n\r\n{hidden}", length + MIB),
        ),
        (
            "PUT /cgi?command=hello",
            format!("Content-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "HEAD /cgi?command=hello",
            format!("Content-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "POST /cgi?command=hello",
            format!("Content-Length: {}\r\n\r\n{hidden}", 2 * MIB),
        ),
    ] {
        let words = format!("{first} HTTP/1.1\r\nHost: car\r\n{body}");
        let mut caller = RawCaller::saying(fixture.port, &words).await;
        let answer = caller.answer().await;
        assert!(
            [200, 204, 400, 404, 405, 413].contains(&answer.status.as_u16()),
            "{words}"
        );
        assert_eq!(
            caller.end().await,
            (Vec::new(), ConnectionEnd::Closed),
            "{words}"
        );
    }
    fixture.is_unharmed().await;
}
