//! What commands write, and how.

use super::car::Car;
use crate::common::{self, post};

#[tokio::test]
async fn whatever_a_command_prints_is_its_body_byte_for_byte() {
    let car = Car::new().await;
    for output in [
        &b"P2P_CONTENT_END_LINE\n"[..],
        b"before\nP2P_CONTENT_END_LINE\nafter\n",
        b"P2P-ERROR: not a command\n",
        b"P2P-Executed: no\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"Status: 500\r\nContent-Type: text/html\r\n\r\n<script>",
        b"Location: http://evil.example/\n\n",
        b"0\r\n\r\n",
        b"\n",
        b"no newline",
        b"\x1b[2J\x1b]0;title\x07",
        b"\0\xff\xfe\x80\r\n\0",
    ] {
        std::fs::write(car.note("output"), output).unwrap();
        for (end, status) in [("exit 0", 200), ("exit 3", 500), ("kill -9 $$", 500)] {
            car.script("print", &format!("cat @output; {end}"));
            let answer = car.run("print").await;
            assert_eq!(answer.verdict(), (status, "yes"));
            assert_eq!(answer.body, output);
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            let streamed = car.run("print&stream=1").await;
            assert_eq!(streamed.verdict(), (200, "yes"));
            assert!(streamed.complete && streamed.body == output);
            car.script("print", &format!("cat @output >&2; {end}"));
            let answer = car.run("print").await;
            assert_eq!(answer.verdict(), (status, "yes"));
            assert_eq!(answer.body, if status == 200 { b"" } else { output });
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_writes_of_one_byte_arrive() {
    let car = Car::new().await;
    car.script(
        "drip",
        "exec dd if=/dev/zero bs=1 count=100000 2> /dev/null",
    );
    let answer = car.run("drip").await;
    assert!(answer.complete);
    assert_eq!(answer.body.len(), 100_000);
}

#[tokio::test]
async fn output_that_is_closed_early_does_not_end_the_command() {
    let car = Car::new().await;
    for (name, close) in [("out", "exec >&-"), ("both", "exec >&- 2>&-")] {
        car.script(
            name,
            &format!("echo out; {close}; sleep 0.3; echo done > @{name}; exit 3"),
        );
        let answer = car.run(name).await;
        assert_eq!(answer.verdict(), (500, "yes"));
        assert_eq!(answer.text(), "out\n");
        assert!(car.note(name).exists(), "it was not waited for");
    }
}

#[tokio::test]
async fn input_that_is_not_read_does_no_harm() {
    let car = Car::new().await;
    let input = vec![b'x'; 1 << 20];
    for (body, output) in [
        ("echo done", "done\n"),
        ("exec <&-; echo done", "done\n"),
        ("head -c 3; exec <&-; echo done", "xxxdone\n"),
        ("exec <&-; sleep 0.3; echo done", "done\n"),
        // Both pipes full at once.
        (
            "head -c 1000000 /dev/zero | wc -c; cat | wc -c",
            "1000000\n1048576\n",
        ),
    ] {
        car.script("unread", body);
        let answer = post(car.port, "/cgi?command=unread", input.clone()).await;
        assert_eq!(answer.verdict(), (200, "yes"), "{body}");
        assert_eq!(answer.text(), output, "{body}");
    }
    car.script("echo", "head -c 1000000 /dev/zero; exec cat");
    let answer = post(car.port, "/cgi?command=echo", input).await;
    assert!(answer.complete);
    assert_eq!(answer.body.len(), 1_000_000 + (1 << 20));
}

#[tokio::test]
async fn a_flood_of_errors_takes_no_memory_and_its_end_is_told() {
    if !common::is_alone(
        "bad_commands::output::a_flood_of_errors_takes_no_memory_and_its_end_is_told",
        &[],
    ) {
        return;
    }
    let car = Car::new().await;
    car.script(
        "flood",
        "head -c 100000000 /dev/zero | tr '\\000' x >&2; echo the end >&2; exit 3",
    );
    car.is_unharmed().await;
    let before = most_memory();
    let answer = car.run("flood").await;
    assert_eq!(answer.verdict(), (500, "yes"));
    assert!(answer.text().ends_with("xxx\nthe end\n") || answer.text().ends_with("xxxthe end\n"));
    assert!(answer.body.len() <= 8 * 1024, "{}", answer.body.len());
    assert!(
        most_memory() < before + 20_000,
        "{} kB",
        most_memory() - before
    );
}

#[tokio::test]
async fn a_flood_that_nobody_reads_takes_no_memory() {
    if !common::is_alone(
        "bad_commands::output::a_flood_that_nobody_reads_takes_no_memory",
        &[],
    ) {
        return;
    }
    let car = Car::new().await;
    car.script("flood", "head -c 100000000 /dev/zero; :");
    car.is_unharmed().await;
    let before = most_memory();
    let floods: Vec<_> = (0..8)
        .map(|_| {
            let get = "GET /cgi?command=flood HTTP/1.1\r\nHost: car\r\n\r\n";
            common::raw::RawCaller::saying(car.port, get)
        })
        .collect();
    let mut callers = Vec::new();
    for flood in floods {
        let caller = flood.await;
        common::soon("it streams", caller.stream.readable())
            .await
            .unwrap();
        callers.push(caller);
    }
    for _ in 0..20 {
        car.is_unharmed().await;
    }
    assert!(
        most_memory() < before + 20_000,
        "{} kB",
        most_memory() - before
    );
}

/// The most memory that this process ever had, in kB.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
