//! A page of another site that tries everything which makes a browser send a request.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use p2p_shared::net::tls::provider;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Fixture;
use crate::common::chromium::Chromium;
use crate::common::{local, until_so};

/// Each tries once, is told apart by its argument, and is done when the browser says how it went.
const ATTEMPTS: &str = r#"
const target = "TARGET/cgi?command=mark&arg=";
const made = (kind, set) => new Promise(done => {
  const it = document.createElement(kind);
  it.onload = it.onerror = done;
  set(it);
  document.body.append(it);
});
const submitted = (method, name) => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.name = name;
  document.body.append(frame);
  const form = document.createElement("form");
  form.method = method; form.action = target + name; form.target = name;
  for (const [key, value] of [["command", "mark"], ["arg", name]]) {
    const input = document.createElement("input");
    input.name = key; input.value = value;
    form.append(input);
  }
  document.body.append(form);
  frame.onload = done;
  form.submit();
});
const said = promise => promise.then(() => 0, () => 0);
const socket = address => new Promise(done => {
  try {
    const it = new WebSocket(address, "p2p.v1");
    it.onopen = () => done(1);
    it.onerror = it.onclose = () => done(0);
  } catch { done(0) }
});
const cors = (mode, method, name) => said(fetch(target + name, { mode, method, credentials: "include" }));
const sockets = [socket(target.replace(/^http/, "ws") + "socket"), socket("MAIN/link"), socket("MAIN/admin"), socket("MAIN/cars")];
const silent = { referrerPolicy: "no-referrer" };
return Promise.all([
  made("img", it => it.src = target + "img"),
  made("img", it => { it.referrerPolicy = "no-referrer"; it.src = target + "img-silent" }),
  made("script", it => it.src = target + "script"),
  made("link", it => { it.rel = "stylesheet"; it.href = target + "style" }),
  made("link", it => { it.rel = "icon"; it.href = target + "icon"; setTimeout(it.onload, 300) }),
  made("link", it => { it.rel = "prefetch"; it.href = target + "prefetch"; setTimeout(it.onload, 1000) }),
  made("video", it => { it.onloadstart = it.onerror; it.onloadstart = null; it.src = target + "video" }),
  made("iframe", it => it.src = target + "iframe"),
  made("iframe", it => { it.referrerPolicy = "no-referrer"; it.src = target + "iframe-silent" }),
  made("object", it => { it.type = "text/plain"; it.data = target + "object"; setTimeout(it.onload, 1000) }),
  submitted("get", "form-get"),
  submitted("post", "form-post"),
  cors("cors", "GET", "fetch-cors"),
  cors("cors", "POST", "fetch-cors-post"),
  cors("cors", "PUT", "fetch-cors-put"),
  cors("no-cors", "GET", "fetch-no-cors"),
  cors("no-cors", "POST", "fetch-no-cors-post"),
  said(fetch(target + "fetch-silent", { mode: "no-cors", credentials: "include", ...silent })),
  said(fetch("TARGET/sign-out", { mode: "no-cors", method: "POST", credentials: "include" })),
  said(Promise.resolve(navigator.sendBeacon(target + "beacon", "x"))),
  ...sockets,
]).then(() => Promise.all(sockets));
"#;

/// Ways to lead the whole window there: pages of which the browser makes something by itself.
const LEADS: [&str; 5] = [
    r#"<meta http-equiv="refresh" content="0;url=TARGET">"#,
    r#"<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url=TARGET">"#,
    r#"<script>location = "TARGET"</script>"#,
    r#"<a id="a" rel="noreferrer" href="TARGET">x</a><script>a.click()</script>"#,
    r#"<meta name="referrer" content="no-referrer"><form id="f" method="post" action="TARGET"></form><script>f.submit()</script>"#,
];

