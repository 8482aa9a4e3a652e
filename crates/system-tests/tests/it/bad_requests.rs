//! Requests that ask for what can't be had, or in a way that no request is made: each gets a
//! clear answer, nothing runs, and nobody else notices.

mod bodies;
mod callers;
mod fixture;
mod heads;

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::raw::RawCaller;
use fixture::{Fixture, assert_form, assert_refusal};

#[tokio::test]
async fn names_that_are_no_commands_are_refused_however_they_are_written() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(65);
    for name in [
        "../../etc/passwd",
        "../outside",
        "%2e%2e%2foutside",
        "%2E%2E/outside",
        "..%2foutside",
        "..%5coutside",
        "..\\outside",
        "folder/../../outside",
        "folder%2f..%2f..%2foutside",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "//mark",
        "mark%00",
        "mark%00.txt",
        "%00",
        "mark%0a",
        "%0amark",
        "mark%0d%0aP2P-Executed:%20yes",
        "mark%1b[2J",
        "mark%7f",
        "mark%c2%85",
        "",
        "%20/../mark",
        ".",
        "..",
        "./mark",
        "mark/.",
        "mark/..",
        "mark/",
        "folder//mark",
        ".mark",
        "-mark",
        "%2dmark",
        "a/b/c/d/mark",
        &long,
        "%ff",
        "mark%c3%28",
        "%ed%a0%80",
        "mark%",
        "mark%2",
        "mark%zz",
        "mark%u002f",
    ] {
        let answer = fixture.get(&format!("/cgi?command={name}")).await;
        assert_refusal(&answer, 400, name);
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn a_name_is_decoded_once_and_taken_as_it_is() {
    let fixture = Fixture::new().await;
    for name in [
        "%252e%252e%252foutside",
        "%256dark",
        "mark+",
        "mark;arg=x",
        "mark?command=mark",
        "mark=mark",
        "mark%26command=mark",
        "mark%3fx",
    ] {
        let answer = fixture.get(&format!("/cgi?command={name}")).await;
        assert_refusal(&answer, 404, name);
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn what_lies_in_the_folder_and_is_no_command_says_why() {
    let fixture = Fixture::new().await;
    let commands = fixture.world.commands();
    for (name, mode) in [("plain", 0o644), ("open", 0o757), ("setuid", 0o4755)] {
        std::fs::copy(commands.join("mark"), commands.join(name)).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(commands.join(name), permissions).unwrap();
    }
    let marked = "\u{feff}#!/bin/sh\necho hello\n";
    std::fs::write(commands.join("marked"), marked).unwrap();
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(commands.join("marked"), permissions).unwrap();
    symlink("nothing", commands.join("dangling")).unwrap();
    symlink(fixture.world.note("outside"), commands.join("absolute")).unwrap();
    symlink("..", commands.join("up")).unwrap();
    symlink("circle", commands.join("circle")).unwrap();
    symlink("/dev/stdin", commands.join("device")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(commands.join("socket")).unwrap());
    for (name, status, what_to_do) in [
        ("folder", 404, "is a folder: ask for a file in it"),
        ("nowhere", 404, "GET /commands lists what there is"),
        ("mark/deeper", 404, "GET /commands lists what there is"),
        ("dangling", 404, "is a symbolic link to nothing"),
        ("plain", 500, "chmod +x "),
        ("open", 500, "chmod o-w "),
        ("setuid", 500, "chmod ug-s "),
        ("marked", 500, "begins with a byte order mark"),
        ("escapes", 500, "copy the file into it"),
        ("absolute", 500, "copy the file into it"),
        ("up/outside", 500, "copy the file into it"),
        ("device", 500, "copy the file into it"),
        ("circle", 500, "can't be looked at"),
        ("socket", 500, "is no regular file"),
    ] {
        let answer = fixture.get(&format!("/cgi?command={name}")).await;
        assert_refusal(&answer, status, name);
        assert!(answer.text().contains(what_to_do), "{}", answer.text());
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn queries_that_ask_for_no_one_run_are_refused() {
    let fixture = Fixture::new().await;
    let many = format!("command=mark{}", "&arg=x".repeat(1000));
    for query in [
        "command=mark&command=mark",
        "command=mark&command=",
        "command=mark&c%6fmmand=hello",
        "command=mark&stream=1&stream=1",
        "command=mark&stream=yes",
        "command=mark&unknown=1",
        "command=mark&args=x",
        "command=mark&Arg=x",
        "command=mark&arg[]=x",
        "command=mark&arg=%00",
        "command=mark&arg=a%00b",
        "command=mark&arg=%",
        "command=mark&for=100",
        "Command=mark",
        "mark",
        "=mark",
        "arg=x",
        "&&&",
        "",
        &many,
    ] {
        let answer = fixture.get(&format!("/cgi?{query}")).await;
        assert_refusal(&answer, 400, query);
    }
    let answer = fixture.get("/cgi").await;
    assert_refusal(&answer, 400, "no query at all");
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn as_many_arguments_as_may_be_arrive() {
    let fixture = Fixture::new().await;
    fixture.world.script("count", "echo $#");
    let query = format!("/cgi?command=count{}", "&arg=".repeat(256));
    assert_eq!(fixture.get(&query).await.text(), "256\n");
}

#[tokio::test]
async fn only_the_exact_path_runs_commands() {
    let fixture = Fixture::new().await;
    for path in [
        "/cgiX",
        "/cgi/",
        "//cgi",
        "/CGI",
        "/cgi/mark",
        "/cgi%2f",
        "/%63gi",
        "/./cgi",
        "/x/../cgi",
        "/cgi;x",
        "/cgi.",
        "/cgi%00",
        "/favicon.ico",
    ] {
        let answer = fixture.get(&format!("{path}?command=mark")).await;
        assert_refusal(&answer, 404, path);
    }
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn only_get_and_post_run_commands() {
    let fixture = Fixture::new().await;
    let ask = |method: &str| {
        let request = format!("{method} /cgi?command=mark HTTP/1.1\r\nHost: car\r\n\r\n");
        fixture.answer_to(request)
    };
    for method in ["HEAD", "OPTIONS"] {
        let answer = ask(method).await;
        assert_eq!(answer.verdict(), (204, "no"), "{method}");
        assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, POST");
        assert_form(&answer, method);
    }
    for method in ["PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"] {
        let answer = ask(method).await;
        assert_refusal(&answer, 405, method);
        assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS, POST");
    }
    let connect = "CONNECT car:9000 HTTP/1.1\r\nHost: car\r\n\r\n";
    assert_refusal(&fixture.answer_to(connect).await, 404, "CONNECT");
    let everywhere = "OPTIONS * HTTP/1.1\r\nHost: car\r\n\r\n";
    assert_refusal(&fixture.answer_to(everywhere).await, 404, "OPTIONS *");
    fixture.is_unharmed().await;
}

#[tokio::test]
async fn what_another_site_or_a_prefetch_asks_for_is_not_run() {
    let fixture = Fixture::new().await;
    for header in [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "sec-fetch-site: CROSS-SITE",
        "Origin: http://evil.example",
        "Origin: https://evil.example",
        "Origin: http://car:81",
        "Origin: http://car.evil.example",
        "Origin: null",
        "Origin:",
        "Sec-Purpose: prefetch",
        "Sec-Purpose: prefetch;prerender",
        "Purpose: prefetch",
        "X-Moz: prefetch",
    ] {
        for (method, rest) in [("GET", ""), ("POST", "Content-Length: 0\r\n")] {
            let answer = fixture
                .answer_to(format!(
                    "{method} /cgi?command=mark HTTP/1.1\r\nHost: car\r\n{header}\r\n{rest}\r\n"
                ))
                .await;
            assert_refusal(&answer, 403, header);
        }
    }
    fixture.is_unharmed().await;
    let own = "GET /cgi?command=hello HTTP/1.1\r\nHost: car\r\nOrigin: http://car\r\nSec-Fetch-Site: same-origin\r\n\r\n";
    assert_eq!(fixture.answer_to(own).await.verdict(), (200, "yes"));
}

#[tokio::test]
async fn a_connection_can_be_used_after_each_refusal() {
    let fixture = Fixture::new().await;
    let mut caller = RawCaller::connect(fixture.port).await;
    for (target, status) in [
        ("/nowhere", 404),
        ("/cgi?command=..", 400),
        ("/cgi?command=nowhere", 404),
        ("/cgi?command=escapes", 500),
        (&format!("/cgi?command={}", "x".repeat(10_000)), 414),
    ] {
        assert_refusal(&caller.get(target).await, status, target);
        let answer = caller.get("/cgi?command=hello").await;
        assert_eq!(answer.verdict(), (200, "yes"), "after {target}");
    }
    fixture.is_unharmed().await;
}
