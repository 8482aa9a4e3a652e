//! The report of an incident over HTTP: who gets it, of which car, and what becomes of text that others wrote.

use bytes::Bytes;
use http_body_util::Full;
use p2p_inner::{Config, Inner};
use p2p_shared::key::{Key, Role};

use crate::common::{HttpAnswer, World, ask, away, get, inner_config, request};

/// What a page asks for: a report of the last minute.
const ASKED: &str =
    r#"{"last_ms":60000,"now_ms":1796094245678,"rtt_ms":4,"zone_min":60,"router":"car.test:9000"}"#;

/// A car of this name, with the key `car`, and its service port.
async fn car(world: &World, name: &str) -> (Inner, u16, Key) {
    world.script("forward", ":");
    world.script("stop", ":");
    let key = world.key("car", Role::Link).await;
    let config = Config {
        key: Some(key.clone()),
        name: name.parse().unwrap(),
        ..inner_config(world)
    };
    let (inner, port) = world.inner_with(config).await;
    (inner, port, key)
}

async fn send(
    port: u16,
    method: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> HttpAnswer {
    let mut request = request(method, "/incident");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ask(port, request.body(Full::new(body.into())).unwrap()).await
}

#[tokio::test]
async fn a_report_is_for_those_who_may_see_the_car() {
    let world = World::keyed();
    let (_inner, port, of_car) = car(&world, "car").await;
    let next = (port + 1).to_string().parse().unwrap();
    let viewer = world.key("viewer", Role::View).await;
    let driver = world.key("driver", Role::Drive).await;
    let other = world.key_for("other", Role::Admin, Some(next)).await;
    let keys = [
        (Some(&viewer), 200),
        (Some(&driver), 200),
        (Some(&of_car), 403),
        (Some(&other), 403),
        (None, 401),
    ];
    for (n, (key, status)) in keys.into_iter().enumerate() {
        let header = key.map(|key| format!("Bearer {}", key.expose()));
        let headers = header.as_deref().map(|value| ("authorization", value));
        let answer = send(port, "POST", headers.as_slice(), ASKED).await;
        assert_eq!(answer.verdict(), (status, "no"), "{n}: {}", answer.text());
        let has_report = answer.text().contains("Incident report");
        assert_eq!(has_report, status == 200, "{n}: {}", answer.text());
    }
    let bearer = format!("Bearer {}", viewer.expose());
    let key = ("authorization", bearer.as_str());
    let elsewhere = [key, ("origin", "http://evil.test")];
    let too_long = format!("{ASKED}\n{}", " ".repeat(64 * 1024));
    for (method, headers, body, status) in [
        ("POST", &elsewhere[..], ASKED, 403),
        ("GET", &[key], "", 405),
        ("POST", &[key], "", 400),
        ("POST", &[key], r#"{"last_ms":-1}"#, 400),
        ("POST", &[key], too_long.as_str(), 413),
    ] {
        let answer = send(port, method, headers, body.to_owned()).await;
        assert_eq!(answer.verdict(), (status, "no"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_report_tells_what_moved_the_car_by_the_pages_clock_and_text_of_others_does_nothing() {
    let evil = "</pre><script>alert(1)</script>";
    let world = World::open();
    world.script("forward", ":");
    world.script("stop", ":");
    let config = Config {
        name: "<b>car".parse().unwrap(),
        ..inner_config(&world)
    };
    let (inner, port) = world.inner_with(config).await;
    let answer = get(port, "/cgi?command=forward&for=100").await;
    assert_eq!(answer.verdict(), (200, "yes"), "{}", answer.text());
    let note = serde_json::json!({
        "timestamp": "2026-12-01T03:04:00.000Z", "message": "shown", "text": evil,
    });
    let report = send(port, "POST", &[], format!("{ASKED}\n{note}\n")).await;
    let text = report.text();
    assert_eq!(report.status, 200, "{text}");
    for said in [
        // By the page's clock, which is none of ours, in its zone.
        "at car.test:9000, the last 1m to 2026-12-01 04:04:05 UTC+01:00\n",
        "04:04:00.000  page    the screen says: &lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;\n",
        "The router did not tell its log: it keeps none (--log-dir).",
        "Clocks: all times are this page's; the car's is ",
        "Incident report: &lt;b&gt;car (port ",
    ] {
        assert!(text.contains(said), "no {said:?} in {text}");
    }
    let moved = text.lines().find(|line| line.contains(" drove forward."));
    assert!(moved.is_some_and(|line| line.contains("04:04:0")), "{text}");
    assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");

    drop(inner);
    away(port).await;
    let text = send(port, "POST", &[], ASKED).await.text();
    let said = "The car did not tell its past: it is not connected to the router: try again when it is back.";
    assert!(text.contains(said), "{text}");
}