/// A site whose page at `/` is empty, and which has the lead N at `/lead/N`.
async fn site(target: String, tls: bool) -> u16 {
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tls.then(acceptor);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (target, acceptor) = (target.clone(), acceptor.clone());
            tokio::spawn(serve(stream, acceptor, target));
        }
    });
    port
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, target: String) {
    let service = service_fn(|request: Request<Incoming>| {
        let path = request.uri().path();
        let lead = path.strip_prefix("/lead/").map_or(String::new(), |n| {
            LEADS[n.parse::<usize>().unwrap()].replace("TARGET", &target)
        });
        let page = format!("<!doctype html><title>evil</title><body>{lead}</body>");
        let response = Response::builder().header("content-type", "text/html; charset=utf-8");
        let response = response.body(Full::new(Bytes::from(page)));
        async move { response }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // However a browser ends a connection, it has seen the page.
    let _ = match acceptor {
        None => http.serve_connection(TokioIo::new(stream), service).await,
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            http.serve_connection(TokioIo::new(stream), service).await
        }
    };
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["evil.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Arc::new(config).into()
}

/// How often the router has refused to run what it was asked for.
async fn refused(fixture: &Fixture) -> i64 {
    let answers = "p2p_router_answers_total{status=\"403\"}";
    fixture.world.metric_if_any(answers).await.unwrap_or(0)
}

/// Has a page of `host` attack the car at `own`, where the browser is signed in, if one can be.
async fn attack(fixture: &Fixture, browser: &Chromium, own: &str, host: &str) {
    let (scheme, _) = own.split_once("://").unwrap();
    let origin = format!("{own}:{}", fixture.port);
    fixture.sign_in(browser, &origin).await;
    let lead = format!("{origin}/cgi?command=mark&arg=lead");
    let home = format!("{origin}/");
    let site = site(lead.clone(), scheme == "https").await;
    let evil = format!("{scheme}://{host}:{site}");
    let before = refused(fixture).await;
    browser.open(&evil).await;
    let main = format!(
        "{}:{}",
        own.replacen("http", "ws", 1),
        fixture.world.main_port()
    );
    let script = ATTEMPTS.replace("TARGET", &origin).replace("MAIN", &main);
    let sockets = browser.script(&script).await;
    assert_eq!(
        sockets,
        serde_json::json!([0, 0, 0, 0]),
        "a WebSocket opened"
    );
    let reached = refused(fixture).await - before;
    eprintln!("{evil} at {origin}: {reached} requests refused");
    assert!(reached >= 12, "only {reached} requests reached the router");
    for n in 0..LEADS.len() {
        browser.open(&format!("{evil}/lead/{n}")).await;
        until_so("the window is led away", async || {
            // Or on to where one signs in.
            [lead.as_str(), &home].contains(&browser.address().await.as_str())
        })
        .await;
        let text = browser.text().await;
        // Without the cookie, which browsers don't send along from another site, it is as if
        // nobody had signed in.
        let told = [
            "another site's page made this",
            "Run this?",
            "This needs a key",
        ];
        assert!(told.iter().any(|told| text.contains(told)), "{text}");
    }
    assert_eq!(fixture.ran(), [""; 0], "{evil} ran something at {origin}");
    // It was signed in all the while, and still is.
    browser.open(&format!("{origin}/")).await;
    browser.reads("mark").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_sites_page_runs_anything_in_a_signed_in_browser() {
    let browser = Chromium::start(&["car.test", "evil.test"]).await;
    for own in ["https://car.test", "http://127.0.0.1", "http://car.test"] {
        let (_, name) = own.split_once("://").unwrap();
        // Another port of the same host, and another host.
        for host in [name, "evil.test"] {
            attack(&Fixture::keyed().await, &browser, own, host).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_sites_page_runs_anything_where_there_are_no_keys() {
    let browser = Chromium::start(&["car.test", "evil.test"]).await;
    for own in ["http://127.0.0.1", "http://car.test"] {
        let (_, name) = own.split_once("://").unwrap();
        for host in [name, "evil.test"] {
            attack(&Fixture::open().await, &browser, own, host).await;
        }
    }
}
